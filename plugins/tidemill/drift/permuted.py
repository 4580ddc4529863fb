"""What chance gives a distance where many bins hold but a few rows, and its approximations are wrong.

Whichever rows the two samples have together, without a change every way to deal them out is equally likely: so the
distances of random deals are the distribution of the distance (E. J. G. Pitman, "Significance tests which may be
applied to samples from any populations", Supplement to the Journal of the Royal Statistical Society 4, 1937).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tidemill.drift.two_sample import MIN_EXPECTED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Shares = NDArray[np.float64]

DEALS = 99
"""Of 99 deals and the one at hand, five are the largest at random with a probability of exactly 5 %."""
_MOST_ROWS = 1_000_000_000
"""NumPy deals out no more."""


def is_sparse(before: Shares, now: Shares) -> bool:
    """Whether the smaller sample expects too few rows in some bin for the approximations to hold."""
    both, n, m = before + now, float(before.sum()), float(now.sum())
    return bool(((both > 0) & (both * min(n, m) / max(1.0, n + m) < MIN_EXPECTED)).any())


def permuted_critical(distance: str, before: Shares, now: Shares, alpha: float) -> float | None:
    """The distance that random deals of the same rows exceed with the probability ``alpha`` at most.

    ``before`` and ``now`` are rows by bin. The same rows give the same value. ``None`` for a distance that bins do
    not define, and for too many rows to deal out.
    """
    import numpy as np

    from tidemill.drift.distances import hellinger, jensen_shannon, pearson, psi

    functions = {"psi": psi, "js": jensen_shannon, "hellinger": hellinger, "chi2": pearson}
    both = (before + now).astype(np.int64)
    n, m = int(before.sum()), int(now.sum())
    if distance not in functions or not n or not m or n + m >= _MOST_ROWS:
        return None
    both = both[both > 0]
    deals = min(999, max(DEALS, math.ceil(1 / alpha) - 1)) if alpha > 0 else 999
    random = np.random.default_rng(20261123)
    found = []
    for _ in range(deals):
        dealt = random.multivariate_hypergeometric(both, n, method="marginals")
        found.append(functions[distance](dealt / n, (both - dealt) / m))
    rank = math.ceil((deals + 1) * (1 - alpha))
    return math.inf if rank > deals else float(np.sort(found)[rank - 1])
