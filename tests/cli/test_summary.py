"""What the ledger tells of a model: trainings and gates, alarms and decisions, and what retraining gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tidemill.cli.summary import render, summarise
from tidemill.ledger import Ledger, open_ledger
from tidemill.records import (
    ColumnDrift,
    Cost,
    Decision,
    Estimate,
    Evaluation,
    MonitorReport,
    Performance,
    Promotion,
    Scores,
)


def at(month: int) -> datetime:
    return datetime(2013, month, 1, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


class Story:
    """Writes into a ledger what steps would write."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def add(self, kind: str, month: int, run: str, record: Any, **more: Any) -> None:
        body = {"dag_id": "m", "dag_run": run, "pipeline": "m", **more, **record.to_json()}
        self.ledger.append("m", kind, body, as_of=at(month), key=f"{kind}/{run}")

    def decision(
        self, month: int, run: str, decision: Any, cause: str, *why: str, reasons: tuple[str, ...] = ()
    ) -> None:
        record = Decision(decision=decision, cause=cause, why=why, inputs={"reasons": list(reasons)})
        self.add("decision", month, run, record)

    def training(
        self,
        month: int,
        run: str,
        version: str,
        outcome: Any,
        new: dict[str, float],
        old: dict[str, float] | None = None,
    ) -> None:
        before = None if old is None else str(int(version) - 1)
        scores = None if old is None else Scores(metrics=old)
        evaluation = Evaluation(
            data_version="d", run_id=f"r{version}", rows=9, challenger=Scores(metrics=new), champion_version=before,
            champion=scores,
        )  # fmt: skip
        self.add("evaluation", month, run, evaluation)
        promotion = Promotion(
            model="m", version=version, outcome=outcome, reasons=(f"because of [{version}]",), champion_before=before,
            data_version="d",
        )  # fmt: skip
        self.add("promotion", month, run, promotion)

    def window(self, month: int, version: str | None, run: str = "", **more: Any) -> None:
        start, end = at(month), at(month + 1)
        report = MonitorReport(model="m", version=version, start=start, end=end, rows=1000, labelled=900, **more)
        self.add("drift", month + 1, run or f"w{month}", report)


@pytest.fixture
def story(ledger: Ledger) -> Story:
    """Version 1 by schedule; drift; version 2 asked for by it; another request refused by the guard."""
    told = Story(ledger)
    told.window(5, None, why=("no champion was in force",))
    told.decision(6, "r1", "go", "scheduled", "scheduled for 2013-06-01")
    told.training(6, "r1", "1", "promoted", {"roc_auc": 0.7, "log_loss": 0.5})
    drifted = ColumnDrift(name="wind", type="numeric", distance=0.4, drifted=True)
    calm = ColumnDrift(name="dew", type="numeric", distance=0.0, drifted=False)
    told.window(6, "1", columns=(drifted, calm), share_drifted=0.5, fired=("drift",), why=("half drifted",))
    told.decision(7, "r2", "go", "asset", "asked for by drift", reasons=("drift",))
    told.training(7, "r2", "2", "promoted", {"roc_auc": 0.75, "log_loss": 0.48}, {"roc_auc": 0.72, "log_loss": 0.49})
    told.window(
        7, "2",
        performance=Performance(version="2", metrics={"roc_auc": 0.74, "log_loss": 0.52}),
        previous=Performance(version="1", metrics={"roc_auc": 0.70, "log_loss": 0.50}),
        fired=("performance",),
    )  # fmt: skip
    told.decision(8, "r3", "no", "asset", "the cooldown ends at 2013-08-15", reasons=("performance",))
    told.window(
        8, "2",
        performance=Performance(version="2", metrics={"roc_auc": 0.73, "log_loss": None}),
        previous=Performance(version="1", metrics={"roc_auc": 0.75, "log_loss": 0.50}),
    )  # fmt: skip
    return told


def test_each_request_to_train_is_told_with_its_decision_and_outcome(story: Story, ledger: Ledger) -> None:
    found = summarise(ledger.entries("m"), "m")
    assert found["champion"] == "2"
    told = [
        (t["as_of"], t["cause"], t["reasons"], t["decision"], t["version"], t["outcome"]) for t in found["trainings"]
    ]
    assert told == [
        ("2013-06-01", "scheduled", [], "go", "1", "promoted"),
        ("2013-07-01", "asset", ["drift"], "go", "2", "promoted"),
        ("2013-08-01", "asset", ["performance"], "no", None, "not trained"),
    ]
    assert found["trainings"][2]["why"] == ["the cooldown ends at 2013-08-15"]
    second = found["trainings"][1]
    assert second["against"] == "1"
    # A lower log loss is a gain.
    assert {name: round(m["gain"], 6) for name, m in second["metrics"].items()} == {"roc_auc": 0.03, "log_loss": 0.01}
    assert found["trainings"][0]["metrics"]["roc_auc"] == {"challenger": 0.7, "champion": None, "gain": None}


def test_each_window_is_told_with_what_fired(story: Story, ledger: Ledger) -> None:
    windows = summarise(ledger.entries("m"), "m")["windows"]
    assert [(w["version"], w["fired"], w["drifted"]) for w in windows] == [
        (None, [], []),
        ("1", ["drift"], ["wind"]),
        ("2", ["performance"], []),
        ("2", [], []),
    ]


def test_what_a_retraining_gave_is_told_on_the_windows_after_it(story: Story, ledger: Ledger) -> None:
    first, second = summarise(ledger.entries("m"), "m")["worth"]
    assert (first["version"], first["against"], first["following"]) == ("2", "1", True)
    assert round(first["metrics"]["roc_auc"]["gain"], 6) == 0.04
    assert round(first["metrics"]["log_loss"]["gain"], 6) == -0.02
    assert second["following"] is False
    assert second["metrics"]["log_loss"]["gain"] is None


def test_of_two_reports_on_one_window_the_last_counts(story: Story, ledger: Ledger) -> None:
    story.window(6, "1", run="again", fired=())
    windows = summarise(ledger.entries("m"), "m")["windows"]
    assert len(windows) == 4
    assert windows[1]["fired"] == []


def test_performance_of_earlier_rows_and_estimates_are_told_for_what_they_are(ledger: Ledger) -> None:
    told = Story(ledger)
    metrics = {"roc_auc": 0.7}
    estimate = Estimate(
        version="1", metrics={"roc_auc": 0.8, "f1": None}, intervals=(), start=at(6), end=at(7), rows=9,
        calibration="isotonic",
    )  # fmt: skip
    measured = Performance(version="1", metrics=metrics, start=at(5), end=at(6))
    told.window(6, "1", performance=measured, previous=Performance(version="0", metrics=metrics), estimate=estimate)
    summary = summarise(ledger.entries("m"), "m")
    (window,) = summary["windows"]
    assert window["estimate"]["metrics"] == {"roc_auc": 0.8, "f1": None}
    assert [w["start"][:7] for w in summary["worth"]] == ["2013-05"]
    output = StringIO()
    render(summary, Console(file=output, width=200))
    text = " ".join(output.getvalue().split())
    assert "from 2013-05: roc_auc 0.7000; estimated without labels: roc_auc about 0.8000" in text


def test_a_training_without_a_gate_is_unfinished(ledger: Ledger) -> None:
    Story(ledger).decision(6, "r1", "go", "manual", "by hand")
    (training,) = summarise(ledger.entries("m"), "m")["trainings"]
    assert training["outcome"] == "unfinished"
    assert training["why"] == ["the run failed or is under way: no gate has spoken"]


def test_nothing_yet_is_told_too() -> None:
    found = summarise([], "m")
    assert (found["champion"], found["trainings"], found["windows"], found["worth"]) == (None, [], [], [])
    assert "there is no champion" in printed(found)


def test_it_is_json(story: Story, ledger: Ledger) -> None:
    found = summarise(ledger.entries("m"), "m")
    assert json.loads(json.dumps(found)) == found


def printed(summary: dict[str, Any], width: int = 80) -> str:
    out = StringIO()
    render(summary, Console(file=out, width=width))
    return out.getvalue()


def test_the_tables_fit_eighty_columns_and_lose_nothing(story: Story, ledger: Ledger) -> None:
    text = printed(summarise(ledger.entries("m"), "m"))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    for part in (
        "champion is version 2",
        "0.7500 (version 1:",
        "the cooldown ends at 2013-08-15",
        "50% of columns drifted (wind)",
        "0.7400 +0.0400",
        "0.5200 -0.0200",
        "3 requests to train: 2 promoted, 1 not trained.",
        "4 windows watched: drift fired in 1, performance in 1.",
        "Version 2 instead of 1, in its first window, 2013-07: roc_auc +0.0400,",
    ):
        assert part in text, part


def test_a_reason_in_brackets_is_no_markup(story: Story, ledger: Ledger) -> None:
    story.decision(9, "r4", "go", "manual", "by hand")
    story.training(9, "r4", "3", "refused", {"roc_auc": 0.1})
    assert "because of [3]" in printed(summarise(ledger.entries("m"), "m"))


def test_a_window_that_is_no_month_is_told_by_its_ends(ledger: Ledger) -> None:
    start, end = datetime(2013, 6, 3, tzinfo=UTC), datetime(2013, 6, 10, 12, tzinfo=UTC)
    report = MonitorReport(model="m", version="1", start=start, end=end, rows=1, labelled=0)
    Story(ledger).add("drift", 7, "w", report)
    assert "2013-06-03 to 2013-06-10T12:00:00Z" in printed(summarise(ledger.entries("m"), "m"))


def test_a_dry_run_is_marked_and_what_trainings_cost_is_added_up(story: Story, ledger: Ledger) -> None:
    tried = Decision(decision="no", cause="asset", why=("asked for by drift",), dry_run=True, would="go")
    story.add("decision", 9, "r4", tried)
    for number, (run, amount) in enumerate([("r1", "1.25"), ("r2", "0.1"), ("r2", "0.2")]):
        outcome: Any = "failed" if number == 1 else "trained"
        cost = Cost(training="t", outcome=outcome, seconds=9, price="1 USD per hour", amount=amount, currency="USD")
        ledger.append("m", "cost", {"dag_id": "m", "dag_run": run, "pipeline": "m", **cost.to_json()}, as_of=at(6))
    found = summarise(ledger.entries("m"), "m")
    assert [(t["run"], t["outcome"], t["cost"]) for t in found["trainings"]] == [
        ("r1", "promoted", [{"amount": "1.25", "currency": "USD"}]),
        ("r2", "promoted", [{"amount": "0.3", "currency": "USD"}]),
        ("r3", "not trained", []),
        ("r4", "dry run", []),
    ]
    out = StringIO()
    render(found, Console(file=out, width=200))
    assert "would have been trained: asked for by drift" in out.getvalue()
    assert "They cost 1.55 USD." in out.getvalue()
