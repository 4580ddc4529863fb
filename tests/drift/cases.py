"""Pairs of columns, reference and current, on which sketches are compared with the rows: everyday and adversarial."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating]
N = 20_000


def _pair(seed: int, reference: Callable[[np.random.Generator], Values], current: Callable[..., Values]) -> tuple:
    rng = np.random.default_rng(seed)
    return reference(rng), current(rng)


def _mixture(rng: np.random.Generator, shift: float = 0.0) -> Values:
    return np.concatenate([rng.normal(size=N // 2), rng.normal(loc=100 + shift, scale=0.01, size=N // 2)])


def _zeros(rng: np.random.Generator, share: float) -> Values:
    return np.where(rng.random(N) < share, 0.0, rng.lognormal(size=N))


def _sawtooth(rng: np.random.Generator, shift: float) -> Values:
    return rng.integers(0, 1000, N) / 100 + shift


NUMBERS: dict[str, tuple[Values, Values]] = {
    name: _pair(seed, reference, current)
    for seed, (name, reference, current) in enumerate(
        [
            ("normal, the same", lambda r: r.normal(size=N), lambda r: r.normal(size=N)),
            ("normal, a tenth of a deviation", lambda r: r.normal(size=N), lambda r: r.normal(0.1, size=N)),
            ("normal, one deviation", lambda r: r.normal(size=N), lambda r: r.normal(1, size=N)),
            ("normal, out of range", lambda r: r.normal(size=N), lambda r: r.normal(50, 3, size=N)),
            ("normal, below the range", lambda r: r.normal(size=N), lambda r: r.normal(-50, 3, size=N)),
            ("normal, narrower", lambda r: r.normal(size=N), lambda r: r.normal(0, 0.5, size=N)),
            ("normal, much wider", lambda r: r.normal(size=N), lambda r: r.normal(0, 30, size=N)),
            ("normal, far from zero", lambda r: 1e9 + r.normal(size=N), lambda r: 1e9 + r.normal(0.3, size=N)),
            ("normal, tiny numbers", lambda r: 1e-200 * r.normal(size=N), lambda r: 1e-200 * r.normal(1, size=N)),
            ("uniform against normal", lambda r: r.random(N), lambda r: r.normal(size=N)),
            ("log-normal", lambda r: r.lognormal(size=N), lambda r: r.lognormal(0.1, 1.1, size=N)),
            ("log-normal, wide", lambda r: r.lognormal(0, 1.5, size=N), lambda r: r.lognormal(0.3, 1.5, size=N)),
            ("Student's t, 3", lambda r: r.standard_t(3, N), lambda r: r.standard_t(3, N)),
            ("Student's t, 2, shifted", lambda r: r.standard_t(2, N), lambda r: r.standard_t(2, N) + 0.5),
            ("Pareto, 2.5", lambda r: r.pareto(2.5, N), lambda r: 1.2 * r.pareto(2.5, N)),
            ("exponential", lambda r: r.exponential(size=N), lambda r: r.exponential(1.3, size=N)),
            ("two clusters", _mixture, lambda r: _mixture(r, 0.005)),
            ("two clusters, other weights", _mixture, lambda r: _mixture(r)[N // 4 :]),
            ("half zeros", lambda r: _zeros(r, 0.5), lambda r: _zeros(r, 0.6)),
            ("nearly all zeros", lambda r: _zeros(r, 0.99), lambda r: _zeros(r, 0.97)),
            ("two values", lambda r: r.integers(0, 2, N) * 1.0, lambda r: (r.random(N) < 0.6) * 1.0),
            ("small integers", lambda r: r.poisson(3, N) * 1.0, lambda r: r.poisson(4, N) * 1.0),
            ("many integers", lambda r: r.poisson(3000, N) * 1.0, lambda r: r.poisson(3010, N) * 1.0),
            ("integers, 0 to 999", lambda r: r.integers(0, 1000, N) * 1.0, lambda r: r.integers(50, 1050, N) * 1.0),
            ("cents", lambda r: _sawtooth(r, 0), lambda r: _sawtooth(r, 0.005)),
            ("constant", lambda r: np.full(N, 7.0), lambda r: np.full(N, 7.0)),
            ("constant, then another", lambda r: np.full(N, 7.0), lambda r: np.full(N, 7.5)),
            ("constant, then spread", lambda r: np.full(N, 7.0), lambda r: r.normal(7, 1, N)),
            ("spread, then constant", lambda r: r.normal(7, 1, N), lambda r: np.full(N, 7.0)),
            ("one row", lambda r: np.array([1.0]), lambda r: np.array([2.0])),
            ("one row against many", lambda r: r.normal(size=N), lambda r: np.array([0.3])),
            ("few rows", lambda r: r.normal(size=7), lambda r: r.normal(size=5)),
            ("251 rows", lambda r: r.normal(size=251), lambda r: r.normal(0.2, size=300)),
            ("1,500 rows", lambda r: r.normal(size=1500), lambda r: r.normal(0.2, size=900)),
            ("outliers", lambda r: np.append(r.normal(size=N), [1e6, -1e5]), lambda r: r.normal(0.2, size=N)),
            ("outliers now", lambda r: r.normal(size=N), lambda r: np.append(r.normal(size=N), [1e4])),
            (
                "sorted steps",
                lambda r: np.repeat(np.arange(40.0), 500),
                lambda r: np.repeat(np.arange(40.0), 500) + 0.5,
            ),
            ("crowded beside an edge", lambda r: 1 - 1e-9 * r.exponential(size=N), lambda r: 1 - 2e-9 * r.random(N)),
            ("huge numbers", lambda r: 1e100 * r.normal(size=N), lambda r: 1e100 * r.normal(0.5, size=N)),
            ("denormal numbers", lambda r: 5e-324 * r.integers(0, 9, N), lambda r: 5e-324 * r.integers(2, 9, N)),
            (
                "negative zeros",
                lambda r: np.where(r.random(N) < 0.5, -0.0, 1.0),
                lambda r: np.where(r.random(N) < 0.5, 0.0, 1.0),
            ),
        ]
    )
}
