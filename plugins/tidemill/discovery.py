"""Which files are pipelines: found by name, so that one is found without reading ten thousand."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tidemill.spec.errors import SpecError
from tidemill.spec.load import DEFAULTS, shown_as

_VERSION_LINE = re.compile(rb"""^(?:\xef\xbb\xbf)?["']?tidemill["']?[ \t]*:""", re.MULTILINE)
_SECTION_LINE = re.compile(rb"^(platform|data|train|evaluate|promote|monitor|retrain)[ \t]*:", re.MULTILINE)
_ANY_CONTENT = re.compile(rb"^(?![ \t]*(?:#|---|\.\.\.|\r?$))[ \t]*\S", re.MULTILINE)

SUFFIXES = (".yaml", ".yml")
NOT_PIPELINES = frozenset({"templates", "__pycache__"})
"""Folders that hold no pipelines."""


def find(dags: Path) -> list[tuple[Path, bytes]]:
    """Every spec file below a DAG folder with its content, sorted by path.

    A YAML file with a top-level ``tidemill:`` is a spec. One with no key at all, or with several sections of
    the language but without that line, was meant to be one, and is handed on to be reported.
    """
    return sorted((path, data) for path in _yaml_files(dags) if looks_like_spec(data := _content(path)))


def find_pipeline(dags: Path, pipeline: str) -> Path | None:
    """The file of one pipeline, found by its stem; ``None`` if there is none, or more than one."""
    names = {pipeline + suffix for suffix in SUFFIXES}
    found = [path for path in _yaml_files(dags) if path.name in names]
    return found[0] if len(found) == 1 else None


def pipeline_of(dag_id: str) -> str:
    """The pipeline a DAG belongs to: a stem holds no dot, what follows one is the DAG's kind."""
    return dag_id.partition(".")[0]


def duplicates(files: Iterable[Path], root: Path) -> dict[Path, SpecError]:
    """The files that share their stem with another one, with the error of each."""
    by_stem: dict[str, list[Path]] = {}
    for file in files:
        by_stem.setdefault(file.stem, []).append(file)
    errors = {}
    for stem, same in by_stem.items():
        for file in same if len(same) > 1 else ():
            others = ", ".join(shown_as(other, root) for other in same if other != file)
            message = f'two files for one pipeline: "{stem}" is also {others}'
            errors[file] = SpecError(
                shown_as(file, root), 1, 1, "", message, "rename one of them", source=_first_line(file)
            )
    return errors


def _first_line(file: Path) -> str:
    with file.open(errors="replace") as lines:
        return lines.readline().rstrip("\n")


def _yaml_files(folder: Path) -> Iterator[Path]:
    stack = [str(folder)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                name = entry.name
                if name.endswith(SUFFIXES):
                    if name != DEFAULTS and entry.is_file():
                        yield Path(entry.path)
                elif name not in NOT_PIPELINES and not name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # handed on as an empty file; who judges it reads it again and says what is wrong


def looks_like_spec(data: bytes) -> bool:
    """Whether a YAML file is, or was meant to be, a spec."""
    if _VERSION_LINE.search(data):
        return True
    return not _ANY_CONTENT.search(data) or len(set(_SECTION_LINE.findall(data))) >= 3
