"""Which runs the schedules of a plan make between two instants, and in which order."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from tidemill.plan.model import DagPlan, Plan, SchedulePlan
from tidemill.plan.ticks import NoTicks, ticks_of

MONTHLY, QUARTERLY = "0 0 1 * *", "0 0 1 */3 *"


def plan(**training: Any) -> Plan:
    bounds: dict[str, Any] = {"first": "2013-07-01T00:00:00+00:00", "last": "2013-10-01T00:00:00+00:00"}
    quarterly = dataclasses.replace(SchedulePlan(cron=QUARTERLY, **bounds), **training)
    dags = (
        DagPlan("flights", "training", quarterly, ()),
        DagPlan("flights.monitor", "monitor", SchedulePlan(cron=MONTHLY, **bounds), ()),
    )
    return Plan("flights", "dags/flights.yaml", "flights", "", "me", None, (), (), {}, "c0ffee00c0ffee00", dags)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_scores_come_before_the_monitor_that_judges_them() -> None:
    found = plan()
    scored = dataclasses.replace(found.dags[1], dag_id="flights.score", kind="score")
    ticks = ticks_of(dataclasses.replace(found, dags=(*found.dags, scored)))
    assert [t.kind for t in ticks if t.instant == at("2013-10-01")] == ["score", "monitor", "training"]


def test_ticks_are_the_plans_own_in_time_order_with_the_monitor_first() -> None:
    assert [(t.dag_id, t.instant.date().isoformat(), t.start.date().isoformat()) for t in ticks_of(plan())] == [
        ("flights.monitor", "2013-07-01", "2013-06-01"),
        ("flights", "2013-07-01", "2013-04-01"),
        ("flights.monitor", "2013-08-01", "2013-07-01"),
        ("flights.monitor", "2013-09-01", "2013-08-01"),
        ("flights.monitor", "2013-10-01", "2013-09-01"),
        ("flights", "2013-10-01", "2013-07-01"),
    ]


def test_from_and_to_narrow_the_specs_bounds_and_never_widen_them() -> None:
    ticks = ticks_of(plan(), at("2013-08-01"), at("2013-09-15"))
    assert [t.instant.month for t in ticks] == [8, 9]
    assert ticks_of(plan(), at("2001-01-01"), at("2020-01-01")) == ticks_of(plan())


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"first": None}, "no `start`, so say where to begin with --from"),
        ({"last": None}, "no `end`, so say where to stop"),
    ],
)
def test_a_missing_bound_is_asked_for(bounds: dict[str, None], says: str) -> None:
    with pytest.raises(NoTicks, match=says):
        ticks_of(plan(**bounds))


def test_a_span_without_a_tick_is_an_error_that_names_it() -> None:
    with pytest.raises(NoTicks, match="no schedule has a tick between 2013-07-02 and 2013-07-03"):
        ticks_of(plan(), at("2013-07-02"), at("2013-07-03"))


def test_a_plan_without_a_schedule_has_no_ticks() -> None:
    one = dataclasses.replace(plan(cron=None), dags=plan(cron=None).dags[:1])
    with pytest.raises(NoTicks, match="has no schedule to go through"):
        ticks_of(one)
