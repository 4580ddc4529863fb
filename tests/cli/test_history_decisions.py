"""``tidemill history --decisions``: every decision with the word of each guard, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tidemill.cli.history_decisions import decisions, line, money, render
from tidemill.cli.registry import line_of
from tidemill.ledger import Entry, Ledger, open_ledger
from tidemill.records import Cost, Decision, GuardCheck

AS_OF = datetime(2013, 7, 1, tzinfo=UTC)
NO = Decision(
    decision="no",
    cause="asset",
    why=("the cooldown of 7 d [red] ends only at 2013-07-08", "the budget is 0 USD per month: no training is paid for"),
    inputs={"reasons": ["drift", "asset"], "assets": ["orders"], "rows": 7},
    checks=(
        GuardCheck(guard="triggers", verdict="pass", text="asked for by drift and asset (orders)"),
        GuardCheck(guard="cooldown", verdict="refuse", text="the cooldown of 7 d [red] ends only at 2013-07-08"),
        GuardCheck(guard="budget", verdict="refuse", text="the budget is 0 USD per month: no training is paid for"),
    ),
)
BY_HAND = Decision(
    decision="go",
    cause="manual",
    why=("started by hand",),
    checks=(GuardCheck(guard="budget", verdict="warn", text="12 USD of 10 USD per month"),),
    warnings=("12 USD of 10 USD per month",),
)
TRIED = Decision(decision="no", cause="asset", why=("asked for by drift",), dry_run=True, would="go")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


@pytest.fixture
def entries(ledger: Ledger) -> list[Entry]:
    """A refusal, a person's training that cost something, a dry run, and one of a time before guards were told."""
    about = {"dag_id": "m", "pipeline": "m"}
    for run, record in (("r1", NO), ("r2", BY_HAND), ("r3", TRIED)):
        ledger.append("m", "decision", {**about, "dag_run": run, **record.to_json()}, as_of=AS_OF)
    cost = Cost(training="t", outcome="failed", seconds=90, price="0.5 USD per hour", amount="0.0125", currency="USD")
    ledger.append("m", "cost", {**about, "dag_run": "r2", **cost.to_json()}, as_of=AS_OF)
    old = {"record": "decision/1", "decision": "go", "cause": "scheduled", "why": ["scheduled for 2013-07-01"]}
    ledger.append("m", "decision", {**about, "dag_run": "r4", **old}, as_of=AS_OF)
    return ledger.entries("m")


def printed(found: list[dict[str, Any]]) -> str:
    out = StringIO()
    render(found, Console(file=out, width=160))
    return out.getvalue()


def test_each_decision_is_told_with_what_every_guard_said(entries: list[Entry]) -> None:
    told = " ".join(printed(decisions(entries)).split())
    for text in (
        "2013-07-01 no, asked for by an event (drift and asset orders)",
        "✗ cooldown the cooldown of 7 d [red] ends only at 2013-07-08",
        "✗ budget the budget is 0 USD per month: no training is paid for",
        "✓ triggers asked for by drift and asset (orders)",
        "2013-07-01 go, asked for by a person, it cost 0.01 USD",
        "! budget 12 USD of 10 USD per month",
        "2013-07-01 dry run, would be go, asked for by an event",
        "2013-07-01 go, asked for by the schedule",
        "scheduled for 2013-07-01",
    ):
        assert text in told


def test_machines_are_told_the_numbers_too(entries: list[Entry]) -> None:
    no, by_hand, tried, old = decisions(entries)
    assert (no["run"], no["decision"], no["inputs"]["rows"], no["assets"]) == ("r1", "no", 7, ["orders"])
    assert [check["guard"] for check in no["checks"]] == ["triggers", "cooldown", "budget"]
    assert by_hand["cost"] == [{"amount": "0.0125", "currency": "USD"}]
    assert (tried["dry_run"], tried["would"], tried["decision"]) == (True, "go", "no")
    assert (old["dry_run"], old["warnings"], old["checks"]) == (False, [], [])


def test_nothing_decided_is_said(ledger: Ledger) -> None:
    assert "No decision" in printed(decisions(ledger.entries("m")))


def test_in_the_models_story_a_decision_and_a_cost_are_one_line_each(entries: list[Entry]) -> None:
    lines = [line_of(entry)[2] for entry in entries]
    assert lines[0].startswith("no: the cooldown of 7 d")
    assert lines[1] == "go: started by hand; against it, but not holding it back: 12 USD of 10 USD per month"
    assert lines[2] == "dry run, would be go: asked for by drift"
    assert lines[3] == "0.01 USD for 90 s at 0.5 USD per hour, and no model"
    assert line(NO.to_json()).endswith("no training is paid for")


@pytest.mark.parametrize(
    ("amount", "shown"),
    [("0.000139", "0.000139 USD"), ("0.5", "0.50 USD"), ("1234.567", "1,234.57 USD"), ("0", "0.00 USD")],
)
def test_money_is_told_to_the_cent_unless_that_would_be_nothing(amount: str, shown: str) -> None:
    assert money([{"amount": amount, "currency": "USD"}]) == shown
