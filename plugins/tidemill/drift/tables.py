"""Rows of a table in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.drift.errors import DriftError
from tidemill.drift.sources import Block, Part, one_of_each

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "the table"


class TableSource:
    """A table of polars, pandas or Arrow."""

    name = NAME

    def __init__(self, table: Any) -> None:
        """Look at it as an Arrow table; nothing is copied where it is laid out as one.

        Raises:
            DriftError: it is no table, or has two columns of the same name.
        """
        self._table: pa.Table = as_arrow(table)
        one_of_each(self._table.schema.names, NAME)
        self.schema: pa.Schema = self._table.schema

    def files(self) -> list[str]:
        """A table has none."""
        return []

    def rows(self) -> int | None:
        """The rows."""
        return int(self._table.num_rows)

    def prefer(self, kinds: Mapping[str, str]) -> None:
        """A table has types of its own."""

    def parts(self) -> Sequence[Part]:
        """The table."""
        return [TablePart(self._table)]


@dataclass
class TablePart:
    """The rows of a table."""

    table: pa.Table
    name: str = NAME

    def blocks(self, names: Sequence[str], threads: int) -> Sequence[Block]:
        """A block for each column."""
        return [TableBlock(self.table, (name,)) for name in names]

    def finish(self) -> None:
        """What is in memory does not change."""


@dataclass
class TableBlock:
    """A column."""

    table: pa.Table
    names: tuple[str, ...]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Its chunks."""
        yield from self.table.select(list(self.names)).to_batches()


def as_arrow(table: Any) -> pa.Table:
    """A table as one of Arrow. A pandas column that mixes types becomes one of strings.

    Raises:
        DriftError: it is no table.
    """
    import pyarrow as pa

    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if hasattr(table, "collect_schema") and hasattr(table, "collect") and not hasattr(table, "to_arrow"):
        table = table.collect()
    if hasattr(table, "to_arrow"):
        found = table.to_arrow()
        assert isinstance(found, pa.Table)
        return found
    if hasattr(table, "iloc"):
        names = [str(name) for name in table.columns]
        one_of_each(names, NAME)
        return pa.table([_pandas(table.iloc[:, i]) for i in range(len(names))], names=names)
    raise DriftError(f"{type(table).__name__} is no table: give one of polars, pandas or Arrow.")


def _pandas(column: Any) -> Any:
    import pyarrow as pa

    try:
        return pa.Array.from_pandas(column)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.array([None if value is None or value != value else str(value) for value in column], pa.string())
