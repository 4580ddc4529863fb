"""The trigger for so many rows later than the champion's training rows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tidemill.project import Project
from tidemill.records import AsOf, MonitorReport
from tidemill.steps import monitor, new_data
from tidemill.steps.context import StepContext

Make = Callable[..., StepContext]
RETRAIN = {"triggers": ["new_data"], "new_data": 92}


def day(month: int, day: int = 1) -> datetime:
    return datetime(2013, month, day, tzinfo=UTC)


def promoted(ctx: StepContext, version: str, as_of: datetime, train_end: datetime) -> None:
    """A champion, with the version of the data that it learned from."""
    with ctx.open_ledger() as ledger:
        part = {"name": "train", "rows": 1, "start": day(1).isoformat(), "end": train_end.isoformat()}
        ledger.append(ctx.model, "data_version", {"version": f"d{version}", "train": part}, as_of=as_of)
        body = {"outcome": "promoted", "version": version, "data_version": f"d{version}"}
        ledger.append(ctx.model, "promotion", body, as_of=as_of)


@pytest.fixture
def report(make_context: Make, project: Project) -> Callable[..., MonitorReport]:
    """What the monitor reports of April, of one row a day from January to July."""
    times = [day(1) + timedelta(days=i) for i in range(212)]
    pl.DataFrame({"id": range(212), "time": times, "late": 0}).write_parquet(project.path("include/rows.parquet"))

    def judged(*champions: tuple[str, datetime, datetime], at: datetime, **retrain: Any) -> MonitorReport:
        as_of = AsOf(instant=at, cause="scheduled", interval_start=at - timedelta(days=30), interval_end=at)
        ctx = make_context(
            "monitor",
            dag_id="flights.monitor",
            results={"as_of": as_of},
            monitor={"drift": {}, "min_rows": 1000},
            retrain={**RETRAIN, **retrain},
        )
        for champion in champions:
            promoted(ctx, *champion)
        return monitor.run(ctx)

    return judged


Report = Callable[..., MonitorReport]


def test_rows_later_than_the_champions_are_counted_even_if_the_window_is_too_small_to_be_judged(report: Report) -> None:
    found = report(("1", day(3), day(2)), at=day(5))  # 28 + 31 + 30 days
    assert (found.new_rows, found.fired) == (89, ())
    assert "89 rows are later than the training rows of version 1, which end at 2013-02-01; new_data is 92" in found.why
    found = report(at=day(5, 4))
    assert (found.new_rows, found.fired) == (92, ("new_data",))


def test_the_rows_at_as_of_itself_belong_to_the_next_run(report: Report) -> None:
    assert report(("1", day(3), day(3)), at=day(3, 31)).new_rows == 30


def test_the_champion_at_as_of_counts_not_the_one_that_is_judged(report: Report) -> None:
    """One promoted within the window has learned from rows that the one before it had not."""
    found = report(("1", day(3), day(2)), ("2", day(4, 15), day(4)), at=day(5))
    assert (found.version, found.new_rows) == ("1", 30)


def test_without_a_champion_there_is_nothing_to_compare_with(report: Report) -> None:
    assert report(at=day(5)).new_rows is None


def test_a_champion_trained_later_than_this_run_has_seen_it_all(report: Report) -> None:
    found = report(("1", day(4), day(6)), at=day(5))
    assert (found.new_rows, found.fired) == (0, ())


def test_nothing_is_counted_that_was_not_asked_for(make_context: Make) -> None:
    ctx = make_context("monitor", retrain={"triggers": ["drift"]})
    promoted(ctx, "1", day(3), day(2))
    with ctx.open_ledger() as ledger:
        assert new_data.look(ctx, ledger.entries(ctx.model)) is None
