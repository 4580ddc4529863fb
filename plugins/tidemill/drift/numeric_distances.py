"""Distances of numbers that look at more than the deciles: Kolmogorov-Smirnov and Wasserstein, from bins with sums.

Both sketches have the same edges. Between two of them only the number and the sum of the values are known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from tidemill.drift.tails import without_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tidemill.drift.sketch import NumericSketch

    Floats = NDArray[np.float64]


def kolmogorov_smirnov(reference: NumericSketch, current: NumericSketch) -> float:
    """The two-sample statistic sup |F - G|, of all values that are there, infinities included.

    Taken over the edges. Within a bin |F - G| exceeds the larger of its values at the two edges by no more than the
    smaller of the two samples' shares in the bin, so it is at most one bin of the reference too small: a value with
    many rows has a bin of its own, all others hold about 0.4 %.
    """
    import numpy as np

    f = np.cumsum(np.concatenate([[reference.negative_infinities], reference.counts])) / reference.values
    g = np.cumsum(np.concatenate([[current.negative_infinities], current.counts])) / current.values
    return float(np.max(np.abs(f - g)))


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """The asymptotic p-value of the two-sample statistic: Kolmogorov's distribution of D √(nm / (n + m)).

    Smirnov, Annals of Mathematical Statistics 19, 1948. With ties, and for few rows, it is too large: cautious.
    """
    from scipy.special import kolmogorov

    return float(kolmogorov(statistic * math.sqrt(n * m / (n + m))))


def wasserstein(reference: NumericSketch, current: NumericSketch) -> tuple[float | None, str]:
    """Wasserstein's distance ∫ |F - G| dx in standard deviations of the reference, or None and why there is none.

    Vallender's formula (Theory of Probability and its Applications 18, 1974). At the edges both distribution functions
    are known; within a bin, the values lie between its least and greatest one and have its mean, and are taken to be
    spread evenly over two pieces of that stretch (``_Lines``), which is exact for up to three values. Where F - G does
    not change its sign within a bin, its integral depends on the means alone, and is exact.
    """
    import numpy as np

    why = _missing(reference, current)
    if why:
        return None, why
    deviation = reference.std
    if not deviation:
        return None, "the reference has no deviation to divide by: all its values are the same"
    assert reference.minimum is not None
    assert reference.maximum is not None
    assert current.minimum is not None
    assert current.maximum is not None
    low, high = min(reference.minimum, current.minimum), max(reference.maximum, current.maximum)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        edges = np.clip(np.concatenate([[low], reference.edges, [high]]), low, high)
        f, g = _Lines.of(reference, edges), _Lines.of(current, edges)
        total = float(_area(edges, f, g)) / deviation
    if not math.isfinite(total) or not np.isfinite(reference.sums).all() or not np.isfinite(current.sums).all():
        return None, "the values are too large for double precision arithmetic"
    return total, ""


class _Lines(NamedTuple):
    """A distribution function within each bin: level up to ``low``, two lines from there over ``knot`` to ``high``,
    and level again.

    ``before`` and ``after`` are its values outside of [``least``, ``greatest``], ``base`` and ``top`` within up to
    ``low`` and from ``high`` on: the least and the greatest value are known, so that each is a step of one row.
    """

    least: Floats
    low: Floats
    knot: Floats
    high: Floats
    greatest: Floats
    before: Floats
    base: Floats
    inner: Floats
    top: Floats
    after: Floats

    @classmethod
    def of(cls, sketch: NumericSketch, edges: Floats) -> _Lines:
        """Those of a sketch's values, whose bins these edges bound."""
        import numpy as np

        assert sketch.minimum is not None
        assert sketch.maximum is not None
        start, end, counts = edges[:-1], edges[1:], sketch.counts
        exact = sketch.lows is not None and sketch.highs is not None
        least = np.maximum(start, sketch.minimum if sketch.lows is None else sketch.lows)
        greatest = np.minimum(end, sketch.maximum if sketch.highs is None else sketch.highs)
        least, greatest = np.where(counts > 0, least, start), np.where(counts > 0, greatest, start)
        # The two are set apart from the others where it is known that they are values, and of different rows.
        apart = (counts > 1) & exact
        others = counts - 2 * apart
        mean = (sketch.sums - np.where(apart, least + greatest, 0.0)) / np.maximum(others, 1)
        mean = np.clip(mean, least, greatest)
        single = apart & (others < 2)
        low, high = np.where(single, mean, least), np.where(single, mean, greatest)
        shares = np.concatenate([[0], np.cumsum(counts)]) / sketch.finite
        before, after, step = shares[:-1], shares[1:], apart / sketch.finite
        place = np.nan_to_num((mean - low) / (high - low), nan=0.5)
        # Evenly over the half that the mean lies in, or over both, so much in each that the mean is right.
        knot = low + (high - low) * np.where(place < 0.25, 2 * place, np.where(place > 0.75, 2 * place - 1, 0.5))
        first = np.clip(1.5 - 2 * place, 0, 1)
        base, top = before + step, after - step
        return cls(
            least, low, np.clip(knot, low, high), high, greatest, before, base, base + first * (top - base), top, after
        )

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """The values at points between two knots, and the slopes there; a column of ``x`` is of one bin."""
        import numpy as np

        left, right = (x > self.low) & (x < self.knot), (x > self.knot) & (x < self.high)
        rise = np.where(left, self.inner - self.base, np.where(right, self.top - self.inner, 0.0))
        run = np.where(left, self.knot - self.low, np.where(right, self.high - self.knot, 1.0))
        slope = rise / run
        level = np.select(
            [x <= self.least, x <= self.low, left, right, x <= self.greatest],
            [
                self.before,
                self.base,
                self.base + slope * (x - self.low),
                self.inner + slope * (x - self.knot),
                self.top,
            ],
            self.after,
        )
        return level, slope


def _area(edges: Floats, f: _Lines, g: _Lines) -> Any:
    """∫ |F - G| over all bins: between two knots of either, the difference is a line."""
    import numpy as np

    inner = [part for lines in (f, g) for part in lines[:5]]
    knots = np.sort(np.stack([edges[:-1], *inner, edges[1:]]), axis=0)
    a, b = knots[:-1], knots[1:]
    width, middle = b - a, a / 2 + b / 2
    (at_f, slope_f), (at_g, slope_g) = f.at(middle), g.at(middle)
    size, half = np.abs(at_f - at_g), np.abs(slope_f - slope_g) * width / 2
    # A line from size - half to size + half; where it crosses zero, two triangles.
    line = np.where(half > size, (size**2 + half**2) / (2 * np.where(half > 0, half, 1.0)), size)
    return np.where(width > 0, width * line, 0.0).sum(axis=0).sum()


def _missing(reference: NumericSketch, current: NumericSketch) -> str:
    for sketch, where in ((reference, "the reference"), (current, "the current rows")):
        infinite = sketch.negative_infinities + sketch.positive_infinities
        if infinite:
            return f"{infinite:,} values of {where} are infinite: there is no mean"
        if not sketch.finite:
            return f"{where} hold no numbers" if where.endswith("s") else f"{where} holds no numbers"
        if without_mean(sketch):
            return f"the tails of {where} are too heavy for a mean to exist (tail index at most 1)"
    if not math.isfinite(reference.m2):
        return "the reference's deviation is too large for double precision arithmetic"
    return ""
