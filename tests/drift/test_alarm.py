"""The rules over time: warm-up and windows in a row."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tidemill.drift.alarm import JudgedWindow, alarm


def window(day: int, drifted: bool | None = True, days: int = 1) -> JudgedWindow:
    start = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)
    return JudgedWindow(start=start, end=start + timedelta(days=days), drifted=drifted)


def test_one_window_is_enough_unless_more_are_asked_for() -> None:
    assert alarm(window(0)).fired
    assert not alarm(window(0, drifted=False)).fired
    assert not alarm(window(0, drifted=None)).fired


def test_windows_in_a_row() -> None:
    first = alarm(window(2), [window(0), window(1, drifted=False)], consecutive=2)
    assert (first.fired, first.in_a_row) == (False, 1)
    assert first.why == "no alarm yet: 1 window has drifted, 2 are needed"
    second = alarm(window(3), [window(0), window(1, drifted=False), window(2)], consecutive=2)
    assert (second.fired, second.in_a_row) == (True, 2)
    assert second.why == "2 windows in a row have drifted"


def test_a_window_that_could_not_be_judged_neither_counts_nor_interrupts() -> None:
    earlier = [window(0), window(1, drifted=None)]
    assert alarm(window(2), earlier, consecutive=2).fired
    assert not alarm(window(2), earlier, consecutive=3).fired


def test_a_window_judged_twice_counts_once_and_the_later_verdict_holds() -> None:
    assert not alarm(window(0), [window(0), window(0)], consecutive=2).fired
    assert not alarm(window(1), [window(0), window(0, drifted=False)], consecutive=2).fired
    assert alarm(window(1), [window(0, drifted=False), window(0)], consecutive=2).fired


def test_the_order_is_that_of_the_windows_and_later_ones_are_of_no_account() -> None:
    out_of_order = [window(5), window(1), window(0, drifted=False)]
    found = alarm(window(2), out_of_order, consecutive=3)
    assert (found.fired, found.in_a_row) == (False, 2)
    assert alarm(window(2), [window(1), window(0), window(9, drifted=False)], consecutive=3).fired


def test_no_alarm_within_the_warm_up() -> None:
    promoted, warm_up = window(0).start, timedelta(days=3)
    early = alarm(window(2), promoted=promoted, warm_up=warm_up)
    assert (early.fired, early.why) == (
        False,
        "no alarm yet: the window begins within 3 d after the champion's promotion",
    )
    assert alarm(window(3), promoted=promoted, warm_up=warm_up).fired
    assert alarm(window(2), promoted=promoted).fired
    # What was seen meanwhile does not count afterwards.
    assert not alarm(window(3), [window(1), window(2)], consecutive=2, promoted=promoted, warm_up=warm_up).fired
