"""What came before, who asked, and what the rows are like: each guard on its own, and all of them together."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from tests.steps.policy.making import History, against, day


class TestStopAfter:
    POLICY: ClassVar[dict[str, Any]] = {"stop_after": 2}

    def refused(self, history: History, *versions: str, month: int = 5, **run: Any) -> None:
        for version in versions:
            name = history.went(day(month), **run)
            history.ended(day(month), name, "refused", version)

    def test_so_many_refused_challengers_in_a_row_stop_every_signal(self) -> None:
        history = History()
        self.refused(history, "4")
        assert against(history.decide(day(7), **self.POLICY)) == []
        self.refused(history, "5", cause="scheduled")
        found = history.decide(day(7), **self.POLICY)
        assert found.why == (
            "2 challengers in a row refused (versions 4, 5, the last for as_of 2013-05-01), stop_after is 2: only a "
            "person starts the next training",
        )
        assert history.decide(day(7), "scheduled", **self.POLICY).decision == "go"

    def test_a_promotion_begins_the_row_anew(self) -> None:
        history = History()
        self.refused(history, "4")
        history.ended(day(5), history.went(day(5)), "promoted", "5")
        self.refused(history, "6")
        assert against(history.decide(day(7), **self.POLICY)) == []

    @pytest.mark.parametrize("outcome", ["refused", "promoted", "superseded", None])
    def test_a_persons_training_begins_it_anew_whatever_it_comes_to(self, outcome: str | None) -> None:
        history = History()
        self.refused(history, "4", "5")
        by_hand = history.went(day(12), cause="manual")
        if outcome:
            history.ended(day(12), by_hand, outcome, "6")
        assert against(history.decide(day(7), **self.POLICY)) == []
        self.refused(history, "7")
        assert against(history.decide(day(7), **self.POLICY)) == []
        self.refused(history, "8")  # it stands earlier in time than the person's, and came later
        assert against(history.decide(day(7), **self.POLICY)) == ["stop_after"]

    def test_a_superseded_one_neither_counts_nor_begins_it_anew(self) -> None:
        history = History()
        self.refused(history, "4")
        history.ended(day(5), history.went(day(5)), "superseded", "5")
        self.refused(history, "6")
        assert against(history.decide(day(7), **self.POLICY)) == ["stop_after"]

    def test_one_version_is_one_challenger_however_often_it_is_put_to_the_gate(self) -> None:
        history = History()
        self.refused(history, "4")
        history.ended(day(5), "asset 0", "refused", "4", by_hand=True)
        assert against(history.decide(day(7), **self.POLICY)) == []


class TestOnce:
    def test_one_training_answers_all_alarms_about_an_instant_even_if_it_failed(self) -> None:
        history = History()
        run = history.went(day(7))
        found = history.decide(day(7))
        assert found.why == (
            f"a training for as_of 2013-07-01 was already started, run {run}, and came to no end: it is under way or "
            "failed",
        )
        assert history.decide(day(7), "manual").decision == "go"

    def test_an_edited_spec_may_be_tried_at_the_same_instant(self) -> None:
        history = History()
        history.went(day(7), spec_hash="before")
        assert against(history.decide(day(7))) == []

    def test_a_run_with_nothing_to_train_is_no_answer(self) -> None:
        history = History()
        history.ended(day(7), history.went(day(7)), "superseded", "")
        assert against(history.decide(day(7))) == []


class TestVeto:
    def test_severe_findings_refuse_where_the_policy_says_so(self) -> None:
        findings = ("the column dep_time is missing", "nulls in temp went from 1% to 40%")
        found = History().decide(day(7), findings=findings, veto=["data_quality"])
        assert found.why == (
            "the rows that the alarm is about are broken: the column dep_time is missing; nulls in temp went from 1% "
            "to 40%",
        )
        assert found.inputs["findings"] == list(findings)
        assert History().decide(day(7), findings=findings).decision == "go"
        assert History().decide(day(7), veto=["data_quality"]).decision == "go"

    def test_many_are_counted_and_few_told(self) -> None:
        found = History().decide(day(7), findings=tuple(f"c{i} is missing" for i in range(40)), veto=["data_quality"])
        assert found.why[0].endswith("c4 is missing; and 35 more")
        assert len(found.inputs["findings"]) == 40


class TestTriggers:
    def test_an_asset_is_told_by_its_name(self) -> None:
        policy: dict[str, Any] = {"triggers": ["drift", "asset"], "assets": ["orders"]}
        found = History().decide(day(7), reasons=("drift", "asset"), upstream=("orders",), **policy)
        assert found.why[0] == "asked for by drift and asset (orders)"
        assert found.inputs["assets"] == ["orders"]

    def test_new_rows_are_a_signal_like_another(self) -> None:
        policy: dict[str, Any] = {"triggers": ["new_data"], "new_data": 5}
        assert History().decide(day(7), reasons=("new_data",), **policy).why[0] == "asked for by new_data"
        assert against(History().decide(day(7), reasons=("drift",), **policy)) == ["triggers"]


class TestDryRun:
    def test_what_it_would_have_done_is_said_and_nothing_is_trained(self) -> None:
        found = History().decide(day(7), dry_run=True)
        assert (found.decision, found.dry_run, found.would) == ("no", True, "go")
        assert found.why[0] == "asked for by drift"
        found = History().decide(day(7), dry_run=True, reasons=("performance",))
        assert (found.decision, found.would, against(found)) == ("no", "no", ["triggers"])

    @pytest.mark.parametrize("cause", ["scheduled", "manual"])
    def test_only_what_a_signal_asked_for_is_tried_out(self, cause: Any) -> None:
        found = History().decide(day(7), cause, dry_run=True)
        assert (found.decision, found.dry_run, found.would) == ("go", False, None)

    def test_trials_count_among_themselves_and_no_longer_when_it_is_real(self) -> None:
        policy: dict[str, Any] = {"cooldown": "14 d", "at_most": "1 per month", "budget": "10 USD per month"}
        history = History()
        history.paid(day(6), "6")
        history.decided(history.decide(day(7), dry_run=True, **policy), day(7), "tried")
        again = history.decide(day(7, 8), dry_run=True, **policy)
        assert against(again) == ["cooldown", "at_most", "budget"]
        assert against(history.decide(day(7), dry_run=True)) == ["once"]
        assert history.decide(day(7, 8), **policy).decision == "go"


def test_every_reason_is_told_and_not_only_the_first() -> None:
    history = History()
    history.paid(day(7), "9", run=history.went(day(7)))
    history.ended(day(7), "asset 0", "refused", "4")
    found = history.decide(
        day(7, 6, 3), reasons=("performance",), rows=10, findings=("a is missing",), cooldown="14 d",
        at_most="1 per month", budget="10 USD per month", min_rows=100, quiet_hours=[{"from": "00:00", "to": "06:00"}],
        veto=["data_quality"], stop_after=1,
    )  # fmt: skip
    assert against(found) == [
        "triggers", "cooldown", "at_most", "budget", "min_rows", "quiet_hours", "veto", "stop_after",
    ]  # fmt: skip
    assert len(found.why) == 8
    assert all(any(char.isdigit() for char in text) for text in found.why[1:6])
