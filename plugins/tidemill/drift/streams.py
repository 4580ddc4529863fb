"""Rows of formats that are read from the front to the back, all columns together: CSV and Arrow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemill.drift.columns import kind_of
from tidemill.drift.errors import DriftError
from tidemill.drift.parsing import NULLS, number_share
from tidemill.drift.sources import (
    Block,
    File,
    Part,
    Place,
    Stamp,
    Where,
    constant,
    in_span,
    one_of_each,
    partition_fields,
    reading,
)

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 1 << 22
"""Bytes of a CSV file that are parsed at once."""
MOSTLY = 0.9
"""A CSV column is of numbers if this share of the values at its beginning are."""

Batches = Callable[[str, Sequence[str]], Iterator["pa.RecordBatch"]]
"""The batches of a file, by its path, with some of its columns."""


class _Streamed(ABC):
    """Files that are read from the front; what CSV and Arrow have in common."""

    def __init__(self, name: str, place: Place, files: Sequence[File], where: Where | None) -> None:
        """Look at the first file.

        Raises:
            DriftError: it cannot be read, or has two columns of the same name.
        """
        import pyarrow as pa

        self.name, self._place, self._files, self._where = name, place, list(files), where
        self._partitions = partition_fields(files)
        with reading(place.show(files[0].path)):
            first = self._schema(files[0].path)
        fields = [item for item in first if item.name not in self._partitions]
        self.schema: pa.Schema = pa.schema([*fields, *(pa.field(n, t) for n, t in self._partitions.items())])

    def files(self) -> list[str]:
        """The files."""
        return [file.entry for file in self._files]

    def rows(self) -> int | None:
        """Not known before they are read."""
        return None

    def parts(self) -> Sequence[Part]:
        """The files."""
        return [
            StreamPart(self._place, file, self.schema, self._partitions, self._where, self._batches)
            for file in self._files
        ]

    @abstractmethod
    def _schema(self, path: str) -> pa.Schema:
        """The columns of a file."""

    @abstractmethod
    def _batches(self, path: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of a file, of these columns."""


@dataclass
class StreamPart:
    """A file."""

    place: Place
    file: File
    schema: pa.Schema
    partitions: dict[str, Any]
    where: Where | None
    batches: Batches
    stamp: Stamp | None = field(default=None)

    @property
    def name(self) -> str:
        """The file's path."""
        return self.place.show(self.file.path)

    def blocks(self, names: Sequence[str], threads: int) -> Sequence[Block]:
        """All columns as one block."""
        self.stamp = self.place.stamp(self.file.path)
        return [StreamBlock(self, tuple(names))]

    def finish(self) -> None:
        """Raise if the file has changed."""
        assert self.stamp is not None
        self.place.check(self.file.path, self.stamp)


@dataclass
class StreamBlock:
    """All columns of a file."""

    part: StreamPart
    names: tuple[str, ...]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The rows, a batch at a time."""
        import pyarrow as pa

        part, where = self.part, self.part.where
        inner = [name for name in self.names if name not in part.partitions]
        wanted = list(dict.fromkeys([*inner, *([where.column] if where is not None else [])]))
        values = dict(part.file.partition)
        with reading(part.name):
            for batch in part.batches(part.file.path, wanted):
                if where is not None:
                    if where.column not in batch.schema.names:
                        raise DriftError(f'{part.name} has no time column "{where.column}".')
                    batch = batch.filter(in_span(batch.column(where.column), where, part.name))
                if not batch.num_rows:
                    continue
                there = set(batch.schema.names)
                columns = []
                for name in self.names:
                    dtype = part.schema.field(name).type
                    if name in part.partitions or name not in there:
                        columns.append(constant(values.get(name), dtype, batch.num_rows))
                    else:
                        columns.append(_fitting(batch.column(name), dtype, name, part.name))
                yield pa.record_batch(columns, names=list(self.names))


def _fitting(column: Any, dtype: Any, name: str, file: str) -> Any:
    """A column as it is, if it is of the kind that it has in the first file; strings are parsed later."""
    import pyarrow as pa

    if pa.types.is_null(column.type):
        return pa.nulls(len(column), dtype)
    if kind_of(column.type) not in (kind_of(dtype), "categorical"):
        raise DriftError(
            f'{file}: column "{name}" is of type {column.type}, in the first file of type {dtype}. '
            "Write all files with one schema."
        )
    return column


class CsvSource(_Streamed):
    """CSV files with a header. Types are guessed from the beginning of the first file, unless a reference has them;
    a number that cannot be read as one is counted, and does not stop anything."""

    def _schema(self, path: str) -> pa.Schema:
        import pyarrow as pa

        shown = self._place.show(path)
        with self._open(path) as stream:
            line = stream.read(1 << 16).partition(b"\n")[0].decode("utf-8", "replace")
        self._delimiter = _delimiter(path, line)
        with self._open(path) as stream, self._reader(stream, ()) as reader:
            guessed: pa.Schema = reader.schema
        one_of_each(guessed.names, shown)
        with self._open(path) as stream, self._reader(stream, guessed.names) as reader:
            self._head = next(iter(reader), None)
        head = self._head
        if head is None or not head.num_rows:
            return pa.schema([(name, pa.string()) for name in guessed.names])
        return pa.schema([(item.name, self._guess(item, head.column(item.name))) for item in guessed])

    def _guess(self, item: Any, values: Any) -> Any:
        """The type of a column by the beginning of a file, as Arrow guesses it; mostly numbers are numbers."""
        import pyarrow as pa

        kind = kind_of(item.type)
        if kind == "numeric" or (kind == "categorical" and number_share(values) >= MOSTLY):
            return pa.float64()
        return pa.string() if pa.types.is_null(item.type) else item.type

    def prefer(self, kinds: Mapping[str, str]) -> None:
        """A column is read as the reference's is, if it looks at all like one: postal codes are no numbers then."""
        import pyarrow as pa

        types = {"numeric": pa.float64(), "categorical": pa.string(), "text": pa.string(), "boolean": pa.bool_()}
        columns = []
        for item in self.schema:
            wanted = types.get(kinds.get(item.name, ""))
            if wanted is None or item.name in self._partitions or not self._looks_like(item, wanted):
                columns.append(item)
            else:
                columns.append(pa.field(item.name, wanted))
        self.schema = pa.schema(columns)

    def _looks_like(self, item: Any, wanted: Any) -> bool:
        import pyarrow as pa

        if pa.types.is_string(wanted):
            return True
        values = self._head.column(item.name) if self._head is not None else None
        if values is None:
            return True
        if pa.types.is_floating(wanted):
            return number_share(values) >= 1 - MOSTLY
        return bool(pa.types.is_boolean(item.type))

    def _batches(self, path: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._open(path) as stream, self._reader(stream, names) as reader:
            one_of_each(reader.schema.names, self._place.show(path))
            yield from reader

    @contextmanager
    def _open(self, path: str) -> Iterator[Any]:
        import pyarrow as pa

        compression = "gzip" if path.lower().endswith(".gz") else None
        try:
            with self._place.filesystem.open_input_stream(path, compression=compression) as stream:
                yield stream
        except pa.ArrowInvalid as error:
            if "Empty CSV" in str(error):
                raise DriftError(
                    f"{self._place.show(path)} is empty: it holds not even the names of columns."
                ) from None
            raise

    def _reader(self, stream: Any, names: Sequence[str]) -> Any:
        """A reader of these columns as strings, of which empty ones are null; of all as Arrow guesses if none."""
        import pyarrow as pa
        import pyarrow.csv as csv

        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=CHUNK),
            parse_options=csv.ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=list(names),
                include_missing_columns=True,
                strings_can_be_null=bool(names),
                null_values=[""] if names else list(NULLS),
            ),
        )


def _delimiter(path: str, line: str) -> str:
    """What parts the columns: tabs in .tsv files, else what the header has most of."""
    if path.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"
    return max(",;\t|", key=line.count)


class ArrowSource(_Streamed):
    """Arrow files and streams, Feather (version 2) included."""

    def _schema(self, path: str) -> pa.Schema:
        with self._place.filesystem.open_input_file(path) as file, _opened(file, None) as reader:
            one_of_each(reader.schema.names, self._place.show(path))
            found: pa.Schema = reader.schema
            return found

    def prefer(self, kinds: Mapping[str, str]) -> None:
        """Arrow has types of its own."""

    def _batches(self, path: str, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        with self._place.filesystem.open_input_file(path) as file:
            with _opened(file, None) as reader:
                indices = [i for i, name in enumerate(reader.schema.names) if name in set(names)]
            file.seek(0)
            with _opened(file, indices) as reader:
                if hasattr(reader, "get_batch"):
                    yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
                else:
                    yield from reader


def _opened(file: Any, columns: list[int] | None) -> Any:
    """A reader of an Arrow file, or stream."""
    import pyarrow as pa

    head = file.read(6)
    file.seek(0)
    if head[:4] == b"FEA1":
        raise DriftError("Feather version 1 is no longer read by Arrow: write the file as version 2, or as Parquet.")
    options = pa.ipc.IpcReadOptions(included_fields=columns or [])
    return pa.ipc.open_file(file, options=options) if head == b"ARROW1" else pa.ipc.open_stream(file, options=options)
