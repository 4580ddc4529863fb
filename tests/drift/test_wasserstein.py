"""Wasserstein's distance where later rows lie in the wide bins between what the reference has, against scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats

from tidemill.drift.distances import distances
from tidemill.drift.sketch import Sketch, merge
from tidemill.drift.summarise import summarise_table

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def table(values: Values) -> pa.Table:
    return pa.table({"x": values})


def both(reference: Values, current: Values) -> tuple[float, float]:
    """The distance by sketches, of which the reference's was stored, and by scipy."""
    stored = Sketch.from_bytes(summarise_table(table(reference), threads=1).to_bytes())
    now = summarise_table(table(current), reference=stored, threads=1)
    found = distances(stored.columns["x"], now.columns["x"])
    assert found.wasserstein is not None, found.notes
    return found.wasserstein, float(stats.wasserstein_distance(reference, current) / reference.std())


def close(found: float, direct: float) -> bool:
    return abs(found - direct) <= max(0.02, 0.05 * direct)


N = 10_000
REFERENCES: dict[str, Draw] = {
    "zeros and one far value": lambda r, n: np.append(np.zeros(n - 1), 1e9),
    "two far clusters": lambda r, n: np.where(r.random(n) < 0.5, r.normal(-1e6, 1, n), r.normal(1e6, 1, n)),
    "a flag": lambda r, n: r.integers(0, 2, n) * 1.0,
    "zero and a hundred": lambda r, n: 100.0 * r.integers(0, 2, n),
    "heavy tails": lambda r, n: r.standard_t(3, n),
    "skewed": lambda r, n: r.pareto(3, n) + 1,
    "three rows": lambda r, n: np.array([1.0, 1.0, 9.0]),
    "seven rows": lambda r, n: r.normal(size=7),
}
CURRENT: dict[str, Draw] = {
    "normal": lambda r, n: r.normal(size=n),
    "constant": lambda r, n: np.full(n, 5.0),
    "between and at the ends": lambda r, n: r.choice([0.0, 50.0, 100.0], p=[0.35, 0.3, 0.35], size=n),
    "exponential": lambda r, n: r.exponential(size=n),
    "counts": lambda r, n: r.poisson(3, n) * 1.0,
    "one outlier": lambda r, n: np.append(r.normal(size=n - 1), 1e6),
    "one row": lambda r, n: np.array([0.3]),
    "four rows": lambda r, n: np.array([-1.0, 0.2, 0.25, 7.0]),
}


@pytest.mark.parametrize("now", CURRENT)
@pytest.mark.parametrize("before", REFERENCES)
def test_it_is_scipys(before: str, now: str) -> None:
    random = np.random.default_rng(21)
    found, direct = both(REFERENCES[before](random, N), CURRENT[now](random, N))
    assert close(found, direct), (found, direct)


def test_it_is_scipys_on_few_rows() -> None:
    random = np.random.default_rng(22)
    draws: list[Draw] = [lambda r, n: r.normal(size=n), lambda r, n: r.integers(0, 4, n) * 1.0, CURRENT["exponential"]]
    for _ in range(60):
        first, second = (draws[i] for i in random.integers(0, len(draws), 2))
        reference, current = first(random, random.integers(2, 30)), second(random, random.integers(1, 30))
        if reference.std():
            found, direct = both(reference, current)
            assert close(found, direct), (reference, current, found, direct)


def test_parts_have_the_distance_of_the_whole() -> None:
    random = np.random.default_rng(23)
    reference = summarise_table(table(REFERENCES["two far clusters"](random, N)))
    rows = np.concatenate([CURRENT["normal"](random, N), [1e6, -1e6]])
    parts = [summarise_table(table(part), reference=reference) for part in np.array_split(rows, 7)]
    merged = merge([Sketch.from_bytes(part.to_bytes()) for part in parts])
    whole = summarise_table(table(rows), reference=reference)
    found = [distances(reference.columns["x"], sketch.columns["x"]).wasserstein for sketch in (merged, whole)]
    assert found[0] == pytest.approx(found[1])
