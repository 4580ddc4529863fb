"""The files of a root in their folder: written beside those of people, and never over what people changed."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tidemill.infra.needs import InfraProblem

_FORMAT: Final = 1


@dataclass(frozen=True)
class Kind:
    """Which command writes, and the file in which it keeps the SHA-256 of each file that it wrote. ``once``: files that
    are a person's from the moment they are there. ``aside``: where to put what is in the way."""

    command: str
    lock: str
    once: frozenset[str]
    aside: str = "move it into a file of your own"


INFRA: Final = Kind("tidemill infra", ".tidemill-infra.json", frozenset({"backend.tf"}))


@dataclass
class Changes:
    """What writing a root into a folder comes to; paths are relative to the folder.

    ``edited``: files that were changed since they were written, or that somebody else made; they are replaced with
    ``force`` alone. ``stale``: files that no longer belong to the root.
    """

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    diff: str = ""

    @property
    def none(self) -> bool:
        """Whether the folder holds the root already."""
        return not (self.new or self.changed or self.stale or self.edited)

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints of it."""
        return {
            "same": self.none,
            "new": self.new,
            "changed": self.changed,
            "removed": self.stale,
            "edited": self.edited,
            "diff": self.diff,
        }


def compare(folder: Path, files: Mapping[str, str], kind: Kind = INFRA) -> Changes:
    """What writing the files would do.

    Raises:
        InfraProblem: the folder or its lock file cannot be read.
    """
    told, found = lock_of(folder / kind.lock), Changes()
    diff: list[str] = []
    for path, text in files.items():
        there = _read(folder / path)
        if path in kind.once and there is not None:
            found.same.append(path)
        elif there is None:
            # One that was written and then removed is a change by hand, too, but nothing is lost by writing it again.
            found.new.append(path)
        elif there == text:
            found.same.append(path)
        elif told.get(path) == _sum(there):
            found.changed.append(path)
        else:
            found.edited.append(path)
        if path not in found.same:
            diff += _diff(path, there or "", text)
    for path in sorted(told.keys() - files.keys() - kind.once):
        there = _read(folder / path)
        if there is None:
            continue
        (found.stale if told[path] == _sum(there) else found.edited).append(path)
        diff += _diff(path, there, "")
    found.diff = "".join(diff)
    return found


def write(folder: Path, files: Mapping[str, str], kind: Kind = INFRA, *, force: bool) -> Changes:
    """Write the files, and remove those that were written before and no longer belong to the root. Files that were
    not written by this are left alone.

    Raises:
        InfraProblem: files were changed by hand, and ``force`` is not given: nothing is written then; or the folder
            cannot be written.
    """
    found = compare(folder, files, kind)
    if found.edited and not force:
        names = ", ".join(found.edited[:3]) + (f" and {len(found.edited) - 3} more" if len(found.edited) > 3 else "")
        raise InfraProblem(
            f"{folder}: {names} would be replaced, and what is there was not written by {kind.command}: see the "
            f"difference with --check, {kind.aside}, or replace it with --force; nothing was written"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (*found.new, *found.changed, *(path for path in found.edited if path in files)):
            _put(folder / path, files[path])
        for path in (*found.stale, *(path for path in found.edited if path not in files)):
            (folder / path).unlink()
            _tidy((folder / path).parent, folder)
        sums = {path: _sum(files[path]) for path in sorted(files) if path not in kind.once}
        lock = json.dumps({"format": _FORMAT, "files": sums}, indent=2) + "\n"
        if _read(folder / kind.lock) != lock:
            _put(folder / kind.lock, lock)
    except OSError as e:
        raise InfraProblem(f"cannot write {e.filename or folder}: {e.strerror}; choose another --output") from None
    return found


def _put(file: Path, text: str) -> None:
    """A file, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.tidemill")
    try:
        scratch.write_text(text, encoding="utf-8", newline="\n")
        os.replace(scratch, file)
    finally:
        scratch.unlink(missing_ok=True)


def _tidy(folder: Path, top: Path) -> None:
    while folder != top and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _read(file: Path) -> str | None:
    try:
        return file.read_bytes().decode("utf-8", "surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        raise InfraProblem(f"cannot read {file}: {e.strerror}; choose another --output") from None


def lock_of(file: Path) -> dict[str, str]:
    """The files that were written, each with its hash; none if there is no such lock file.

    Raises:
        InfraProblem: it cannot be read, or was damaged.
    """
    text = _read(file)
    if text is None:
        return {}
    try:
        told: Any = json.loads(text)
        if told["format"] != _FORMAT:
            raise InfraProblem(f"{file} was written by a later Tidemill: upgrade this one")
        return {str(path): str(value) for path, value in told["files"].items() if _within(str(path))}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InfraProblem(
            f"{file} is damaged: restore it, or remove it; without it, files that are there count as yours"
        ) from None


def _within(path: str) -> bool:
    """Whether a path stays in its folder, whatever the lock file says."""
    parts = Path(path)
    return not parts.is_absolute() and ".." not in parts.parts


def _sum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _diff(path: str, before: str, after: str) -> Iterator[str]:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}", n=2
    )
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
