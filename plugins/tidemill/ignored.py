"""What ``.airflowignore`` files leave out, by Airflow's rules, without importing Airflow.

A file's patterns hold for its folder and those below it; later ones go before earlier ones. As globs
(``[core] dag_ignore_file_syntax``, unless that is ``regexp``) they are those of ``.gitignore``: one with a slash
before its end starts at the file's folder, one without means a name at any depth, and ``!`` takes a thing back in.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tidemill.settings import setting

_COMMENT = re.compile(r"\s*#.*")


@dataclass(frozen=True)
class _Glob:
    """One pattern: ``base`` is the folder it starts at, ``None`` if it means a name anywhere."""

    pattern: Any
    base: str | None
    only_folders: bool


class Ignored:
    """The patterns that hold in one folder. ``root``: where the search for DAG files began."""

    def __init__(self, root: Path, patterns: tuple[str | _Glob, ...] = ()) -> None:
        self._root = root
        self._patterns = patterns

    def with_file(self, folder: Path) -> Ignored:
        """The same with the patterns of the ignore file in a folder; one that cannot be read adds none."""
        try:
            text = (folder / ".airflowignore").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return self
        lines = [line for line in (_COMMENT.sub("", line) for line in text.split("\n")) if line]
        globs = [] if self._by_regexp else [_glob(line, folder) for line in lines]
        added = lines if self._by_regexp else [glob for glob in globs if glob is not None]
        return Ignored(self._root, (*self._patterns, *added))

    def has(self, path: str, *, is_folder: bool) -> bool:
        """Whether a file or folder is left out."""
        if self._by_regexp:
            inside = os.path.relpath(path, self._root)
            return any(pattern.search(inside) for pattern in self._regexps)
        found = False
        for pattern in self._patterns:
            assert isinstance(pattern, _Glob)
            if pattern.only_folders and not is_folder:
                continue
            name = os.path.relpath(path, pattern.base) if pattern.base is not None else os.path.basename(path)
            if pattern.pattern.match_file(f"{name}/" if is_folder else name) is not None:
                found = bool(pattern.pattern.include)
        return found

    @cached_property
    def _by_regexp(self) -> bool:
        return setting("dag_ignore_file_syntax", section="core").lower() == "regexp"

    @cached_property
    def _regexps(self) -> list[re.Pattern[str]]:
        found = []
        for pattern in self._patterns:
            try:
                found.append(re.compile(str(pattern)))
            except re.error:  # Airflow leaves it out as well, with a warning in its log
                continue
        return found


def _glob(line: str, folder: Path) -> _Glob | None:
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern as Pattern

    anchored = line.startswith("/") or "/" in line.rstrip("/")
    only_folders = line.lstrip("!").rstrip().endswith("/")
    try:
        pattern = Pattern(line)
    except ValueError:
        return None
    return _Glob(pattern, str(folder) if anchored else None, only_folders) if pattern.include is not None else None
