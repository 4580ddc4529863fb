"""Critical values by dealing out, where bins hold too few rows for approximations."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from tidemill.drift.critical import Sizes, critical_value
from tidemill.drift.decide import Rules, decide
from tidemill.drift.distances import hellinger, jensen_shannon, pearson, psi
from tidemill.drift.permuted import is_sparse, permuted_critical
from tidemill.drift.summarise import summarise_table

DISTANCES = {"psi": psi, "js": jensen_shannon, "hellinger": hellinger, "chi2": pearson}
TRUTH = (1 / np.arange(1, 51)) / (1 / np.arange(1, 51)).sum()


@pytest.mark.parametrize("name", DISTANCES)
def test_chance_exceeds_it_as_often_as_it_says_where_the_approximation_fails(name: str) -> None:
    random, n = np.random.default_rng(12), 200
    exact = approximate = 0
    for _ in range(150):
        before, now = random.multinomial(n, TRUTH, 2).astype(float)
        found = DISTANCES[name](before / n, now / n)
        filled = int(((before > 0) | (now > 0)).sum())
        approximate += found > (critical_value(name, Sizes(n, n, filled), 0.05) or 0)
        exact += found > (permuted_critical(name, before, now, 0.05) or 0)
    assert exact / 150 <= 0.12
    assert approximate / 150 > exact / 150 + 0.05


def test_it_is_the_same_for_the_same_rows_and_the_approximation_where_there_are_many() -> None:
    before, now = np.array([3000.0, 2000, 1000, 0]), np.array([3050.0, 1950, 1000, 0])
    found = permuted_critical("psi", before, now, 0.05)
    assert found == permuted_critical("psi", before, now, 0.05)
    assert found == pytest.approx(critical_value("psi", Sizes(6000, 6000, 3), 0.05), rel=0.35)


def test_what_cannot_be_dealt_out() -> None:
    rows = np.array([5.0, 5.0])
    assert permuted_critical("linf", rows, rows, 0.05) is None
    assert permuted_critical("psi", rows * 0, rows, 0.05) is None
    assert permuted_critical("psi", rows * 1e9, rows, 0.05) is None
    assert permuted_critical("psi", rows, rows, 1e-9) == math.inf


def test_few_rows_in_a_bin_make_it_sparse() -> None:
    assert is_sparse(np.array([100.0, 4]), np.array([100.0, 3]))
    assert not is_sparse(np.array([100.0, 6, 0]), np.array([100.0, 5, 0]))
    assert is_sparse(np.array([1e6, 1000]), np.array([100.0, 0]))


def test_rare_categories_that_only_one_side_has_are_no_change() -> None:
    random, seen = np.random.default_rng(13), 0
    truth = 1 / np.arange(1, 3001)
    for _ in range(20):
        before, now = (random.choice(3000, size=5000, p=truth / truth.sum()).astype(str) for _ in range(2))
        reference = summarise_table(pl.DataFrame({"c": before}))
        [column] = decide(reference, summarise_table(pl.DataFrame({"c": now}), reference=reference)).columns
        seen += column.significant
    assert seen <= 4


def test_a_small_change_of_a_column_of_rare_categories_is_significant_and_no_drift() -> None:
    random = np.random.default_rng(14)
    before, now = (
        np.where(random.uniform(size=2000) < p, 0, random.integers(1, 600, 2000)).astype(str) for p in (0.5, 0.56)
    )
    reference = summarise_table(pl.DataFrame({"c": before}))
    current = summarise_table(pl.DataFrame({"c": now}), reference=reference)
    [found] = decide(reference, current).columns
    asymptotic = critical_value("psi", Sizes(2000, 2000, 580), 0.05)
    assert asymptotic is not None
    assert found.psi is not None
    assert found.psi > asymptotic > 0.2
    assert (found.significant, found.drifted) == (True, False)
    assert "chance alone gives psi up to" in found.note
    everything = summarise_table(pl.DataFrame({"c": np.where(np.arange(2000) % 2 == 0, "0", now)}), reference=reference)
    assert decide(reference, everything, Rules()).drifted
