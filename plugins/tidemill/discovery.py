"""Which files are pipelines: found by name, so that one is found without reading ten thousand.

What an ``.airflowignore`` names is left out, as Airflow leaves it out.
"""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.spec.errors import SpecError
from tidemill.spec.load import DEFAULTS, KINDS, shown_as
from tidemill.spec.reader import content_of

if TYPE_CHECKING:
    from tidemill.ignored import Ignored

_VERSION_LINE = re.compile(rb"""^(?:\xef\xbb\xbf)?(?:\{\s*)?["']?tidemill["']?[ \t]*:""", re.MULTILINE)
_SECTION_LINE = re.compile(rb"^(platform|data|train|evaluate|promote|score|monitor|retrain)[ \t]*:", re.MULTILINE)
_ANY_CONTENT = re.compile(rb"^(?![ \t]*(?:#|---|\.\.\.|\r?$))[ \t]*\S", re.MULTILINE)

_UTF16 = (b"\xff\xfe", b"\xfe\xff")

IGNORE_FILE = ".airflowignore"
LOADER = "tidemill.py"
"""The DAG file that builds the specs of its folder and of those below it that have no such file of their own."""
SUFFIXES = (".yaml", ".yml")
NOT_PIPELINES = frozenset({"templates", "__pycache__"})
"""Folders that hold no pipelines."""


def find(dags: Path, *, of_loader: bool = False) -> list[tuple[Path, bytes]]:
    """Every spec file below a DAG folder with its content, sorted by path. ``of_loader``: without the folders that
    have a loader of their own.

    A YAML file with a top-level ``tidemill:`` is a spec. One with no key at all, or with several sections of
    the language but without that line, was meant to be one, and is handed on to be reported; so are defaults
    that nobody would read.
    """
    found = ((path, content(path)) for path in map(Path, sorted(_yaml_files(dags, of_loader=of_loader))))
    return [(path, data) for path, data in found if is_pipeline(path, data)]


def files_of(dags: Path, pipeline: str) -> list[Path]:
    """The files of one pipeline, found by their stem: one, unless there is none or two claim to be it. Reads no
    file unless several have the name; then those that are no specs do not count."""
    names = {pipeline + suffix for suffix in SUFFIXES}
    found = [Path(path) for path in _yaml_files(dags, names)]
    return found if len(found) < 2 else sorted(path for path in found if looks_like_spec(content(path)))


def repeated(files: Iterable[Path], dags: Path) -> list[Path]:
    """Those of some files whose name another file below the DAG folder has, too, and these; for :func:`duplicates`."""
    counts = Counter(os.path.basename(path).rpartition(".")[0] for path in _yaml_files(dags))
    stems = dict.fromkeys(file.stem for file in files if counts[file.stem] > 1)
    return [path for stem in stems for path in files_of(dags, stem)]


def pipeline_of(dag_id: str) -> str:
    """The file's stem that a DAG belongs to: it holds no dot, what follows one is a row of its matrix, or the DAG's
    kind, or both."""
    return dag_id.partition(".")[0]


def row_of(dag_id: str) -> str | None:
    """The row of a matrix that a DAG belongs to; ``None`` if its id names none."""
    row = dag_id.partition(".")[2].partition(".")[0]
    return row if row and row not in KINDS else None


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
                shown_as(file, root), 1, 1, "", message, "rename one of them", source=line_of(file, 1)
            )
    return errors


def line_of(file: Path, number: int) -> str:
    """One line of a file, counted from 1, for errors about it; empty if it has none."""
    return next(islice(io.StringIO(content(file).decode(errors="replace")), number - 1, None), "").rstrip("\n")


def _yaml_files(folder: Path, named: set[str] | None = None, *, of_loader: bool = False) -> Iterator[str]:
    # Texts, not paths, and the name looked at first: a task's process wants one of ten thousand.
    stack: list[tuple[str, Ignored | None]] = [(str(folder), None)]
    while stack:
        here, ignored = stack.pop()
        entries = _entries(here)
        if of_loader and here != str(folder) and any(entry.name == LOADER for entry in entries):
            continue
        if any(entry.name == IGNORE_FILE for entry in entries):
            from tidemill.ignored import Ignored

            ignored = (ignored or Ignored(folder)).with_file(Path(here))
        for entry in entries:
            name = entry.name
            if name.endswith(SUFFIXES) and entry.is_file():
                if name == DEFAULTS or (named is not None and name not in named):
                    continue
                if ignored is None or not ignored.has(entry.path, is_folder=False):
                    yield entry.path
            elif name in NOT_PIPELINES or name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            elif ignored is None or not ignored.has(entry.path, is_folder=True):
                stack.append((entry.path, ignored))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []  # it went while we were on our way to it, as when a checkout is replaced, or is not ours to read


def content(path: Path) -> bytes:
    """A file's content; nothing if it cannot be read: who judges it reads it again and says what is wrong."""
    try:
        return content_of(path)
    except OSError:
        return b""


def is_pipeline(path: Path, data: bytes) -> bool:
    """Whether a YAML file is to be judged: a spec, or defaults under a name by which nobody reads them."""
    return looks_like_spec(data) or (path.stem == Path(DEFAULTS).stem and _SECTION_LINE.search(data) is not None)


def looks_like_spec(data: bytes) -> bool:
    """Whether a YAML file is, or was meant to be, a spec. One in UTF-16 cannot be read, and so may be one."""
    if _VERSION_LINE.search(data) or data.startswith(_UTF16):
        return True
    return not _ANY_CONTENT.search(data) or len(set(_SECTION_LINE.findall(data))) >= 3
