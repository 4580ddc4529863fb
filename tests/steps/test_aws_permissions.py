"""Every call that steps and their jobs make on AWS is allowed by the policies that are written for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulators import Emulation, start
from tests.infra.allowed import allows, policies
from tests.mlflow_store import copy_store
from tests.platforms import clouds
from tests.steps.test_remote import DATA, TRAIN
from tests.steps.training import SKLEARN, a_version, rows, trained, write_code
from tidemill.infra.generate import root_of
from tidemill.infra.needs import Needs, Pipeline, Task
from tidemill.project import Project
from tidemill.steps import evaluate, remote, remote_training
from tidemill.steps.context import Forgetful, StepContext, StepWaits
from tidemill.tools.versions import open_versions

Make = Callable[..., StepContext]
PLATFORM: Final[dict[str, Any]] = {
    "provider": "aws",
    "region": "eu-west-1",
    "bucket": "s3://acme-ml/flights",
    "role": "arn:aws:iam::123456789012:role/ml/training",
}
IMAGE: Final = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flights:1"
SPOT: Final = {"checkpoint": "s3://acme-ml/checkpoints"}
SPECS: Final[dict[str, dict[str, Any]]] = {
    "sagemaker": {
        "platform": {**PLATFORM, "processing": {"machine": "ml.m5.large"}},
        "data": {"version": "object-store", "keep": "1 year"},
        "train": {
            "code": "include.train:train",
            "service": "sagemaker",
            "image": IMAGE,
            "resources": {"machine": "ml.m5.large", "spot": SPOT},
            "track": "sagemaker",
        },
    },
    "batch": {
        "platform": {**PLATFORM, "queue": "training", "spot_queue": "training-spot"},
        "data": {"version": "object-store"},
        "train": {
            "code": "include.train:train",
            "service": "batch",
            "image": IMAGE,
            "resources": {"cpu": 1, "memory": "2 GiB", "spot": SPOT},
        },
    },
}


@pytest.fixture
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """AWS of one test's own: what it was asked, this test asked."""
    named = {**PLATFORM, "bucket": "s3://acme-ml", "queue": "training", "spot_queue": "training-spot"}
    with start("aws", tmp_path_factory.mktemp("aws"), named) as running:
        yield running


@pytest.fixture
def make(make_context: Make, emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Make:
    connections = clouds.connections(monkeypatch, emulation)

    def made(step: str, service: str, **given: Any) -> StepContext:
        found = make_context(step, **{**SPECS[service], **given})
        log = logging.getLogger("test.permissions")
        return replace(found, connections=connections, memory=Forgetful(), log=log)

    return made


def to_its_end(run: Callable[..., Any], ctx: StepContext) -> Any:
    """Tries until a step has ended, as the trigger would wake it."""
    end, woken = time.monotonic() + 120, False
    while True:
        try:
            return run(replace(ctx, woken=woken, on_stop=[]))
        except StepWaits as waits:
            waits.cloud.jobs.poll([waits.ref])
            assert time.monotonic() < end
            time.sleep(0.3)
            woken = True


def refused(emulation: Emulation, ctx: StepContext, tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """What the emulator was asked so far that the policies of a pipeline do not allow."""
    pipeline = Pipeline(
        "flights", "flights", "ops", ctx.spec, tasks, "flights.monitor", lambda path: ("flights.yaml", 1)
    )
    root = root_of(Needs("aws", (pipeline,)), "tidemill")
    documents = {
        "connection": policies(root, of="airflow_").values(),
        "job": policies(root, of="role_").values(),
    }
    asked = emulation.report()["permissions"]
    assert asked
    return [one for one in asked if not allows(documents[one["who"]], one)]


def train(ctx: StepContext, folder: Path) -> None:
    """The task ``train``, once to its end and once stopped."""
    (ctx.project.root / "include" / "train.py").write_text(TRAIN)
    data = folder / "rows"
    data.mkdir(parents=True)
    for name in ("train", "holdout"):
        (data / f"{name}.parquet").write_text(f"rows of {name}")
    to_its_end(lambda at: remote_training.train(at, folder / "place", DATA, lambda: data, {}), ctx)


def stop(ctx: StepContext, folder: Path) -> None:
    """Another run's task, whose job is ended with it."""
    other = replace(ctx, run_id="manual__stopped", memory=Forgetful(), on_stop=[])
    with pytest.raises(StepWaits):
        remote_training.train(other, folder / "other", DATA, lambda: folder / "rows", {})
    for end in other.on_stop:
        end()


def versions(ctx: StepContext, folder: Path) -> None:
    """Data versions: kept, found, fetched, protected, ended."""
    made = folder / "version"
    made.mkdir()
    for name in ("train", "holdout"):
        (made / f"{name}.parquet").write_text(name)
    store = open_versions(
        "object-store", ctx.spec, ctx.project, ctx.connections, pipeline=ctx.pipeline, installation=lambda: "1a2b3c4d"
    )
    kept = store.add(made, lambda version: None)
    data = replace(DATA, backend="object-store", version=kept.version, objects=kept.objects)
    store.verify(data)
    store.protect(data)
    store.lifecycle(data)


TASKS: Final[dict[str, tuple[Task, ...]]] = {
    "sagemaker": ("train", "monitor", "versions", "track"),
    "batch": ("train", "monitor", "versions"),
}


@pytest.mark.parametrize("service", ["sagemaker", "batch"])
def test_what_a_training_calls_is_allowed(service: str, make: Make, emulation: Emulation, tmp_path: Path) -> None:
    ctx = make("train", service)
    train(ctx, tmp_path)
    emulation.set_faults(hold=True)
    stop(ctx, tmp_path)
    versions(ctx, tmp_path)
    dimensions = {"model": "flights", "version": "1", "dag_id": "flights.monitor"}
    remote.cloud_of(ctx).metrics.put({"drifted": 1.0}, dimensions, datetime.now(UTC))
    remote_training.track(ctx, {"roc_auc": 0.7})
    assert refused(emulation, ctx, TASKS[service]) == []
    for left_out in TASKS[service]:
        assert refused(emulation, ctx, tuple(task for task in TASKS[service] if task != left_out)) != []


@pytest.mark.slow
def test_what_a_step_elsewhere_calls_is_allowed(
    make: Make, make_context: Make, emulation: Emulation, project: Project, store_template: Path
) -> None:
    copy_store(store_template, project)
    write_code(project, SKLEARN)
    data = a_version(project, rows(600, 1), rows(300, 2))
    _, run = trained(make_context, data)
    ctx = make("evaluate", "sagemaker", results={"data": data, "train": run}, evaluate={"metrics": ["roc_auc"]})
    to_its_end(evaluate.run, ctx)
    assert refused(emulation, ctx, ("process",)) == []
    assert refused(emulation, ctx, ("train",)) != []
