"""Whether two samples' rows by bin are of one distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shares = NDArray[np.float64]

MIN_EXPECTED = 5.0
"""Bins of which the smaller sample expects fewer rows are pooled: below, χ² is no approximation of the statistic's
distribution (W. G. Cochran, "Some methods for strengthening the common χ² tests", Biometrics 10, 1954)."""


def two_sample(before: Shares, now: Shares) -> float | None:
    """The p-value of "the rows by bin are of one distribution"; None if there is one bin only.

    Bins of which the smaller sample expects fewer than ``MIN_EXPECTED`` rows are pooled; the others are compared by
    the χ² test of homogeneity, written for two samples as in Press et al., "Numerical Recipes", §14.3. If even the
    pool is that small, Fisher's exact test compares it with all others, and the smaller p-value counts twice.
    """
    import numpy as np

    n, m = float(before.sum()), float(now.sum())
    if not n or not m:
        return None
    rare = (before + now) * min(n, m) / (n + m) < MIN_EXPECTED
    a, b = float(before[rare].sum()), float(now[rare].sum())
    if (a + b) * min(n, m) / (n + m) >= MIN_EXPECTED:
        return _homogeneity(np.append(before[~rare], a), np.append(now[~rare], b))
    common = _homogeneity(before[~rare], now[~rare])
    if not a + b or rare.all():
        return common
    exact = fisher(a, n, b, m)
    return exact if common is None else min(1.0, 2 * min(common, exact))


def _homogeneity(before: Shares, now: Shares) -> float | None:
    """The χ² test of bins that all have rows; None if there is but one, or a side has none."""
    import numpy as np
    from scipy.special import chdtrc

    n, m = float(before.sum()), float(now.sum())
    if len(before) < 2 or not n or not m:
        return None
    statistic = float(np.sum((math.sqrt(m / n) * before - math.sqrt(n / m) * now) ** 2 / (before + now)))
    return float(chdtrc(len(before) - 1, statistic))


def fisher(a: float, n: float, b: float, m: float) -> float:
    """The p-value of Fisher's exact test that a of n rows and b of m are of one share; two-sided as is customary, by
    the sum over all tables that are not likelier than this one.

    R. A. Fisher, "On the interpretation of χ² from contingency tables", Journal of the Royal Statistical Society 85,
    1922.
    """
    import numpy as np
    from scipy.special import gammaln

    def log_choose(of: float, k: Shares) -> Shares:
        found: Shares = gammaln(of + 1) - gammaln(k + 1) - gammaln(of - k + 1)
        return found

    possible = np.arange(max(0.0, a + b - m), min(n, a + b) + 1)
    likely = log_choose(n, possible) + log_choose(m, a + b - possible)
    weights = np.exp(likely - likely.max())
    at_hand = weights[int(a - possible[0])]
    return float(min(1.0, weights[weights <= at_hand * (1 + 1e-7)].sum() / weights.sum()))
