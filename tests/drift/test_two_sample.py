"""The test of two samples' rows by bin, against scipy, and where few rows are expected against simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tidemill.drift.two_sample import fisher, two_sample


def p(before: Any, now: Any) -> float | None:
    return two_sample(np.asarray(before, dtype=np.float64), np.asarray(now, dtype=np.float64))


def test_it_is_scipys_and_pools_the_rare() -> None:
    a, b = [300, 200, 50], [310, 180, 70]
    assert p(a, b) == pytest.approx(stats.chi2_contingency([a, b], correction=False).pvalue)
    assert p([*a, 0], [*b, 0]) == p(a, b)
    pooled = stats.chi2_contingency([[*a, 10], [*b, 10]], correction=False).pvalue
    assert p([*a, *[1] * 10], [*b, *[1] * 10]) == pytest.approx(pooled)


def test_a_few_rare_rows_are_compared_exactly() -> None:
    assert p([1000, 0], [994, 6]) == pytest.approx(stats.fisher_exact([[0, 1000], [6, 994]]).pvalue)
    common = stats.chi2_contingency([[500, 500], [480, 514]], correction=False).pvalue
    assert p([500, 500, 0], [480, 514, 6]) == pytest.approx(2 * stats.fisher_exact([[0, 1000], [6, 994]]).pvalue)
    assert common > stats.fisher_exact([[0, 1000], [6, 994]]).pvalue
    # One row of a category that is one in ten thousand of a large reference is no news.
    found = p([999_900, 100], [999, 1])
    assert found is not None
    assert found > 0.05


@pytest.mark.parametrize("table", [(0, 10, 0, 10), (3, 3, 5, 6), (1, 1_000_000, 3, 900), (12, 90, 30, 80)])
def test_fisher_is_scipys(table: tuple[int, int, int, int]) -> None:
    a, n, b, m = table
    assert fisher(a, n, b, m) == pytest.approx(stats.fisher_exact([[a, n - a], [b, m - b]]).pvalue, rel=1e-6)


def test_there_is_nothing_to_test() -> None:
    assert p([5, 0], [7, 0]) is None
    assert p([500, 0], [700, 0]) is None
    assert p([0, 0], [7, 1]) is None
    assert p([0, 1000], [1000, 0]) == 0.0


@pytest.mark.parametrize(("shares", "n", "m"), [("even", 2000, 2000), ("zipf", 5000, 300), ("rare", 100_000, 500)])
def test_without_a_change_it_rarely_says_that_there_is_one(shares: str, n: int, m: int) -> None:
    truth = {
        "even": np.full(1000, 1e-3),
        "zipf": 1 / np.arange(1, 400),
        "rare": np.array([0.7, 0.2995, 0.0003, 0.0002]),
    }[shares]
    truth = truth / truth.sum()
    random = np.random.default_rng(7)
    found = [p(random.multinomial(n, truth), random.multinomial(m, truth)) for _ in range(400)]
    tested = np.array([1.0 if x is None else x for x in found])
    assert (tested <= 0.05).mean() <= 0.09
    assert (tested <= 0.005).mean() <= 0.025
