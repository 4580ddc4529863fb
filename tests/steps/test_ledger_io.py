"""What a step's entry says, and when it is the same entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tidemill.ledger import KeyConflict
from tidemill.records import Decision, RecordError, Run
from tidemill.steps.context import StepContext
from tidemill.steps.ledger_io import read, record, run_key

Make = Callable[..., StepContext]


def run_of(run_id: str = "mlflow-run", **metrics: float) -> Run:
    return Run(
        run_id=run_id, experiment="e", data_version="d", code_version="c", spec_hash="s", seed=0, params={},
        metrics=metrics, model_uri="m", seconds=1.0,
    )  # fmt: skip


def test_the_body_names_the_dag_run_beside_the_tracked_run(make_context: Make) -> None:
    ctx = make_context("train", run_id="scheduled__1")
    with ctx.open_ledger() as ledger:
        entry = record(ledger, ctx, "run", run_of(), extra={"more": 1})
    body: dict[str, Any] = dict(entry.body)
    assert (body["run_id"], body["dag_run"], body["dag_id"], body["pipeline"]) == (
        "mlflow-run", "scheduled__1", "flights", "flights",
    )  # fmt: skip
    assert body["more"] == 1
    assert entry.as_of == ctx.as_of.instant
    assert read(entry, Run) == run_of()


def test_a_retry_that_records_the_same_finds_its_entry(make_context: Make) -> None:
    ctx = make_context("train")
    with ctx.open_ledger() as ledger:
        first, again = record(ledger, ctx, "run", run_of()), record(ledger, ctx, "run", run_of())
        assert first == again
        assert len(ledger.entries(ctx.model)) == 1


def test_a_cleared_run_with_another_result_is_recorded_beside_the_first(make_context: Make) -> None:
    ctx = make_context("train")
    with ctx.open_ledger() as ledger:
        for auc in (0.7, 0.8, 0.7):
            record(ledger, ctx, "run", run_of(auc=auc))
        entries = ledger.entries(ctx.model)
    assert [e.key for e in entries] == [run_key(ctx, "run"), f"{run_key(ctx, 'run')}#2"]


def test_an_explicit_key_names_one_fact_for_ever(make_context: Make) -> None:
    ctx = make_context("train")
    with ctx.open_ledger() as ledger:
        record(ledger, ctx, "run", run_of(), key="run/1")
        with pytest.raises(KeyConflict):
            record(ledger, ctx, "run", run_of(auc=0.9), key="run/1")


def test_the_longest_run_id_airflow_takes_still_makes_a_key(make_context: Make) -> None:
    keys = set()
    for last in "ab":
        ctx = make_context("train", dag_id="d" * 250, run_id="r" * 249 + last)
        with ctx.open_ledger() as ledger:
            keys.add(record(ledger, ctx, "run", run_of()).key)
    assert len(keys) == 2


def test_reading_another_record_is_an_error(make_context: Make) -> None:
    ctx = make_context("train")
    with ctx.open_ledger() as ledger:
        entry = record(ledger, ctx, "run", run_of())
    with pytest.raises(RecordError):
        read(entry, Decision)
