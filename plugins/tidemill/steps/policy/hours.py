"""The guard of quiet hours: when no training that a signal asked for starts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tidemill.spec import units
from tidemill.steps.policy.facts import Facts, Finding

if TYPE_CHECKING:
    from tidemill.spec.monitoring import QuietHours

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DAY = 24 * 60


def quiet_hours(facts: Facts) -> Finding | None:
    """``as_of`` must lie in none of the hours, by the wall clock of their own time zone."""
    if not facts.policy.quiet_hours:
        return None
    for hours in facts.policy.quiet_hours:
        began = begun(hours, facts.instant)
        if began is not None:
            return Finding(False, _inside(hours, facts.instant, began), {"quiet_until": _text(end(hours, began))})
    return Finding(True, f"{_clock(facts.instant)} UTC lies in no quiet hours")


def begun(hours: QuietHours, instant: datetime) -> date | None:
    """The local day on which the hours began that hold the instant; ``None`` if it lies in none.

    What the clock on the wall shows decides. So an hour that a clock change leaves out is no part of any hours, and
    of one that comes twice both are.
    """
    local = instant.astimezone(ZoneInfo(hours.timezone))
    minute, today = local.hour * 60 + local.minute, local.date()
    first, last = _minutes(hours)
    for day, shift in ((today, 0), (today - timedelta(days=1), _DAY)):
        named = not hours.days or _DAYS[day.weekday()] in hours.days
        if named and first <= minute + shift < last:
            return day
    return None


def end(hours: QuietHours, began: date) -> datetime:
    """The instant at which the hours end that began on a local day, in UTC."""
    zone = ZoneInfo(hours.timezone)
    days, minutes = divmod(_minutes(hours)[1], _DAY)
    wall = datetime(began.year, began.month, began.day, tzinfo=zone) + timedelta(days=days, minutes=minutes)
    # Of an hour that comes twice the second is meant: until then the wall shows a time inside the hours. An hour that
    # is left out ends where it would have begun.
    found = wall.replace(fold=1).astimezone(UTC)
    while begun(hours, found) == began:
        found += timedelta(minutes=1)
    return found


def _minutes(hours: QuietHours) -> tuple[int, int]:
    """The first minute and the one after the last, counted from the midnight before the first."""
    first, last = (int(t[:2]) * 60 + int(t[3:]) for t in (hours.from_, hours.to))
    return first, last if last > first else last + _DAY


def _inside(hours: QuietHours, instant: datetime, began: date) -> str:
    local = instant.astimezone(ZoneInfo(hours.timezone))
    here = f"{_NAMES[local.weekday()]} {_clock(local)} in {hours.timezone}"
    since = "" if began == local.date() else f" that began on {_NAMES[began.weekday()]}"
    return (
        f"as_of {units.format_instant(instant)} is {here}, in the quiet hours from {hours.from_} to "
        f"{hours.to}{since}, which end at {_text(end(hours, began))}"
    )


def _clock(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _text(instant: datetime) -> str:
    return units.format_instant(instant)
