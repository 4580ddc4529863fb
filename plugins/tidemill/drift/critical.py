"""What chance alone does to a distance: critical values, and the false discovery rate over many columns.

All of it is for two independent samples, of n and m rows, of the same distribution.

*Distances of shares in B bins.* Every f-divergence D with f twice differentiable at 1 obeys, for n, m → ∞,
n·m / (n + m) · 2 D / f''(1) → χ² with B − 1 degrees of freedom (M. Salicrú, D. Morales, M. L. Menéndez, L. Pardo,
"On the applications of divergence type measures in testing statistical hypotheses", Journal of Multivariate Analysis
51, 1994; L. Pardo, "Statistical Inference Based on Divergence Measures", 2006). For the PSI, f''(1) = 2, so that its
critical value is χ²(B − 1, 1 − α) · (1/n + 1/m), as in B. Yurdakul and J. Naranjo, "Statistical properties of the
population stability index", Journal of Risk Model Validation 14 (4), 2020. For the Jensen–Shannon divergence in bits
f''(1) = 1 / (4 ln 2), for the squared Hellinger distance 1 − Σ √(p q) it is 1/4; both distances are the square roots.

*L∞*, the largest difference of a share: a difference of shares is normal with the variance π (1 − π) (1/n + 1/m), at
most a quarter of the latter, and the B of them are bounded at once by Bonferroni's inequality (L. A. Goodman,
"Simultaneous confidence intervals for contrasts among multinomial populations", Annals of Mathematical Statistics 35,
1964).

*Kolmogorov–Smirnov*: the distribution of √(n m / (n + m)) · D (N. Smirnov, "Table for estimating the goodness of fit
of empirical distributions", Annals of Mathematical Statistics 19, 1948); with ties it errs on the side of no change.

*Wasserstein*, the area between the distribution functions: √(n m / (n + m)) · W tends to the integral of |B(F(x))|, B
a Brownian bridge (E. del Barrio, E. Giné, C. Matrán, "Central limit theorems for the Wasserstein distance between the
empirical and the true distributions", Annals of Probability 27, 1999). Its mean is √(2/π) · ∫ √(F (1 − F)) dx. It is
the norm of a Gaussian process, whose weak variance, the largest variance of ∫ h B(F) dx over |h| ≤ 1, is that of X
itself, since a 1-Lipschitz function of X varies no more than X. So it exceeds its median by more than z · σ(X) with at
most the probability of a standard normal variable above z (C. Borell, "The Brunn–Minkowski inequality in Gauss space",
Inventiones Mathematicae 30, 1975), and the median is not above the mean (S. Kwapień, "A remark on the median and the
expectation of convex functions of Gaussian vectors", 1994): an upper bound of the critical value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """What the critical value of a distance depends on.

    ``n``, ``m``: rows of reference and current; ``values``: those of them that hold a number, if it is a column of
    numbers. ``bins``: those that either side fills. ``spread``: ∫ √(F (1 − F)) dx over the standard deviation, of the
    reference; ``None`` where it does not exist.
    """

    n: int
    m: int
    bins: int
    values: tuple[int, int] | None = None
    spread: float | None = None

    @property
    def noise(self) -> float:
        """1/n + 1/m of the rows."""
        return _noise(self.n, self.m)

    @property
    def noise_of_values(self) -> float:
        """1/n + 1/m of the rows that hold a number."""
        return _noise(*(self.values or (self.n, self.m)))


def _noise(n: int, m: int) -> float:
    return 1 / n + 1 / m if n and m else math.inf


def critical_value(distance: str, sizes: Sizes, alpha: float) -> float | None:
    """The distance that two samples of one distribution exceed with a probability of about ``alpha``, or less.

    0 where chance cannot move it (a single bin); ``None`` where the value is not known.

    Raises:
        ValueError: an unknown distance, or ``alpha`` outside of (0, 1).
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha:g}")
    if distance not in _CRITICAL:
        raise ValueError(f'unknown distance "{distance}"')
    if math.isinf(sizes.noise) or (distance in ("ks", "wasserstein") and math.isinf(sizes.noise_of_values)):
        return None
    return _CRITICAL[distance](sizes, alpha)


def _chi2(sizes: Sizes, alpha: float) -> float:
    """χ²(B − 1, 1 − α) · (1/n + 1/m): of any f-divergence with f''(1) = 2."""
    from scipy.special import chdtri

    return float(chdtri(sizes.bins - 1, alpha)) * sizes.noise if sizes.bins > 1 else 0.0


def _js(sizes: Sizes, alpha: float) -> float:
    return math.sqrt(_chi2(sizes, alpha) / (8 * math.log(2)))


def _hellinger(sizes: Sizes, alpha: float) -> float:
    return math.sqrt(_chi2(sizes, alpha) / 8)


def _linf(sizes: Sizes, alpha: float) -> float:
    if sizes.bins < 2:
        return 0.0
    return _normal_quantile(1 - alpha / (2 * sizes.bins)) * math.sqrt(sizes.noise / 4)


def _ks(sizes: Sizes, alpha: float) -> float:
    from scipy.special import kolmogi

    return min(1.0, float(kolmogi(alpha)) * math.sqrt(sizes.noise_of_values))


def _wasserstein(sizes: Sizes, alpha: float) -> float | None:
    if sizes.spread is None:
        return None
    return math.sqrt(sizes.noise_of_values) * (math.sqrt(2 / math.pi) * sizes.spread + _normal_quantile(1 - alpha))


_CRITICAL = {
    "psi": _chi2,
    "js": _js,
    "hellinger": _hellinger,
    "linf": _linf,
    "chi2": _chi2,
    "ks": _ks,
    "wasserstein": _wasserstein,
}


def _normal_quantile(probability: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(probability))


def significant(p_values: Mapping[str, float | None], alpha: float) -> dict[str, bool]:
    """Which of the p-values are discoveries when at most the share ``alpha`` of all discoveries may be false.

    Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B
    57, 1995. Without any change, the probability of any discovery at all is at most ``alpha``. Those that are
    ``None`` are not tested, and do not count.
    """
    known = sorted((p, name) for name, p in p_values.items() if p is not None)
    bound = -1.0
    for rank, (p, _) in enumerate(known, start=1):
        if p <= alpha * rank / len(known):
            bound = p
    return {name: p is not None and p <= bound for name, p in p_values.items()}
