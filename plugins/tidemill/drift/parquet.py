"""Rows of Parquet files: column by column, some of its values at a time, row groups outside of a span left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tidemill.drift.columns import kind_of
from tidemill.drift.errors import DriftError
from tidemill.drift.sources import (
    Block,
    File,
    Part,
    Place,
    Where,
    constant,
    in_span,
    one_of_each,
    partition_fields,
    reading,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 1 << 18
"""Values read at once: so many that the calls cost nothing, so few that memory holds next to nothing of a column."""
BLOCKS = 8
"""Blocks of columns for each thread: enough to share out slow and fast columns evenly."""
TOGETHER = 64
"""So many files are read together, column by column, so that a column is done with early."""
NEAR, FAR = 1 << 18, 1 << 23
"""Bytes of a column that are fetched at once: from a disk, and from an object store, where each time is a request."""


class ParquetSource:
    """Parquet files. A column that a file lacks is null in it; the columns are those of the first 64 files."""

    def __init__(self, name: str, place: Place, files: Sequence[File], where: Where | None) -> None:
        """Read the footers of the first files.

        Raises:
            DriftError: one cannot be read, or has two columns of the same name, or of different types in two files.
        """
        self.name, self._place, self._files, self._where = name, place, list(files), where
        self._partitions = partition_fields(files)
        footers = [_Footer(place, file) for file in self._files[:TOGETHER]]
        self._first = footers[0]
        self.schema: pa.Schema = _common(footers, self._partitions)

    def files(self) -> list[str]:
        """The files; where there is a single one, its row groups."""
        if len(self._files) > 1 or self._files[0].groups is not None:
            return [file.entry for file in self._files]
        groups = self._first.metadata.num_row_groups
        return [f"{self._files[0].entry}#{i}-{i + 1}" for i in range(groups)] or [self._files[0].entry]

    def rows(self) -> int | None:
        """The rows, for a single file that is read whole."""
        whole = len(self._files) == 1 and self._where is None and self._files[0].groups is None
        return int(self._first.metadata.num_rows) if whole else None

    def prefer(self, kinds: Mapping[str, str]) -> None:
        """Parquet has types of its own."""

    def parts(self) -> Sequence[Part]:
        """The files, several at a time."""
        runs = [self._files[i : i + TOGETHER] for i in range(0, len(self._files), TOGETHER)]
        return [ParquetPart(self._place, run, self.schema, self._partitions, self._where) for run in runs]


class _Footer:
    """What a file says about itself, and how it is opened again, by each thread for itself."""

    def __init__(self, place: Place, file: File) -> None:
        import pyarrow.parquet as pq

        self.place, self.file = place, file
        self.name = place.show(file.path)
        self.stamp = place.stamp(file.path)
        with reading(self.name), pq.ParquetFile(place.filesystem.open_input_file(file.path)) as opened:
            self.metadata = opened.metadata
            self.schema: pa.Schema = opened.schema_arrow
        one_of_each(self.schema.names, self.name)
        self.typed = {item.name for item in self.schema if str(item.type) != "null"}

    def open(self, dictionaries: Sequence[str]) -> Any:
        """The file, opened such that a column is fetched piece by piece: Arrow's ``pre_buffer`` would fetch a row
        group's whole column, and hold it until the next one is asked for, in each of the files that are open."""
        import pyarrow.fs as fs
        import pyarrow.parquet as pq

        filesystem = self.place.filesystem
        return pq.ParquetFile(
            filesystem.open_input_file(self.file.path),
            metadata=self.metadata,
            read_dictionary=list(dictionaries),
            page_checksum_verification=True,
            pre_buffer=False,
            buffer_size=NEAR if isinstance(filesystem, fs.LocalFileSystem) else FAR,
        )

    @property
    def groups(self) -> range:
        """The row groups to read."""
        return range(*(self.file.groups or (0, self.metadata.num_row_groups)))


def _common(footers: Sequence[_Footer], partitions: dict[str, Any]) -> pa.Schema:
    """The columns of all files, each with the type that it has first; nulls only is no type."""
    import pyarrow as pa

    types: dict[str, Any] = {}
    for footer in footers:
        for column in footer.schema:
            if column.name not in types or pa.types.is_null(types[column.name]):
                types[column.name] = column.type
    return pa.schema([*((n, t) for n, t in types.items() if n not in partitions), *partitions.items()])


def _fits(footer: _Footer, schema: pa.Schema) -> None:
    """Raise if a file's column is of another kind than in the other files."""
    import pyarrow as pa

    for column in footer.schema:
        if column.name in schema.names and not pa.types.is_null(column.type):
            common = schema.field(column.name).type
            if kind_of(column.type) != kind_of(common):
                raise DriftError(
                    f'{footer.name}: column "{column.name}" is of type {column.type}, in other files of type {common}. '
                    "Write all files with one schema."
                )


@dataclass
class ParquetPart:
    """Some files, or row groups of a file."""

    place: Place
    files: Sequence[File]
    schema: pa.Schema
    partitions: dict[str, Any]
    where: Where | None
    footers: list[_Footer] = field(default_factory=list)
    masks: list[dict[int, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The first file's path."""
        return self.place.show(self.files[0].path)

    def blocks(self, names: Sequence[str], threads: int) -> Sequence[Block]:
        """The columns, in blocks of neighbours."""
        self.footers = [_Footer(self.place, file) for file in self.files]
        for footer in self.footers:
            _fits(footer, self.schema)
        self.masks = [_masks(footer, self.where) for footer in self.footers]
        count = min(len(names), threads * BLOCKS) or 1
        cuts = [i * len(names) // count for i in range(count + 1)]
        return [ParquetBlock(self, tuple(names[a:b])) for a, b in pairwise(cuts)]

    def finish(self) -> None:
        """Raise if a file has changed."""
        for footer in self.footers:
            self.place.check(footer.file.path, footer.stamp)
        self.footers, self.masks = [], []


@dataclass
class ParquetBlock:
    """Some columns of a part's files."""

    part: ParquetPart
    names: tuple[str, ...]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows of one column after the other, a batch at a time."""
        with ExitStack() as stack:
            files = [self._open(footer, stack) for footer in self.part.footers]
            for name in self.names:
                for footer, opened, masks in zip(self.part.footers, files, self.part.masks, strict=True):
                    with reading(footer.name):
                        yield from self._column(name, footer, opened, masks)

    def _open(self, footer: _Footer, stack: ExitStack) -> Any:
        strings = [name for name in self.names if name in footer.typed and _is_string(footer.schema.field(name).type)]
        with reading(footer.name):
            return stack.enter_context(footer.open(strings))

    def _column(self, name: str, footer: _Footer, opened: Any, masks: dict[int, Any]) -> Iterator[pa.RecordBatch]:
        for group, mask in masks.items():
            if name in footer.typed and name not in self.part.partitions:
                yield from _values(opened, group, name, mask)
            else:
                rows = footer.metadata.row_group(group).num_rows if mask is True else mask.true_count
                yield self._constant(footer, name, rows)

    def _constant(self, footer: _Footer, name: str, rows: int) -> pa.RecordBatch:
        import pyarrow as pa

        value = dict(footer.file.partition).get(name)
        return pa.record_batch([constant(value, self.part.schema.field(name).type, rows)], names=[name])


def _values(opened: Any, group: int, name: str, mask: Any) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in opened.iter_batches(BATCH, [group], [name], use_threads=False):
        if mask is True:
            yield batch
        else:
            yield batch.filter(mask.slice(start, len(batch)))
        start += len(batch)


def _is_string(dtype: Any) -> bool:
    import pyarrow.types as t

    return bool(t.is_string(dtype) or t.is_large_string(dtype))


def _masks(footer: _Footer, where: Where | None) -> dict[int, Any]:
    """Row group → the rows in the span: an array of booleans, or True for all; those without any are left out."""
    import pyarrow as pa

    if where is None:
        return {group: True for group in footer.groups if footer.metadata.row_group(group).num_rows}
    if where.column not in footer.schema.names:
        there = ", ".join(footer.schema.names[:20])
        raise DriftError(f'{footer.name} has no time column "{where.column}". There are: {there}.')
    index = _leaf(footer, where.column)
    found: dict[int, Any] = {}
    with reading(footer.name), footer.open(()) as opened:
        for group in footer.groups:
            known = _by_statistics(footer.metadata.row_group(group), index, where)
            if known is True:
                found[group] = True
            elif known is None and footer.metadata.row_group(group).num_rows:
                times = opened.iter_batches(BATCH, [group], [where.column], use_threads=False)
                mask = pa.concat_arrays([in_span(batch.column(0), where, footer.name) for batch in times])
                if mask.true_count:
                    found[group] = True if mask.true_count == len(mask) else mask
    return found


def _leaf(footer: _Footer, name: str) -> int:
    schema = footer.metadata.schema
    return next((i for i in range(len(schema)) if schema.column(i).path == name), -1)


def _by_statistics(group: Any, index: int, where: Where) -> bool | None:
    """Whether a row group's rows are all inside the span (True) or all outside (False), if its statistics say so."""
    statistics = group.column(index).statistics if index >= 0 else None
    if statistics is None or not statistics.has_min_max:
        return None
    low, high = _moment(statistics.min), _moment(statistics.max)
    if low is None or high is None:
        return None
    start, end = where.start.astimezone(UTC), where.end.astimezone(UTC)
    if high < start or low >= end:
        return False
    inside = low >= start and high < end and statistics.has_null_count and statistics.null_count == 0
    return True if inside else None


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
