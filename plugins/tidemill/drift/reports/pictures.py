"""From two sketches to the pictures of their columns."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from tidemill.drift.reports.picture import Bar, Categories, Histogram, Picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tidemill.drift.sketch import CategoricalSketch, ColumnSketch, NumericSketch, Sketch

    Numbers = NDArray[np.float64]

BINS = 30
CATEGORIES = 12
VALUES = 16
"""A column with no more different numbers is drawn as those."""
_TAIL = 0.005
"""The share of the rows on either side that may be left off the axis."""
_UNSEEN = 0.0005
_SKEWED = 0.05
"""Where the median lies in the first twentieth of the axis, the axis shows nothing: it becomes logarithmic."""


def pictures(reference: Sketch, current: Sketch) -> dict[str, Picture]:
    """Column → picture, of those that can be drawn."""
    both = ((name, r, current.columns[name]) for name, r in reference.columns.items() if name in current.columns)
    drawn = ((name, picture(r, c)) for name, r, c in both)
    return {name: found for name, found in drawn if found is not None}


def picture(reference: ColumnSketch, current: ColumnSketch) -> Picture | None:
    """The picture of one column; ``None`` if a side has no rows, or the kind has nothing to draw."""
    from tidemill.drift.sketch import BooleanSketch, CategoricalSketch, NumericSketch, TextSketch

    if not reference.rows or not current.rows:
        return None
    match reference, current:
        case NumericSketch(), NumericSketch():
            return _numbers(reference, current, _nulls(reference, current))
        case TextSketch(), TextSketch():
            return _numbers(reference.lengths, current.lengths, _nulls(reference, current))
        case CategoricalSketch(), CategoricalSketch():
            return _categories(reference, current, _nulls(reference, current))
        case BooleanSketch(), BooleanSketch():
            bars = [
                Bar("true", reference.trues / reference.rows, current.trues / current.rows),
                Bar("false", reference.falses / reference.rows, current.falses / current.rows),
            ]
            return Categories((*bars, *_nulls(reference, current)))
    return None


def _nulls(reference: ColumnSketch, current: ColumnSketch) -> list[Bar]:
    if not reference.nulls and not current.nulls:
        return []
    return [Bar("null", reference.null_share, current.null_share, special=True)]


def _categories(reference: CategoricalSketch, current: CategoricalSketch, nulls: list[Bar]) -> Picture:
    before = dict(zip(reference.categories, reference.counts.tolist(), strict=True))
    now = dict(zip(current.categories, current.counts.tolist(), strict=True))
    share = {
        name: (before.get(name, 0) / reference.rows, now.get(name, 0) / current.rows)
        for name in dict.fromkeys((*before, *now))
    }
    named = sorted((name for name in share if any(share[name])), key=lambda name: -max(share[name]))
    chosen, rest = named[:CATEGORIES], named[CATEGORIES:]
    chosen.sort(key=lambda name: (-share[name][0], -share[name][1]))
    bars = [Bar(name, *share[name]) for name in chosen]
    left = [
        sum(share[name][side] for name in rest) + sketch.pooled / sketch.rows
        for side, sketch in enumerate((reference, current))
    ]
    if any(left):
        label = "all others" if reference.pooled or current.pooled else _others(len(rest))
        bars.append(Bar(label, left[0], left[1], special=True))
    return Categories((*bars, *nulls))


def _others(count: int) -> str:
    return f"{count:,} other" + ("" if count == 1 else "s")


def _numbers(reference: NumericSketch, current: NumericSketch, nulls: list[Bar]) -> Picture | None:
    from tidemill.drift.distances import on_edges

    aside = [*_odd(reference, current), *nulls]
    if not reference.finite or not current.finite:
        return Categories(tuple(aside)) if aside else None
    values = _values(reference, on_edges(current, reference)[0])
    if values is not None:
        return Categories((*values, *aside))
    below = _Below(reference), _Below(current)
    low, high, log = _range(*below)
    whole = reference.dtype.startswith(("int", "uint", "length")) and not log
    edges = _edges(low, high, log=log, whole=whole)
    if not all(math.isfinite(edge) for edge in edges) or not edges[0] < edges[-1]:
        return Categories(tuple(aside)) if aside else None
    # Up to an edge between two whole numbers there are those up to the lower one, and no part of the other; the first
    # bin holds its lower edge, too, as others do not.
    at = [math.floor(edge) for edge in edges] if whole else [math.nextafter(edges[0], -math.inf), *edges[1:]]
    known = [[side(x) for x in at] for side in below]
    shares = [tuple(max(0.0, b - a) for a, b in pairwise(side)) for side in known]
    under, over = [side[0] for side in known], [b.whole - side[-1] for b, side in zip(below, known, strict=True)]
    off = [
        Bar(label, before, now, special=True)
        for label, (before, now) in (("lower", under), ("higher", over))
        if max(before, now) > _UNSEEN
    ]
    return Histogram(tuple(edges), shares[0], shares[1], (*off, *aside), log=log)


def _odd(reference: NumericSketch, current: NumericSketch) -> list[Bar]:
    """What is there and is no finite number."""
    found = []
    for label, name in (("−∞", "negative_infinities"), ("∞", "positive_infinities"), ("text", "unparsed")):
        before, now = getattr(reference, name), getattr(current, name)
        if before or now:
            found.append(Bar(label, before / reference.rows, now / current.rows, special=True))
    return found


def _values(reference: NumericSketch, current: NumericSketch) -> list[Bar] | None:
    """A bar for each value where there are but a few, as with ratings and flags; else ``None``."""
    import numpy as np

    if reference.distinct is None or reference.distinct > VALUES or not len(reference.edges):
        return None
    from tidemill.drift.reports.numbers import short

    # A value that has a bin of its own is the upper of two neighbouring numbers.
    alone = np.flatnonzero(reference.edges[1:] == np.nextafter(reference.edges[:-1], np.inf)) + 1
    if reference.counts[alone].sum() != reference.finite or not len(alone):
        return None
    bars = [
        Bar(short(float(reference.edges[i])), reference.counts[i] / reference.rows, current.counts[i] / current.rows)
        for i in alone
    ]
    others = current.finite - int(current.counts[alone].sum())
    return [*bars, Bar("other numbers", 0.0, others / current.rows, special=True)] if others else bars


class _Below:
    """Which share of all rows has a number of at most x: known at the edges, and spread evenly between them."""

    def __init__(self, sketch: NumericSketch) -> None:
        import numpy as np

        assert sketch.minimum is not None
        assert sketch.maximum is not None
        edges = sketch.edges
        first = min(sketch.minimum, edges[0]) if len(edges) else sketch.minimum
        last = max(sketch.maximum, edges[-1]) if len(edges) else sketch.maximum
        self.at = np.concatenate([[np.nextafter(first, -np.inf)], edges, [last]])
        self.shares = np.concatenate([[0], np.cumsum(sketch.counts)]) / sketch.rows
        self.whole = sketch.finite / sketch.rows
        self.minimum, self.maximum = sketch.minimum, sketch.maximum

    def __call__(self, x: float) -> float:
        import numpy as np

        return float(np.interp(x, self.at, self.shares))

    def quantile(self, share: float) -> float:
        """The number that this share of the numbers is at most."""
        import numpy as np

        found = float(np.interp(share * self.whole, self.shares, self.at))
        return min(max(found, self.minimum), self.maximum)


def _range(before: _Below, now: _Below) -> tuple[float, float, bool]:
    """The axis: all there is, unless tails would leave little room to the rest; and whether it is logarithmic."""
    least, most = min(before.minimum, now.minimum), max(before.maximum, now.maximum)
    for tail in (0.0, _TAIL, 10 * _TAIL):
        low, high = (least, most) if not tail else _between(before, now, tail)
        middle = sorted((before.quantile(0.5), now.quantile(0.5)))
        width = high - low
        if not (math.isfinite(width) and width > 0):
            continue
        if low > 0 and high / low > 100 and (middle[1] - low) / width < _SKEWED:
            low, high = (least, most) if high / low < 1e6 and least > 0 else (low, high)
            return low, high, True
        inner = _between(before, now, 2 * _TAIL)
        if inner[1] - inner[0] >= 0.5 * width:
            return low, high, False
    return least, most, False


def _between(before: _Below, now: _Below, tail: float) -> tuple[float, float]:
    return (
        min(before.quantile(tail), now.quantile(tail)),
        max(before.quantile(1 - tail), now.quantile(1 - tail)),
    )


def _edges(low: float, high: float, *, log: bool, whole: bool) -> list[float]:
    """The edges of the bars. Those of whole numbers hold equally many of them each, and lie between them."""
    if log:
        step = math.log(high / low) / BINS
        return [low * math.exp(i * step) for i in range(BINS)] + [high]
    if whole and high - low < 2**52:
        width = max(1, math.ceil((math.floor(high) - math.ceil(low) + 1) / BINS))
        count = math.ceil((math.floor(high) - math.ceil(low) + 1) / width)
        first = math.ceil(low) - 1
        return [first + i * width + 0.5 for i in range(count + 1)]
    return [low + (high - low) * i / BINS for i in range(BINS)] + [high]
