"""Data versions in DVC: a repository without SCM in the project's state folder, with a remote beside it.

    <state>/dvc/.dvc/cache/files/md5    the cache
    <state>/dvc/remote/files/md5        the remote
    <state>/dvc/versions/<md5>.dvc      one pin a version: `dvc pull` finds it there, `dvc gc` keeps it
    <state>/dvc/data/<version>          what `fetch` hands out

A version is the hash DVC gives the folder (`<md5>.dir`); equal bytes are one version. Whatever was killed
half-way is found by its hash and done again: every object is read again before it is relied upon, since DVC
itself trusts a cached object by its file mode.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from tidemill.tools.versions import FILES, DataChanged, Earlier, Kept, VersionError, check_folder, room

if TYPE_CHECKING:
    from dvc_data.hashfile.tree import Tree

    from tidemill.project import Project
    from tidemill.records import DataVersion

_VERSION: Final = re.compile(r"[0-9a-f]{32}\.dir")
_LOCK_SECONDS: Final = 600.0
_LOG: Final = logging.getLogger(__name__)
_CONFIG: Final = """\
[core]
    no_scm = True
    analytics = False
    check_update = False
    autostage = False
    remote = local
[cache]
    dir = cache
    type = "reflink,copy"
['remote "local"']
    url = ../remote
"""


class DvcStore:
    """The data versions of one project. Any number of processes may use it at once."""

    def __init__(self, project: Project) -> None:
        self.root = project.state / "dvc"
        self._lock_file = project.state / "dvc.lock"

    def add(self, folder: Path) -> str:
        """Store `folder` (with `FILES` and nothing else) in the cache and the remote; its version.

        Repeatable at no cost but reading: what is stored already and undamaged is left alone.

        Raises:
            VersionError: the folder is not of that form; the disk is full (with the folder, and the bytes needed
                and free); or another process holds the store for ten minutes.
        """
        check_folder(folder)
        with self._exclusive():
            return self._add(folder)

    def fetch(self, version: str) -> Path:
        """A folder with the files of a version, every byte of them checked. They are to be read only.

        What the cache lost or has damaged comes back from the remote.

        Raises:
            DataChanged: neither holds the version undamaged; the message names the file.
            VersionError: the disk is full.
        """
        folder = self.root / "data" / _checked(version)
        if self._is_intact(folder, version):
            return folder
        with self._exclusive():
            if not self._is_intact(folder, version):  # nobody was faster
                self._restore(version)
                self._check_out(version, folder)
        return folder

    def verify(self, version: str) -> None:
        """Read again all that the remote holds of a version, and compare its hashes.

        Raises:
            DataChanged: a file is missing or its bytes have changed; the message names it.
        """
        problems = _problems(self._remote, _checked(version))
        if problems:
            raise DataChanged(
                f"data version {version} is not what was versioned: {'; '.join(problems)}. Restore the "
                "remote from a backup, or version the data anew."
            )

    @property
    def _cache(self) -> Path:
        return self.root / ".dvc" / "cache" / "files" / "md5"

    @property
    def _remote(self) -> Path:
        return self.root / "remote" / "files" / "md5"

    def _add(self, folder: Path) -> str:
        from dvc_data.hashfile.build import build
        from dvc_objects.fs.local import localfs

        cache = _objects(self._cache)
        staged, _, built = build(cache, str(folder), localfs, "md5")
        tree = cast("Tree", built)  # a folder always gives one
        version = _checked(tree.oid)
        sizes = {entry.value: (folder / name).stat().st_size for (name,), _, entry in tree}
        sizes[version] = len(tree.as_bytes())  # last: a version exists once all of it does
        self._put(staged, self._cache, sizes)
        self._put(cache, self._remote, sizes)
        self._pin(version, sum(sizes.values()) - sizes[version])
        return version

    def _put(self, source: Any, target: Path, sizes: Mapping[str, int]) -> None:
        """Copy objects into the cache or the remote; those there that do not fit their hash are replaced."""
        _sweep(target)
        for oid in sizes:
            _discard_damaged(target, oid)
        missing = {oid: size for oid, size in sizes.items() if not _object(target, oid).exists()}
        objects = _objects(target)
        with room(self.root, sum(missing.values())):
            try:
                for oid in missing:
                    at = source.get(oid)
                    objects.add(at.path, at.fs, oid)
            finally:
                _sweep(target)
        for oid in missing:
            if _md5(_object(target, oid)) != oid.removesuffix(".dir"):
                raise VersionError(f"{_object(target, oid)} was not written as it was read: check the disk.")

    def _restore(self, version: str) -> None:
        """Make the cache hold all of a version, from the remote where need be."""
        if not _problems(self._cache, version):
            return
        self.verify(version)
        _LOG.warning("data version %s is damaged in %s: taken from the remote", version, self._cache)
        oids = [*_tree(self._remote, version).values(), version]
        sizes = {oid: _object(self._remote, oid).stat().st_size for oid in oids}
        self._put(_objects(self._remote), self._cache, sizes)

    def _check_out(self, version: str, folder: Path) -> None:
        files = _tree(self._cache, version)
        with room(self.root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _clear(folder.parent.glob(".*"))  # what was killed, or waits to be removed
            made = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
            for name, oid in files.items():
                _link(_object(self._cache, oid), made / name)
            made.chmod(0o755)
            if folder.exists():
                folder.rename(folder.with_name(f".{made.name}.old"))
            made.rename(folder)
            _clear(folder.parent.glob(".*"))

    def _is_intact(self, folder: Path, version: str) -> bool:
        try:
            files = _tree(self._cache, version)
            return sorted(p.name for p in folder.iterdir()) == sorted(files) and all(
                _md5(folder / name) == oid for name, oid in files.items()
            )
        except (OSError, DataChanged):
            return False

    def _pin(self, version: str, size: int) -> None:
        pin = self.root / "versions" / f"{version.removesuffix('.dir')}.dvc"
        out = f"- md5: {version}\n  size: {size}\n  nfiles: {len(FILES)}\n  hash: md5\n  path: {version}\n"
        if not pin.exists():
            with room(self.root, len(out)):
                _write(pin, f"outs:\n{out}")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the store: this project's lock, then DVC's own, against a `dvc` command at work in it."""
        os.environ["DVC_NO_ANALYTICS"] = "1"
        from dvc.lock import Lock, LockError

        with room(self._lock_file.parent), _locked(self._lock_file):
            self._init()
            try:
                with Lock(str(self.root / ".dvc" / "tmp" / "lock")):
                    yield
            except LockError:
                raise VersionError(f"a dvc command holds {self.root}: wait for its end.", retry=True) from None

    def _init(self) -> None:
        """Make the repository, as `dvc init --no-scm` does, or finish making it."""
        config = self.root / ".dvc" / "config"
        if config.exists():
            return
        for path in (self.root / ".dvc" / "tmp", self._cache, self._remote, self.root / "versions"):
            path.mkdir(parents=True, exist_ok=True)
        _write(config, _CONFIG)  # last and at once: it says that the repository is whole


class DvcVersions:
    """The port ``DataVersions`` over DVC, which needs nothing but a version's hash."""

    def __init__(self, store: DvcStore) -> None:
        self._store = store

    def add(self, folder: Path, earlier: Earlier) -> Kept:
        """See the port."""
        return Kept(self._store.add(folder))

    def fetch(self, data: DataVersion) -> Path:
        """See the port."""
        return self._store.fetch(data.version)

    def verify(self, data: DataVersion) -> None:
        """See the port."""
        self._store.verify(data.version)

    def protect(self, data: DataVersion) -> None:
        """Nothing in DVC's store has a lifecycle."""

    def lifecycle(self, last: DataVersion | None) -> None:
        """Nothing in DVC's store has a lifecycle."""


def _checked(version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise VersionError(f"{version!r} is not a data version (32 hexadecimal digits and .dir).")
    return version


def _objects(path: Path) -> Any:
    from dvc_data.hashfile.db import get_odb
    from dvc_objects.fs.local import localfs

    return get_odb(localfs, str(path))  # type: ignore[no-untyped-call]


def _object(store: Path, oid: str) -> Path:
    return store / oid[:2] / oid[2:]


def _tree(store: Path, version: str) -> dict[str, str]:
    """Name → md5 of a version's files, as its `.dir` object lists them.

    Raises:
        DataChanged: the object is missing, or not what its name says.
    """
    path = _object(store, version)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise DataChanged(f"{path} cannot be read ({e.strerror})") from e
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != version.removesuffix(".dir"):
        raise DataChanged(f"{path} has changed")
    files = {str(entry["relpath"]): str(entry["md5"]) for entry in json.loads(data)}
    if sorted(files) != list(FILES):
        raise DataChanged(f"{path} lists {sorted(files)} instead of {list(FILES)}")
    return files


def _problems(store: Path, version: str) -> list[str]:
    """What of a version is missing or damaged in the cache or the remote, each with its file."""
    try:
        files = _tree(store, version)
    except DataChanged as e:
        return [str(e)]
    problems = []
    for name, oid in files.items():
        path = _object(store, oid)
        try:
            if _md5(path) != oid:
                problems.append(f"{name} has changed ({path})")
        except OSError as e:
            problems.append(f"{name} cannot be read ({path}: {e.strerror})")
    return problems


def _discard_damaged(store: Path, oid: str) -> None:
    path = _object(store, oid)
    with suppress(FileNotFoundError):
        if _md5(path) != oid.removesuffix(".dir"):
            _LOG.warning("%s does not fit its hash: replaced", path)
            path.unlink()


def _sweep(store: Path) -> None:
    """Remove what a killed or failed copy left, which nothing else ever would. Only under the locks."""
    for path in store.glob("*/*.tmp"):
        path.unlink()


def _clear(paths: Iterable[Path]) -> None:
    for path in list(paths):
        shutil.rmtree(path, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """A second name for a cached file, which is read-only; a copy where the file system has none."""
    try:
        target.hardlink_to(source)
    except OSError as e:
        if e.errno == errno.ENOSPC:
            raise
        shutil.copyfile(source, target)
    target.chmod(0o444)


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _write(path: Path, text: str) -> None:
    """Write a file at once: it is there whole or not at all."""
    made = path.with_name(f".{path.name}.tmp")
    made.write_text(text, encoding="utf-8")
    made.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file; the system releases it if this process dies."""
    with path.open("a+b") as file:
        until = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise VersionError(f"{path} has been locked for {_LOCK_SECONDS:.0f} s.", retry=True) from None
                time.sleep(0.05)
        yield
