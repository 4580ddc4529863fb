"""One pipeline makes a model: another is told whose it is, unless that one's file is gone."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tidemill.ledger.views import REGISTERED
from tidemill.project import Project
from tidemill.records import DataVersion, ModelVersion, Part, Reference, Run
from tidemill.steps import register, retrain
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import record
from tidemill.steps.owner import check_owner

Make = Callable[..., StepContext]


def registered(make: Make, pipeline: str, version: str) -> None:
    ctx = make("register", pipeline=pipeline, model="delays", run_id=f"r{version}")
    made = ModelVersion(model="delays", version=version, run_id=f"t{version}", data_version="d")
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, REGISTERED, made, key=f"registered/t{version}")


def write_spec(project: Project, name: str, folder: str = "dags") -> None:
    (project.root / folder).mkdir(parents=True, exist_ok=True)
    (project.root / folder / name).write_text("tidemill: 1\n")


def check(make: Make, pipeline: str, **more: object) -> None:
    ctx = make("register", pipeline=pipeline, model="delays", **more)
    with ctx.open_ledger() as ledger:
        check_owner(ledger, ctx)


@pytest.mark.parametrize(
    ("owner", "file"),
    [("flights", "flights.yaml"), ("flights", "flights.yml"), ("flights.ewr", "flights.yaml")],
)
def test_another_pipelines_model_is_refused_with_its_name_and_file(
    make_context: Make, project: Project, owner: str, file: str
) -> None:
    write_spec(project, file, "dags/team")
    registered(make_context, owner, "3")
    with pytest.raises(StepError) as told:
        check(make_context, "arrivals")
    assert not told.value.retry
    said = str(told.value)
    assert f"'delays' belongs to the pipeline '{owner}' (dags/team/{file}), which registered its version 3" in said
    assert "Give 'arrivals' a promote.model of its own" in said


def test_nobodys_model_and_ones_own_are_free(make_context: Make, project: Project) -> None:
    write_spec(project, "flights.yaml")
    check(make_context, "flights")
    registered(make_context, "flights", "1")
    check(make_context, "flights")


def test_a_renamed_pipeline_goes_on_with_its_model(
    make_context: Make, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    write_spec(project, "arrivals.yaml")
    write_spec(project, "flights.yaml", "dags/.trash")
    write_spec(project, "flights.extra.yaml")
    registered(make_context, "flights", "1")
    with caplog.at_level(logging.INFO, logger="tidemill"):
        check(make_context, "arrivals")
    assert "made by the pipeline 'flights', whose file is gone" in caplog.text
    registered(make_context, "arrivals", "2")
    write_spec(project, "flights.yaml")  # whoever takes the old name now is another pipeline
    with pytest.raises(StepError, match=r"belongs to the pipeline 'arrivals' \(dags/arrivals.yaml\)"):
        check(make_context, "flights")


def test_without_a_folder_for_dags_the_project_itself_is_one(make_context: Make, project: Project) -> None:
    write_spec(project, "flights.yaml", ".")
    registered(make_context, "flights", "1")
    with pytest.raises(StepError, match=r"\(flights.yaml\)"):
        check(make_context, "arrivals")


def test_it_is_refused_before_it_trains_and_before_it_registers(make_context: Make, project: Project) -> None:
    write_spec(project, "flights.yaml")
    registered(make_context, "flights", "1")
    ctx = make_context("retrain", pipeline="arrivals", model="delays")
    with pytest.raises(StepError, match="belongs to the pipeline 'flights'"):
        retrain.run(ctx)
    part = Part(name="train", rows=1, start=ctx.as_of.instant, end=ctx.as_of.instant)
    data = DataVersion(version="d", backend="dvc", source="s", path="p", train=part, holdout=part, columns={})
    trained = Run(
        run_id="t9",
        experiment="arrivals",
        data_version="d",
        code_version="c",
        spec_hash="h",
        seed=0,
        params={},
        metrics={},
        model_uri="models:/m-1",
        seconds=1.0,
    )
    profile = Reference(path="nowhere", data_version="d", rows=1, columns=1)
    results = {"data": data, "train": trained, "reference": profile}
    with pytest.raises(StepError, match="belongs to the pipeline 'flights'"):
        register.run(make_context("register", pipeline="arrivals", model="delays", results=results))
    assert not (project.state / "mlflow").exists()
    with ctx.open_ledger() as ledger:
        assert [e.body["pipeline"] for e in ledger.entries("delays")] == ["flights"]
