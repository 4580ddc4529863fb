"""Steps whose computation runs as a job of SageMaker Processing: the same numbers, and nothing paid for twice."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.emulators import Emulation
from tests.mlflow_store import copy_store, store_template
from tests.platforms import aws_emulated, clouds
from tests.steps import watched
from tests.steps.training import SKLEARN, Make, a_version, rows, trained, write_code
from tests.steps.watched import copied, day, template
from tidemill.ledger.views import EVALUATION
from tidemill.project import Project
from tidemill.records import AsOf, Evaluation, Record
from tidemill.steps import evaluate, monitor, score, validate
from tidemill.steps.context import Forgetful, StepContext, StepError, StepWaits
from tidemill.steps.ledger_io import read
from tidemill.steps.predictions import Header

__all__ = ["store_template", "template"]

ASK = {"metrics": ["roc_auc", "log_loss"], "slices": ["carrier"]}
SUITE = """
expectations:
  - {type: expect_column_values_to_not_be_null, column: id}
  - {type: expect_column_values_to_be_between, column: a, min_value: -2, max_value: 2}
"""
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/tidemill:1"
AWS: dict[str, Any] = {
    "platform": {
        **{key: value for key, value in aws_emulated.PLATFORM.items() if "queue" not in key},
        "processing": {"machine": "ml.m5.large"},
    },
    "train": {"service": "sagemaker", "image": IMAGE, "resources": {"machine": "ml.m5.large"}},
}
Run = Callable[[StepContext], Record]


@pytest.fixture
def local_store(project: Project, store_template: Path) -> None:
    copy_store(store_template, project)


@pytest.fixture
def emulation(monkeypatch: pytest.MonkeyPatch) -> Any:
    running = aws_emulated.running()
    running.set_faults()
    yield running
    running.set_faults()


@pytest.fixture
def there(make_context: Make, emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A step's context whose computation runs on SageMaker."""
    connections = clouds.connections(monkeypatch, emulation)

    def make(step: str, **given: Any) -> StepContext:
        ctx = make_context(step, **{**AWS, **given})
        return replace(ctx, connections=connections, memory=Forgetful())

    return make


def tries(run: Run, ctx: StepContext, **changes: Any) -> StepWaits | Record:
    """One try of a task: what it waits for, or what it returns."""
    try:
        return run(replace(ctx, on_stop=[], **changes))
    except StepWaits as waits:
        return waits


def to_its_end(run: Run, ctx: StepContext, seconds: float = 120, **changes: Any) -> Any:
    """Tries until the step has ended, as the trigger would wake it."""
    found, end = tries(run, ctx, **changes), time.monotonic() + seconds
    while isinstance(found, StepWaits):
        assert time.monotonic() < end, aws_emulated.running().report()["processing"]
        time.sleep(0.3)
        found = tries(run, ctx, woken=True, **changes)
    return found


def told(ctx: StepContext) -> list[tuple[str, int, str]]:
    """What the ledger says of the jobs: service, attempt, state."""
    with ctx.open_ledger() as ledger:
        entries = ledger.entries(ctx.model, kinds=["job"])
    return [(e.body["service"], e.body["attempt"], e.body["state"]) for e in entries]


ONE_JOB = [("sagemaker-processing", 1, state) for state in ("intended", "submitted", "succeeded")]


@pytest.mark.usefixtures("local_store")
def test_an_evaluation_elsewhere_comes_to_the_same(make_context: Make, there: Make, project: Project) -> None:
    write_code(project, SKLEARN)
    data = a_version(project, rows(600, 1), rows(300, 2))
    _, run = trained(make_context, data)
    given: dict[str, Any] = {"results": {"data": data, "train": run}, "evaluate": ASK}
    here = evaluate.run(make_context("evaluate", **given))
    ctx = there("evaluate", **given)
    assert to_its_end(evaluate.run, ctx) == here
    assert told(ctx) == ONE_JOB
    with ctx.open_ledger() as ledger:
        (entry,) = ledger.entries(ctx.model, kinds={EVALUATION})  # the same fact is one
    assert read(entry, Evaluation) == here


@pytest.mark.slow
def test_a_suite_elsewhere_finds_the_same(make_context: Make, there: Make, project: Project) -> None:
    (project.root / "include" / "suite.yaml").write_text(SUITE)
    good = a_version(project, rows(50, 1).with_columns(a=0.5), rows(20, 2).with_columns(a=0.5))
    given: dict[str, Any] = {"results": {"data": good}, "data": {"expect": "include/suite.yaml"}}
    here = validate.run(make_context("validate", **given, run_id="here"))
    ctx = there("validate", **given)
    found = to_its_end(validate.run, ctx)
    assert dataclasses.replace(found, docs=None) == dataclasses.replace(here, docs=None)
    assert "Great Expectations" in Path(found.docs).read_text()
    assert told(ctx) == ONE_JOB


def test_a_suite_that_fails_elsewhere_says_what_it_says_here(make_context: Make, there: Make, project: Project) -> None:
    (project.root / "include" / "suite.yaml").write_text(SUITE)
    bad = a_version(project, rows(50, 1), rows(20, 2))
    given: dict[str, Any] = {"results": {"data": bad}, "data": {"expect": "include/suite.yaml"}}
    with pytest.raises(StepError) as here:
        validate.run(make_context("validate", **given))
    with pytest.raises(StepError) as elsewhere:
        to_its_end(validate.run, there("validate", **given))
    assert str(elsewhere.value) == str(here.value)
    assert elsewhere.value.retry is False


def scoring(make: Make, project: Project, template: Path) -> StepContext:
    """A month to be scored by the champion, in several batches."""
    copied(template, project.state)
    watched.rows(day(4), 30).with_columns(pl.col("carrier").cast(pl.Categorical)).write_parquet(
        project.path("include/rows.parquet")
    )
    instant = AsOf(instant=day(5), cause="scheduled", interval_start=day(4), interval_end=day(5))
    settings = {"schedule": "monthly", "rows": 100, "columns": ["carrier"]}
    ctx = make("score", dag_id="flights.score", run_id="s1", results={"as_of": instant}, score=settings)
    with ctx.open_ledger() as ledger:
        promoted = {"outcome": "promoted", "version": "1"}
        ledger.append(watched.MODEL, "promotion", promoted, as_of=day(3), key="first")
    return ctx


def test_rows_scored_elsewhere_are_the_same_log(
    make_context: Make, there: Make, project: Project, template: Path
) -> None:
    here = score.run(scoring(make_context, project, template))
    log = Path(here.path)
    before = [pl.read_parquet(file) for file in sorted(log.iterdir())]
    heads = [Header.of(file) for file in sorted(log.iterdir())]
    shutil.rmtree(log.parent)
    ctx = scoring(there, project, template)
    assert to_its_end(score.run, ctx) == here
    files = sorted(log.iterdir())
    assert [Header.of(file) for file in files] == heads
    for file, table in zip(files, before, strict=True):
        assert_frame_equal(pl.read_parquet(file), table, abs_tol=1e-9, rel_tol=0)
    assert told(ctx) == ONE_JOB
    # What is there already is not paid for again.
    again = scoring(there, project, template)
    assert score.run(again) == here
    assert told(again) == ONE_JOB


def watching(make: Make, project: Project, template: Path, **settings: Any) -> StepContext:
    """April to be judged, with late labels of it and of March in a file of their own."""
    copied(template, project.state)
    march, april = watched.rows(day(3), 31), watched.rows(day(4), 30, shift=0.8, seed=1)
    table = pl.concat([march, april.with_columns(pl.col("id") + 10_000)])
    table.write_parquet(project.path("include/rows.parquet"))
    table.select("id", "late").write_parquet(project.path("include/labels.parquet"))
    instant = AsOf(instant=day(5), cause="scheduled", interval_start=day(4), interval_end=day(5))
    asked = {
        "min_rows": 50,
        "drift": {"distance": "psi", "at_least": 0.2, "share": "30%"},
        "performance": {"roc_auc": {"at_least": 0.99}},
        "labels": {"source": "include/labels.parquet", "delay": "7 d"},
        "compare_previous": True,
        **settings,
    }
    ctx = make("monitor", dag_id="flights.monitor", run_id="m1", results={"as_of": instant}, monitor=asked)
    with ctx.open_ledger() as ledger:
        for version, at in (("2", day(2)), ("1", day(3))):
            promoted = {"outcome": "promoted", "version": version}
            ledger.append(watched.MODEL, "promotion", promoted, as_of=at, key=version)
    return ctx


@pytest.mark.slow
def test_a_window_judged_elsewhere_is_judged_the_same(
    make_context: Make, there: Make, project: Project, template: Path
) -> None:
    here = monitor.run(watching(make_context, project, template))
    assert here.page is not None
    page = Path(here.page).read_text()
    assert here.previous is not None
    assert here.fired == ("drift", "performance")
    shutil.rmtree(Path(here.page).parent)
    ctx = watching(there, project, template)
    assert to_its_end(monitor.run, ctx) == here
    assert Path(here.page).read_text() == page
    assert told(ctx) == ONE_JOB


def test_a_window_without_rows_is_no_job(there: Make, project: Project, template: Path) -> None:
    ctx = watching(there, project, template, min_rows=5000, labels=None)
    found = monitor.run(ctx)
    assert found.why == ("the window has 300 rows, min_rows is 5,000: nothing is judged",)
    assert told(ctx) == []
