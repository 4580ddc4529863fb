"""A trained model becomes one version, with all that says where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mlflow_store import copy_store, store_template
from tests.steps.training import OWN_CLASS, Make, a_reference, a_version, rows, trained, write_code
from tidemill.drift.sketch import Sketch
from tidemill.ledger.views import REGISTERED
from tidemill.project import Project
from tidemill.records import ModelVersion, Reference
from tidemill.steps import register
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read
from tidemill.tools.mlflow import Mlflow, open_mlflow

__all__ = ["store_template"]


@pytest.fixture
def ctx(make_context: Make, project: Project, store_template: Path) -> StepContext:
    """The context of a register step, after a training."""
    copy_store(store_template, project)
    write_code(project, OWN_CLASS)
    data = a_version(project, rows(100, 1), rows(50, 2))
    _, run = trained(make_context, data)
    results = {"data": data, "train": run, "reference": a_reference(project, data)}
    return make_context("register", results=results, promote={"model": "delays"})


def versions(mlflow: Mlflow) -> list[str]:
    with mlflow.calls("reading", "delays") as client:
        return [str(v.version) for v in client.search_model_versions("name = 'delays'")]


def test_a_version_says_where_it_came_from(ctx: StepContext) -> None:
    made = register.run(ctx)
    assert (made.model, made.version) == ("delays", "1")
    mlflow = open_mlflow(ctx.connections, ctx.project)
    tags = mlflow.version_tags("delays", "1")
    code, data = tags.pop("tidemill.code_version"), tags.pop("tidemill.data_version")
    assert (len(code), data) == (12, made.data_version)
    assert tags == {
        "tidemill.pipeline": "flights",
        "tidemill.dag": "flights",
        "tidemill.dag_run": "scheduled__2013-07-01",
        "tidemill.spec_hash": "5" * 12,
        "tidemill.as_of": "2013-07-01T00:00:00+00:00",
        "tidemill.train_start": "2013-04-01T00:00:00+00:00",
        "tidemill.train_end": "2013-06-01T00:00:00+00:00",
    }
    assert Sketch.read(mlflow.download("delays", "1", "tidemill/reference.sketch")).rows == 1
    with ctx.open_ledger() as ledger:
        entry = ledger.find("delays", f"registered/{made.run_id}")
    assert entry is not None
    assert (entry.kind, read(entry, ModelVersion)) == (REGISTERED, made)
    assert mlflow.alias("delays", "champion") is None


def test_registering_again_changes_nothing(ctx: StepContext) -> None:
    assert register.run(ctx) == register.run(ctx)
    assert versions(open_mlflow(ctx.connections, ctx.project)) == ["1"]
    with ctx.open_ledger() as ledger:
        assert len(ledger.entries("delays", kinds={REGISTERED})) == 1


def test_a_reference_that_is_not_here(ctx: StepContext) -> None:
    Path(ctx.result(Reference).path).unlink()
    with pytest.raises(StepError, match=r"reference\.sketch is not here; do all workers share the state folder"):
        register.run(ctx)
    assert versions(open_mlflow(ctx.connections, ctx.project)) == []


class Killed(BaseException):
    """Stands for the process's end: no `except` of the code under test takes it."""


@pytest.mark.parametrize("after", ["log_artifact", "tag_version", "version_link"])
def test_a_registration_killed_anywhere_is_completed_by_the_next(
    ctx: StepContext, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    def die(*arguments: object, **keywords: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Mlflow, after, die)
        with pytest.raises(Killed):
            register.run(ctx)
    made = register.run(ctx)
    mlflow = open_mlflow(ctx.connections, ctx.project)
    assert versions(mlflow) == [made.version] == ["1"]
    assert mlflow.version_tags("delays", "1")["tidemill.data_version"] == made.data_version
    with ctx.open_ledger() as ledger:
        assert len(ledger.entries("delays", kinds={REGISTERED})) == 1
