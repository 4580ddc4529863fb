"""The profile of a reference: bins, shares, bounds, JSON."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from tidemill.drift.profile import CATEGORIES, CATEGORY_CHARS, DriftError, Profile, profile, profile_column


def total(column: pl.Series) -> float:
    found = profile_column(column)
    return math.fsum(found.shares) + found.rest + found.nulls


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([float(i) for i in range(100)]),
        pl.Series([1.0, None, math.nan, math.inf, -math.inf, 2.0]),
        pl.Series([0] * 95 + [1, 2, 3, 4, 5]),
        pl.Series([None] * 4, dtype=pl.Float64),
        pl.Series([None] * 4),
        pl.Series(["a", "b", None, "a"]),
        pl.Series([True, False, None]),
        pl.Series([f"id{i}" for i in range(500)]),
        pl.Series(["x", "y"], dtype=pl.Categorical),
    ],
)
def test_the_shares_of_all_bins_and_nulls_add_up_to_one(column: pl.Series) -> None:
    assert total(column) == pytest.approx(1.0)


def test_deciles_of_a_uniform_column_hold_a_tenth_each() -> None:
    found = profile_column(pl.Series(range(1000)))
    assert len(found.edges) == 9
    assert found.shares == pytest.approx([0.1] * 10, abs=0.002)


def test_a_value_that_holds_several_deciles_is_one_edge() -> None:
    found = profile_column(pl.Series([0] * 95 + [1, 2, 3, 4, 5]))
    assert found.edges == (0.0,)
    assert found.shares == (0.95, 0.05)


def test_a_constant_has_bins_on_both_sides() -> None:
    found = profile_column(pl.Series([7.0] * 5))
    assert found.shares == (0.0, 1.0, 0.0)


def test_deciles_of_extreme_numbers_stay_finite() -> None:
    found = profile_column(pl.Series([-1.7e308, 1.7e308] * 50 + [math.inf] * 3))
    assert all(math.isfinite(e) for e in found.edges)
    json.dumps(found.edges, allow_nan=False)


def test_nan_counts_as_null() -> None:
    assert profile_column(pl.Series([1.0, math.nan, None, 2.0])).nulls == 0.5


def test_rare_categories_are_pooled_and_the_number_of_all_is_kept() -> None:
    values = [f"c{i}" for i in range(80) for _ in range(80 - i)]
    found = profile_column(pl.Series(values))
    assert len(found.categories) == CATEGORIES
    assert found.categories[0] == "c0"
    assert found.distinct == 80
    assert found.rest == pytest.approx(sum(80 - i for i in range(CATEGORIES, 80)) / len(values))


def test_equally_frequent_categories_are_kept_by_name_so_that_a_profile_is_reproducible() -> None:
    names = [f"c{i:03}" for i in range(200)]
    assert profile_column(pl.Series(names)).categories == profile_column(pl.Series(names[::-1])).categories
    assert profile_column(pl.Series(names)).categories == tuple(names[:CATEGORIES])


def test_free_text_does_not_make_a_profile_large() -> None:
    found = profile_column(pl.Series([f"{i}" + "x" * 100_000 for i in range(10)]))
    assert all(len(name) <= CATEGORY_CHARS for name in found.categories)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([datetime(2013, 1, 1, tzinfo=UTC)]),
        pl.Series([date(2013, 1, 1)]),
        pl.Series([[1, 2]]),
        pl.Series([b"bytes"]),
    ],
)
def test_times_lists_and_bytes_have_no_bins(column: pl.Series) -> None:
    found = profile_column(column)
    assert found.kind == "other"
    assert found.shares == ()


def test_json_is_read_back_as_it_was_and_small(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "n": [float(i) for i in range(5000)],
            "c": [f"id{i}" for i in range(5000)],
            "t": [datetime(2013, 1, 1, tzinfo=UTC)] * 5000,
            "empty": pl.Series([None] * 5000, dtype=pl.Int64),
        }
    )
    found = profile(frame)
    path = tmp_path / "profile.json"
    found.write(path)
    assert Profile.read(path) == found
    assert path.stat().st_size < 4096


def test_no_rows_are_a_profile_too() -> None:
    found = profile(pl.DataFrame(schema={"n": pl.Float64, "c": pl.String}))
    assert found.rows == 0
    assert Profile.from_json(json.loads(json.dumps(found.to_json()))) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "cannot be read as a profile"),
        ("[1, 2]", "not a Tidemill profile"),
        ('{"tidemill_profile": 99, "rows": 1, "columns": {}}', "not a Tidemill profile of format 1"),
        ('{"tidemill_profile": 1, "columns": {}}', "damaged"),
        ('{"tidemill_profile": 1, "rows": 1, "columns": {"a": {"kind": "numeric"}}}', "damaged"),
        (
            '{"tidemill_profile": 1, "rows": 1, "columns": '
            '{"a": {"kind": "numeric", "dtype": "Int64", "nulls": 0, "edges": [1], "shares": [1]}}}',
            "1 shares for 2 bins",
        ),
    ],
)
def test_what_is_no_profile_is_said_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text)
    with pytest.raises(DriftError, match=said) as error:
        Profile.read(path)
    assert str(path) in str(error.value)
