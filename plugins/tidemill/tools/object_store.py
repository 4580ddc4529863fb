"""Data versions in a platform's bucket, whose own object versions tell them apart.

    <bucket>/tidemill/<installation>/versions/<pipeline>/train.parquet, holdout.parquet   every version, one key each
    <bucket>/tidemill/<installation>/champions/<version>/…      what champions were trained on, where `keep` ends others
    <state>/object-store/<version>                              what `fetch` hands out

A version is a hash of both files' content; its record names the two object versions that hold them, each as the store
answered when it took those very bytes. So whoever writes at the same time changes nothing about it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tidemill.platforms.ports import PlatformError, VersionGone
from tidemill.records import DataVersion, StoredObject
from tidemill.tools.versions import FILES, DataChanged, Earlier, Kept, VersionError, check_folder, room

if TYPE_CHECKING:
    from tidemill.platforms.cloud import Cloud
    from tidemill.project import Project
    from tidemill.spec.units import Span

_LOG: Final = logging.getLogger(__name__)


class ObjectStore:
    """The port ``DataVersions`` over a platform's bucket."""

    def __init__(
        self,
        project: Project,
        cloud: Cloud,
        *,
        pipeline: str,
        installation: Callable[[], str],
        keep: Span | None,
    ) -> None:
        self.root = project.state / "object-store"
        self._cloud = cloud
        self._pipeline = pipeline
        self._installation_id = installation
        self._keep = keep

    def add(self, folder: Path, earlier: Earlier) -> Kept:
        """See the port. Object versions that hold this content by an earlier record are taken, if they stay."""
        check_folder(folder)
        with room(self.root):
            sums = {name: _sha256(folder / name) for name in FILES}
        version = hashlib.sha256("".join(f"{sums[name]} {name}\n" for name in FILES).encode()).hexdigest()
        known = earlier(version)
        with _told(f"data version {version}"):
            if known is not None and known.objects and all(self._stays(each) for each in known.objects):
                objects = known.objects
            else:
                objects = tuple(self._put(folder / name, sums[name]) for name in FILES)
        self._cache(version, folder, sums)
        return Kept(version, objects)

    def fetch(self, data: DataVersion) -> Path:
        """See the port. What this machine has already is read again and not fetched again."""
        folder, sums = self.root / data.version, {each.name: each.sha256 for each in data.objects}
        if not _is_intact(folder, sums):
            with self._scratch() as made:
                self._download(data, made)
                _move(made, folder, sums)
        return folder

    def verify(self, data: DataVersion) -> None:
        """See the port. Both objects are fetched anew, by their versions."""
        with self._scratch() as made:
            self._download(data, made)

    def protect(self, data: DataVersion) -> None:
        """See the port: a copy that no rule of Tidemill's is about. Without ``keep`` nothing ends, and none is made."""
        if self._keep is None:
            return
        folder = self.fetch(data)
        with _told(f"data version {data.version}"):
            for each in data.objects:
                self._cloud.storage.put(folder / each.name, _copy_of(data, each))

    def lifecycle(self, last: DataVersion | None) -> None:
        """See the port: a rule for the versions of this pipeline alone."""
        if self._keep is None and (last is None or last.keep is None):
            return
        days = None if self._keep is None else math.ceil(self._keep.approx().total_seconds() / 86400)
        # Names of rules are letters, digits and dashes at most somewhere; a pipeline's may be longer and have others.
        digest = hashlib.sha256(self._pipeline.encode()).hexdigest()[:16]
        name = f"tidemill-{self._installation}-{digest}"
        try:
            self._cloud.versions.expire(self._folder, name, days)
        except PlatformError as error:
            what = "old versions are kept for ever" if days is not None else "that of an earlier `keep` may still hold"
            _LOG.warning("data.keep: the lifecycle rule of %s cannot be set, so %s: %s", self._folder, what, error)

    @cached_property
    def _installation(self) -> str:
        return self._installation_id()

    @property
    def _folder(self) -> str:
        return self._cloud.place(f"{self._installation}/versions/{self._pipeline}")

    def _stays(self, each: StoredObject) -> bool:
        """Whether an object version is there, and ends no earlier than one that would be written now: that of another
        pipeline or bucket has another rule, and where ``keep`` ends versions, all but the newest have begun to age."""
        versions, uri = self._cloud.versions, f"{self._folder}/{each.name}"
        if each.uri != uri or not versions.has(uri, each.version, each.size):
            return False
        try:
            return self._keep is None or versions.newest(uri) == each.version
        except VersionGone:
            return False

    def _put(self, file: Path, sha256: str) -> StoredObject:
        uri = f"{self._folder}/{file.name}"
        version = self._cloud.versions.put(file, uri)
        return StoredObject(name=file.name, uri=uri, version=version, sha256=sha256, size=file.stat().st_size)

    def _download(self, data: DataVersion, folder: Path) -> None:
        if sorted(each.name for each in data.objects) != list(FILES):
            raise DataChanged(f"the record of data version {data.version} names no objects: version the data anew.")
        for each in data.objects:
            file = folder / each.name
            with _told(f"data version {data.version}"):
                try:
                    self._cloud.versions.get(each.uri, each.version, file)
                except VersionGone as gone:
                    self._from_copy(data, each, file, gone)
            if _sha256(file) != each.sha256:
                raise DataChanged(
                    f"data version {data.version} is not what was versioned: {each.uri} (version {each.version}) has "
                    "changed. Run the training anew, which versions the data anew."
                )
            file.chmod(0o444)

    def _from_copy(self, data: DataVersion, each: StoredObject, file: Path, gone: VersionGone) -> None:
        """What a champion was trained on has a copy, also when its version has gone."""
        copy, storage = _copy_of(data, each), self._cloud.storage
        if all(stored.uri != copy for stored in storage.list(copy.rpartition("/")[0])):
            longer = f"data.keep is {self._keep}: write a longer time there" if self._keep else "see who may remove it"
            raise DataChanged(
                f"data version {data.version}: {each.uri} has no version {each.version} any more; a lifecycle rule of "
                f"the bucket or a person removed it ({gone}). Run the training anew, which versions the data anew; so "
                f"that it lasts, {longer}."
            ) from None
        storage.get(copy, file)

    def _cache(self, version: str, folder: Path, sums: Mapping[str, str]) -> None:
        if _is_intact(self.root / version, sums):
            return
        with self._scratch() as made:
            for name in FILES:
                shutil.copyfile(folder / name, made / name)
                (made / name).chmod(0o444)
            _move(made, self.root / version, sums)

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        with room(self.root):
            made = Path(tempfile.mkdtemp(prefix=".", dir=self.root))
            made.chmod(0o755)
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)


def _copy_of(data: DataVersion, each: StoredObject) -> str:
    """Where a champion's copy of an object is: in the object's own bucket, whatever the spec names by now."""
    return f"{each.uri.rsplit('/', 3)[0]}/champions/{data.version}/{each.name}"


def _move(made: Path, folder: Path, sums: Mapping[str, str]) -> None:
    """Give a folder its place at once; what is there and damaged makes way, what is there and whole stays."""
    while True:
        try:
            made.rename(folder)
            return
        except OSError:
            if _is_intact(folder, sums):
                return
            if not folder.is_dir():
                raise
        damaged = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        with suppress(FileNotFoundError):  # another process did the same
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)


def _is_intact(folder: Path, sums: Mapping[str, str]) -> bool:
    try:
        return sorted(p.name for p in folder.iterdir()) == sorted(sums) == list(FILES) and all(
            _sha256(folder / name) == sha256 for name, sha256 in sums.items()
        )
    except OSError:
        return False


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except PlatformError as error:
        raise VersionError(f"{what}: {error}", retry=error.fault != "user") from error


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
