"""A hash of rows that depends on what they are, not on how they are stored or in what portions they come."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...

    def copy(self) -> Any: ...

    def hexdigest(self) -> str: ...


class ContentHash:
    """SHA-256 of a stream of rows: of the columns' names and types, and of each column's values in their order.

    Rows that are equal and come in the same order have one hash, whatever the file format, the compression, the
    row groups, and however many of them are added at a time. Each column has hashes of its own for what is missing,
    for the values (fixed-width ones as their little-endian bytes, texts as UTF-8) and for the lengths of texts, and
    the whole is the hash of these; a column's bytes are hashed where they lie, at the speed of the hash.
    """

    def __init__(self) -> None:
        self._columns: dict[str, tuple[str, _Hash, _Hash, _Hash]] = {}
        self._rows = 0

    @property
    def rows(self) -> int:
        """How many rows were added."""
        return self._rows

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows after those that are there; their columns must be the same each time."""
        self._rows += frame.height
        for column in frame.get_columns():
            if column.name not in self._columns:
                kind = _kind(column.dtype)
                self._columns[column.name] = (kind, hashlib.sha256(), hashlib.sha256(), hashlib.sha256())
            _, missing, values, lengths = self._columns[column.name]
            missing.update(column.is_null().to_numpy().tobytes())
            _add(column, values, lengths)

    def digest(self) -> str:
        """The hash of all rows so far, 64 hexadecimal digits; more can be added afterwards."""
        whole = hashlib.sha256(str(self._rows).encode())
        for name, (kind, *hashes) in self._columns.items():
            told = "\0".join([name, kind, *(each.hexdigest() for each in hashes)])
            whole.update(f"\n{len(told)} {told}".encode())
        return whole.hexdigest()


def _kind(dtype: pl.DataType) -> str:
    import polars as pl

    # A category's codes follow from the order in which a process met the values: it is its text.
    return "String" if isinstance(dtype, pl.Categorical | pl.Enum) else str(dtype)


def _add(column: pl.Series, values: _Hash, lengths: _Hash) -> None:
    import numpy as np
    import polars as pl

    kind = column.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif kind.is_nested() or isinstance(kind, pl.Decimal | pl.Object) or kind in (pl.Int128, pl.UInt128):
        column = pl.Series(column.name, [None if v is None else repr(v) for v in column.to_list()], dtype=pl.String)
    if column.dtype in (pl.String, pl.Binary):
        full = column.fill_null("" if column.dtype == pl.String else b"")
        if column.dtype == pl.String:
            full = full.cast(pl.Binary)
        sizes = full.bin.size().to_numpy().astype("<u8")
        lengths.update(np.ascontiguousarray(sizes))
        values.update(b"".join(full.to_list()))
        return
    if column.dtype == pl.Null:
        return
    physical = column.to_physical()
    filled = physical.fill_null(False if physical.dtype == pl.Boolean else 0)
    array = np.ascontiguousarray(filled.to_numpy())
    values.update(array.astype(array.dtype.newbyteorder("<"), copy=False))
