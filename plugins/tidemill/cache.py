"""Verdicts kept by content, so that a spec that did not change is not read again. Never required.

One small file an entry, written whole and renamed into place, so that concurrent readers and writers see an
entry or none. An entry that cannot be read, or that was made by another version, is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
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


class VerdictCache:
    """The verdicts of one project's specs.

    ``check`` is applied to sound plans; a verdict kept without it is not taken for one with it.
    """

    def __init__(self, project: Project, check: Check | None = None) -> None:
        self._project = project
        self._check = check
        self._folder = project.state / "cache" / "specs"

    def verdict(self, file: Path, dags: Path, data: bytes) -> Verdict:
        """The verdict on a file whose content is ``data``: kept, or judged now and kept."""
        path = self._entry(file, data)
        kept = self._read(path, file)
        if kept is not None:
            return kept
        from tidemill.verdict import judge

        verdict = judge(file, dags, self._project)
        if verdict.plan is not None and self._check is not None:
            errors = self._check(verdict.plan, file)
            if errors:
                verdict = Verdict(None, errors, verdict.files)
        self._write(path, verdict, file)
        return verdict

    def _entry(self, file: Path, data: bytes) -> Path:
        key = hashlib.sha256(b"\0".join((version_tag().encode(), os.fsencode(file), data))).hexdigest()
        return self._folder / key[:2] / f"{key}.json"

    def _read(self, path: Path, file: Path) -> Verdict | None:
        try:
            value = json.loads(path.read_bytes())
            if self._check is not None and not value["checked"]:
                return None
            if any(_state_of(name) != state for name, state in value["files"]):
                return None
            plan = Plan.from_json(value["plan"]) if value["plan"] is not None else None
            errors = tuple(SpecError(**error) for error in value["errors"])
            return Verdict(plan, errors, tuple(Path(name) for name, _ in value["files"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _write(self, path: Path, verdict: Verdict, file: Path) -> None:
        value: dict[str, Any] = {
            "checked": self._check is not None,
            "files": [(str(f), _state_of(str(f))) for f in verdict.files],
            "plan": verdict.plan.to_json() if verdict.plan is not None else None,
            "errors": [error.to_json() for error in verdict.errors],
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".new", delete=False) as new:
                json.dump(value, new)
            os.replace(new.name, path)
        except OSError:
            return  # a read-only or full disk: the verdict is made again next time


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
