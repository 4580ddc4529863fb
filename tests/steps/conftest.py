"""What the tests of steps share: a run's context in a project of its own, with a real ledger, no Airflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_store import store_template  # noqa: F401 - a fixture
from tidemill.ledger import Ledger, open_ledger
from tidemill.platforms.local.connections import NoConnections
from tidemill.platforms.ports import Job, JobResult, Jobs
from tidemill.project import Project
from tidemill.records import AsOf, Cause, Record
from tidemill.spec.models import Spec
from tidemill.steps.context import StepContext, TriggerFacts

AS_OF = datetime(2013, 7, 1, tzinfo=UTC)

SPEC: Mapping[str, Any] = {
    "tidemill": 1,
    "platform": {"provider": "local"},
    "data": {
        "source": "include/rows.parquet",
        "key": ["id"],
        "window": {"column": "time", "train": "2 months", "holdout": "1 month"},
    },
    "train": {"code": "include.train:train"},
    "evaluate": {"task": "classification", "target": "late", "metrics": ["roc_auc"]},
    "promote": {"when": {"roc_auc": {"at_least": 0.5}}},
}


class NoJobs:
    """For steps that run no job: asking for one is a mistake of the test."""

    def run(self, job: Job, log: Callable[[str], None]) -> JobResult:
        raise AssertionError(f"this test runs no job, but one was started: {job.name}")


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `over` laid on it, mappings key by key; `None` takes a key away."""
    result = dict(base)
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), Mapping):
            result[key] = merged(result[key], value)
        else:
            result[key] = value
    return result


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project; its root and its ``include/`` exist."""
    (tmp_path / "project" / "include").mkdir(parents=True)
    return Project(root=tmp_path / "project", state=tmp_path / "project" / ".tidemill")


@pytest.fixture
def make_context(project: Project) -> Callable[..., StepContext]:
    """Make the context of a step: ``make_context("data", as_of=…, data={"key": ["flight"]})``.

    Keywords that are no parameters below are sections of the spec, laid over ``SPEC``; ``None`` removes one.
    ``results`` are the records of earlier steps; an ``as_of`` record is always among them.
    """

    def make(
        step: str,
        *,
        results: Mapping[str, Record] | None = None,
        params: Mapping[str, Any] | None = None,
        as_of: datetime = AS_OF,
        cause: Cause = "scheduled",
        pipeline: str = "flights",
        dag_id: str | None = None,
        run_id: str = "scheduled__2013-07-01",
        try_number: int = 1,
        spec_hash: str = "5" * 12,
        model: str | None = None,
        jobs: Jobs | None = None,
        trigger: TriggerFacts | None = None,
        answer: Mapping[str, Any] | None = None,
        log: logging.Logger | None = None,
        **spec: Any,
    ) -> StepContext:
        read = Spec.model_validate(merged(SPEC, spec))
        url = f"sqlite:///{project.state / 'ledger.db'}"

        def ledger() -> Ledger:
            return open_ledger(url)

        context = StepContext(
            pipeline=pipeline,
            dag_id=dag_id or pipeline,
            run_id=run_id,
            task_id=step,
            try_number=try_number,
            spec=read,
            spec_hash=spec_hash,
            model=model or read.promote.model or pipeline,
            project=project,
            connections=NoConnections(),
            jobs=jobs or NoJobs(),
            open_ledger=ledger,
            trigger=trigger or TriggerFacts(params=params or {}, run_after=as_of, run_type="manual"),
            results={"as_of": AsOf(instant=as_of, cause=cause), **(results or {})},
            answer=answer,
        )
        return replace(context, log=log) if log else context

    return make
