"""Distances of numbers that look at more than the deciles: Kolmogorov-Smirnov and Wasserstein, from bins with sums.

Both sketches have the same edges. Between two of them only the number and the sum of the values are known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tidemill.drift.tails import without_mean

if TYPE_CHECKING:
    from tidemill.drift.sketch import NumericSketch


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

    Vallender's formula (Theory of Probability and its Applications 18, 1974). Over a bin (a, b] integration by parts
    gives ∫ F dx = (b - a) F(b) - Σ (x - a) / n, so that the signed integral of F - G follows exactly from counts and
    sums. Its amount is the integral of |F - G| wherever F - G keeps its sign within the bin; where it has opposite
    signs at the two edges, the integral of the straight line between them is taken if that is more.
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
    with np.errstate(over="ignore", invalid="ignore"):
        edges = np.clip(np.concatenate([[low], reference.edges, [high]]), low, high)
        start, width = edges[:-1], np.diff(edges)
        n, m = reference.finite, current.finite
        f = np.concatenate([[0], np.cumsum(reference.counts)]) / n
        g = np.concatenate([[0], np.cumsum(current.counts)]) / m
        above = (reference.sums - start * reference.counts) / n - (current.sums - start * current.counts) / m
        difference = f - g
        signed = np.abs(width * difference[1:] - above)
        left, right = difference[:-1], difference[1:]
        crossing = left * right < 0
        spread = np.abs(left) + np.abs(right)
        line = np.where(crossing, width * (left**2 + right**2) / (2 * np.where(crossing, spread, 1.0)), 0.0)
        total = float(np.sum(np.maximum(signed, line))) / deviation
    if not math.isfinite(total):
        return None, "the values are too large for double precision arithmetic"
    return total, ""


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
