"""Distances from sketches are those of the raw rows, computed by scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tests.drift.cases import NUMBERS, N
from tidemill.drift.distances import Distances, distances
from tidemill.drift.sketch import NumericSketch, Sketch, merge
from tidemill.drift.summarise import summarise_table

Values = NDArray[np.floating]
TOO_FINE = ("huge numbers", "tiny numbers", "denormal numbers")
"""Cases that 32-bit floats cannot hold."""


def sketches(reference: Values, current: Values) -> tuple[Sketch, Sketch]:
    before = summarise_table(pa.table({"x": reference}))
    return before, summarise_table(pa.table({"x": current}), reference=before)


def between(reference: Values, current: Values) -> Distances:
    before, now = sketches(reference, current)
    return distances(before.columns["x"], now.columns["x"])


def shares(reference: Values, current: Values) -> tuple[Values, Values]:
    """Shares of the bins that the reference's deciles make, and of nulls, as docs/drift.md defines them."""
    there = np.sort(reference[np.isfinite(reference)])
    deciles = np.unique([there[(len(there) - 1) * i // 10] for i in range(1, 10)])
    if there[0] == there[-1]:
        deciles = np.array([np.nextafter(there[0], -np.inf), there[0]])
    found = []
    for values in (reference, current):
        bins = np.searchsorted(deciles, values[~np.isnan(values)], side="left")
        counts = np.append(np.bincount(bins, minlength=len(deciles) + 1), np.isnan(values).sum())
        found.append(counts / len(values))
    return found[0], found[1]


def check(reference: Values, current: Values, found: Distances) -> None:
    reference, current = reference.astype(np.float64), current.astype(np.float64)
    q, p = shares(reference, current)
    assert found.js == pytest.approx(jensenshannon(p, q, base=2), abs=0.01)
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert found.psi == pytest.approx(np.sum((p - q) * np.log(p / q)), abs=1e-9)
    assert found.chi2 == pytest.approx(np.sum((p - q) ** 2 / q), abs=1e-9)
    assert found.hellinger == pytest.approx(math.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2), abs=0.002)
    assert found.linf == pytest.approx(np.max(np.abs(p - q)), abs=1e-9)
    a, b = reference[~np.isnan(reference)], current[~np.isnan(current)]
    assert found.ks == pytest.approx(stats.ks_2samp(a, b).statistic, abs=0.005)
    deviation = a.std() if np.isfinite(a).all() else 0.0
    if deviation > 0 and np.isfinite(b).all():
        expected = stats.wasserstein_distance(a, b) / deviation
        assert found.wasserstein == pytest.approx(expected, abs=max(0.02, 0.05 * expected))
    else:
        assert found.wasserstein is None
        assert found.notes["wasserstein"]


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers(name: str) -> None:
    reference, current = NUMBERS[name]
    check(reference, current, between(reference, current))


@pytest.mark.parametrize("name", [name for name in NUMBERS if not name.endswith(TOO_FINE)])
def test_numbers_in_single_precision(name: str) -> None:
    reference, current = (values.astype(np.float32) for values in NUMBERS[name])
    check(reference, current, between(reference, current))


@pytest.mark.parametrize("name", ["normal, one deviation", "log-normal, wide", "half zeros", "many integers"])
def test_with_nulls_and_nans(name: str) -> None:
    reference, current = (values.copy() for values in NUMBERS[name])
    reference[::50], current[::7] = np.nan, np.nan
    missing = pa.array(current, mask=np.arange(N) % 14 == 0)
    before = summarise_table(pa.table({"x": reference}))
    now = summarise_table(pa.table({"x": missing}), reference=before)
    assert now.columns["x"].nulls == np.isnan(current).sum()
    check(reference, current, distances(before.columns["x"], now.columns["x"]))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_sketch_that_was_stored_gives_the_same(name: str) -> None:
    before, now = sketches(*NUMBERS[name])
    stored = [Sketch.from_bytes(sketch.to_bytes()).columns["x"] for sketch in (before, now)]
    assert distances(*stored) == distances(before.columns["x"], now.columns["x"])


@pytest.mark.parametrize("name", NUMBERS)
def test_parts_that_are_merged_give_the_same(name: str) -> None:
    reference, current = NUMBERS[name]
    before, whole = sketches(reference, current)
    parts = [summarise_table(pa.table({"x": part}), reference=before) for part in np.array_split(current, 7)]
    one, merged = whole.columns["x"], merge([Sketch.from_bytes(part.to_bytes()) for part in parts]).columns["x"]
    assert isinstance(one, NumericSketch)
    assert isinstance(merged, NumericSketch)
    assert merged.counts.tolist() == one.counts.tolist()
    assert (merged.minimum, merged.maximum, merged.octaves) == (one.minimum, one.maximum, one.octaves)
    assert merged.error == 0
    found, expected = distances(before.columns["x"], merged), distances(before.columns["x"], one)
    assert (found.psi, found.js, found.ks, found.p_value) == (expected.psi, expected.js, expected.ks, expected.p_value)
    if expected.wasserstein is not None:
        assert found.wasserstein == pytest.approx(expected.wasserstein, abs=1e-7)


def test_infinities_are_values_of_ks_and_leave_no_mean() -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=N), rng.normal(size=N)
    reference[:200], current[:1500], current[1500:1600] = np.inf, np.inf, -np.inf
    found = between(reference, current)
    check(reference, current, found)
    assert found.ks == pytest.approx(stats.ks_2samp(reference, current).statistic, abs=0.005)
    assert "infinite" in found.notes["wasserstein"]


@pytest.mark.parametrize("n", [3_000, 20_000, 300_000])
def test_a_cauchy_distribution_has_no_wasserstein_distance(n: int) -> None:
    rng = np.random.default_rng(n)
    cauchy, normal = rng.standard_cauchy(n), rng.normal(size=n)
    for pair in ((cauchy, rng.standard_cauchy(n)), (cauchy, normal), (normal, cauchy), (cauchy + 1000, cauchy + 1000)):
        found = between(*pair)
        assert found.wasserstein is None
        assert "no" in found.notes["wasserstein"] or "too heavy" in found.notes["wasserstein"]
        assert found.ks == pytest.approx(stats.ks_2samp(*pair).statistic, abs=0.005)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.normal(size=n),
        lambda rng, n: rng.standard_t(2, n),
        lambda rng, n: rng.lognormal(size=n),
        lambda rng, n: rng.exponential(size=n),
        lambda rng, n: rng.pareto(2, n),
        lambda rng, n: np.append(rng.normal(size=n - 3), [1e9, 1e6, -1e12]),
        lambda rng, n: np.where(rng.random(n) < 0.005, 1e4, 1) * rng.normal(size=n),
        lambda rng, n: np.where(rng.random(n) < 0.95, 0.0, rng.lognormal(size=n)),
    ],
)
@pytest.mark.parametrize("n", [10_000, 100_000])
def test_other_tails_have_one(n: int, draw: object) -> None:
    rng = np.random.default_rng(5)
    assert callable(draw)
    reference, current = draw(rng, n), draw(rng, n)
    expected = stats.wasserstein_distance(reference, current) / reference.std()
    assert between(reference, current).wasserstein == pytest.approx(expected, abs=max(0.02, 0.05 * expected))


def test_all_null_on_one_side_is_a_distance_on_both_none() -> None:
    rng = np.random.default_rng(0)
    values, nothing = rng.normal(size=100), np.full(100, np.nan)
    for pair in ((values, nothing), (nothing, values)):
        found = between(*pair)
        assert (found.ks, found.wasserstein) == (None, None)
        assert found.js == pytest.approx(1.0, abs=0.01)
        assert "nulls only" in found.notes["ks"]
        assert found.p_value is not None
        assert found.p_value < 1e-9
    found = between(nothing, nothing)
    assert (found.psi, found.js) == (0, 0)


def test_without_rows_there_is_no_distance() -> None:
    nothing, values = np.zeros(0), np.ones(5)
    assert between(values, nothing).psi is None
    assert between(values, nothing).notes["psi"] == "there are no rows to compare"
    assert between(nothing, values).notes["js"] == "the reference has no rows"


def test_the_p_value_is_that_of_scipy() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=4000), rng.normal(0.06, 1, 3000)
    expected = stats.ks_2samp(a, b, method="asymp").pvalue
    found = between(a, b)
    assert found.test == "ks"
    assert found.p_value == pytest.approx(expected, rel=0.5)


def test_a_null_rate_that_jumps_is_significant_where_the_values_are_the_same() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=4000), rng.normal(size=4000)
    b[:400] = np.nan
    p_value = between(a, b).p_value
    assert p_value is not None
    assert p_value < 1e-9


def test_integers_beyond_double_precision_are_compared_as_doubles() -> None:
    big = np.arange(1000, dtype=np.int64) + 2**60
    found = between(big, big[::-1])
    assert (found.psi, found.ks) == (0, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint64", "float16", "float32", "float64"])
def test_every_type_of_number(dtype: str) -> None:
    rng = np.random.default_rng(0)
    reference, current = rng.integers(0, 100, 2000), rng.integers(10, 110, 2000)
    check(reference, current, between(reference.astype(dtype), current.astype(dtype)))


def test_decimals() -> None:
    values = pa.array(["1.10", "2.25", None, "3.50"]).cast(pa.decimal128(5, 2))
    column = summarise_table(pa.table({"x": values})).columns["x"]
    assert isinstance(column, NumericSketch)
    assert (column.minimum, column.maximum, column.nulls) == (1.1, 3.5, 1)
