"""Critical values against simulation, and the false discovery rate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tidemill.drift.critical import (
    Sizes,
    critical_value,
    significant,
)

N, M, REPEATS = 3000, 1000, 2000


@pytest.fixture(scope="module")
def shares() -> tuple[Any, Any, Any]:
    """Two samples' shares of the same ten categories, many times over, and the true shares."""
    random = np.random.default_rng(4)
    truth = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.01])
    return random.multinomial(N, truth, REPEATS) / N, random.multinomial(M, truth, REPEATS) / M, truth


def _psi(p: Any, q: Any) -> Any:
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return ((p - q) * np.log(p / q)).sum(axis=1)


def _js(p: Any, q: Any) -> Any:
    from scipy.spatial.distance import jensenshannon

    return np.array([jensenshannon(a, b, base=2) for a, b in zip(p, q, strict=True)])


def _hellinger(p: Any, q: Any) -> Any:
    return np.sqrt(1 - np.sqrt(p * q).sum(axis=1).clip(max=1))


@pytest.mark.parametrize(("name", "distance"), [("psi", _psi), ("js", _js), ("hellinger", _hellinger)])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_chance_exceeds_a_critical_value_as_often_as_it_says(
    name: str, distance: Any, alpha: float, shares: Any
) -> None:
    p, q, truth = shares
    bound = critical_value(name, Sizes(N, M, len(truth)), alpha)
    often = (distance(p, q) >= bound).mean()
    assert abs(often - alpha) < 4 * math.sqrt(alpha * (1 - alpha) / REPEATS)


def test_chance_exceeds_that_of_the_largest_difference_no_more_often(shares: Any) -> None:
    p, q, truth = shares
    bound = critical_value("linf", Sizes(N, M, len(truth)), 0.05)
    assert 0.001 < (np.abs(p - q).max(axis=1) >= bound).mean() <= 0.06


@pytest.mark.parametrize("kind", ["normal", "exponential", "uniform", "two values"])
def test_chance_exceeds_that_of_wasserstein_no_more_often(kind: str) -> None:
    draw: dict[str, Any] = {
        "normal": lambda r, n: r.normal(size=n),
        "exponential": lambda r, n: r.exponential(size=n),
        "uniform": lambda r, n: r.uniform(size=n),
        "two values": lambda r, n: r.choice([0.0, 1.0], p=[0.9, 0.1], size=n),
    }
    random, n, m = np.random.default_rng(5), 600, 400
    big = np.sort(draw[kind](random, 200_000))
    steps = np.arange(1, len(big)) / len(big)
    spread = float((np.sqrt(steps * (1 - steps)) * np.diff(big)).sum() / big.std())
    bound = critical_value("wasserstein", Sizes(n, m, 10, spread=spread), 0.05)
    assert bound is not None
    found = [stats.wasserstein_distance(draw[kind](random, n), draw[kind](random, m)) / big.std() for _ in range(1000)]
    assert np.mean(np.array(found) >= bound) <= 0.05
    assert bound < 3 * float(np.median(found)) + 0.1  # an upper bound, but of some use


def test_that_of_ks_is_where_the_test_has_that_p_value() -> None:
    from tidemill.drift.numeric_distances import ks_p_value

    bound = critical_value("ks", Sizes(4000, 5000, 10), 0.05)
    assert bound is not None
    assert ks_p_value(bound, 4000, 5000) == pytest.approx(0.05)
    fewer = critical_value("ks", Sizes(4000, 5000, 10, values=(40, 5000)), 0.05)
    assert fewer is not None
    assert ks_p_value(fewer, 40, 5000) == pytest.approx(0.05)


def test_false_discovery_rate_is_scipys() -> None:
    random = np.random.default_rng(8)
    p = np.concatenate([random.uniform(size=30), random.uniform(0, 0.01, size=6)])
    expected = stats.false_discovery_control(p) <= 0.05
    assert list(significant({str(i): float(x) for i, x in enumerate(p)}, 0.05).values()) == list(expected)


def test_untested_columns_do_not_count() -> None:
    assert significant({"a": 0.04, "b": None, "c": None}, 0.05) == {"a": True, "b": False, "c": False}
    assert significant({}, 0.05) == {}


@pytest.mark.parametrize("distance", ["psi", "js", "hellinger", "linf", "chi2", "ks", "wasserstein"])
def test_more_rows_leave_less_to_chance_and_no_rows_nothing_to_say(distance: str) -> None:
    values = [critical_value(distance, Sizes(n, n, 11, spread=1.8), 0.05) for n in (100, 10_000, 1_000_000)]
    known = [value for value in values if value is not None]
    assert len(known) == 3
    assert known == sorted(known, reverse=True)
    assert critical_value(distance, Sizes(0, 10, 11, spread=1.8), 0.05) is None


def test_what_is_not_known_or_not_sensible() -> None:
    assert critical_value("wasserstein", Sizes(100, 100, 11), 0.05) is None
    assert critical_value("psi", Sizes(100, 100, 1), 0.05) == 0
    with pytest.raises(ValueError, match="unknown distance"):
        critical_value("cosine", Sizes(1, 1, 1), 0.05)
    with pytest.raises(ValueError, match="alpha"):
        critical_value("psi", Sizes(1, 1, 1), 0)
