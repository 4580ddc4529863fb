"""Data versions, whatever keeps them: the port that steps know, and the one place where its backend is chosen."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from tidemill.steps.context import StepError

if TYPE_CHECKING:
    from tidemill.platforms.ports import Connections
    from tidemill.project import Project
    from tidemill.records import DataVersion, StoredObject
    from tidemill.spec.models import Spec

FILES: Final = ("holdout.parquet", "train.parquet")
"""What a version's folder holds: these two files and nothing else."""

Earlier = Callable[[str], "DataVersion | None"]
"""The last record of a data version, if it was made before."""


class VersionError(StepError):
    """A data version cannot be stored or handed out; the message says why and what to do."""


class DataChanged(VersionError):
    """What is stored under a version is not what was versioned, or is gone."""


@dataclass(frozen=True)
class Kept:
    """A version that is stored: the hash of its content, and where its files lie if that does not follow from it."""

    version: str
    objects: tuple[StoredObject, ...] = ()


class DataVersions(Protocol):
    """What keeps the data versions of a pipeline. Equal bytes are one version; any number of processes may use it."""

    def add(self, folder: Path, earlier: Earlier) -> Kept:
        """Store a folder with ``FILES`` and nothing else. What is stored already is not stored again.

        Raises:
            VersionError: it cannot be stored (``retry`` if another try may help).
        """
        ...

    def fetch(self, data: DataVersion) -> Path:
        """A folder with the files of a version, every byte of them checked. They are to be read only.

        Raises:
            DataChanged: it is not there undamaged any more.
            VersionError: it cannot be fetched (``retry`` if another try may help).
        """
        ...

    def verify(self, data: DataVersion) -> None:
        """Read again all that is stored of a version, and compare its hashes.

        Raises:
            DataChanged: something is missing or has changed; the message names it.
            VersionError: it cannot be read (``retry`` if another try may help).
        """
        ...

    def protect(self, data: DataVersion) -> None:
        """Have no lifecycle end a version that a champion was trained on. Repeatable.

        Raises:
            VersionError: that cannot be done (``retry`` if another try may help).
        """
        ...

    def lifecycle(self, last: DataVersion | None) -> None:
        """Have versions end as long after newer ones took their place as the spec says, where it says so; ``last`` is
        the latest record of a version that was to end. That it is not allowed is a warning: the data is versioned
        all the same."""
        ...


def open_versions(
    backend: str,
    spec: Spec,
    project: Project,
    connections: Connections,
    *,
    pipeline: str,
    installation: Callable[[], str],
) -> DataVersions:
    """What keeps versions of a backend: for new ones that of the spec, for one that exists that of its record.

    Raises:
        VersionError: the spec's platform has no bucket any more in which it could lie.
    """
    if backend == "dvc":
        from tidemill.tools.dvc import DvcStore, DvcVersions

        return DvcVersions(DvcStore(project))
    from tidemill.platforms.cloud import Cloud, service_of
    from tidemill.tools.object_store import ObjectStore

    platform = spec.platform
    if platform.bucket is None:
        raise VersionError(
            f"the data version lies in a bucket, and the pipeline's platform ({platform.provider}) has none: name the "
            "bucket in platform.bucket again"
        )
    cloud = Cloud(platform, service_of(platform, spec.train.service), connections)
    return ObjectStore(project, cloud, pipeline=pipeline, installation=installation, keep=spec.data.keep)


@contextmanager
def room(folder: Path, needed: int = 0) -> Iterator[None]:
    """Guard what writes to `folder` (made if needed): `needed` bytes in all, if that is known.

    Raises:
        VersionError: there is no such room, or it ran out inside, or the disk failed otherwise.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if needed > shutil.disk_usage(folder).free:
            raise _no_room(folder, needed)
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(folder, needed) from e
        raise VersionError(f"data cannot be versioned in {folder}: {e}.") from e


def check_folder(folder: Path) -> None:
    """Refuse a folder that does not hold ``FILES`` alone.

    Raises:
        VersionError: it does not.
    """
    found = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else None
    if found != list(FILES):
        raise VersionError(f"{folder} must hold {' and '.join(FILES)} alone, it holds {found}.")


def _no_room(folder: Path, needed: int) -> VersionError:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(there).free
    wanted = f"{needed:,} bytes needed, " if needed else ""
    inodes = "" if os.statvfs(there).f_favail else " and no free inodes"
    return VersionError(
        f"no room to version the data in {folder}: {wanted}{free:,} bytes free{inodes}. Make room on that "
        "disk, or set TIDEMILL_STATE to a folder on another one; then run this task again."
    )
