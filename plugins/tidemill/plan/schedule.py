"""Cron arithmetic: which data intervals a schedule has, in which time zone.

The ticks are those of Airflow's ``CronDataIntervalTimetable``, which runs the schedule; a test compares the two
over changes of the clocks.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_FIELDS = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day of month", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
    ("day of week", "0 (Sunday) to 6 or sun to sat"),
)


@lru_cache(maxsize=1024)
def explain_cron(expression: str) -> str | None:
    """What is wrong with a cron expression; ``None`` if nothing is."""
    from croniter import CroniterBadDateError, CroniterError, croniter

    fields = expression.split()
    if len(fields) != len(_FIELDS):
        return f"expected five fields ({', '.join(name for name, _ in _FIELDS)}), got {len(fields)}"
    for index, (field, (name, allowed)) in enumerate(zip(fields, _FIELDS, strict=True)):
        alone = " ".join(field if index == other else "*" for other in range(len(fields)))
        try:
            croniter(alone)
        except (CroniterError, ValueError, KeyError):
            return f'"{field}" is no {name} ({allowed})'
    try:
        croniter(expression, datetime(2000, 1, 1, tzinfo=UTC)).get_next(datetime)
    except CroniterBadDateError:
        return f'no date ever matches "{expression}"'
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

    zone = ZoneInfo(timezone)
    start = instant.astimezone(zone).replace(tzinfo=None, fold=0)
    walk = croniter(cron, start)
    every_hour = walk.expanded[1] == ["*"]
    while True:
        local: datetime = walk.get_next(datetime) if direction > 0 else walk.get_prev(datetime)
        if every_hour:
            # Elapsed time: the hour that the clocks repeat has its ticks twice, the one they leave out has none.
            return instant.astimezone(UTC) + (local - start)
        # Wall-clock time: `0 3 * * *` stays at three across a change of the clocks. Where a step lands on or
        # behind where it began, since its hour does not exist or exists twice, the next one is taken.
        tick = _at_wall_clock(local, zone)
        if (tick - instant) * direction > timedelta():
            return tick


def _at_wall_clock(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which the clocks of a zone show a time: the second one of two, and where they leave it out,
    as much later as they leave out."""
    instant = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None, fold=0) != local:
        instant = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    return instant
