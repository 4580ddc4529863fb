"""Where a step finds a source: a path of the project, or an object in the platform's store, fetched by its version."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, NamedTuple

from tidemill.steps.context import StepContext, StepError

if TYPE_CHECKING:
    from tidemill.platforms.ports import ObjectVersions

_KEPT_SECONDS: Final = 86400.0
"""How long a version stays after a step began with it, which may still read it."""


class Located(NamedTuple):
    """A source on this machine, and the store's own id of the object version that it is; ``None`` for a path."""

    path: Path
    version: str | None = None


def source_path(ctx: StepContext, source: str) -> Path:
    """Where a source is on this machine; see :func:`located`."""
    return located(ctx, source).path


def located(ctx: StepContext, source: str) -> Located:
    """A source by what the spec says of it: a path of the project, or an address in the platform's store.

    Of an object the newest version is taken, by its id: what is written there meanwhile does not mix with it. It is
    fetched once on a machine, into the project's state folder.

    Raises:
        StepError: there is no such object, its bucket keeps no versions, or it cannot be fetched (``retry``).
    """
    path = ctx.project.path(source)
    if "://" not in source or path.exists():  # a job was given it as a file
        return Located(path)
    from tidemill.platforms.cloud import Cloud, service_of
    from tidemill.platforms.ports import PlatformError

    platform = ctx.spec.platform
    cloud = Cloud(platform, service_of(platform, ctx.spec.train.service), ctx.connections)
    folder = ctx.project.state / "sources" / hashlib.sha256(source.encode()).hexdigest()[:16]
    try:
        version = cloud.versions.newest(source)
        return Located(_fetched(cloud.versions, source, version, folder), version)
    except PlatformError as error:
        raise StepError(f"{source}: {error}", retry=error.fault != "user") from error
    except OSError as error:
        raise StepError(f"{source} cannot be kept in {folder}: {error}. Make that possible.", retry=True) from error


def _fetched(versions: ObjectVersions, source: str, version: str, folder: Path) -> Path:
    name = PurePosixPath(source).name
    place = folder / hashlib.sha256(version.encode()).hexdigest()[:16]
    if place.is_dir():
        with suppress(OSError):  # made by another user: it then stays as long as that one uses it
            os.utime(place)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        try:
            versions.get(source, version, made / name)
            (made / name).chmod(0o444)
            with suppress(OSError):  # another process was faster
                made.rename(place)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        _forget(folder, place)
    return place / name


def _forget(folder: Path, kept: Path) -> None:
    """Remove versions that were fetched long ago, and what was killed on its way."""
    for other in folder.iterdir():
        with suppress(OSError):
            if other != kept and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
