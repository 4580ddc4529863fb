"""The retraining guard: who waits for what, what counts, and that an answer is given once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tidemill.ledger import Entry, Ledger
from tidemill.project import Project
from tidemill.records import AsOf, Cause, Decision, Promotion
from tidemill.steps import retrain
from tidemill.steps.context import StepContext, StepError, StepSkipped
from tidemill.steps.ledger_io import read, record

Make = Callable[..., StepContext]
POLICY: dict[str, Any] = {"triggers": ["drift"], "cooldown": "14 d", "at_most": "2 per year"}


def day(month: int, day: int = 1, year: int = 2013) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


@pytest.fixture
def guard(make_context: Make) -> Callable[..., Decision]:
    """Run the guard of a run at an instant; a no is returned like a go."""

    def decide(
        at: datetime,
        cause: Cause = "asset",
        *,
        reasons: Sequence[str] = ("drift",),
        run_id: str | None = None,
        **more: Any,
    ) -> Decision:
        more.setdefault("retrain", POLICY)
        ctx = make_context("retrain", run_id=run_id or f"{cause}__{at.isoformat()}", **more)
        given = tuple(reasons) if cause == "asset" else ()
        ctx = replace(ctx, results={"as_of": AsOf(instant=at, cause=cause, reasons=given)})
        try:
            return retrain.run(ctx)
        except StepSkipped as skipped:
            no, said = skipped.record, str(skipped)
        assert isinstance(no, Decision)
        assert said == "no training: " + "; ".join(no.why)
        return no

    return decide


def ended(make: Make, at: datetime, outcome: Any, *, version: str = "1", run_id: str = "r", **more: Any) -> None:
    ctx = make("promote", as_of=at, run_id=run_id, **more)
    promotion = Promotion(
        model="flights", version=version, outcome=outcome, reasons=(), champion_before=None, data_version="d"
    )
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, "promotion", promotion)


def decisions(make: Make) -> list[Entry]:
    ctx = make("retrain")
    with ctx.open_ledger() as ledger:
        return ledger.entries(ctx.model, kinds={"decision"})


Guard = Callable[..., Decision]


def test_without_a_retrain_section_every_run_trains_and_that_is_recorded(guard: Guard, make_context: Make) -> None:
    for cause in ("scheduled", "asset", "manual"):
        assert guard(day(7), cause, retrain=None).decision == "go"
    assert [e.body["cause"] for e in decisions(make_context)] == ["scheduled", "asset", "manual"]
    assert all(e.as_of == day(7) for e in decisions(make_context))


def test_an_event_needs_a_reason_among_the_triggers(guard: Guard) -> None:
    found = guard(day(7), reasons=["performance"])
    assert found.decision == "no"
    assert found.why == ("the event's reasons (performance) are not among retrain.triggers (drift)",)
    assert "(none)" in guard(day(8), reasons=[]).why[0]
    assert guard(day(9), reasons=["performance", "drift"]).decision == "go"


class TestCooldown:
    @pytest.mark.parametrize("cause", ["asset", "scheduled"])
    def test_counts_from_the_last_training_of_the_schedule_or_of_an_event(self, guard: Guard, cause: Cause) -> None:
        assert guard(day(7), cause).decision == "go"
        found = guard(day(7, 14))
        assert found.decision == "no"
        assert f"the cooldown of 14 d since the last training, 2013-07-01 ({cause}, run " in found.why[0]
        assert found.why[0].endswith("ends only at 2013-07-15")
        assert guard(day(7, 15)).decision == "go"

    @pytest.mark.parametrize("outcome", ["promoted", "refused"])
    def test_counts_whatever_became_of_the_training(self, guard: Guard, make_context: Make, outcome: str) -> None:
        guard(day(7), run_id="first")
        ended(make_context, day(7), outcome, run_id="first")
        assert guard(day(7, 10)).decision == "no"

    def test_a_refused_event_does_not_count(self, guard: Guard) -> None:
        guard(day(7))
        assert guard(day(7, 14)).decision == "no"
        assert guard(day(7, 15)).decision == "go"  # from the 1st, not from the 14th

    def test_runs_by_hand_neither_count_nor_wait(self, guard: Guard) -> None:
        assert guard(day(7), "manual").decision == "go"
        assert guard(day(7, 2)).decision == "go"
        assert guard(day(7, 3), "manual").decision == "go"

    def test_the_schedule_does_not_wait(self, guard: Guard) -> None:
        guard(day(6, 30))
        assert guard(day(7), "scheduled").decision == "go"

    def test_a_run_that_found_nothing_to_train_is_given_back(self, guard: Guard, make_context: Make) -> None:
        guard(day(7), "scheduled")
        guard(day(8), run_id="again")
        ended(make_context, day(8), "superseded", version="", run_id="again")
        assert guard(day(8, 2)).decision == "go"

    def test_a_trained_version_that_lost_its_race_is_not_given_back(self, guard: Guard, make_context: Make) -> None:
        guard(day(8), run_id="slow")
        ended(make_context, day(8), "superseded", version="7", run_id="slow")
        assert guard(day(8, 2)).decision == "no"

    def test_counts_in_as_of_time_not_by_the_clock(self, guard: Guard) -> None:
        assert [guard(day(7) + timedelta(days=20 * i)).decision for i in range(2)] == ["go", "go"]


class TestQuota:
    def test_is_of_the_calendar_period_of_as_of(self, guard: Guard) -> None:
        assert [guard(day(m)).decision for m in (3, 6, 9)] == ["go", "go", "no"]
        assert guard(day(1, year=2014)).decision == "go"

    def test_says_how_much_of_it_is_used(self, guard: Guard) -> None:
        for month in (3, 6):
            guard(day(month))
        found = guard(day(9))
        assert found.why == (
            "2 trainings in the year from 2013-01-01 (scheduled ones not counted), at_most is 2 per year",
        )
        assert found.inputs["quota"] == {"start": "2013-01-01", "end": "2014-01-01", "used": 2, "at_most": 2}

    def test_scheduled_runs_neither_count_nor_wait_unless_asked(self, guard: Guard) -> None:
        for month in (1, 2, 3):
            assert guard(day(month), "scheduled").decision == "go"
        assert guard(day(6)).decision == "go"

    def test_with_count_scheduled_they_count_and_wait(self, guard: Guard) -> None:
        policy = {**POLICY, "count_scheduled": True}
        assert guard(day(1), "scheduled", retrain=policy).decision == "go"
        assert guard(day(3), retrain=policy).decision == "go"
        assert guard(day(4), "scheduled", retrain=policy).decision == "no"
        assert guard(day(5), retrain=policy).decision == "no"

    def test_runs_by_hand_do_not_count(self, guard: Guard) -> None:
        for month in (1, 2, 3):
            assert guard(day(month), "manual").decision == "go"
        assert guard(day(6)).decision == "go"

    def test_all_reasons_against_are_given(self, guard: Guard) -> None:
        guard(day(3))
        guard(day(6))
        assert len(guard(day(6, 2), reasons=["performance"]).why) == 3


class TestPlaceInTime:
    def test_an_event_from_before_the_last_training_is_refused(self, guard: Guard) -> None:
        guard(day(7), "scheduled")
        found = guard(day(6))
        assert found.decision == "no"
        assert "as_of 2013-06-01 is earlier than that of the last training, 2013-07-01" in found.why[0]

    def test_a_backfill_is_not(self, guard: Guard) -> None:
        guard(day(7), "scheduled")
        assert guard(day(6), "scheduled").decision == "go"

    def test_a_run_by_hand_later_in_time_does_not_stop_events(self, guard: Guard) -> None:
        guard(day(12), "manual")
        assert guard(day(6)).decision == "go"

    def test_an_event_at_an_as_of_whose_training_has_ended_is_refused(self, guard: Guard, make_context: Make) -> None:
        policy = {"triggers": ["drift"]}
        guard(day(7), "manual", retrain=policy)
        ended(make_context, day(7), "refused", version="4", run_id="by hand")
        found = guard(day(7), retrain=policy)
        assert found.why == ("a training for as_of 2013-07-01 already ended: version 4 was refused",)

    def test_but_not_if_that_was_of_another_spec(self, guard: Guard, make_context: Make) -> None:
        ended(make_context, day(7), "promoted", spec_hash="another")
        assert guard(day(7), retrain={"triggers": ["drift"]}).decision == "go"


class TestMinRows:
    @pytest.fixture(autouse=True)
    def rows(self, project: Project) -> None:
        # Training rows at as_of July are those of April and May; a day has one row.
        times = [day(3) + timedelta(days=i) for i in range(122)]
        pl.DataFrame({"id": range(122), "time": times, "late": 0}).write_parquet(project.path("include/rows.parquet"))

    @pytest.mark.parametrize("cause", ["scheduled", "asset", "manual"])
    def test_holds_for_every_run(self, guard: Guard, cause: Cause) -> None:
        found = guard(day(7), cause, retrain={"triggers": ["drift"], "min_rows": 62})
        assert found.decision == "no"
        assert found.why == ("61 training rows, min_rows is 62",)
        assert guard(day(7), cause, run_id="2", retrain={"triggers": ["drift"], "min_rows": 61}).decision == "go"

    def test_no_rows_at_all_are_too_few(self, guard: Guard) -> None:
        assert guard(day(1), "scheduled", retrain={"min_rows": 1}).why == ("0 training rows, min_rows is 1",)

    def test_a_source_that_cannot_be_read_decides_nothing(
        self, guard: Guard, make_context: Make, project: Project
    ) -> None:
        project.path("include/rows.parquet").unlink()
        with pytest.raises(StepError, match=r"rows\.parquet"):
            guard(day(7), "scheduled", retrain={"min_rows": 1})
        assert decisions(make_context) == []


class TestOnce:
    def test_a_retry_finds_what_was_decided_even_if_it_would_be_decided_otherwise_now(
        self, guard: Guard, make_context: Make
    ) -> None:
        first = guard(day(7), run_id="a")
        assert guard(day(7, 2), run_id="b").decision == "no"
        assert guard(day(7), run_id="a") == first  # by now its own training would be in its way
        assert guard(day(7, 2), run_id="b", retrain=None).decision == "no"
        assert len(decisions(make_context)) == 2

    def test_a_no_is_recorded_with_what_was_looked_at(self, guard: Guard, make_context: Make) -> None:
        guard(day(7))
        no = guard(day(7, 3))
        entry = decisions(make_context)[-1]
        assert read(entry, Decision) == no
        assert entry.body["inputs"] == {
            "as_of": "2013-07-03",
            "reasons": ["drift"],
            "policy": {"triggers": ["drift"], "cooldown": "14 d", "at_most": "2 per year"},
            "last_training": {"as_of": "2013-07-01", "cause": "asset", "dag_run": f"asset__{day(7).isoformat()}"},
            "cooldown_until": "2013-07-15",
            "quota": {"start": "2013-01-01", "end": "2014-01-01", "used": 1, "at_most": 2},
        }

    def test_pipelines_that_share_a_model_have_their_own_policies(self, guard: Guard) -> None:
        guard(day(7), pipeline="one", model="shared")
        assert guard(day(7, 2), pipeline="two", model="shared").decision == "go"

    def test_of_two_runs_at_once_one_takes_the_last_place(self, make_context: Make) -> None:
        """Both read the ledger before either writes: the barrier makes sure of it."""
        barrier = threading.Barrier(2)

        class Together(Ledger):
            met = False

            def entries(self, *args: Any, **kwargs: Any) -> list[Entry]:
                found = super().entries(*args, **kwargs)
                if not self.met:
                    self.met = True
                    barrier.wait(timeout=30)
                return found

        def decide(number: int) -> str:
            ctx = make_context("retrain", run_id=f"run{number}", retrain=POLICY)
            ctx = replace(
                ctx,
                results={"as_of": AsOf(instant=day(7, number), cause="asset", reasons=("drift",))},
                open_ledger=lambda: Together(make_context("retrain").open_ledger()._database),
            )
            try:
                return retrain.run(ctx).decision
            except StepSkipped:
                return "no"

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(decide, (1, 2))) == ["go", "no"]
        assert [e.body["decision"] for e in decisions(make_context)] == ["go", "no"]

    def test_of_two_attempts_of_one_run_at_once_both_have_one_answer(self, guard: Guard, make_context: Make) -> None:
        start = threading.Barrier(4)

        def decide(_: int) -> Decision:
            start.wait(timeout=30)
            return guard(day(7), run_id="same")

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(decide, range(4)))
        assert {d.decision for d in found} == {"go"}
        assert len(decisions(make_context)) == 1
