"""Cron arithmetic: which data intervals a schedule has, in which time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

PRESETS = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 */3 *",
    "yearly": "0 0 1 1 *",
}


def explain_cron(expression: str) -> str | None:
    """What is wrong with a cron expression; ``None`` if nothing is."""
    from croniter import CroniterError, croniter

    if len(expression.split()) != 5:
        return "a cron expression has five fields: minute, hour, day of month, month, day of week"
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except (CroniterError, ValueError, KeyError) as e:
        return f"not a cron expression: {e}"
    return None


def next_tick(cron: str, timezone: str, after: datetime) -> datetime:
    """The first tick strictly after an instant, in UTC."""
    return _step(cron, timezone, after, 1)


def previous_tick(cron: str, timezone: str, before: datetime) -> datetime:
    """The last tick strictly before an instant, in UTC."""
    return _step(cron, timezone, before, -1)


def ticks(cron: str, timezone: str, first: datetime, last: datetime) -> Iterator[datetime]:
    """Every tick from ``first`` to ``last``, both inclusive, in UTC."""
    tick = first if is_tick(cron, timezone, first) else next_tick(cron, timezone, first)
    while tick <= last:
        yield tick
        tick = next_tick(cron, timezone, tick)


def is_tick(cron: str, timezone: str, instant: datetime) -> bool:
    """Whether an instant is a tick."""
    return next_tick(cron, timezone, previous_tick(cron, timezone, instant)) == instant


def _step(cron: str, timezone: str, instant: datetime, direction: int) -> datetime:
    from croniter import croniter

    # Wall-clock arithmetic, as Airflow's cron timetables do it: `0 3 * * *` stays at three across a change of
    # the clocks. An hour that does not exist moves, one that exists twice is taken once; then a step may land
    # on or behind where it began, and the next one is taken.
    zone = ZoneInfo(timezone)
    walk = croniter(cron, instant.astimezone(zone).replace(tzinfo=None))
    while True:
        local: datetime = walk.get_next(datetime) if direction > 0 else walk.get_prev(datetime)
        tick = local.replace(tzinfo=zone).astimezone(UTC)
        if (tick - instant).total_seconds() * direction > 0:
            return tick
