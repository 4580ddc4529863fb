"""What summarises a column, by its type: each takes Arrow arrays as they are read and gives a sketch in the end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from tidemill.drift.edges import Edges
from tidemill.drift.numeric import Collector, Counter, compacted
from tidemill.drift.parsing import EXAMPLES, numbers, times, truths
from tidemill.drift.sketch import (
    CATEGORY_CHARS,
    BooleanSketch,
    CategoricalSketch,
    ColumnSketch,
    Kind,
    NumericSketch,
    OtherSketch,
    TextSketch,
    TimestampSketch,
)
from tidemill.drift.strings import Categories, Texts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CAPACITY = 1 << 22
"""A numeric reference of up to so many rows has the exact quantiles; of more, those of a sample of at least half."""
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
"""The years 1 to 9999, in seconds from 1970."""


class Summary(Protocol):
    """Takes in the parts of a column."""

    def add(self, column: Any) -> None:
        """Take in an Arrow array."""

    def again(self) -> Summary | None:
        """What has to see all rows once more to be exact; None if nothing has to."""

    def finish(self) -> ColumnSketch:
        """The sketch."""


def kind_of(dtype: Any) -> Kind:
    """How a column of an Arrow type is summarised."""
    import pyarrow.types as t

    if t.is_dictionary(dtype):
        return kind_of(dtype.value_type)
    if t.is_integer(dtype) or t.is_floating(dtype) or t.is_decimal(dtype):
        return "numeric"
    if t.is_string(dtype) or t.is_large_string(dtype) or t.is_string_view(dtype):
        return "categorical"
    if t.is_boolean(dtype):
        return "boolean"
    return "timestamp" if t.is_timestamp(dtype) or t.is_date(dtype) else "other"


def type_name(dtype: Any) -> str:
    """The name of an Arrow type, without how it is laid out."""
    import pyarrow.types as t

    if t.is_dictionary(dtype):
        return type_name(dtype.value_type)
    return "string" if kind_of(dtype) == "categorical" else str(dtype)


def summary(dtype: Any, reference: ColumnSketch | None, *, alone: bool, capacity: int = CAPACITY) -> Summary:
    """What summarises a column of a type: on the edges and categories of ``reference`` where that is of the same
    kind. ``alone``: there is no reference at all, so that the column may be one; it is counted on its own edges."""
    name, kind = type_name(dtype), kind_of(dtype)
    match kind:
        case "numeric":
            if isinstance(reference, NumericSketch):
                return Numbers(name, Edges(reference.edges, reference.deciles, reference.centre))
            return OwnNumbers(name, capacity) if alone else Numbers(name, _no_edges())
        case "categorical" if isinstance(reference, TextSketch):
            return Texts(name, reference)
        case "categorical":
            known = reference.categories if isinstance(reference, CategoricalSketch) else ()
            return Categories(name, known, alone=alone)
        case "boolean":
            return Booleans(name)
        case "timestamp":
            return Times(name)
        case _:
            return Others(name)


def _no_edges() -> Edges:
    import numpy as np

    return Edges(np.zeros(0), np.zeros(0, dtype=np.int64), 0.0)


def as_floats(column: Any) -> tuple[NDArray[np.floating[Any]], int]:
    """The values of a numeric Arrow array that are not null, as 32-bit floats where those hold them exactly, else
    as 64-bit ones (integers beyond 2⁵³ and decimals are rounded), and the number of nulls."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.types as t

    if t.is_dictionary(column.type):
        column = column.dictionary_decode()
    nulls = column.null_count
    if nulls:
        column = column.drop_null()
    if t.is_decimal(column.type):
        column = column.cast(pa.float64())
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype in (np.float32, np.float64):
        return values, nulls
    small = values.dtype.itemsize <= 2
    return values.astype(np.float32 if small else np.float64), nulls


class Numbers:
    """Counts numbers on given edges."""

    def __init__(self, dtype: str, on: Edges, *, compact: bool = False, **others: Any) -> None:
        """``compact``: the sketch is to be stored as small as can be; ``others``: further fields of it."""
        self.dtype, self.compact, self.others = dtype, compact, others
        self.counter = Counter(on)
        self.strange = Strange()

    def add(self, column: Any) -> None:
        """Take in an Arrow array, of numbers or of text that should be numbers."""
        values, nulls = self.strange.leave_out(column)
        self.counter.add(values, nulls)

    def again(self) -> Summary | None:
        """Counts on given edges are exact."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch."""
        sketch = self.strange.note(self.counter.finish(self.dtype, **self.others))
        return compacted(sketch) if self.compact else sketch


class OwnNumbers:
    """Finds the edges for numbers, and counts on them."""

    def __init__(self, dtype: str, capacity: int) -> None:
        """With at most so many values in memory."""
        self.dtype = dtype
        self.collector = Collector(capacity)
        self.strange = Strange()
        self._sketch: NumericSketch | None = None

    def add(self, column: Any) -> None:
        """Take in an Arrow array, of numbers or of text that should be numbers."""
        values, nulls = self.strange.leave_out(column)
        self.collector.add(values, nulls)

    def again(self) -> Summary | None:
        """Where a sample gave the edges, all rows are counted on them."""
        self._sketch, on, distinct = self.collector.finish(self.dtype)
        if self._sketch is not None:
            return None
        return Numbers(self.dtype, on, compact=True, distinct=distinct)

    def finish(self) -> ColumnSketch:
        """The sketch."""
        assert self._sketch is not None
        return compacted(self.strange.note(self._sketch))


class Strange:
    """Text where numbers belong: left out, counted, and a few examples kept."""

    def __init__(self) -> None:
        """Nothing strange yet."""
        self.rows = 0
        self.examples: list[str] = []

    def leave_out(self, column: Any) -> tuple[NDArray[np.floating[Any]], int]:
        """The numbers of a column, and how many are missing."""
        if kind_of(column.type) != "categorical":
            return as_floats(column)
        values, nulls, strange = numbers(column)
        self.rows += len(strange)
        for text in strange:
            if len(self.examples) == EXAMPLES:
                break
            if text not in self.examples:
                self.examples.append(text[:CATEGORY_CHARS])
        return values, nulls

    def note(self, sketch: NumericSketch) -> NumericSketch:
        """The sketch, with the rows that were left out."""
        if not self.rows:
            return sketch
        return replace(sketch, rows=sketch.rows + self.rows, unparsed=self.rows, examples=tuple(self.examples))


class Booleans:
    """Counts true and false."""

    def __init__(self, dtype: str) -> None:
        """Nothing counted yet."""
        self.dtype = dtype
        self.rows = self.nulls = self.trues = 0

    def add(self, column: Any) -> None:
        """Take in an Arrow array, of truth values or their names."""
        if kind_of(column.type) == "categorical":
            column = truths(column)
        self.rows += len(column)
        self.nulls += column.null_count
        self.trues += column.true_count

    def again(self) -> Summary | None:
        """All was counted."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch."""
        falses = self.rows - self.nulls - self.trues
        return BooleanSketch(dtype=self.dtype, rows=self.rows, nulls=self.nulls, trues=self.trues, falses=falses)


class Times:
    """The first and the last of dates and times."""

    def __init__(self, dtype: str) -> None:
        """Nothing seen yet."""
        self.dtype = dtype
        self.rows = self.nulls = self.outside = 0
        self.minimum: datetime | None = None
        self.maximum: datetime | None = None

    def add(self, column: Any) -> None:
        """Take in an Arrow array, of times or text that should be times."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.types as t

        self.rows += len(column)
        if kind_of(column.type) == "categorical":
            column, strange = times(column)
            self.outside += strange
        self.nulls += column.null_count
        column = column.drop_null()
        zone = UTC if t.is_timestamp(column.type) and column.type.tz else None
        if t.is_date32(column.type):
            values, unit, low, high = np.asarray(column.cast(pa.int32())), 86_400, _FIRST // 86_400, _LAST // 86_400
            values, per_second = values.astype(np.int64), 1
        else:
            unit, per_second = 1, _PER_SECOND["ms" if t.is_date64(column.type) else column.type.unit]
            values = np.asarray(column.cast(pa.int64()))
            low, high = _FIRST * per_second, (_LAST + 1) * per_second - 1
        limits = np.iinfo(np.int64)
        inside = values[(values >= max(low, limits.min)) & (values <= min(high, limits.max))]
        self.outside += len(values) - len(inside)
        if len(inside):
            first, last = (_instant(int(v) * unit, per_second, zone) for v in (inside.min(), inside.max()))
            self.minimum = first if self.minimum is None else min(self.minimum, first)
            self.maximum = last if self.maximum is None else max(self.maximum, last)

    def again(self) -> Summary | None:
        """All was seen."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch."""
        return TimestampSketch(
            dtype=self.dtype,
            rows=self.rows,
            nulls=self.nulls,
            minimum=self.minimum,
            maximum=self.maximum,
            outside=self.outside,
        )


def _instant(value: int, per_second: int, zone: Any) -> datetime:
    seconds, part = divmod(value, per_second)
    return datetime(1970, 1, 1, tzinfo=zone) + timedelta(seconds=seconds, microseconds=part * 1_000_000 // per_second)


class Others:
    """Counts the nulls of a column that is not compared."""

    def __init__(self, dtype: str) -> None:
        """Nothing seen yet."""
        self.dtype = dtype
        self.rows = self.nulls = 0

    def add(self, column: Any) -> None:
        """Take in an Arrow array."""
        self.rows += len(column)
        self.nulls += column.null_count

    def again(self) -> Summary | None:
        """All was counted."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch."""
        return OtherSketch(dtype=self.dtype, rows=self.rows, nulls=self.nulls)
