"""Costs and the budget: what was paid, what is set aside, what is estimated."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.steps.policy.making import History, against, day
from tidemill.spec.units import Money
from tidemill.steps.policy.money import cost_of

MONTH = {"budget": "10 USD per month"}


@pytest.mark.parametrize(
    ("price", "seconds", "cost"),
    [
        ("0.50", 3600, "0.5"),
        ("0.50", 1, "0.000139"),
        ("3600", 1.25, "1.25"),
        ("0.50", 0, "0"),
        ("36", 0.00005, "0.000001"),
    ],
)
def test_a_cost_is_the_seconds_at_the_price_per_hour(price: str, seconds: float, cost: str) -> None:
    assert cost_of(Money(Decimal(price), "USD"), seconds) == Money(Decimal(cost), "USD")


@given(
    price=st.decimals("0.000001", "100000", places=6),
    seconds=st.floats(0, 1e7, allow_nan=False),
)
def test_it_is_exact_to_half_a_millionth(price: Decimal, seconds: float) -> None:
    found = cost_of(Money(price, "USD"), seconds).amount
    assert abs(found * 3600 - price * Decimal(repr(seconds))) <= Decimal("0.0018") + Decimal("1e-15")


def test_a_budget_of_nothing_refuses_always() -> None:
    history = History()
    found = history.decide(day(7), budget="0 USD per month")
    assert (against(found), found.why) == (["budget"], ("the budget is 0 USD per month: no training is paid for",))
    history.paid(day(1), "0")
    assert against(history.decide(day(7), budget="0 USD per month")) == ["budget"]
    assert against(history.decide(day(7), "scheduled", budget="0 USD per month")) == ["budget"]


def test_the_first_training_is_not_estimated() -> None:
    found = History().decide(day(7), **MONTH)
    assert found.decision == "go"
    assert (
        "0.00 USD paid in the month from 2013-07-01, and nobody knows yet what a training costs: 0.00 USD, "
        "the budget is 10 USD per month"
    ) in found.why
    assert found.inputs["budget"]["estimate"] is None


def test_what_was_paid_and_what_the_next_costs_may_reach_the_budget_and_not_exceed_it() -> None:
    history = History()
    for amount in ("3", "3.5", "1.75"):
        history.paid(day(7, 2), amount)
    found = history.decide(day(7, 20), **MONTH)
    assert found.decision == "go"
    assert (
        "8.25 USD paid in the month from 2013-07-01, and 1.75 USD for this one, as the last one cost: 10.00 USD, "
        "the budget is 10 USD per month"
    ) in found.why
    history.paid(day(7, 3), "1.750001", outcome="failed")  # an attempt that failed costs, and is no estimate
    found = history.decide(day(7, 20), **MONTH)
    assert against(found) == ["budget"]
    assert "10.000001 USD paid" in found.why[0]
    assert found.why[0].endswith("11.750001 USD, the budget is 10 USD per month")


def test_a_new_period_begins_anew_and_the_estimate_stays() -> None:
    history = History()
    history.paid(day(7, 31, 23, 59), "9")
    assert against(history.decide(day(7, 31), **MONTH)) == ["budget"]
    found = history.decide(day(8), **MONTH)
    assert found.decision == "go"
    assert found.inputs["budget"] == {
        "start": "2013-08-01", "end": "2013-09-01", "spent": "0.00", "set_aside": "0.00", "estimate": "9.00",
        "limit": "10.00", "currency": "USD",
    }  # fmt: skip


@pytest.mark.parametrize("cause", ["scheduled", "asset", "manual"])
def test_whatever_was_trained_was_paid_for(cause: Any) -> None:
    history = History()
    history.paid(day(7), "6", run=history.went(day(7), cause=cause))
    assert against(history.decide(day(7, 20), **MONTH)) == ["budget"]


def test_a_person_is_only_told() -> None:
    history = History()
    history.paid(day(7), "6")
    found = history.decide(day(7, 20), "manual", **MONTH)
    assert found.decision == "go"
    assert found.warnings == (
        "6.00 USD paid in the month from 2013-07-01, and 6.00 USD for this one, as the last one cost: 12.00 USD, "
        "the budget is 10 USD per month",
    )


def test_what_is_under_way_is_set_aside_until_its_bill_is_there() -> None:
    """Two runs that start together cannot both spend the rest of a budget."""
    history = History()
    history.paid(day(6), "4")
    for number in (1, 2):
        found = history.decide(day(7, number), **MONTH)
        assert found.decision == "go"
        history.decided(found, day(7, number), f"run {number}")
    third = history.decide(day(7, 3), **MONTH)
    assert against(third) == ["budget"]
    assert "8.00 USD set aside for 2 trainings without a bill yet" in third.why[0]
    history.paid(day(7, 1), "1", run="run 1")
    history.paid(day(7, 2), "1", run="run 2")
    assert history.decide(day(7, 3), **MONTH).decision == "go"


def test_a_run_with_nothing_to_train_costs_nothing() -> None:
    history = History()
    history.paid(day(6), "9")
    history.decided(history.decide(day(7), **MONTH), day(7), "same data")
    history.ended(day(7), "same data", "superseded", "")
    assert history.decide(day(7, 2), **MONTH).decision == "go"


def test_money_of_another_currency_is_not_added_up() -> None:
    history = History()
    history.paid(day(7), "1", currency="EUR")
    found = history.decide(day(7, 2), **MONTH)
    assert against(found) == ["budget"]
    assert "were paid in EUR, which cannot be counted towards a budget of 10 USD per month" in found.why[0]
    assert history.decide(day(8), **MONTH).inputs["budget"]["estimate"] is None


def test_amounts_add_up_as_on_paper() -> None:
    history = History()
    for _ in range(100):
        history.paid(day(7), "0.1")
    found = history.decide(day(7), budget="10.1 USD per month")
    assert found.decision == "go"  # a hundred dimes and one; in binary fractions they come to a hair more
