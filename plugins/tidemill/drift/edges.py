"""The edges that a numeric reference is counted on: quantiles of its own, fine in the tails, exact where it matters.

A value that holds much of the rows gets a bin of its own, between it and the number before it, so that a step of the
distribution function is a step of the sketch's, too. All other edges are rounded to the few bits that tell them from
their neighbours, before anything is counted: counts are exact on the rounded edges, and the sketch stays small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tidemill.drift.sketch import BINS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

POINT = 8 * BINS
"""A value that more than n / POINT rows have gets a bin of its own where an edge falls on it."""
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
    if len(first) <= BINS:
        points = values[first] + 0.0
        edges = np.unique(np.concatenate([np.nextafter(points, -np.inf), points]))
        if len(points) == 1:  # what is smaller needs a bin of its own, as what is larger has
            tens = edges
    else:
        edges = _quantiles(values, tens)
    return Edges(edges, np.searchsorted(edges, tens).astype(np.int64), centre), len(first)


def _ranks(n: int, bins: int) -> NDArray[np.int64]:
    """The ranks, from 0, of the quantiles 1/bins, 2/bins, …: the lower of the two values that they lie between."""
    import numpy as np

    return (n - 1) * np.arange(1, bins, dtype=np.int64) // bins


def _quantiles(values: Floats, tens: Floats) -> Floats:
    import numpy as np

    n = len(values)
    halves = n // (BINS * 2 ** np.arange(1, 40, dtype=np.int64))  # the outer bins, halved and halved again
    halves = halves[halves >= 1]
    ranks = np.unique(np.concatenate([_ranks(n, BINS), halves - 1, n - 1 - halves]))
    chosen = np.unique(values[ranks]) + 0.0
    mass = np.searchsorted(values, chosen, side="right") - np.searchsorted(values, chosen, side="left")
    points = chosen[(mass > 1) & (mass * POINT > n)]
    before = np.nextafter(points, -np.inf)
    kept = np.union1d(np.union1d(points, before), tens)
    edges = np.union1d(chosen, before)
    exact = np.isin(edges, kept)
    for _ in range(3):
        rounded = _rounded(edges, exact)
        full = _overfull(values, rounded, edges)
        if not full.any():
            return rounded
        exact = exact | full
    return edges


def _overfull(values: Floats, rounded: Floats, edges: Floats) -> NDArray[np.bool_]:
    """The edges of bins that rounding made hold more than they should: where values crowd beside an edge."""
    import numpy as np

    def held(of: Floats) -> NDArray[np.int64]:
        return np.diff(np.concatenate([[0], np.searchsorted(values, of, side="right"), [len(values)]]))

    now = held(rounded)
    full = (now > len(values) * 1.1 / BINS) & (now > held(edges))
    return full[:-1] | full[1:]


def _rounded(edges: Floats, exact: NDArray[np.bool_]) -> Floats:
    """The edges, each moved so that its distance from the one before, as numbers are ordered, has few bits; and by
    at most 1/16 of its distance to either neighbour."""
    import numpy as np

    order = to_ordered(edges).tolist()
    moved = [order[0]]
    for i, fixed in enumerate(exact.tolist()[1:], 1):
        step = order[i] - moved[-1]
        if not fixed:
            after = order[i + 1] - order[i] if i + 1 < len(order) else step
            shift = min(step.bit_length() - BITS, after.bit_length() - 4)
            if shift > 0:
                step = (step + (1 << shift - 1)) >> shift << shift
        moved.append(moved[-1] + step)
    rounded = from_ordered(np.array(moved, dtype=np.uint64))
    return np.where(np.isfinite(rounded), rounded, edges) + 0.0


def to_ordered(values: Floats) -> NDArray[np.uint64]:
    """Numbers as integers in the same order; neighbours differ by one."""
    import numpy as np

    bits = values.view(np.uint64)
    negative = bits >> np.uint64(63) == 1
    return np.where(negative, ~bits, bits | np.uint64(1 << 63))


def from_ordered(order: NDArray[np.uint64]) -> Floats:
    """The inverse of ``to_ordered``."""
    import numpy as np

    positive = order >> np.uint64(63) == 1
    return np.where(positive, order & np.uint64((1 << 63) - 1), ~order).view(np.float64)
