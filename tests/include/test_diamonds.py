"""The quiet data of the demonstration: real stones, an order that means nothing, no alarm about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.diamonds import prepare
from include.diamonds.train import CATEGORIES, NUMBERS, TARGET


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import polars as pl

    path = tmp_path_factory.mktemp("diamonds") / "stones.parquet"
    assert prepare.PREPARED.prepare(path) == 53_940
    return pl.read_parquet(path)


def test_columns_are_key_time_target_and_the_features_of_the_model(table: Any) -> None:
    assert set(table.columns) == {"stone", "listed_at", TARGET, *CATEGORIES, *NUMBERS}
    assert table["stone"].n_unique() == table.height


def test_the_time_is_spread_evenly_and_has_nothing_to_do_with_the_stone(table: Any) -> None:
    import polars as pl

    assert (table["listed_at"].min(), table["listed_at"].max() < prepare.LAST) == (prepare.FIRST, True)
    days = table.group_by(pl.col("listed_at").dt.date()).len()["len"]
    assert days.min() >= 73
    assert days.max() <= 75
    when = pl.col("listed_at").cast(pl.Int64)
    moved = table.select(pl.corr(when, pl.col(name)).alias(name) for name in (*NUMBERS, TARGET))
    assert all(abs(value) < 0.015 for value in moved.row(0))  # 3.5 standard errors of 53,940 rows


def test_equal_input_gives_equal_bytes(table: Any, tmp_path: Path) -> None:
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    prepare.PREPARED.prepare(first)
    prepare.PREPARED.prepare(second)
    assert first.read_bytes() == second.read_bytes()


def test_false_alarms_stay_within_what_is_stated(table: Any) -> None:
    """Fifty-two weeks against the year before: the windows in which any column is called significant are at most as
    many as a false discovery rate of 5 % lets be (the binomial 95 % band), and none gives an alarm."""
    import polars as pl
    import scipy.stats

    from tidemill.drift.decide import Rules, decide
    from tidemill.drift.summarise import summarise_table

    year = pl.col("listed_at").dt.year() == 2013
    features = [*CATEGORIES, *NUMBERS]
    reference = summarise_table(table.filter(year).select(features))
    weeks = table.filter(~year).with_columns(week=pl.col("listed_at").dt.ordinal_day().sub(1) // 7)
    verdicts = [
        decide(reference, summarise_table(rows.select(features), reference=reference), Rules())
        for (week,), rows in weeks.partition_by("week", as_dict=True).items()
        if int(str(week)) < 52
    ]
    assert len(verdicts) == 52
    noticed = sum(any(column.significant for column in verdict.columns) for verdict in verdicts)
    assert noticed <= scipy.stats.binom.ppf(0.975, len(verdicts), 0.05)
    assert not any(verdict.drifted for verdict in verdicts)
