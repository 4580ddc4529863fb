"""Challenger and champion on the same rows."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.mlflow_store import copy_store, store_template
from tests.steps.training import OWN_CLASS, SKLEARN, Make, a_reference, a_version, rows, trained, write_code
from tidemill.ledger.views import EVALUATION, PROMOTION
from tidemill.project import Project
from tidemill.records import DataVersion, Evaluation, ModelVersion, Promotion, Run
from tidemill.steps import evaluate, register
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.ledger_io import read, record
from tidemill.tools.mlflow import open_mlflow

__all__ = ["store_template"]

JULY = datetime(2013, 7, 1, tzinfo=UTC)
SEPTEMBER = datetime(2013, 9, 1, tzinfo=UTC)
ASK = {"metrics": ["roc_auc", "log_loss"], "slices": ["carrier"]}


@pytest.fixture(autouse=True)
def local_store(project: Project, store_template: Path) -> None:
    copy_store(store_template, project)


def champion(make_context: Make, project: Project, data: DataVersion, source: str = OWN_CLASS) -> ModelVersion:
    """Train, register and promote a model on a data version."""
    write_code(project, source)
    ctx, run = trained(make_context, data, run_id="first")
    results = {"data": data, "train": run, "reference": a_reference(project, data)}
    version = register.run(make_context("register", results=results, run_id="first"))
    promotion = Promotion(
        model=ctx.model,
        version=version.version,
        outcome="promoted",
        reasons=(),
        champion_before=None,
        data_version=data.version,
    )
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, PROMOTION, promotion)
    return version


def challenge(
    make_context: Make, data: DataVersion, at: datetime = JULY, **spec: object
) -> tuple[StepContext, Evaluation]:
    ctx, run = trained(make_context, data, run_id="second", as_of=at)
    ctx = make_context(
        "evaluate", results={"data": data, "train": run}, run_id="second", as_of=at, evaluate={**ASK, **spec}
    )
    return ctx, evaluate.run(ctx)


def test_without_a_champion_the_challenger_stands_alone(make_context: Make, project: Project) -> None:
    write_code(project, SKLEARN)
    data = a_version(project, rows(600, 1), rows(300, 2))
    ctx, found = challenge(make_context, data)
    assert (found.rows, found.data_version) == (300, data.version)
    assert found.run_id == ctx.result(Run).run_id
    auc = found.challenger.metrics["roc_auc"]
    assert auc is not None
    assert 0.8 < auc < 1
    assert {s.value for s in found.challenger.slices} <= {"AA", "UA", "OO"}
    assert (found.champion_version, found.champion, found.not_comparable) == (None, None, None)
    with ctx.open_ledger() as ledger:
        (entry,) = ledger.entries(ctx.model, kinds={EVALUATION})
    assert read(entry, Evaluation) == found


def test_a_champion_is_scored_on_the_same_rows(make_context: Make, project: Project) -> None:
    first = champion(make_context, project, a_version(project, rows(300, 1), rows(200, 2)))
    later = a_version(project, rows(300, 3), rows(250, 4), SEPTEMBER)
    _, found = challenge(make_context, later, SEPTEMBER)
    assert (found.champion_version, found.not_comparable) == (first.version, None)
    assert found.champion is not None
    assert found.champion.metrics.keys() == found.challenger.metrics.keys()
    assert [(s.value, s.rows) for s in found.champion.slices] == [(s.value, s.rows) for s in found.challenger.slices]
    assert found.champion.metrics["log_loss"] != found.challenger.metrics["log_loss"]


def test_the_same_model_as_champion_and_challenger_scores_the_same(make_context: Make, project: Project) -> None:
    train = rows(300, 1)
    champion(make_context, project, a_version(project, train, rows(200, 2)))
    _, found = challenge(make_context, a_version(project, train, rows(250, 4), SEPTEMBER), SEPTEMBER)
    assert found.champion == found.challenger


def test_a_champion_that_knows_the_holdout_is_not_comparable(make_context: Make, project: Project) -> None:
    data = a_version(project, rows(300, 1), rows(200, 2), SEPTEMBER)
    champion(make_context, project, data)
    overlapping = a_version(project, rows(300, 5), rows(200, 6), datetime(2013, 8, 1, tzinfo=UTC))
    _, found = challenge(make_context, overlapping, datetime(2013, 8, 1, tzinfo=UTC))
    assert (found.champion_version, found.champion) == ("1", None)
    assert found.not_comparable == (
        "version 1 was trained on rows from 2013-06-01T00:00:00+00:00 to 2013-08-01T00:00:00+00:00, which overlap the "
        "holdout from 2013-07-01T00:00:00+00:00 to 2013-08-01T00:00:00+00:00"
    )


def test_a_champion_trained_up_to_the_holdout_is_comparable(make_context: Make, project: Project) -> None:
    data = a_version(project, rows(300, 1), rows(200, 2), SEPTEMBER)
    champion(make_context, project, data)
    _, found = challenge(make_context, data, SEPTEMBER)
    assert found.not_comparable is None
    assert found.champion is not None


def test_a_champion_that_cannot_score_is_said(make_context: Make, project: Project) -> None:
    champion(make_context, project, a_version(project, rows(300, 1), rows(200, 2)))
    changed = a_version(
        project, rows(300, 3).rename({"a": "late_by"}), rows(250, 4).rename({"a": "late_by"}), SEPTEMBER
    )
    # Of another length: Python takes code that was changed within a second for the same if its size is.
    write_code(project, OWN_CLASS.replace('frame["a"]', 'frame["late_by"]'))
    _, found = challenge(make_context, changed, SEPTEMBER)
    assert found.not_comparable == (
        "the champion, version 1, cannot be scored on this holdout: version 1 of flights: predict_proba failed on 250 "
        "rows of 5 columns: KeyError: 'a'"
    )


def test_a_champion_without_its_window_or_its_version_is_said(make_context: Make, project: Project) -> None:
    version = champion(make_context, project, a_version(project, rows(300, 1), rows(200, 2)))
    later = a_version(project, rows(300, 3), rows(250, 4), SEPTEMBER)
    ctx, _ = challenge(make_context, later, SEPTEMBER)
    mlflow = open_mlflow(ctx.connections, project)
    with mlflow.calls("untagging", "1") as client:
        client.delete_model_version_tag("flights", version.version, "tidemill.train_end")
    assert (evaluate.run(ctx).not_comparable or "").startswith("version 1 does not say which rows it was trained on")
    with mlflow.calls("deleting", "1") as client:
        client.delete_model_version("flights", version.version)
    assert "reading version 1 (flights): not found" in (evaluate.run(ctx).not_comparable or "")


def test_one_class_in_the_holdout_is_a_metric_that_does_not_exist(
    make_context: Make, project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    import polars as pl

    write_code(project, OWN_CLASS)
    data = a_version(project, rows(300, 1), rows(200, 2).with_columns(late=pl.lit(0)))
    ctx, found = challenge(make_context, data)
    assert found.challenger.metrics["roc_auc"] is None
    assert found.challenger.metrics["log_loss"] is not None
    assert {s.unjudged for s in found.challenger.slices} <= {"one class", "one row"}
    assert "roc_auc does not exist for the trained model: one class" in caplog.messages
    with ctx.open_ledger() as ledger:
        assert ledger.entries(ctx.model, kinds={EVALUATION})[0].body["missing"] == {"roc_auc": "one class"}


LABELS = """
import pandas as pd
class Labels:
    def predict(self, frame):
        return (frame["a"] > 0.3).astype(int).to_numpy()
def train(context):
    return Labels()
"""


def test_a_challenger_that_gives_only_labels_is_refused(make_context: Make, project: Project) -> None:
    write_code(project, LABELS)
    data = a_version(project, rows(300, 1), rows(200, 2))
    with pytest.raises(StepError, match="the trained model gives only labels") as e:
        challenge(make_context, data)
    assert not e.value.retry
    _, found = challenge(make_context, data, metrics=["accuracy"])
    assert found.challenger.metrics["accuracy"] is not None


def test_an_all_missing_target_is_said(make_context: Make, project: Project) -> None:
    import polars as pl

    write_code(project, OWN_CLASS)
    gone = rows(200, 2).with_columns(late=pl.lit(None, pl.Int64))
    data = a_version(project, rows(300, 1), gone)
    with pytest.raises(StepError, match="the target 'late' is missing in all 200 rows"):
        challenge(make_context, data)


def test_a_backfill_meets_the_champion_of_the_ledger(make_context: Make, project: Project) -> None:
    version = champion(make_context, project, a_version(project, rows(300, 1), rows(200, 2)))
    ctx, _ = challenge(make_context, a_version(project, rows(300, 3), rows(250, 4), SEPTEMBER), SEPTEMBER)
    mlflow = open_mlflow(ctx.connections, project)
    # Whatever the alias says: it is a projection of the ledger.
    mlflow.set_alias("flights", "champion", version.version)
    with ctx.open_ledger() as ledger:
        gone = {"to_version": None, "from_version": version.version}
        ledger.append("flights", "rollback", gone, as_of=SEPTEMBER, key="rollback/1")
    assert evaluate.run(dataclasses.replace(ctx)).champion_version is None


@pytest.mark.parametrize("metrics", [["log_loss"], ["accuracy"]])
def test_for_estimates_the_meaning_of_the_scores_is_kept_with_the_run(
    make_context: Make, project: Project, metrics: list[str]
) -> None:
    from tidemill.steps.estimate import ARTIFACT, Calibration

    write_code(project, SKLEARN)
    data = a_version(project, rows(600, 1), rows(300, 2))
    watched = {"window": "1 month", "performance": {"roc_auc": {"at_least": 0.5}}, "estimate": True}
    _, run = trained(make_context, data, run_id="second", monitor=watched)
    results = {"data": data, "train": run, "reference": a_reference(project, data)}
    asked = {"results": results, "run_id": "second", "monitor": watched, "evaluate": {"metrics": metrics}}
    evaluate.run(make_context("evaluate", **asked))
    version = register.run(make_context("register", **asked))
    mlflow = open_mlflow(make_context("x").connections, project)
    found = Calibration.read(mlflow.download(version.model, version.version, ARTIFACT))
    assert (found.classes, found.rows, found.method) == ([0, 1], 300, "sigmoid")


def test_without_estimates_nothing_is_kept(make_context: Make, project: Project) -> None:
    write_code(project, SKLEARN)
    challenge(make_context, a_version(project, rows(600, 1), rows(300, 2)))
    assert list(project.state.rglob("calibration.json")) == []
