"""Counting numbers: into the bins of a reference, or collected for a reference of their own.

Values are counted block by block: a block is sorted, the edges are looked up in it, and each bin is a slice. Sorting
blocks that fit a processor's cache is several times faster than looking up every value among the edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tidemill.drift.edges import Edges, build
from tidemill.drift.sketch import NumericSketch
from tidemill.drift.sorting import sort
from tidemill.drift.tails import OCTAVES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

POSITIONS = 63.0
"""So many steps has the place of a bin's mean within the bin, where a sketch is stored compactly."""
LARGEST, SMALLEST = 1024, -1074
"""The exponents of doubles; the distance of two of them may have one more."""
BLOCK = 1 << 17
"""Values sorted at once: they stay in the processor's cache, and the edges are not looked up too often."""


@dataclass
class Moments:
    """Number, mean and sum of squared deviations, merged by T. F. Chan, G. H. Golub and R. J. LeVeque's formula
    ("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", Stanford 1979)."""

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    def add(self, n: int, mean: float, m2: float) -> None:
        """Take in another sample's."""
        if not n:
            return
        total = self.n + n
        delta = mean - self.mean
        self.mean += delta * (n / total)
        self.m2 += m2 + delta * delta * (self.n / total) * n
        self.n = total


@dataclass
class Counter:
    """Counts values on given edges. ``add`` takes float arrays without nulls; NaN in them counts as null."""

    on: Edges
    rows: int = 0
    nulls: int = 0
    negative: int = 0
    positive: int = 0
    minimum: float = math.inf
    maximum: float = -math.inf
    moments: Moments = field(default_factory=Moments)

    def __post_init__(self) -> None:
        """Set up the bins."""
        import numpy as np

        bins = len(self.on.edges) + 1
        self.counts = np.zeros(bins, dtype=np.int64)
        self.sums = np.zeros(bins, dtype=np.float64)
        self.lows = np.full(bins, np.inf)
        self.highs = np.full(bins, -np.inf)
        self._octaves = np.zeros(LARGEST - SMALLEST + 1, dtype=np.int64)
        self._sought: dict[tuple[Any, int | None], Floats] = {}

    def add(self, values: Floats, nulls: int = 0) -> None:
        """Count values, and so many nulls besides."""
        self.rows += len(values) + nulls
        self.nulls += nulls
        for start in range(0, len(values), BLOCK):
            self.add_sorted(sort(values[start : start + BLOCK]))

    def add_sorted(self, values: Floats) -> None:
        """Count a sorted block whose rows are counted already: first -inf, last +inf and then NaN."""
        import numpy as np

        if not len(values):
            return
        low, high = float(values[0]), float(values[-1])
        if not (math.isfinite(low) and math.isfinite(high)):
            values = self._trim(values)
            if not len(values):
                return
            low, high = float(values[0]), float(values[-1])
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        bounds = self._bounds(values, low, high)
        counts = bounds[1:] - bounds[:-1]
        filled = np.flatnonzero(counts)
        starts = bounds[filled]
        self.counts += counts
        self.lows[filled] = np.minimum(self.lows[filled], values[starts])
        self.highs[filled] = np.maximum(self.highs[filled], values[bounds[filled + 1] - 1])
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.add.reduceat(values, starts, dtype=np.float64)
            self.sums[filled] += sums
            mean = float(sums.sum()) / len(values)
            deviations = np.subtract(values, mean, dtype=np.float64)
            self.moments.add(len(values), mean, float(np.einsum("i,i->", deviations, deviations)))

    def _bounds(self, values: Floats, low: float, high: float) -> NDArray[np.int64]:
        """Where each bin begins in a sorted block, and where the last one ends; the octaves are counted besides."""
        import numpy as np

        farthest = max(abs(low - self.on.centre), abs(high - self.on.centre))
        top = math.frexp(farthest)[1] - 1 if farthest and not math.isinf(farthest) else None
        sought = self._sought.get((values.dtype, top))
        if sought is None:
            sought = self._sought[values.dtype, top] = self._seek(values.dtype, top)
        found = np.searchsorted(values, sought, side="right")
        edges = len(self.on.edges)
        bounds = np.empty(edges + 2, dtype=np.int64)
        bounds[0], bounds[1:-1], bounds[-1] = 0, found[:edges], len(values)
        if top is not None:
            powers = (len(found) - edges) // 2
            within = found[edges + powers :] - found[edges : edges + powers] + len(values)
            within[1:] -= within[:-1].copy()
            self._octaves[LARGEST - top : LARGEST - top + powers] += within
        return bounds

    def _seek(self, dtype: Any, top: int | None) -> Floats:
        """The edges, then centre + 2ᵉ and centre - 2ᵉ for exponents from ``top`` down, in the values' type: such that
        the same values are at most each."""
        import numpy as np

        sought = self.on.edges
        if top is not None:
            powers = 2.0 ** np.arange(top, max(top - OCTAVES, SMALLEST - 1), -1)
            with np.errstate(over="ignore"):
                sought = np.concatenate([sought, self.on.centre + powers, self.on.centre - powers])
        if dtype == np.float64:
            return sought
        with np.errstate(over="ignore"):
            near = sought.astype(dtype)
        below = np.nextafter(near, np.array(-np.inf, dtype=dtype))
        return np.where(near.astype(np.float64) > sought, below, near)

    def _trim(self, values: Floats) -> Floats:
        import numpy as np

        finite = np.array([-np.inf, np.inf, np.nan], dtype=values.dtype)
        begin = int(np.searchsorted(values, finite[0], side="right"))
        end, nan = (int(i) for i in np.searchsorted(values, finite[1:], side="left"))
        self.negative += begin
        self.positive += nan - end
        self.nulls += len(values) - nan
        return values[begin:end]

    def finish(self, dtype: str, **others: Any) -> NumericSketch:
        """The sketch of what was counted."""
        finite = self.moments.n
        octaves, top = top_octaves(self._octaves, LARGEST)
        return NumericSketch(
            dtype=dtype,
            rows=self.rows,
            nulls=self.nulls,
            edges=self.on.edges,
            counts=self.counts,
            sums=self.sums,
            lows=self.lows,
            highs=self.highs,
            deciles=self.on.deciles,
            minimum=self.minimum + 0.0 if finite else None,
            maximum=self.maximum + 0.0 if finite else None,
            mean=self.moments.mean if finite else None,
            m2=self.moments.m2,
            negative_infinities=self.negative,
            positive_infinities=self.positive,
            centre=self.on.centre,
            octaves=octaves,
            top=top,
            **others,
        )


def top_octaves(counts: NDArray[np.int64], largest: int) -> tuple[tuple[int, ...], int]:
    """Of the values' counts by octave, the first of which is ``largest``: those that were counted in every part, so
    many from the highest down that has any, and which that is."""
    import numpy as np

    filled = np.flatnonzero(counts)
    if not len(filled):
        return (), 0
    first = int(filled[0])
    last = min(int(filled[-1]) + 1, first + OCTAVES)
    return tuple(counts[first:last].tolist()), largest - first


class Collector:
    """Keeps the values of a reference until their quantiles are known: all of them up to ``capacity``, then one of
    every 2, 4, 8 … rows, drawn at random within each such stretch, so that the sample is spread evenly over the
    rows and follows no period of theirs."""

    def __init__(self, capacity: int) -> None:
        """Keep at most so many values, and half of them at least once there are more."""
        import numpy as np

        self.capacity = capacity
        self.stride = 1
        self.rows = self.nulls = self.kept = 0
        self._parts: list[Floats] = []
        self._random = np.random.default_rng(20_131_007)

    @property
    def exact(self) -> bool:
        """Whether all values were kept."""
        return self.stride == 1

    def add(self, values: Floats, nulls: int = 0) -> None:
        """Take in values without nulls, and so many nulls besides; NaN among them counts as null later."""
        self.rows += len(values) + nulls
        self.nulls += nulls
        part = self._thin(values, self.stride)
        self._parts.append(part)
        self.kept += len(part)
        while self.kept > self.capacity:
            self.stride *= 2
            self._parts = [self._thin(part, 2) for part in self._parts]
            self.kept = sum(map(len, self._parts))

    def _thin(self, values: Floats, stride: int) -> Floats:
        import numpy as np

        if stride == 1 or not len(values):
            return values
        starts = np.arange(0, len(values), stride)
        last = len(values) - starts[-1]
        chosen = starts + self._random.integers(0, stride, len(starts))
        if chosen[-1] >= len(values):
            # The last stretch is shorter: it counts as often as it is long.
            chosen = chosen[:-1] if self._random.random() * stride >= last else np.minimum(chosen, len(values) - 1)
        kept: Floats = values[chosen]
        return kept

    def finish(self, dtype: str, **others: Any) -> tuple[NumericSketch | None, Edges, int]:
        """The sketch, if all values were kept; the edges; and the number of different values, or an estimate.

        The estimate is M. Charikar et al.'s ("Towards estimation error guarantees for distinct values", PODS 2000).
        """
        import numpy as np

        values: Floats = np.concatenate(self._parts) if self._parts else np.zeros(0)
        self._parts = []
        values = sort(values)
        counter = Counter(Edges(np.zeros(0), np.zeros(0, dtype=np.int64), 0.0), rows=self.rows, nulls=self.nulls)
        finite = counter._trim(values).astype(np.float64, copy=False)
        on, distinct = build(finite, infinite=counter.negative + counter.positive > 0)
        if not self.exact:
            return None, on, self._distinct(finite, distinct)
        counter = Counter(on, rows=self.rows, nulls=self.nulls)
        counter.add_sorted(values)
        return counter.finish(dtype, distinct=distinct, distinct_exact=True, **others), on, distinct

    def _distinct(self, values: NDArray[np.float64], distinct: int) -> int:
        import numpy as np

        changes = np.concatenate([[True], values[1:] != values[:-1], [True]])
        once = int(np.count_nonzero(changes[1:] & changes[:-1]))
        return distinct - once + round(math.sqrt(self.stride) * once)


def compacted(sketch: NumericSketch) -> NumericSketch:
    """The sketch with its inner bins' sums rounded to what is stored: a bin's mean in ``POSITIONS`` steps, counted from
    its upper edge. The outer bins, which have no width, keep theirs."""
    from dataclasses import replace

    import numpy as np

    if len(sketch.edges) < 2:
        return replace(sketch, lows=None, highs=None, compact=True)
    positions = mean_positions(sketch.edges, sketch.counts, sketch.sums)
    sums = sketch.sums.copy()
    sums[1:-1] = sums_at(sketch.edges, sketch.counts, positions)
    return replace(sketch, sums=np.asarray(sums), lows=None, highs=None, compact=True)


def mean_positions(edges: NDArray[np.float64], counts: NDArray[np.int64], sums: NDArray[np.float64]) -> Any:
    """How far the mean of each inner bin lies below its upper edge, in ``POSITIONS`` steps of its width, as bytes."""
    import numpy as np

    low, high, inner = edges[:-1], edges[1:], counts[1:-1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sums[1:-1] / np.maximum(inner, 1)
        share = np.where(inner > 0, (high - mean) / (high - low), 0.0)
    return np.rint(np.clip(np.nan_to_num(share), 0.0, 1.0) * POSITIONS).astype(np.uint8)


def sums_at(edges: NDArray[np.float64], counts: NDArray[np.int64], positions: Any) -> NDArray[np.float64]:
    """The sums of the inner bins by their mean's position."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray((edges[1:] - (edges[1:] - edges[:-1]) * (positions / POSITIONS)) * counts[1:-1])
