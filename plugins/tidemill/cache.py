"""The last verdict on each spec, so that one that did not change is not read again. Never required.

One file a spec, written whole and renamed into place, so that concurrent readers and writers see an entry or none.
An entry that cannot be read, that is of other content or that was made by another version is as good as none.

An entry is lines of JSON: a head, whose digest stands before it, then a plan a line, whose digests stand in the head.
So one plan of the thousands that a matrix makes is read without the others.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from tidemill import __version__
from tidemill.entries import digest, replace_file
from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.settings import allow, environment
from tidemill.spec.errors import SpecError
from tidemill.verdict import Verdict

Check = Callable[[Plan, Path], "tuple[SpecError, ...]"]
"""A further check of a sound plan; its answer is kept with the verdict."""


_CLOCK = 20_000_000
"""Nanoseconds by which a file's time may lag behind the clock: the kernel takes it from its last tick."""


class VerdictCache:
    """The verdicts of one project's specs. An instance is meant for one pass over them.

    ``check`` is applied to sound plans; a verdict kept without it is not taken for one with it.
    """

    def __init__(self, project: Project, check: Check | None = None) -> None:
        self._project = project
        self._check = check
        self._settings = f"{environment() or ''} {' '.join(allow())}".encode()
        self._folder = str(project.state / "cache" / "specs")
        self._states: dict[str, list[int] | None] = {}

    def verdict(self, file: Path, dags: Path, data: bytes, row: str | None = None, task: str | None = None) -> Verdict:
        """The verdict on a file whose content is ``data``: kept, or judged now and kept.

        ``row``: of a matrix, this one alone: its plan, or what is wrong. ``task``: for the process of one task, which
        looks at what that one runs alone. With one of them nothing more is judged, nor kept.
        """
        content = self._content(dags, data)
        entry = self._entry(file)
        kept = self._read(entry, content, row)
        if kept is not None:
            return kept
        from tidemill.verdict import judge

        began = time.time_ns()
        verdict = judge(file, dags, self._project, data, row, task)
        if self._check is not None and verdict.plans:
            checked = [(plan, self._check(plan, file)) for plan in verdict.plans]
            sound = tuple(plan for plan, errors in checked if not errors)
            refused = [error for _, errors in checked for error in errors]
            verdict = Verdict(sound, (*verdict.errors, *refused), verdict.files)
        if row is None and task is None:
            self._write(entry, content, verdict, began)
            if verdict.plans:
                with suppress(OSError):
                    replace_file(str(self._source(file)), data)
        return verdict

    def kept(self, file: Path, dags: Path, data: bytes) -> Verdict | None:
        """The verdict that is kept on a file whose content is ``data``; ``None`` if it would have to be judged."""
        return self._read(self._entry(file), self._content(dags, data), None)

    def _content(self, dags: Path, data: bytes) -> str:
        """What a verdict is about."""
        where = os.fsencode(dags), os.fsencode(self._project.root)
        return hashlib.sha256(b"\0".join((version_tag().encode(), self._settings, *where, data))).hexdigest()

    def forget(self, file: Path) -> None:
        """Let a file be judged anew by whoever asks next."""
        with suppress(OSError):
            os.unlink(self._entry(file))

    def _entry(self, file: Path) -> str:
        key = hashlib.sha256(os.fsencode(file)).hexdigest()
        return os.path.join(self._folder, f"{key}.json")

    def source(self, file: Path) -> Path:
        """The copy of a spec's text that was kept with its verdict, else the spec itself.

        Airflow reads the source of every DAG again when it stores them, and takes all DAGs of a loader for broken if
        one of the files has gone meanwhile.
        """
        kept = self._source(file)
        return kept if kept.is_file() else file

    def _source(self, file: Path) -> Path:
        folder = self._project.state / "cache" / "sources"
        if file.is_relative_to(self._project.root):
            return folder / file.relative_to(self._project.root)
        return folder / hashlib.sha256(os.fsencode(file.parent)).hexdigest()[:16] / file.name

    def _read(self, entry: str, content: str, row: str | None) -> Verdict | None:
        try:
            with open(entry, "rb") as file:
                written = file.readline().rstrip(b"\n")
                text = file.readline().rstrip(b"\n")
                if written != digest(text):
                    return None
                head = json.loads(text)
                if head["content"] != content or (self._check is not None and not head["checked"]):
                    return None
                if any(self._state(name) != state for name, state in head["files"]):
                    return None
                plans = _plans(file, head["plans"], row)
            errors = tuple(SpecError(**error) for error in head["errors"])
            return Verdict(plans, errors, tuple(Path(name) for name, _ in head["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return None

    def _write(self, entry: str, content: str, verdict: Verdict, began: int) -> None:
        files = [(str(file), self._state(str(file))) for file in verdict.files]
        if any(state is not None and state[0] >= began - _CLOCK for _, state in files):
            return  # changed while it was judged: nobody knows which content the verdict is about
        lines = [json.dumps(plan.to_json()).encode() for plan in verdict.plans]
        plans = [
            (plan.pipeline, len(line), digest(line).decode()) for plan, line in zip(verdict.plans, lines, strict=True)
        ]
        head: dict[str, Any] = {
            "content": content,
            "checked": self._check is not None,
            "files": files,
            "errors": [error.to_json() for error in verdict.errors],
            "plans": plans,
        }
        with suppress(OSError):  # on a read-only or full disk the verdict is made again next time
            text = json.dumps(head).encode()
            replace_file(entry, b"\n".join((digest(text), text, *lines)))

    def _state(self, name: str) -> list[int] | None:
        # Asked once in a pass: thousands of specs share their defaults, code and expectations.
        try:
            return self._states[name]
        except KeyError:
            return self._states.setdefault(name, _state_of(name))


def _plans(file: BinaryIO, listed: list[tuple[str, int, str]], row: str | None) -> tuple[Plan, ...]:
    """The plans that follow the head of an entry; with ``row`` only that of the row.

    Raises:
        ValueError: an entry that is none.
    """
    found = []
    for pipeline, length, written in listed:
        if row is not None and pipeline.partition(".")[2] != row:
            file.seek(length + 1, os.SEEK_CUR)
            continue
        line = file.read(length + 1).removesuffix(b"\n")
        if digest(line).decode() != written:
            raise ValueError("another plan than the one that was written")
        found.append(Plan.from_json(json.loads(line)))
    if row is None and file.read(1):
        raise ValueError("more than was written")
    return tuple(found)


def _state_of(name: str) -> list[int] | None:
    """What tells that a file has changed: time, size and inode; ``None`` if there is no such file."""
    try:
        stat = os.stat(name)
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_size, stat.st_ino]


def _times(folder: str) -> Iterator[int]:
    """When the Python files below a folder were last changed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.stat().st_mtime_ns
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _times(entry.path)


@cache
def version_tag() -> str:
    """What a verdict depends on besides the files: the versions of Tidemill, Airflow and Python. Tidemill's own
    files count by their times, since a checkout changes without its version changing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        airflow = version("apache-airflow-core")
    except PackageNotFoundError:
        airflow = "none"
    newest = max(_times(os.path.dirname(__file__)))
    # A provider that comes or goes changes what specs may name, and this folder's time.
    installed = os.stat(sysconfig.get_path("purelib")).st_mtime_ns
    return f"{__version__} {newest} {airflow} {sys.version_info[:3]} {installed}"
