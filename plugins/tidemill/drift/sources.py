"""Where rows come from: files, folders, tables in memory; local or in an object store. Read in parts, never whole.

A source is one or several files of one format. It says what columns there are, can be split for tasks that run apart,
and gives its rows as parts (files), each as blocks of columns that may be read at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

from tidemill.drift.errors import DriftError
from tidemill.drift.parsing import times

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET, CSV, ARROW, DELTA = "Parquet", "CSV", "Arrow", "Delta"
ENDINGS = {
    ".parquet": PARQUET,
    ".parq": PARQUET,
    ".pq": PARQUET,
    ".csv": CSV,
    ".tsv": CSV,
    ".csv.gz": CSV,
    ".tsv.gz": CSV,
    ".feather": ARROW,
    ".arrow": ARROW,
    ".arrows": ARROW,
    ".ipc": ARROW,
}
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class Where(NamedTuple):
    """Only rows whose ``column`` is in [start, end), both in UTC."""

    column: str
    start: datetime
    end: datetime


class Block(Protocol):
    """Some columns of a part, read in order, a batch at a time."""

    @property
    def names(self) -> Sequence[str]:
        """The columns."""

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows: all columns in each batch; or, of a block among others, one column after the other."""


class Part(Protocol):
    """Some files, or a table, that are read together."""

    @property
    def name(self) -> str:
        """What is shown while it is read."""

    def blocks(self, names: Sequence[str], threads: int) -> Sequence[Block]:
        """The columns as blocks that may be read at the same time; a single block if they cannot."""

    def finish(self) -> None:
        """Raise if a file is not what it was in the beginning."""


class Source(Protocol):
    """Rows to summarise."""

    @property
    def name(self) -> str:
        """Where the rows are, as a person writes it."""

    @property
    def schema(self) -> pa.Schema:
        """The columns with their Arrow types."""

    def files(self) -> list[str]:
        """What the source consists of; ``open_source`` takes any part of it."""

    def parts(self) -> Sequence[Part]:
        """The rows, to be read part by part; may be asked for again."""

    def rows(self) -> int | None:
        """How many rows there are, if that is known before reading."""

    def prefer(self, kinds: Mapping[str, str]) -> None:
        """How columns of formats without types are to be read: name → kind of its sketch."""


@dataclass(frozen=True)
class File:
    """A file of a source: where, the values of the columns that its folders give, and which row groups of it."""

    path: str
    entry: str
    partition: tuple[tuple[str, Any], ...] = ()
    groups: tuple[int, int] | None = None


class Stamp(NamedTuple):
    """What a file looked like: it must look the same once it is read."""

    size: int | None
    modified: Any


@dataclass(frozen=True)
class Place:
    """A file system, and how paths on it are shown."""

    filesystem: Any
    scheme: str

    def show(self, path: str) -> str:
        """The path as a person writes it."""
        return f"{self.scheme}://{path}" if self.scheme else path

    def stamp(self, path: str) -> Stamp:
        """Size and time of a file.

        Raises:
            DriftError: it is not there, or empty.
        """
        import pyarrow.fs as fs

        info = self.filesystem.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise DriftError(f"{self.show(path)}: there is no such file.")
        if info.size == 0:
            raise DriftError(f"{self.show(path)} is empty: it holds not even the names of columns. Write it again.")
        return Stamp(info.size, info.mtime_ns)

    def check(self, path: str, before: Stamp) -> None:
        """Raise if a file has changed."""
        try:
            now = self.stamp(path)
        except DriftError:
            now = None
        if now != before:
            raise DriftError(
                f"{self.show(path)} changed while it was read, so nothing is said about it. Run again once it is "
                "complete; a writer that renames a finished file into its place avoids this."
            )


def open_source(
    uri: str | Path,
    *,
    where: Where | tuple[str, datetime, datetime] | None = None,
    files: Sequence[str] | None = None,
    filesystem: Any = None,
) -> Source:
    """Open a file, a folder or a table: Parquet, CSV (also .gz), Arrow or Delta, by its name, else by its content.

    A folder's files are of one format, at any depth; ``name=value`` folders give columns. s3://, gs:// and abfs://
    are read with the credentials of the environment, or through ``filesystem`` (of pyarrow or fsspec; ``uri`` is then
    a path on it). ``where`` keeps the rows of a span; ``files`` are some of ``Source.files()``.

    Raises:
        DriftError: there is nothing there, it cannot be read, or it is of no format that is known.
    """
    where = Where(*where) if where is not None else None
    place, path = _place(str(uri), filesystem)
    if _is_folder(place, path):
        if _is_delta(place, path):
            from tidemill.drift.delta import delta_files

            found, kind = delta_files(place, path, str(uri), files), PARQUET
        else:
            found, kind = _folder(place, path, files)
    else:
        place.stamp(path)
        kind = _format(place, path)
        base = path.rpartition("/")[2]
        found = [_named(path.removesuffix(base), entry) for entry in files or [base]]
    if kind == PARQUET:
        from tidemill.drift.parquet import ParquetSource

        return ParquetSource(place.show(path), place, found, where)
    from tidemill.drift.streams import ArrowSource, CsvSource

    return (CsvSource if kind == CSV else ArrowSource)(place.show(path), place, found, where)


def split(files: Sequence[str], parts: int) -> list[list[str]]:
    """The files of a source dealt out in at most so many parts, for tasks that summarise one each."""
    parts = max(1, min(parts, len(files)))
    return [list(files[i * len(files) // parts : (i + 1) * len(files) // parts]) for i in range(parts)]


def _place(uri: str, filesystem: Any) -> tuple[Place, str]:
    import pyarrow as pa
    import pyarrow.fs as fs

    scheme, mark, rest = uri.partition("://")
    if filesystem is not None:
        if not isinstance(filesystem, fs.FileSystem):
            filesystem = fs.PyFileSystem(fs.FSSpecHandler(filesystem))
        return Place(filesystem, scheme if mark else ""), (rest if mark else uri).rstrip("/")
    if not mark or scheme == "file":
        local = os.path.abspath(rest if mark else os.path.expanduser(uri))
        return Place(fs.LocalFileSystem(), ""), local
    known = {"s3a": "s3", "gcs": "gs", "abfss": "abfs", "az": "abfs"}.get(scheme, scheme)
    if known == "abfs":
        from tidemill.drift.azure import azure_place

        found, path = azure_place(uri)
        return Place(found, scheme), path
    try:
        found, path = fs.FileSystem.from_uri(f"{known}://{rest}")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DriftError(f"{uri} cannot be opened: {_first_line(error)}") from None
    return Place(found, scheme), path.rstrip("/")


def _is_folder(place: Place, path: str) -> bool:
    import pyarrow as pa
    import pyarrow.fs as fs

    try:
        kind = place.filesystem.get_file_info(path).type
    except (pa.ArrowException, OSError) as error:
        raise DriftError(f"{place.show(path)} cannot be reached: {_first_line(error)}") from None
    if kind == fs.FileType.NotFound:
        raise DriftError(f"{place.show(path)}: there is no such file or folder.")
    return bool(kind == fs.FileType.Directory)


def _is_delta(place: Place, path: str) -> bool:
    import pyarrow.fs as fs

    return bool(place.filesystem.get_file_info(f"{path}/_delta_log").type == fs.FileType.Directory)


def _ending(path: str) -> str | None:
    name = path.rpartition("/")[2].lower()
    return next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None)


def _format(place: Place, path: str) -> str:
    """The format of a file, by its name, else by its first bytes."""
    known = _ending(path)
    if known:
        return known
    with reading(place.show(path)), place.filesystem.open_input_file(path) as file:
        head = file.read(6)
    return PARQUET if head[:4] == b"PAR1" else ARROW if head == b"ARROW1" else CSV


def _folder(place: Place, path: str, files: Sequence[str] | None) -> tuple[list[File], str]:
    """The files of a folder and their format."""
    import pyarrow.fs as fs

    root = f"{path}/"
    if files is not None:
        found = [_named(root, entry) for entry in files]
        return found, _ending(found[0].path) or _format(place, found[0].path)
    paths = []
    for info in place.filesystem.get_file_info(fs.FileSelector(path, recursive=True)):
        inner = info.path.removeprefix(root)
        hidden = any(part.startswith(("_", ".")) and "=" not in part for part in inner.split("/"))
        if info.type == fs.FileType.File and not hidden and info.size and _ending(inner):
            paths.append(inner)
    kinds = {_ending(inner) for inner in paths}
    if len(kinds) > 1:
        one = ", ".join(
            f"{kind} ({next(p for p in paths if _ending(p) == kind)})" for kind in sorted(filter(None, kinds))
        )
        raise DriftError(f"{place.show(path)} holds files of several formats: {one}. Name a folder with one of them.")
    if not paths:
        endings = ", ".join(ENDINGS)
        raise DriftError(f"{place.show(path)} holds no file with rows that ends in one of {endings}.")
    return [_named(root, inner) for inner in sorted(paths)], kinds.pop() or PARQUET


def _named(root: str, entry: str) -> File:
    """The file that an entry of ``Source.files()`` stands for: a path below the root, and perhaps #first-last of its
    row groups."""
    inner, mark, groups = entry.rpartition("#")
    span = None
    if mark and groups.replace("-", "").isdigit():
        first, _, last = groups.partition("-")
        span = (int(first), int(last))
    else:
        inner = entry
    pairs = []
    for folder in inner.split("/")[:-1]:
        name, mark, value = folder.partition("=")
        if mark and name:
            pairs.append((unquote(name), None if value == NULL_PARTITION else unquote(value)))
    return File(path=root + inner, entry=entry, partition=tuple(pairs), groups=span)


def partition_fields(files: Sequence[File]) -> dict[str, Any]:
    """The columns that folders give, with their Arrow types: whole numbers where all values are, else strings."""
    import pyarrow as pa

    values: dict[str, list[Any]] = {}
    for file in files:
        for name, value in file.partition:
            values.setdefault(name, []).append(value)
    found = {}
    for name, all_values in values.items():
        there = [v for v in all_values if v is not None]
        whole = bool(there) and all(
            isinstance(v, int) or (isinstance(v, str) and v.lstrip("-").isdigit() and str(int(v)) == v) for v in there
        )
        found[name] = pa.int64() if whole else pa.string()
    return found


def constant(value: Any, dtype: Any, rows: int) -> Any:
    """An Arrow array of the same value."""
    import numpy as np
    import pyarrow as pa

    if value is None:
        return pa.nulls(rows, dtype)
    typed = int(value) if pa.types.is_integer(dtype) else str(value)
    if pa.types.is_integer(dtype):
        return pa.array(np.full(rows, typed, dtype=np.int64))
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int32)), pa.array([typed], pa.string()))


def in_span(column: Any, where: Where, file: str) -> Any:
    """Which values of a column are in [start, end), as an Arrow array of booleans without nulls.

    Raises:
        DriftError: the column holds neither dates nor times.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    dtype = column.type
    start, end = (moment.astimezone(UTC) for moment in (where.start, where.end))
    if pa.types.is_string(dtype):
        column, strange = times(column)
        if strange:
            raise DriftError(f'{file}: column "{where.column}" holds text that is no time in ISO 8601.')
    elif not pa.types.is_timestamp(dtype):
        try:
            column = column.cast(pa.timestamp("us"))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise DriftError(
                f'{file}: column "{where.column}" is of type {dtype}; a window needs dates or times.'
            ) from None
    dtype = column.type
    if dtype.tz is None:
        start, end = start.replace(tzinfo=None), end.replace(tzinfo=None)
    elif dtype.tz != "UTC":
        column = column.cast(pa.timestamp(dtype.unit, "UTC"))
    bounds = [pa.scalar(moment, type=pa.timestamp("us", "UTC" if dtype.tz else None)) for moment in (start, end)]
    inside = pc.and_(pc.greater_equal(column, bounds[0]), pc.less(column, bounds[1]))
    return inside.fill_null(False)


@contextmanager
def reading(file: str) -> Iterator[None]:
    """Turn what goes wrong in reading a file into an error that names it.

    Raises:
        DriftError: the file cannot be read, or is not what its format asks for.
    """
    import pyarrow as pa

    try:
        yield
    except DriftError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DriftError(
            f"{file} cannot be read: {_first_line(error)} If it is still being written, or was cut off, run again "
            "with a complete file."
        ) from None


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return text if text.endswith(".") else f"{text}."


def one_of_each(names: Sequence[str], file: str) -> None:
    """Raise if two columns have the same name."""
    twice = (
        next((name for i, name in enumerate(names) if name in names[:i]), None)
        if len(set(names)) < len(names)
        else None
    )
    if twice is not None:
        raise DriftError(
            f'{file} has more than one column called "{twice}": rename one, columns are told apart by name.'
        )
