"""Where pods find code and data: a bucket of one of the clouds, or a volume that Airflow's workers mount as well."""

from __future__ import annotations

import contextlib
import filecmp
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final, cast

from tidemill.platforms.ports import Connections, PlatformError, Storage, Stored
from tidemill.spec.platform import Platform

_CLOUDS: Final = {"s3": "aws", "gs": "gcp", "abfss": "azure", "abfs": "azure"}


def open_storage(platform: Platform, connections: Connections) -> Storage:
    """The store of a platform: its bucket's, reached with ``bucket_connection``, or its volume.

    Raises:
        PlatformError: there is neither, or no such connection.
    """
    if platform.volume is not None:
        return FolderStorage(Path(platform.volume.path))
    cloud, its = owner(platform)
    return cast(Storage, import_module(f"tidemill.platforms.{cloud}.storage").open_storage(its, connections))


def owner(platform: Platform) -> tuple[str, Platform]:
    """The cloud that a platform's bucket is of, and the platform as that cloud sees it.

    Raises:
        PlatformError: there is no bucket.
    """
    cloud = _CLOUDS.get((platform.bucket or "").partition("://")[0])
    if cloud is None:
        raise PlatformError("platform has neither a bucket (s3://, gs://, abfss://) nor a volume", fault="user")
    return cloud, platform.model_copy(update={"provider": cloud, "connection": platform.bucket_connection})


class FolderStorage:
    """Files of a mounted volume, by their paths. Implements the port ``Storage``."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, file: Path, uri: str) -> None:
        """Copy a file to its place, whole or not at all; the same content is left alone."""
        target = self._path(uri)
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with self._told(uri):
            if target.is_file() and filecmp.cmp(file, target, shallow=False):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, part)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)

    def get(self, uri: str, file: Path) -> None:
        """Copy a file from its place, whole or not at all."""
        part = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        with self._told(uri):
            try:
                shutil.copyfile(self._path(uri), part)
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)

    def list(self, uri: str) -> Iterator[Stored]:
        """The files below a folder, in order."""
        folder = self._path(uri)
        with self._told(uri):
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                yield Stored(str(file), file.stat().st_size)

    def delete(self, uri: str) -> None:
        """Remove a file; none is fine."""
        with self._told(uri):
            self._path(uri).unlink(missing_ok=True)

    def versions(self, uri: str) -> Sequence[str]:
        """A folder keeps none."""
        return ()

    def _path(self, uri: str) -> Path:
        path = Path(os.path.normpath(uri))
        if not path.is_relative_to(self._root):
            raise PlatformError(f"{uri} does not lie in platform.volume.path {self._root}", fault="user")
        if not self._root.is_dir():
            raise PlatformError(
                f"{self._root} is not there: platform.volume.path is where Airflow's workers mount the volume, and "
                "this worker does not",
                fault="user",
            )
        return path

    @contextlib.contextmanager
    def _told(self, uri: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as e:
            raise PlatformError(f"{uri}: there is no such file", fault="user") from e
        except PermissionError as e:
            raise PlatformError(f"{uri}: the worker's user may not do that on the volume ({e})", fault="user") from e
        except OSError as e:
            raise PlatformError(f"{uri}: {e}") from e
