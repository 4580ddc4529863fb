"""Columns of strings: categories, or, where they are nearly all different, texts by their length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemill.drift.categorical import CategoryCounter, LengthCounter, value_counts
from tidemill.drift.edges import Edges, build
from tidemill.drift.numeric import Counter, compacted
from tidemill.drift.sketch import CategoricalSketch, ColumnSketch, NumericSketch, TextSketch

if TYPE_CHECKING:
    from tidemill.drift.columns import Summary

TEXT_ROWS = 100
TEXT_SHARE = 0.9
"""From so many rows on a column of strings, of which this share is different, is text and compared by length."""
AT_ONCE = 1 << 20
"""Lengths of so many texts are laid out in memory at once."""


class Categories:
    """Counts categories; strings that are nearly all different are text."""

    def __init__(self, dtype: str, known: tuple[str, ...], *, alone: bool) -> None:
        """``known`` are a reference's; ``alone``: this may become a reference itself."""
        self.dtype, self.alone = dtype, alone
        self.counter = CategoryCounter(known)
        self.lengths = LengthCounter() if alone else None
        self._sketch: CategoricalSketch | None = None

    def add(self, column: Any) -> None:
        """Take in an Arrow array."""
        names, counts = value_counts(column)
        self.counter.rows += len(column)
        self.counter.nulls += len(column) - int(counts.sum())
        self.counter.add_counts(names, counts)
        if self.lengths is not None:
            self.lengths.add_counts(names, counts)

    def again(self) -> Summary | None:
        """Where not all categories could be counted, those that were kept are counted once more."""
        self._sketch = self.counter.finish(self.dtype)
        if not self.alone or not self._sketch.undercount or self._text(self._sketch):
            return None
        return Recount(self._sketch)

    def finish(self) -> ColumnSketch:
        """The sketch, of text where the strings are nearly all different."""
        assert self._sketch is not None
        if self.lengths is None or not self._text(self._sketch):
            return self._sketch
        return _text(self._sketch, self.lengths.lengths, None)

    def _text(self, found: CategoricalSketch) -> bool:
        return found.present >= TEXT_ROWS and (found.distinct or 0) >= TEXT_SHARE * found.present


class Recount:
    """Counts the categories that a first pass kept."""

    def __init__(self, first: CategoricalSketch) -> None:
        """Those of this sketch."""
        self.first = first
        self.counter = CategoryCounter(first.categories)

    def add(self, column: Any) -> None:
        """Take in an Arrow array."""
        self.counter.add(column)

    def again(self) -> Summary | None:
        """All counts are exact now."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch: what was kept, with exact counts, and all others pooled."""
        import numpy as np

        first, counts = self.first, self.counter.counts
        order = sorted(range(len(counts)), key=lambda i: (-int(counts[i]), first.categories[i]))
        return CategoricalSketch(
            dtype=first.dtype,
            rows=self.counter.rows,
            nulls=self.counter.nulls,
            categories=tuple(first.categories[i] for i in order),
            counts=counts[np.array(order, dtype=np.int64)],
            pooled=self.counter.rows - self.counter.nulls - int(counts.sum()),
            distinct=first.distinct,
            distinct_exact=first.distinct_exact,
        )


class Texts:
    """Counts the lengths of texts on the edges of a reference's."""

    def __init__(self, dtype: str, reference: TextSketch) -> None:
        """On the edges of this reference's lengths."""
        self.dtype, self.reference = dtype, reference
        self.rows = self.nulls = 0
        self.lengths = LengthCounter()

    def add(self, column: Any) -> None:
        """Take in an Arrow array."""
        names, counts = value_counts(column)
        self.rows += len(column)
        self.nulls += len(column) - int(counts.sum())
        self.lengths.add_counts(names, counts)

    def again(self) -> Summary | None:
        """All lengths were counted."""
        return None

    def finish(self) -> ColumnSketch:
        """The sketch."""
        import numpy as np

        found = CategoricalSketch(
            dtype=self.dtype, rows=self.rows, nulls=self.nulls, categories=(), counts=np.zeros(0, dtype=np.int64)
        )
        return _text(found, self.lengths.lengths, self.reference.lengths)


def _text(found: CategoricalSketch, lengths: dict[int, int], reference: NumericSketch | None) -> TextSketch:
    """The sketch of texts whose lengths were counted."""
    import numpy as np

    tally = sorted(lengths.items())
    values, counts = np.array([v for v, _ in tally], dtype=np.float64), np.array([n for _, n in tally], dtype=np.int64)
    if reference is None:
        few = -(-counts // max(1, int(counts.sum()) // AT_ONCE))  # quantiles do not need all of very many rows
        on, _ = build(np.repeat(values, few))
        others: dict[str, Any] = {"distinct": len(values), "distinct_exact": True}
    else:
        on, others = Edges(reference.edges, reference.deciles, reference.centre), {}
    counter = Counter(on, rows=found.rows, nulls=found.nulls)
    ends = np.cumsum(counts)
    for start in range(0, int(counts.sum()), AT_ONCE):
        inside = np.clip(ends, start, start + AT_ONCE)
        counter.add_sorted(np.repeat(values, np.diff(inside, prepend=start)))
    sketch = counter.finish("length", **others)
    return TextSketch(
        dtype=found.dtype,
        rows=found.rows,
        nulls=found.nulls,
        lengths=sketch if reference is not None else compacted(sketch),
        distinct=found.distinct,
        distinct_exact=found.distinct_exact and found.distinct is not None,
    )
