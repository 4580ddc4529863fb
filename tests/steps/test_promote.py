"""Promotion: outcomes, races, crashes, by hand, and the alias as a projection of the ledger.

Ledger, MLflow and DVC are real; model versions are registered without a model, which no promotion looks at.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.mlflow_store import copy_store
from tests.steps.conftest import NoConnections
from tidemill.ledger import Entry, Ledger
from tidemill.ledger.views import champion
from tidemill.project import Project
from tidemill.records import AsOf, DataVersion, Evaluation, ModelVersion, Part, Promotion, Run, Scores
from tidemill.steps import promote
from tidemill.steps.champion import HEAD_TAG, repair_alias, rollback
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.data_versions import stores_of
from tidemill.steps.ledger_io import read, record
from tidemill.tools.dvc import DvcStore
from tidemill.tools.mlflow import Mlflow, open_mlflow

MODEL, ALIAS = "flights", "champion"
GATE: Mapping[str, Any] = {
    "when": {"roc_auc": {"at_least": 0.6, "gain": {"at_least": 0.0, "without_champion": "pass"}}}
}
JUN, JUL, AUG, SEP = (datetime(2013, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, store_template: Path) -> tuple[Path, str]:
    """A state folder with MLflow's database made and one data version in DVC; the version."""
    root = tmp_path_factory.mktemp("template")
    project = Project(root=root, state=root / ".tidemill")
    copy_store(store_template, project)
    open_mlflow(NoConnections(), project).alias(MODEL, ALIAS)
    folder = root / "rows"
    folder.mkdir()
    for name in ("train", "holdout"):
        pl.DataFrame({"x": [1, 2, 3]}).write_parquet(folder / f"{name}.parquet")
    return project.state, DvcStore(project).add(folder)


@dataclass
class World:
    """A project's state, and the runs that reach their promotion in it."""

    make_context: Callable[..., StepContext]
    project: Project
    data_version: str
    count: int = 0
    contexts: dict[str, StepContext] = field(default_factory=dict)

    @property
    def mlflow(self) -> Mlflow:
        return open_mlflow(NoConnections(), self.project)

    @property
    def ledger(self) -> Ledger:
        return self.make_context("promote").open_ledger()

    def entries(self, *kinds: str) -> list[Entry]:
        return self.ledger.entries(MODEL, kinds=kinds or None)

    def champion(self) -> str | None:
        entry = champion(self.entries())
        return None if entry is None else str(entry.body["version"])

    def alias(self) -> str | None:
        return self.mlflow.alias(MODEL, ALIAS)

    def register(self, run_id: str) -> str:
        """A model version as the registry makes it, without a model."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(self.mlflow.uri, self.mlflow.uri)
        try:
            client.create_registered_model(MODEL)
        except MlflowException as error:
            assert error.error_code == "RESOURCE_ALREADY_EXISTS"  # noqa: PT017  (any other is not expected)
        return str(client.create_model_version(MODEL, source=str(self.project.state / "none"), run_id=None).version)

    def challenger(
        self, as_of: datetime, auc: float | None = 0.7, *, against: str | None = None, old: float = 0.65, **spec: Any
    ) -> StepContext:
        """The context in which a new version reaches `promote`, recorded as its steps would have."""
        self.count += 1
        run_id, tracked = f"run{self.count}", f"mlflow{self.count}"
        version = ModelVersion(
            model=MODEL, version=self.register(tracked), run_id=tracked, data_version=self.data_version
        )
        evaluation = Evaluation(
            data_version=self.data_version,
            run_id=tracked,
            rows=100,
            challenger=Scores(metrics={"roc_auc": auc}),
            champion_version=against,
            champion=Scores(metrics={"roc_auc": old}) if against else None,
        )
        run = Run(
            run_id=tracked, experiment="flights", data_version=self.data_version, code_version="c0de", spec_hash="5",
            seed=0, params={}, metrics={}, model_uri="none", seconds=1.0,
        )  # fmt: skip
        part = Part(name="train", rows=3, start=as_of, end=as_of)
        data = DataVersion(
            version=self.data_version, backend="dvc", source="s", path="p", train=part,
            holdout=replace(part, name="holdout"), columns={},
        )  # fmt: skip
        spec.setdefault("promote", GATE)
        ctx = self.make_context(
            "promote",
            run_id=run_id,
            as_of=as_of,
            results={"data": data, "train": run, "evaluate": evaluation, "register": version},
            **spec,
        )
        with ctx.open_ledger() as ledger:
            record(ledger, ctx, "data_version", data)
            record(ledger, ctx, "run", run)
            record(ledger, ctx, "evaluation", evaluation)
            record(ledger, ctx, "registered", version, key=f"registered/{tracked}")
        self.contexts[version.version] = ctx
        return ctx

    def promoted(self, as_of: datetime, auc: float = 0.7, **more: Any) -> str:
        """A version that is promoted; the version."""
        found = promote.run(self.challenger(as_of, auc, against=self.champion(), **more))
        assert found.outcome == "promoted", found.reasons
        return found.version

    def by_hand(self, version: str, *, gate: Mapping[str, Any] = GATE) -> Promotion:
        settings = self.make_context("promote", promote=gate).spec.promote
        with self.ledger as ledger:
            return promote.promote_by_hand(
                ledger, self.mlflow, stores_of(self.make_context("promote")), promote=settings, pipeline="flights",
                spec_hash="now", model=MODEL, version=version, by="ada", note="looked at it",
            )  # fmt: skip

    def rollback(self, **more: Any) -> Entry:
        with self.ledger as ledger:
            return rollback(ledger, self.mlflow, model=MODEL, alias=ALIAS, by="ada", **more)


@pytest.fixture
def world(make_context: Callable[..., StepContext], project: Project, template: tuple[Path, str]) -> World:
    shutil.copytree(template[0], project.state, dirs_exist_ok=True)
    return World(make_context, project, template[1])


class TestOutcomes:
    def test_a_first_version_that_passes_is_promoted_and_gets_the_alias(self, world: World) -> None:
        found = promote.run(world.challenger(JUL))
        assert (found.outcome, found.version, found.champion_before) == ("promoted", "1", None)
        assert any("no_champion" in reason for reason in found.reasons)
        assert (world.champion(), world.alias()) == ("1", "1")

    def test_the_entry_explains_itself(self, world: World) -> None:
        found = promote.run(world.challenger(JUL))
        entry = world.entries("promotion")[0]
        assert read(entry, Promotion) == found
        assert entry.as_of == JUL
        assert entry.body["code_version"] == "c0de"
        assert entry.body["data_version"] == world.data_version
        assert entry.body["training_run"] == "mlflow1"
        assert entry.body["gate"]["passes"][0] == "roc_auc is 0.7, at least 0.6 as asked for"

    def test_a_better_version_replaces_the_champion(self, world: World) -> None:
        world.promoted(JUL)
        assert world.promoted(AUG) == "2"
        assert (world.champion(), world.alias()) == ("2", "2")

    def test_a_version_that_misses_its_gate_is_refused_with_every_reason(self, world: World) -> None:
        world.promoted(JUL)
        found = promote.run(world.challenger(AUG, 0.55, against="1"))
        assert found.outcome == "refused"
        assert [r.split()[1] for r in found.reasons] == ["is", "gains"]
        assert (world.champion(), world.alias()) == ("1", "1")

    def test_a_metric_that_does_not_exist_refuses(self, world: World) -> None:
        assert promote.run(world.challenger(JUL, None)).outcome == "refused"
        assert world.alias() is None

    def test_data_that_changed_refuses_and_names_the_version(self, world: World) -> None:
        ctx = world.challenger(JUL)
        objects = [p for p in (world.project.state / "dvc" / "remote").rglob("*") if p.is_file()]
        assert objects
        for path in objects:
            path.chmod(0o644)
            path.write_bytes(path.read_bytes() + b" ")
        found = promote.run(ctx)
        assert found.outcome == "refused"
        assert world.data_version in found.reasons[-1]
        assert world.alias() is None

    def test_an_earlier_as_of_never_replaces_a_newer_champion(self, world: World) -> None:
        world.promoted(AUG)
        found = promote.run(world.challenger(JUL, 0.99, against="1"))
        assert found.outcome == "superseded"
        assert "as_of 2013-07-01 is earlier than 2013-08-01" in found.reasons[0]
        assert world.alias() == "1"

    @pytest.mark.parametrize(("auc", "outcome"), [(0.8, "promoted"), (0.61, "refused")])
    def test_an_equal_as_of_goes_through_the_gate(self, world: World, auc: float, outcome: str) -> None:
        world.promoted(JUL)
        assert promote.run(world.challenger(JUL, auc, against="1")).outcome == outcome

    def test_a_champion_that_changed_since_the_evaluation_supersedes_and_names_both(self, world: World) -> None:
        world.promoted(JUN)
        slow = world.challenger(AUG, 0.99, against="1")
        world.promoted(JUL)
        found = promote.run(slow)
        assert found.outcome == "superseded"
        assert found.reasons == (
            "the champion changed since the evaluation: it was compared with version 1, now it is version 3",
        )
        assert world.alias() == "3"

    def test_two_first_versions_cannot_both_win(self, world: World) -> None:
        slow = world.challenger(AUG, 0.99)
        world.promoted(JUL)
        found = promote.run(slow)
        assert found.outcome == "superseded"
        assert "it was compared with no champion, now it is version 2" in found.reasons[0]


class TestApproval:
    MANUAL: Mapping[str, Any] = {**GATE, "approval": "manual"}

    def answered(self, ctx: StepContext, answer: str, **more: Any) -> StepContext:
        given = {
            "chosen_options": [answer],
            "params_input": {"note": "seen"},
            "responded_by_user": {"id": "7", "name": "ada"},
            "responded_at": "2026-11-23T10:00:00+00:00",
        }
        return replace(ctx, answer={**given, **more})

    def test_yes_promotes_and_is_recorded_twice(self, world: World) -> None:
        found = promote.run(self.answered(world.challenger(JUL, promote=self.MANUAL), "Approve"))
        assert found.outcome == "promoted"
        assert "approved by ada: seen" in found.reasons
        assert found.approval is not None
        assert found.approval.at == datetime(2026, 11, 23, 10, tzinfo=UTC)
        approval = world.entries("approval")[0].body
        assert (approval["answer"], approval["by"], approval["version"]) == ("Approve", "ada", "1")

    def test_no_refuses_though_the_gate_passes(self, world: World) -> None:
        found = promote.run(self.answered(world.challenger(JUL, promote=self.MANUAL), "Reject"))
        assert (found.outcome, found.reasons) == ("refused", ("rejected by ada: seen",))
        assert world.alias() is None
        assert world.entries("approval")[0].body["answer"] == "Reject"

    def test_yes_does_not_open_the_gate(self, world: World) -> None:
        found = promote.run(self.answered(world.challenger(JUL, 0.5, promote=self.MANUAL), "Approve"))
        assert found.outcome == "refused"

    def test_an_answer_by_default_after_the_time_ran_out_names_nobody(self, world: World) -> None:
        ctx = self.answered(
            world.challenger(JUL, promote=self.MANUAL), "Reject", responded_by_user=None, params_input={},
            responded_at=datetime(2026, 11, 23),  # noqa: DTZ001  (as a database without zones returns it)
        )  # fmt: skip
        assert promote.run(ctx).reasons == ("rejected by nobody (the time to answer ran out)",)

    @pytest.mark.parametrize("answer", [None, {}, {"chosen_options": []}, {"chosen_options": ["Approve", "Reject"]}])
    def test_without_an_answer_nothing_is_decided(self, world: World, answer: Any) -> None:
        ctx = replace(world.challenger(JUL, promote=self.MANUAL), answer=answer)
        with pytest.raises(StepError, match="Clear the task `approve`"):
            promote.run(ctx)
        assert world.entries("promotion", "approval") == []

    def test_automatic_asks_nobody(self, world: World) -> None:
        assert promote.run(self.answered(world.challenger(JUL), "Reject")).outcome == "promoted"
        assert world.entries("approval") == []


class TestOnce:
    def test_a_retry_finds_what_was_decided(self, world: World) -> None:
        ctx = world.challenger(JUL, 0.5)
        first = promote.run(ctx)
        better = replace(ctx.result(Evaluation), challenger=Scores(metrics={"roc_auc": 0.99}))
        again = promote.run(replace(ctx, results={**ctx.results, "evaluate": better}))
        assert again == first
        assert len(world.entries("promotion")) == 1

    def test_two_runs_at_once_that_beat_the_same_champion_one_wins(self, world: World) -> None:
        """Both read the ledger before either writes: the barrier makes sure of it."""
        world.promoted(JUN)
        barrier = threading.Barrier(2)

        class Together(Ledger):
            reads = 0

            def entries(self, *args: Any, **kwargs: Any) -> list[Entry]:
                found = super().entries(*args, **kwargs)
                self.reads += 1
                if self.reads == 3:  # after the two of the repair at the start: the one of the decision
                    barrier.wait(timeout=60)
                return found

        def run(ctx: StepContext) -> Promotion:
            return promote.run(replace(ctx, open_ledger=lambda: Together(world.ledger._database)))

        contexts = [world.challenger(JUL, 0.8, against="1"), world.challenger(JUL, 0.9, against="1")]
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(run, contexts))
        assert sorted(p.outcome for p in found) == ["promoted", "superseded"]
        winner = next(p.version for p in found if p.outcome == "promoted")
        loser = next(p for p in found if p.outcome == "superseded")
        assert f"it was compared with version 1, now it is version {winner}" in loser.reasons[0]
        assert (world.champion(), world.alias()) == (winner, winner)

    def test_two_processes_at_once_one_wins(self, world: World) -> None:
        contexts = [world.challenger(JUL, 0.8), world.challenger(JUL, 0.9)]
        spawn = multiprocessing.get_context("fork")
        start = spawn.Barrier(2)

        def run(ctx: StepContext) -> None:
            start.wait(60)
            promote.run(ctx)

        children = [spawn.Process(target=run, args=(ctx,)) for ctx in contexts]
        for child in children:
            child.start()
        for child in children:
            child.join(120)
            assert child.exitcode == 0
        outcomes = {e.body["outcome"]: e.body["version"] for e in world.entries("promotion")}
        assert outcomes.keys() == {"promoted", "superseded"}
        assert world.champion() == world.alias() == outcomes["promoted"]


class TestAlias:
    def test_a_crash_between_ledger_and_alias_is_repaired_by_the_retry(self, world: World) -> None:
        world.promoted(JUN)
        ctx = world.challenger(JUL, 0.8, against="1")

        def killed() -> None:
            # The process dies where the alias would be set, after the ledger was written.
            Mlflow.set_alias = lambda *_: os._exit(9)  # type: ignore[method-assign, assignment]
            promote.run(ctx)

        child = multiprocessing.get_context("fork").Process(target=killed)
        child.start()
        child.join(120)
        assert child.exitcode == 9
        assert (world.champion(), world.alias()) == ("2", "1")  # the alias is behind, on a version that passed
        assert promote.run(ctx).outcome == "promoted"
        assert world.alias() == "2"
        assert len(world.entries("promotion")) == 2

    def test_any_later_promotion_repairs_it_even_one_that_is_refused(self, world: World) -> None:
        world.promoted(JUL)
        world.mlflow.delete_alias(MODEL, ALIAS)
        assert promote.run(world.challenger(AUG, 0.1, against="1")).outcome == "refused"
        assert world.alias() == "1"

    def test_an_alias_that_no_promotion_stands_behind_is_removed(self, world: World) -> None:
        ctx = world.challenger(JUL, 0.1)
        world.mlflow.set_alias(MODEL, ALIAS, "1")  # by hand, around the gate
        assert promote.run(ctx).outcome == "refused"
        assert world.alias() is None

    def test_the_head_is_tagged_on_the_champion(self, world: World) -> None:
        world.promoted(JUL)
        promote.run(world.challenger(AUG, 0.1, against="1"))
        assert world.mlflow.version_tags(MODEL, "1")[HEAD_TAG] == world.entries()[-1].hash

    def test_repair_says_who_is_champion(self, world: World) -> None:
        with world.ledger as ledger:
            assert repair_alias(ledger, world.mlflow, MODEL, ALIAS) is None
        world.promoted(JUL)
        with world.ledger as ledger:
            assert repair_alias(ledger, world.mlflow, MODEL, ALIAS) == "1"


class TestAlteredLedger:
    """Nothing is promoted on a ledger that was altered, and the alias stays."""

    def alter(self, world: World, statement: str) -> None:
        import sqlite3

        with sqlite3.connect(world.project.state / "ledger.db") as connection:
            connection.execute(statement)
        connection.close()

    def test_a_cut_off_end_is_known_by_the_tag_on_the_champion(self, world: World) -> None:
        world.promoted(JUL)
        world.promoted(AUG)
        self.alter(world, "DELETE FROM tidemill_ledger WHERE seq = (SELECT max(seq) FROM tidemill_ledger)")
        assert world.champion() == "1"  # what the ledger would say, were it believed
        with pytest.raises(StepError, match="deleted at its end") as error:
            promote.run(world.contexts["2"])
        assert "tidemill history flights --verify" in str(error.value)
        assert world.alias() == "2"

    @pytest.mark.parametrize(
        ("statement", "said"),
        [
            ("DELETE FROM tidemill_ledger WHERE seq = 2", "missing"),
            ("UPDATE tidemill_ledger SET payload = CAST(payload || ' ' AS BLOB) WHERE kind = 'promotion'", "changed"),
        ],
    )
    def test_an_entry_that_was_deleted_or_changed(self, world: World, statement: str, said: str) -> None:
        world.promoted(JUL)
        ctx = world.challenger(AUG, 0.9, against="1")
        self.alter(world, statement)
        with pytest.raises(StepError, match=f"was altered.*{said}"):
            promote.run(ctx)
        with pytest.raises(StepError, match="was altered"):
            world.rollback()
        assert world.alias() == "1"


class TestByHand:
    def test_a_rejected_version_is_promoted_by_the_same_gate_and_log(self, world: World) -> None:
        ctx = world.challenger(JUL, promote=TestApproval.MANUAL)
        promote.run(TestApproval().answered(ctx, "Reject"))
        found = world.by_hand("1")
        assert found.outcome == "promoted"
        assert found.approval is not None
        assert (found.approval.by, found.approval.note) == ("ada", "looked at it")
        entry = world.entries("promotion")[-1]
        assert (entry.body["by_hand"], entry.body["dag_run"], entry.as_of) == (True, "run1", JUL)
        assert entry.body["code_version"] == "c0de"
        assert world.alias() == "1"

    def test_a_version_whose_run_stopped_at_the_approval(self, world: World) -> None:
        world.challenger(JUL)
        assert world.by_hand("1").outcome == "promoted"

    def test_the_gate_holds_for_hands_too(self, world: World) -> None:
        world.challenger(JUL, 0.5)
        assert world.by_hand("1").outcome == "refused"
        assert world.alias() is None
        assert world.by_hand("1", gate={"when": {"roc_auc": {"at_least": 0.4}}}).outcome == "promoted"

    def test_a_version_compared_with_a_former_champion_is_superseded(self, world: World) -> None:
        world.challenger(JUL)
        world.promoted(JUL)
        assert world.by_hand("1").outcome == "superseded"

    def test_the_run_that_was_overtaken_by_hand_finds_itself_superseded(self, world: World) -> None:
        ctx = world.challenger(JUL)
        world.by_hand("1")
        assert promote.run(ctx).outcome == "superseded"
        assert world.alias() == "1"

    def test_the_champion_a_former_one_and_an_unknown_one_are_errors(self, world: World) -> None:
        world.promoted(JUL)
        world.promoted(AUG)
        with pytest.raises(StepError, match="is the champion already"):
            world.by_hand("2")
        with pytest.raises(StepError, match="tidemill rollback flights --to 1"):
            world.by_hand("1")
        with pytest.raises(StepError, match="knows no version 9 of 'flights'; registered are: 1, 2"):
            world.by_hand("9")


class TestRollback:
    def test_goes_back_to_the_previous_champion_and_moves_the_alias(self, world: World) -> None:
        world.promoted(JUL)
        world.promoted(AUG)
        entry = world.rollback(note="late flights were missed")
        assert dict(entry.body) == {
            "from_version": "2", "to_version": "1", "by": "ada", "note": "late flights were missed",
        }  # fmt: skip
        assert (world.champion(), world.alias()) == ("1", "1")
        assert world.mlflow.version_tags(MODEL, "1")[HEAD_TAG] == entry.hash

    def test_to_a_named_version_and_forward_again(self, world: World) -> None:
        for month in (JUN, JUL, AUG):
            world.promoted(month)
        world.rollback(to="1")
        assert world.alias() == "1"
        world.rollback(to="3")
        assert world.alias() == "3"

    def test_only_a_version_that_passed_its_gate(self, world: World) -> None:
        world.promoted(JUL)
        promote.run(world.challenger(AUG, 0.1, against="1"))
        with pytest.raises(StepError, match="never promoted"):
            world.rollback(to="2")
        with pytest.raises(StepError, match="the champion already"):
            world.rollback(to="1")
        with pytest.raises(StepError, match="is the first champion"):
            world.rollback()
        assert world.entries("rollback") == []

    def test_to_none_withdraws_the_only_champion(self, world: World) -> None:
        world.promoted(JUL)
        assert world.rollback(to="none").body["to_version"] is None
        assert (world.champion(), world.alias()) == (None, None)
        assert world.promoted(AUG) == "2"

    def test_a_champion_removed_from_the_registry_is_said_with_the_way_out(self, world: World) -> None:
        from mlflow import MlflowClient

        world.promoted(JUN)
        world.promoted(JUL)
        MlflowClient(world.mlflow.uri, world.mlflow.uri).delete_model_version(MODEL, "2")
        with pytest.raises(StepError, match=r"By the ledger version 2 .* is champion.*tidemill rollback"):
            promote.run(world.challenger(AUG, 0.8, against="2"))
        world.rollback()
        assert world.alias() == "1"

    def test_without_a_champion_there_is_nothing_to_roll_back(self, world: World) -> None:
        with pytest.raises(StepError, match="has no champion"):
            world.rollback()

    def test_what_it_undid_is_not_redone_by_an_older_run(self, world: World) -> None:
        world.promoted(JUN)
        world.promoted(AUG)
        world.rollback()
        found = promote.run(world.challenger(JUL, 0.99, against="1"))
        assert found.outcome == "superseded"
        assert world.alias() == "1"

    def test_a_newer_run_goes_on_from_there(self, world: World) -> None:
        world.promoted(JUN)
        world.promoted(AUG)
        world.rollback()
        assert promote.run(world.challenger(SEP, 0.8, against="1")).outcome == "promoted"
        assert world.alias() == "3"

    def test_as_of_is_how_far_the_models_time_has_come(self, world: World) -> None:
        world.promoted(JUN)
        world.promoted(JUL)
        ctx = world.make_context("retrain", as_of=datetime(2026, 1, 1, tzinfo=UTC), cause="manual")
        with ctx.open_ledger() as ledger:  # a click on Trigger long after is not the model's time
            record(ledger, ctx, "decision", AsOf(instant=ctx.as_of.instant, cause="manual"))
            ledger.append(MODEL, "drift", {}, as_of=AUG)
        assert world.rollback().as_of == AUG

    def test_as_of_before_the_last_change_is_an_error(self, world: World) -> None:
        world.promoted(JUN)
        world.promoted(JUL)
        with pytest.raises(StepError, match="earlier than the last change of champion"):
            world.rollback(as_of=JUN)
        assert world.rollback(as_of=SEP).as_of == SEP
