"""The last verdict on each spec, so that one that did not change is not read again. Never required.

One small file a spec, written whole and renamed into place, so that concurrent readers and writers see an entry or
none. An entry that cannot be read, that is of other content or that was made by another version is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tidemill import __version__
from tidemill.plan.model import Plan
from tidemill.project import Project
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
        self._folder = str(project.state / "cache" / "specs")
        self._states: dict[str, list[int] | None] = {}

    def verdict(self, file: Path, dags: Path, data: bytes) -> Verdict:
        """The verdict on a file whose content is ``data``: kept, or judged now and kept."""
        entry = self._entry(file)
        where = os.fsencode(dags), os.fsencode(self._project.root)
        content = hashlib.sha256(b"\0".join((version_tag().encode(), *where, data))).hexdigest()
        kept = self._read(entry, content)
        if kept is not None:
            return kept
        from tidemill.verdict import judge

        began = time.time_ns()
        verdict = judge(file, dags, self._project, data)
        if verdict.plan is not None and self._check is not None:
            errors = self._check(verdict.plan, file)
            if errors:
                verdict = Verdict(None, errors, verdict.files)
        self._write(entry, content, verdict, began)
        return verdict

    def _entry(self, file: Path) -> str:
        key = hashlib.sha256(os.fsencode(file)).hexdigest()
        return os.path.join(self._folder, f"{key}.json")

    def _read(self, entry: str, content: str) -> Verdict | None:
        try:
            with open(entry, "rb") as file:
                digest, _, text = file.read().partition(b"\n")
            if digest != _digest(text):
                return None
            value = json.loads(text)
            if value["content"] != content or (self._check is not None and not value["checked"]):
                return None
            if any(self._state(name) != state for name, state in value["files"]):
                return None
            plan = Plan.from_json(value["plan"]) if value["plan"] is not None else None
            errors = tuple(SpecError(**error) for error in value["errors"])
            return Verdict(plan, errors, tuple(Path(name) for name, _ in value["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _write(self, entry: str, content: str, verdict: Verdict, began: int) -> None:
        files = [(str(file), self._state(str(file))) for file in verdict.files]
        if any(state is not None and state[0] >= began - _CLOCK for _, state in files):
            return  # changed while it was judged: nobody knows which content the verdict is about
        value: dict[str, Any] = {
            "content": content,
            "checked": self._check is not None,
            "files": files,
            "plan": verdict.plan.to_json() if verdict.plan is not None else None,
            "errors": [error.to_json() for error in verdict.errors],
        }
        with suppress(OSError):  # on a read-only or full disk the verdict is made again next time
            text = json.dumps(value).encode()
            _replace(entry, _digest(text) + b"\n" + text)

    def _state(self, name: str) -> list[int] | None:
        # Asked once in a pass: thousands of specs share their defaults, code and expectations.
        try:
            return self._states[name]
        except KeyError:
            return self._states.setdefault(name, _state_of(name))


def _digest(text: bytes) -> bytes:
    # An entry that a crash, a full disk or a person has changed is none, whatever can still be read of it.
    return hashlib.sha256(text).hexdigest().encode()


def _replace(entry: str, data: bytes) -> None:
    folder = os.path.dirname(entry)
    try:
        handle, new = tempfile.mkstemp(suffix=".new", dir=folder)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        handle, new = tempfile.mkstemp(suffix=".new", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(new, entry)
    except OSError:
        os.unlink(new)
        raise


def _state_of(name: str) -> list[int] | None:
    """What tells that a file has changed: time, size and inode; ``None`` if there is no such file."""
    try:
        stat = os.stat(name)
    except OSError:
        return None
    return [stat.st_mtime_ns, stat.st_size, stat.st_ino]


@cache
def version_tag() -> str:
    """What a verdict depends on besides the files: the versions of Tidemill, Airflow and Python. Tidemill's own
    files count by their times, since a checkout changes without its version changing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        airflow = version("apache-airflow-core")
    except PackageNotFoundError:
        airflow = "none"
    package = Path(__file__).parent
    newest = max(entry.stat().st_mtime_ns for entry in package.rglob("*.py"))
    return f"{__version__} {newest} {airflow} {sys.version_info[:3]}"
