"""Schedules: the ticks are those that Airflow runs, over changes of the clocks and with both bounds included."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.plan.compile import compile_plan
from tidemill.plan.schedule import explain_cron, is_tick, next_tick, previous_tick, ticks
from tidemill.spec.document import Document
from tidemill.spec.load import Sources, parse
from tidemill.spec.reader import read
from tidemill.spec.timing import PRESETS

SPEC = """\
tidemill: 1
{schedule}
platform: {{provider: local}}
data:
  source: include/rows.parquet
  window: {{column: time, train: 5 months, holdout: 1 month}}
train: {{code: include.train:train}}
evaluate: {{task: classification, target: late, metrics: [roc_auc]}}
promote: {{when: {{roc_auc: {{at_least: 0.65}}}}}}
"""
Runs = Callable[[str, str, datetime, datetime], list[datetime]]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def planned(schedule: str) -> tuple[datetime, datetime]:
    """Start and end, as the plan gives them to Airflow."""
    document: Document = read(SPEC.format(schedule=schedule).encode(), "a.yaml")
    sources = Sources((document,))
    spec, errors = parse(sources)
    assert errors == []
    found = compile_plan("a", spec, sources).dags[0].schedule
    assert found.start is not None
    assert found.end is not None
    return datetime.fromisoformat(found.start), datetime.fromisoformat(found.end)


@pytest.fixture(scope="session")
def airflow_runs() -> Runs:
    """The ends of the data intervals that Airflow schedules between a start and an end date."""
    from tests.airflow_home import import_airflow

    import_airflow()
    import pendulum
    from airflow.timetables.base import TimeRestriction
    from airflow.timetables.interval import CronDataIntervalTimetable

    def runs(cron: str, timezone: str, start: datetime, end: datetime) -> list[datetime]:
        timetable = CronDataIntervalTimetable(cron, timezone=timezone)
        restriction = TimeRestriction(pendulum.instance(start), pendulum.instance(end), catchup=True)
        found: list[datetime] = []
        interval = None
        while True:
            info = timetable.next_dagrun_info(last_automated_data_interval=interval, restriction=restriction)
            if info is None:
                return found
            interval = info.data_interval
            found.append(datetime.fromtimestamp(interval.end.timestamp(), UTC))

    return runs


# Compared with Airflow


@pytest.mark.parametrize("timezone", ["Europe/Berlin", "America/New_York", "America/St_Johns"])
@pytest.mark.parametrize("cron", ["0 * * * *", "*/30 * * * *", "0 0 * * *", "30 2 * * *", "30 1 * * *", "0 */2 * * *"])
def test_ticks_are_airflows_where_the_clocks_change(cron: str, timezone: str, airflow_runs: Runs) -> None:
    for day in (utc(2023, 3, 12), utc(2023, 3, 26), utc(2023, 10, 29), utc(2023, 11, 5)):
        first, last = day - timedelta(hours=30), day + timedelta(hours=54)
        mine = list(ticks(cron, timezone, first, last))
        start, end = previous_tick(cron, timezone, mine[0]), previous_tick(cron, timezone, mine[-1])
        assert airflow_runs(cron, timezone, start, end) == mine


@pytest.mark.parametrize("schedule", [*PRESETS, "30 3 * * 1", "0 0 29 2 *", "15,45 6 1-7 */2 mon"])
@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_start_and_end_bound_as_of_inclusively(schedule: str, timezone: str, airflow_runs: Runs) -> None:
    cron = PRESETS.get(schedule, schedule)
    first = last = next_tick(cron, timezone, utc(2013, 10, 1))
    for _ in range(6):
        last = next_tick(cron, timezone, last)
    written = f'schedule: {{cron: "{cron}", timezone: {timezone}}}\n'
    everything = list(ticks(cron, timezone, first, last))
    for shift, expected in (
        (timedelta(), everything),
        (timedelta(minutes=-1), everything),  # bounds between two ticks hold neither of them
        (timedelta(minutes=1), everything[1:]),
    ):
        start, end = planned(f"{written}start: {_text(first + shift)}\nend: {_text(last - shift)}")
        kept = expected[:-1] if shift > timedelta() else expected
        assert airflow_runs(cron, timezone, start, end) == kept


def _text(instant: datetime) -> str:
    return instant.replace(tzinfo=None).isoformat() + "Z"


def test_the_demonstrations_quarters(airflow_runs: Runs) -> None:
    start, end = planned("schedule: quarterly\nstart: 2013-07-01\nend: 2014-01-01")
    assert (start, end) == (utc(2013, 4, 1), utc(2013, 10, 1))
    assert airflow_runs("0 0 1 */3 *", "UTC", start, end) == [utc(2013, 7, 1), utc(2013, 10, 1), utc(2014, 1, 1)]


# What the numbers say by themselves


def test_wall_clock_schedules_keep_their_hour() -> None:
    found = list(ticks("0 3 * * *", "Europe/Berlin", utc(2023, 3, 25), utc(2023, 3, 27, 12)))
    assert found == [utc(2023, 3, 25, 2), utc(2023, 3, 26, 1), utc(2023, 3, 27, 1)]


def test_an_hour_that_the_clocks_leave_out_is_run_later_and_a_repeated_one_once() -> None:
    spring = list(ticks("30 2 * * *", "Europe/Berlin", utc(2023, 3, 26), utc(2023, 3, 27)))
    assert spring == [utc(2023, 3, 26, 1, 30)]
    autumn = list(ticks("30 2 * * *", "Europe/Berlin", utc(2023, 10, 29), utc(2023, 10, 30)))
    assert autumn == [utc(2023, 10, 29, 1, 30)]


def test_hourly_schedules_tick_in_every_hour_that_passes() -> None:
    found = list(ticks("0 * * * *", "Europe/Berlin", utc(2023, 10, 28), utc(2023, 10, 30)))
    assert {b - a for a, b in pairwise(found)} == {timedelta(hours=1)}


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["0 * * * *", "30 2 * * *", "0 0 * * *", "0 0 1 */3 *", "15 4 * * 1", "*/20 5-7 * * *"]),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Chatham"]),
    st.datetimes(datetime.fromisoformat("1995-01-01"), datetime.fromisoformat("2035-01-01")),
)
def test_next_and_previous_are_strict_and_undo_each_other(cron: str, timezone: str, moment: datetime) -> None:
    instant = moment.replace(tzinfo=UTC)
    after = next_tick(cron, timezone, instant)
    before = previous_tick(cron, timezone, after)
    assert before <= instant < after
    assert next_tick(cron, timezone, before) == after
    assert is_tick(cron, timezone, after)
    assert not (before < instant and is_tick(cron, timezone, instant))


def test_ticks_outside_of_utc_come_back_in_utc() -> None:
    found = next_tick("0 3 * * *", "America/New_York", datetime.fromisoformat("2013-07-01T00:00+02:00"))
    assert found == utc(2013, 7, 1, 7)
    assert found.tzinfo is UTC


# Expressions


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 3 * * 1", None),
        ("*/15 0-6,12 1,15 jan-mar mon-fri", None),
        ("0 3 * *", "expected five fields (minute, hour, day of month, month, day of week), got 4"),
        ("60 3 * * *", '"60" is no minute (0 to 59)'),
        ("0 x * * *", '"x" is no hour (0 to 23)'),
        ("0 3 0 * *", '"0" is no day of month (1 to 31)'),
        ("0 3 * 13 *", '"13" is no month (1 to 12 or jan to dec)'),
        ("0 3 * * funday", '"funday" is no day of week (0 (Sunday) to 6 or sun to sat)'),
        ("0 3 31 2 *", 'no date ever matches "0 3 31 2 *"'),
        ("", "expected five fields (minute, hour, day of month, month, day of week), got 0"),
        ("*/0 * * * *", '"*/0" is no minute (0 to 59)'),
    ],
)
def test_a_wrong_cron_expression_is_explained_by_its_field(expression: str, problem: str | None) -> None:
    assert explain_cron(expression) == problem
