"""The population stability index, on the bins of a reference."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.drift.distance import by_chance, distance, psi
from tidemill.drift.profile import profile_column


def between(reference: list[object] | pl.Series, current: list[object] | pl.Series) -> float:
    value = distance(profile_column(pl.Series(reference)), pl.Series(current)).value
    assert value is not None
    return value


def test_psi_by_hand() -> None:
    by_hand = (0.6 - 0.5) * math.log(0.6 / 0.5) + (0.4 - 0.5) * math.log(0.4 / 0.5)
    assert psi([0.5, 0.5], [0.6, 0.4]) == pytest.approx(by_hand)


def test_an_empty_bin_counts_as_epsilon() -> None:
    assert psi([1.0, 0.0], [0.9, 0.1]) == pytest.approx(-0.1 * math.log(0.9) + (0.1 - 1e-4) * math.log(0.1 / 1e-4))


def test_bins_must_be_the_same() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        psi([1.0], [0.5, 0.5])


SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=12).filter(lambda xs: sum(xs) > 0)


@given(SHARES, st.randoms(use_true_random=False))
def test_psi_is_never_negative_symmetric_and_zero_on_itself(shares: list[float], random: object) -> None:
    p = [x / sum(shares) for x in shares]
    q = sorted(p, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert psi(p, p) == 0
    assert psi(p, q) >= 0
    assert psi(p, q) == pytest.approx(psi(q, p))


def test_the_same_rows_are_at_distance_zero() -> None:
    values = pl.Series(np.random.default_rng(0).normal(size=500))
    assert between(values, values.shuffle(1)) == 0


def test_a_shift_of_one_deviation_is_far_and_more_is_farther() -> None:
    rng = np.random.default_rng(0)
    near, one, two = (pl.Series(rng.normal(loc=shift, size=5000)) for shift in (0, 1, 2))
    # The PSI of unit normals one deviation apart is 1 in the limit of fine bins; deciles catch most of it.
    assert between(near, one) == pytest.approx(1.0, abs=0.15)
    assert between(near, two) > 2 * between(near, one)


def test_without_a_shift_it_is_what_chance_gives() -> None:
    rng = np.random.default_rng(0)
    n, m = 400, 1000
    found = [between(pl.Series(rng.normal(size=m)), pl.Series(rng.normal(size=n))) for _ in range(200)]
    assert float(np.mean(found)) == pytest.approx(by_chance(10, n, m), rel=0.15)


def test_more_nulls_are_a_distance() -> None:
    assert between([1.0, 2.0, 3.0, 4.0], [1.0, None, 3.0, math.nan]) > 0.2
    assert between(["a", "b"], ["a", None]) > 0.2


def test_unseen_categories_are_a_distance_and_named() -> None:
    found = distance(profile_column(pl.Series(["a", "b"] * 50)), pl.Series(["a", "new"] * 50))
    assert found.value is not None
    assert found.value > 1
    assert "'new'" in found.note


def test_the_tail_of_many_categories_is_one_bin() -> None:
    ids = pl.Series([f"id{i}" for i in range(4000)])
    found = distance(profile_column(ids), pl.Series([f"id{i}" for i in range(5000, 9000)]))
    assert found.value is not None
    assert found.value < 0.2  # ids say nothing, and do not sound an alarm each month
    assert "4,000 categories" in found.note


def test_a_constant_that_becomes_another_is_far_either_way() -> None:
    assert between([5.0] * 10, [5.0] * 10) == 0
    assert between([5.0] * 10, [4.0] * 10) > 5
    assert between([5.0] * 10, [6.0] * 10) > 5


def test_infinities_are_counted_at_the_ends() -> None:
    numbers = [float(i) for i in range(100)]
    assert between(numbers, [*numbers, math.inf]) < 0.1
    assert between(numbers, [-math.inf] * 100) > 2
    assert between([math.inf] * 5, [-math.inf] * 5) > 5


def test_all_null_on_either_side() -> None:
    nothing = pl.Series([None] * 10, dtype=pl.Float64)
    untyped = pl.Series([None] * 10)
    assert between(nothing, nothing) == 0
    assert between(nothing, untyped) == 0
    assert between(untyped, nothing) == 0
    assert between(pl.Series(range(10)), untyped) > 5
    assert between(untyped, pl.Series(range(10))) > 5
    assert "nulls only" in distance(profile_column(nothing), nothing).note


def test_one_row_is_a_distance_too() -> None:
    assert between([1.0], [1.0]) == 0
    assert between(["a"], ["b"]) > 5


@pytest.mark.parametrize(
    ("reference", "current", "note"),
    [
        (pl.Series([1, 2]), pl.Series(["1", "2"]), "the type changed: Int64 in the reference, String now"),
        (pl.Series(["1"]), pl.Series([1]), "the type changed"),
        (pl.Series([1]), pl.Series([[1]]), "the type changed"),
        (pl.Series([datetime(2013, 1, 1, tzinfo=UTC)]), pl.Series([datetime(2014, 1, 1, tzinfo=UTC)]), "Datetime"),
        (pl.Series([1.0]), pl.Series([], dtype=pl.Float64), "no rows"),
        (pl.Series([], dtype=pl.Float64), pl.Series([1.0]), "the reference has no rows"),
        (pl.Series([], dtype=pl.String), pl.Series(["a"]), "the reference has no rows"),
    ],
)
def test_where_there_is_no_distance_the_note_says_why(reference: pl.Series, current: pl.Series, note: str) -> None:
    found = distance(profile_column(reference), current)
    assert found.value is None
    assert note in found.note


def test_a_narrower_type_of_number_is_the_same_column() -> None:
    assert between(pl.Series([1, 2, 3], dtype=pl.Int32), pl.Series([1.0, 2.0, 3.0])) == 0
    assert between(pl.Series(["a", "b"], dtype=pl.Categorical), pl.Series(["a", "b"])) == 0
