"""What becomes of a step's processing job when something goes wrong: nothing is paid for twice, and it is said why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.mlflow_store import copy_store, store_template
from tests.platforms import aws_emulated
from tests.steps.test_processing import ASK, SUITE, emulation, there, to_its_end, told, tries
from tests.steps.training import OWN_CLASS, Make, a_version, rows, trained, write_code
from tidemill.project import Project
from tidemill.steps import evaluate, processing, validate
from tidemill.steps.context import StepContext, StepError, StepWaits

__all__ = ["emulation", "store_template", "there"]


@pytest.fixture
def waiting(there: Make, project: Project, emulation: Emulation) -> StepContext:
    """A task whose job runs for ever."""
    emulation.set_faults(hold=True)
    (project.root / "include" / "suite.yaml").write_text(SUITE)
    data = a_version(project, rows(50, 1), rows(20, 2))
    return there("validate", results={"data": data}, data={"expect": "include/suite.yaml"})


def jobs(ctx: StepContext) -> list[dict[str, Any]]:
    """The jobs that the service holds of a task, the oldest first."""
    from tidemill.ledger.installation import installation_id

    with ctx.open_ledger() as ledger:
        mine = installation_id(ledger)
    return [job for job in aws_emulated.running().report()["processing"] if mine in job["name"]]


def states(ctx: StepContext) -> list[tuple[int, str]]:
    return [(attempt, state) for _, attempt, state in told(ctx)]


def test_a_kill_between_intent_and_answer_makes_no_second_job(waiting: StepContext) -> None:
    first = tries(validate.run, waiting)
    assert isinstance(first, StepWaits)
    intent = waiting.memory.get("job")
    # What a process leaves that is killed after the service has acted, and before it has written that down.
    waiting.memory.set("job", {**intent, "state": "intended", "id": "", "region": ""})
    again = tries(validate.run, waiting)
    assert isinstance(again, StepWaits)
    assert again.ref == first.ref
    assert len(jobs(waiting)) == 1
    assert states(waiting) == [(1, "intended"), (1, "submitted")]


def test_a_cleared_task_ends_its_job_and_pays_for_another(waiting: StepContext) -> None:
    tries(validate.run, waiting)
    second = tries(validate.run, waiting, cleared=1)
    assert isinstance(second, StepWaits)
    assert [job["status"] for job in jobs(waiting)] == ["Stopped", "InProgress"]
    assert states(waiting) == [(1, "intended"), (1, "submitted"), (1, "stopped"), (2, "intended"), (2, "submitted")]


def test_whoever_stops_the_task_stops_its_job(waiting: StepContext) -> None:
    stopping: list[Any] = []
    with pytest.raises(StepWaits):
        validate.run(replace(waiting, on_stop=stopping))
    for stop in stopping:
        stop()
    assert [job["status"] for job in jobs(waiting)] == ["Stopped"]


def test_a_job_that_was_deleted_is_told_and_made_anew(waiting: StepContext) -> None:
    first = tries(validate.run, waiting)
    assert isinstance(first, StepWaits)
    sagemaker = aws_emulated.client(aws_emulated.running(), "sagemaker")
    sagemaker.stop_processing_job(ProcessingJobName=first.ref.name)
    sagemaker.delete_processing_job(ProcessingJobName=first.ref.name)
    with pytest.raises(StepError, match=r"is gone: .* was it deleted\?") as gone:
        tries(validate.run, waiting, woken=True)
    assert gone.value.retry
    second = tries(validate.run, waiting)
    assert isinstance(second, StepWaits)
    assert second.ref.name.endswith("-2")


def test_what_a_finished_job_left_is_missing(waiting: StepContext, emulation: Emulation) -> None:
    emulation.set_faults(noop=True)
    with pytest.raises(StepError, match="what it left is not in the store: was its output deleted") as lost:
        to_its_end(validate.run, waiting)
    assert not lost.value.retry
    assert states(waiting) == [(1, "intended"), (1, "submitted"), (1, "succeeded")]


def test_no_machine_is_to_be_had(waiting: StepContext, emulation: Emulation) -> None:
    emulation.set_faults(no_capacity=["ml.m5.large"])
    with pytest.raises(StepError, match="no machine to be had") as full:
        to_its_end(validate.run, waiting)
    assert full.value.retry
    assert states(waiting)[-1] == (1, "failed")


def test_a_suite_with_mistakes_is_refused_before_anything_is_paid_for(waiting: StepContext) -> None:
    (waiting.project.root / "include" / "suite.yaml").write_text("expectations: [{type: expect_nothing}]")
    with pytest.raises(StepError, match="unknown expectation"):
        validate.run(waiting)
    assert jobs(waiting) == []


@pytest.mark.parametrize(
    ("asked", "away"), [(None, {"validate", "evaluate", "monitor", "score"}), (["score"], {"score"})]
)
def test_which_steps_run_elsewhere(there: Make, asked: list[str] | None, away: set[str]) -> None:
    given = {"machine": "ml.m5.large", **({"steps": asked} if asked else {})}
    ctx = there("validate", platform={"provider": "aws", "processing": given})
    assert {name for name in ("validate", "evaluate", "monitor", "score") if processing.remotely(ctx, name)} == away


def test_an_image_that_lacks_what_the_step_imports_is_told(tmp_path: Path) -> None:
    """An interpreter without any installed package stands for the image."""
    (tmp_path / "inputs" / "job").mkdir(parents=True)
    (tmp_path / "output").mkdir()
    (tmp_path / "inputs" / "job" / "request.json").write_text(json.dumps({"step": "evaluate", "facts": {}}))
    given = {"code": tmp_path, "inputs": tmp_path / "inputs", "output": tmp_path / "output", "message": tmp_path / "m"}
    options = [part for name, path in given.items() for part in (f"--{name}", str(path))]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "plugins")}
    done = subprocess.run(
        [sys.executable, "-S", "-m", "tidemill.processing", *options], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 10, done.stderr.decode()
    message = (tmp_path / "m").read_text()
    assert message.startswith("tidemill:user: the image lacks pydantic, numpy, pandas, polars")
    assert "docs/platforms/container.md" in message
    assert list((tmp_path / "output").iterdir()) == []


@pytest.mark.slow
def test_a_model_that_does_not_load_elsewhere_says_what_it_says_here(
    make_context: Make, there: Make, project: Project, store_template: Path
) -> None:
    copy_store(store_template, project)
    write_code(project, OWN_CLASS)
    data = a_version(project, rows(300, 1), rows(200, 2))
    _, run = trained(make_context, data)
    (pickled,) = (project.state / "mlflow").rglob("model.pkl")
    pickled.write_bytes(b"half a pickle")
    given: dict[str, Any] = {"results": {"data": data, "train": run}, "evaluate": ASK}
    with pytest.raises(StepError, match="the trained model could not be loaded") as here:
        evaluate.run(make_context("evaluate", **given))
    with pytest.raises(StepError) as elsewhere:
        to_its_end(evaluate.run, there("evaluate", **given))
    assert str(here.value) in str(elsewhere.value)
    assert not elsewhere.value.retry
