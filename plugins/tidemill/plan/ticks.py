"""The runs that a plan's own schedules make between two instants, whatever ``catchup`` says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from tidemill.errors import TidemillError
from tidemill.plan.model import DagPlan, Kind, Plan
from tidemill.plan.schedule import previous_tick, ticks
from tidemill.spec.units import format_instant

_ORDER: tuple[Kind, ...] = ("score", "monitor", "training", "workflow")
"""What goes first at one instant: the monitor judges what was scored, and both go by the model that was in force before
the training."""


class NoTicks(TidemillError):
    """A plan has no scheduled run where one was asked for; the message says what to do."""


@dataclass(frozen=True)
class Tick:
    """One run of a DAG's own schedule: it stands at ``instant`` and covers the interval from ``start``."""

    instant: datetime
    start: datetime
    dag_id: str
    kind: Kind

    def run_id(self, plan: Plan) -> str:
        """The id of the tick's run in a replay: the same whenever the same spec is replayed."""
        return f"replay__{format_instant(self.instant)}__{plan.spec_hash[:8]}"


def ticks_of(plan: Plan, since: datetime | None = None, until: datetime | None = None) -> list[Tick]:
    """The ticks of all the plan's schedules in time order, between the bounds and the spec's own, all inclusive.

    Raises:
        NoTicks: no DAG has a calendar; a bound is missing; no tick lies between the bounds.
    """
    scheduled = [dag for dag in plan.dags if dag.schedule.cron is not None]
    if not scheduled:
        text = "has no schedule to go through: give it `schedule: monthly` (or another), or one under `monitor`"
        raise NoTicks(f"{plan.file} {text}.")
    found = [tick for dag in scheduled for tick in _ticks(dag, since, until)]
    if not found:
        first, last = _bounds(scheduled[0], since, until)
        span = f"{format_instant(first)} and {format_instant(last)}"
        raise NoTicks(f"{plan.file}: no schedule has a tick between {span}, the ends included.")
    return sorted(found, key=lambda tick: (tick.instant, _ORDER.index(tick.kind)))


def _ticks(dag: DagPlan, since: datetime | None, until: datetime | None) -> list[Tick]:
    first, last = _bounds(dag, since, until)
    cron, zone = dag.schedule.cron, dag.schedule.timezone
    assert cron is not None
    return [Tick(t, previous_tick(cron, zone, t), dag.dag_id, dag.kind) for t in ticks(cron, zone, first, last)]


def _bounds(dag: DagPlan, since: datetime | None, until: datetime | None) -> tuple[datetime, datetime]:
    schedule = dag.schedule
    firsts = [t for t in (since, datetime.fromisoformat(schedule.first) if schedule.first else None) if t]
    lasts = [t for t in (until, datetime.fromisoformat(schedule.last) if schedule.last else None) if t]
    if not firsts or not lasts:
        missing = (
            "`start`, so say where to begin with --from" if not firsts else "`end`, so say where to stop with --to"
        )
        raise NoTicks(f"The spec of {dag.dag_id} has no {missing}, e.g. 2013-07-01.")
    return max(firsts), min(lasts)
