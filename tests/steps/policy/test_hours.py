"""Quiet hours: by the clock on the wall, whatever it does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.steps.policy.making import History, against, day
from tidemill.spec.monitoring import QuietHours
from tidemill.steps.policy.hours import begun, end

DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def hours(start: str, to: str, *days: str, timezone: str = "UTC") -> QuietHours:
    return QuietHours.model_validate({"from": start, "to": to, "days": list(days), "timezone": timezone})


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "quiet"),
    [("07:59:59", False), ("08:00", True), ("12:30", True), ("17:59:59.999999", True), ("18:00", False)],
)
def test_the_first_minute_belongs_to_them_and_the_last_does_not(at: str, quiet: bool) -> None:
    assert (begun(hours("08:00", "18:00"), utc(f"2013-07-01T{at}")) is not None) is quiet


@pytest.mark.parametrize(
    ("at", "quiet"),
    [  # the 5th of July 2013 was a Friday
        ("2013-07-05T21:59", False),
        ("2013-07-05T22:00", True),
        ("2013-07-06T05:59", True),
        ("2013-07-06T06:00", False),
        ("2013-07-05T05:59", False),  # they would have begun on Thursday
        ("2013-07-06T22:00", False),  # Saturday
    ],
)
def test_over_midnight_they_are_of_the_day_on_which_they_began(at: str, quiet: bool) -> None:
    assert (begun(hours("22:00", "06:00", "fri"), utc(at)) is not None) is quiet


def test_a_whole_day_is_from_midnight_to_midnight() -> None:
    sunday = hours("00:00", "24:00", "sun")
    assert [begun(sunday, day(7, d, h)) is not None for d, h in ((6, 23), (7, 0), (7, 23), (8, 0))] == [
        False, True, True, False,
    ]  # fmt: skip


def test_a_week_of_them_leaves_no_gap() -> None:
    always = hours("00:00", "24:00", *DAYS)
    assert all(begun(always, day(7, d, h, m)) for d in range(1, 8) for h in range(24) for m in (0, 59))


def test_the_day_and_the_hour_are_those_of_the_time_zone() -> None:
    monday = hours("00:00", "08:00", "mon", timezone="Asia/Tokyo")
    assert begun(monday, day(7, 7, 15)) is not None  # Monday, the 8th, begins in Tokyo at 15:00 UTC of Sunday
    assert begun(monday, day(7, 8, 0)) is None  # there it is nine


class TestClockChanges:
    """In Berlin 2013-03-31 went from 2:00 to 3:00, and 2013-10-27 had the hour from 2:00 to 3:00 twice."""

    def test_an_hour_that_is_left_out_is_never_quiet(self) -> None:
        night = hours("02:00", "03:00", timezone="Europe/Berlin")
        assert [begun(night, utc(f"2013-03-31T{at}")) for at in ("00:59", "01:00", "01:30")] == [None] * 3

    def test_hours_around_it_go_on(self) -> None:
        night = hours("01:00", "04:00", timezone="Europe/Berlin")
        assert begun(night, utc("2013-03-31T01:30")) is not None  # 3:30
        assert begun(night, utc("2013-03-31T02:00")) is None  # 4:00
        assert end(night, utc("2013-03-31T00:00").date()) == utc("2013-03-31T02:00")

    def test_an_hour_that_comes_twice_is_quiet_twice(self) -> None:
        night = hours("02:00", "03:00", timezone="Europe/Berlin")
        found = [
            begun(night, utc(f"2013-10-27T{at}")) is not None for at in ("00:00", "00:59", "01:00", "01:59", "02:00")
        ]
        assert found == [True, True, True, True, False]
        assert end(night, utc("2013-10-27T00:00").date()) == utc("2013-10-27T02:00")

    def test_an_end_that_is_left_out_is_when_the_clock_jumps(self) -> None:
        night = hours("22:00", "02:30", timezone="Europe/Berlin")
        began = begun(night, utc("2013-03-31T00:59"))
        assert began is not None
        assert end(night, began) == utc("2013-03-31T01:00")

    @pytest.mark.parametrize("month", [3, 10])
    def test_what_is_said_to_be_the_end_is_no_longer_quiet(self, month: int) -> None:
        night = hours("22:00", "02:30", timezone="Europe/Berlin")
        for d in range(25, 31):
            for h in range(24):
                began = begun(night, day(month, d, h))
                if began is not None:
                    over = end(night, began)
                    assert over > day(month, d, h)
                    assert begun(night, over) is None


def test_the_refusal_says_where_when_and_until_when() -> None:
    quiet: list[dict[str, Any]] = [
        {"from": "12:00", "to": "13:00"},
        {"from": "22:00", "to": "06:00", "days": ["fri"], "timezone": "America/New_York"},
    ]
    found = History().decide(day(7, 6, 5), quiet_hours=quiet)
    assert against(found) == ["quiet_hours"]
    assert found.why == (
        "as_of 2013-07-06T05:00:00Z is Saturday 2013-07-06 01:00 in America/New_York, in the quiet hours from 22:00 "
        "to 06:00 that began on Friday, which end at 2013-07-06T10:00:00Z",
    )
    assert found.inputs["quiet_until"] == "2013-07-06T10:00:00Z"
    assert against(History().decide(day(7, 6, 10), quiet_hours=quiet)) == []


@pytest.mark.parametrize("cause", ["scheduled", "manual"])
def test_the_schedule_and_people_keep_their_own_hours(cause: Any) -> None:
    assert against(History().decide(day(7), cause, quiet_hours=[{"from": "00:00", "to": "24:00"}])) == []
