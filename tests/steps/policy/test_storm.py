"""A noisy monitor: whatever comes, and in whatever order, no more is trained than the policy allows."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.steps.policy.making import History, day


def storm(history: History, minutes: list[int], **policy: Any) -> list[int]:
    """Events so many minutes into July, one run each; those that trained."""
    trained = []
    for number, minute in enumerate(minutes):
        at = day(7) + timedelta(minutes=minute)
        decision = history.decide(at, **policy)
        history.decided(decision, at, f"run {number}")
        if decision.decision == "go":
            trained.append(minute)
    return trained


def test_a_hundred_events_about_one_instant_start_one_training() -> None:
    assert len(storm(History(), [5] * 100)) == 1


def test_a_hundred_events_within_a_cooldown_start_one_training() -> None:
    assert storm(History(), list(range(100)), cooldown="2 h") == [0]


def test_a_hundred_events_of_a_hundred_minutes_start_one_training_for_each_cooldown() -> None:
    assert storm(History(), list(range(100)), cooldown="30 min") == [0, 30, 60, 90]


def test_a_clock_that_goes_backwards_trains_nothing_of_the_past() -> None:
    assert storm(History(), list(range(100, 0, -1)), cooldown="10 min") == [100]


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 60 * 24 * 40), min_size=1, max_size=40),
    cooldown=st.integers(1, 60 * 24 * 7),
    at_most=st.integers(1, 4),
    seed=st.integers(),
)
def test_no_order_of_events_gets_round_the_cooldown_or_the_quota(
    minutes: list[int], cooldown: int, at_most: int, seed: int
) -> None:
    random.Random(seed).shuffle(minutes)
    trained = storm(History(), minutes, cooldown=f"{cooldown} min", at_most=f"{at_most} per month")
    assert trained == sorted(trained)
    assert all(later - earlier >= cooldown for earlier, later in pairwise(trained))
    months = [(day(7) + timedelta(minutes=minute)).month for minute in trained]
    assert all(months.count(month) <= at_most for month in months)


def test_failing_trainings_do_not_start_another_storm() -> None:
    """No run of these comes to an end: each would be tried again by the next event."""
    history = History()
    history.paid(day(6), "1")
    budget = "3 USD per month"
    assert len(storm(history, list(range(100)), budget=budget)) == 3
