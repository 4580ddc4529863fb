"""The edges that a numeric reference is counted on: quantiles of its own, fine in the tails, exact where it matters.

A value that holds much of the rows gets a bin of its own, between it and the number before it, so that a step of the
distribution function is a step of the sketch's, too. All other edges are rounded to the few bits that tell them from
their neighbours, before anything is counted: counts are exact on the rounded edges, and the sketch stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidemill.drift.doubles import CODES, from_ordered, to_ordered, whole_numbers
from tidemill.drift.sketch import BINS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FULL = 1.1
"""Rounding an edge may make a bin hold so many times what it should, not more."""
FEW_PLACES = 4
"""Values with so many decimal places are stored as whole numbers, and not rounded."""
POINT = 8 * BINS
"""A value that more than n / POINT rows have gets a bin of its own where an edge falls on it."""
TINY = 20
"""Between so few values lie bins so wide that edges at equal distances are needed, too: else it would not be known
where in them later rows are."""
BITS = 5
"""So many bits has the distance of a rounded edge from the one before it."""


class Edges(NamedTuple):
    """The edges, ascending; the positions of those of the ten bins of PSI; a centre to look at the tails from."""

    edges: Floats
    deciles: NDArray[np.int64]
    centre: float


def build(values: Floats, *, infinite: bool = False) -> tuple[Edges, int]:
    """The edges for sorted, finite values, and how many of them are different. ``infinite``: there were infinities
    besides, for which an edge tells the sides."""
    import numpy as np

    n = len(values)
    if not n:
        return Edges(np.zeros(int(infinite)), np.zeros(int(infinite), dtype=np.int64), 0.0), 0
    first = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    centre = float(values[(n - 1) // 2]) + 0.0
    tens = np.unique(values[_ranks(n, 10)]) + 0.0
    if len(first) == 1:  # what is smaller needs a bin of its own, as what is larger has
        edges = tens = np.concatenate([_before(tens), tens])
    else:
        edges = _quantiles(values, values[first] + 0.0 if len(first) <= BINS else None, tens)
        if n <= TINY:
            edges = np.union1d(edges, _grid(float(values[0]), float(values[-1])))
    return Edges(edges, np.searchsorted(edges, tens).astype(np.int64), centre), len(first)


def _ranks(n: int, bins: int) -> NDArray[np.int64]:
    """The ranks, from 0, of the quantiles 1/bins, 2/bins, …: the lower of the two values that they lie between."""
    import numpy as np

    return (n - 1) * np.arange(1, bins, dtype=np.int64) // bins


def _quantiles(values: Floats, chosen: Floats | None, tens: Floats) -> Floats:
    """The edges: ``chosen`` values, or the quantiles if there are none, and those that a point needs besides."""
    import numpy as np

    n = len(values)
    alone = 0 if chosen is not None and n <= BINS else 1
    if chosen is None:
        halves = n // (BINS * 2 ** np.arange(1, 40, dtype=np.int64))  # the outer bins, halved and halved again
        halves = halves[halves >= 1]
        ranks = np.unique(np.concatenate([_ranks(n, BINS), halves - 1, n - 1 - halves]))
        chosen = np.unique(values[ranks]) + 0.0
    after = np.searchsorted(values, chosen, side="right")
    mass = after - np.searchsorted(values, chosen, side="left")
    points = chosen[(mass > alone) & (mass * POINT > n)]
    before = _before(points)
    edges = np.union1d(chosen, before)
    if any(whole_numbers(chosen, code)[1].all() for code in CODES if abs(code) <= FEW_PLACES):
        return edges  # are few bits as they are
    exact = np.isin(edges, np.concatenate([points, before, tens]))
    room = np.searchsorted(values, edges, side="right")
    next_value = np.where(room < n, values[np.minimum(room, n - 1)], np.inf)
    narrow = np.zeros(len(edges), dtype=bool)
    while True:  # at most as often as there are edges; twice, mostly
        rounded = _rounded(edges, exact, np.where(narrow, next_value, np.nan))
        full = _overfull(values, rounded, edges) & ~exact & ~narrow
        if not full.any():
            return rounded
        narrow |= full


def _grid(low: float, high: float) -> Floats:
    """About a hundred numbers of few bits between two, at equal distances."""
    import numpy as np

    width = high - low
    if not np.isfinite(width) or width <= 0:
        return np.zeros(0)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        step = 2.0 ** (np.floor(np.log2(width)) - 6)
        found = (np.ceil(low / step) + np.arange(129)) * step if step > 0 else np.zeros(0)
    return np.asarray(found[(found > low) & (found < high)] + 0.0)


def _before(values: Floats) -> Floats:
    """The numbers before these; before the least there is -inf."""
    import numpy as np

    with np.errstate(over="ignore"):
        return np.nextafter(values, -np.inf) + 0.0


def _overfull(values: Floats, rounded: Floats, edges: Floats) -> NDArray[np.bool_]:
    """The edges of bins that rounding made hold more than they should: where values crowd beside an edge."""
    import numpy as np

    def held(of: Floats) -> NDArray[np.int64]:
        return np.diff(np.concatenate([[0], np.searchsorted(values, of, side="right"), [len(values)]]))

    now = held(rounded)
    full = (now > len(values) * FULL / BINS) & (now > held(edges))
    return full[:-1] | full[1:]


def _rounded(edges: Floats, exact: NDArray[np.bool_], below: Floats) -> Floats:
    """The edges, each moved so that its distance from the one before, as numbers are ordered, has few bits; and by
    at most 1/16 of its distance to either neighbour. Where ``below`` is not NaN, the edge is moved to the number with
    the fewest bits from there on to before that value: no value changes sides."""
    import numpy as np

    order = to_ordered(edges).tolist()
    limits = np.where(np.isnan(below), edges, below)
    limit = to_ordered(limits).tolist()
    moved = order[:1]
    for i, fixed in enumerate(exact.tolist()[1:], 1):
        step = order[i] - moved[-1]
        room = limit[i] - order[i]
        if fixed:
            pass
        elif room > 2:  # the number right before that value may be an edge itself
            last = step + room - 2
            zeros = (step ^ last).bit_length() - 1
            step = last >> zeros << zeros
        elif room == 0:
            after = order[i + 1] - order[i] if i + 1 < len(order) else step
            shift = min(step.bit_length() - BITS, after.bit_length() - 4)
            if shift > 0:
                step = (step + (1 << shift - 1)) >> shift << shift
        moved.append(moved[-1] + step)
    rounded = from_ordered(np.array(moved, dtype=np.uint64))
    return np.where(np.isfinite(rounded), rounded, edges) + 0.0
