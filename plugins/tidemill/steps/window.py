"""Which span of time a run of the score's or the monitor's DAG is about."""

from __future__ import annotations

from datetime import datetime, timedelta

from tidemill.plan.compile import cron_of
from tidemill.plan.schedule import is_tick, previous_tick
from tidemill.spec.monitoring import Monitor, Score
from tidemill.steps.context import StepContext


def window_of(ctx: StepContext, settings: Monitor | Score) -> tuple[datetime, datetime]:
    """The span of this run: [start, end).

    The data interval, else the section's `window` before `as_of`. Without either (a run by hand of a scheduled DAG)
    it is as long as the schedule's last interval.
    """
    as_of = ctx.as_of
    if as_of.interval_start is not None and as_of.interval_end is not None:
        return as_of.interval_start, as_of.interval_end
    if settings.window is None:
        schedule = cron_of(settings.schedule)
        assert schedule is not None  # the spec's checks ask for one of both
        last = as_of.instant if is_tick(*schedule, as_of.instant) else previous_tick(*schedule, as_of.instant)
        return as_of.instant - (last - previous_tick(*schedule, last)), as_of.instant
    return settings.window.before(as_of.instant), as_of.instant


def moved_back(window: tuple[datetime, datetime], delay: timedelta | None) -> tuple[datetime, datetime]:
    """The span whose labels have come when those of its last rows take `delay`: both ends moved back by it, so that
    the spans of runs that follow each other do, too."""
    start, end = window
    return (start, end) if delay is None else (start - delay, end - delay)
