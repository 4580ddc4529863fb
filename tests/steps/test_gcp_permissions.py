"""Every call that steps and their jobs make on Google Cloud is allowed by the roles that are written for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulators import Emulation, start
from tests.infra.allowed_gcp import allows, grants
from tests.platforms import clouds
from tests.steps.test_aws_permissions import stop, train, versions
from tidemill.infra.generate import root_of
from tidemill.infra.needs import Needs, Pipeline, Task
from tidemill.infra.root import Root
from tidemill.steps import remote, remote_training
from tidemill.steps.context import Forgetful, StepContext, StepError
from tidemill.steps.sources import located

Make = Callable[..., StepContext]
PLATFORM: Final[dict[str, Any]] = {
    "provider": "gcp",
    "project": "acme-ml",
    "region": "europe-west4",
    "bucket": "gs://acme-ml/flights",
    "service_account": "training@acme-ml.iam.gserviceaccount.com",
}
SPEC: Final[dict[str, Any]] = {
    "platform": PLATFORM,
    "data": {"source": "gs://acme-ml/rows/flights.parquet", "version": "object-store", "keep": "1 year"},
    "train": {
        "code": "include.train:train",
        "image": "europe-west4-docker.pkg.dev/acme-ml/training/flights:1",
        "resources": {"machine": "n1-standard-4", "spot": {"checkpoint": "gs://acme-ml/checkpoints"}},
        "track": "vertex",
    },
}
TASKS: Final[tuple[Task, ...]] = ("train", "monitor", "versions", "track")


@pytest.fixture
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """Google Cloud of one test's own: what it was asked, this test asked."""
    with start("gcp", tmp_path_factory.mktemp("gcp"), PLATFORM) as running:
        yield running


@pytest.fixture
def ctx(make_context: Make, emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> StepContext:
    connections = clouds.connections(monkeypatch, emulation)
    found = make_context("train", **SPEC)
    return replace(found, connections=connections, memory=Forgetful(), log=logging.getLogger("test.permissions"))


def made(ctx: StepContext, tasks: tuple[Task, ...]) -> Root:
    """The root of a pipeline that has these tasks."""
    pipeline = Pipeline(
        "flights", "flights", "ops", ctx.spec, tasks, "flights.monitor", lambda path: ("flights.yaml", 1)
    )
    return root_of(Needs("gcp", (pipeline,)), "tidemill")


def refused(emulation: Emulation, ctx: StepContext, tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """What the emulator was asked so far that the roles of a pipeline do not allow."""
    root = made(ctx, tasks)
    told = {"connection": grants(root, of="airflow_"), "job": grants(root, of="account_access_")}
    asked = emulation.report()["permissions"]
    assert {one["who"] for one in asked} == set(told)
    return [one for one in asked if not allows(root, told[one["who"]], one)]


def write_again(ctx: StepContext, folder: Path) -> None:
    """A file of the pipeline's own folder, in two contents."""
    cloud, file = remote.cloud_of(ctx), folder / "file"
    for content in ("one", "two"):
        file.write_text(content)
        cloud.storage.put(file, cloud.place("1a2b3c4d/file"))


def test_what_a_training_calls_is_allowed(ctx: StepContext, emulation: Emulation, tmp_path: Path) -> None:
    train(ctx, tmp_path)
    emulation.set_faults(hold=True)
    stop(ctx, tmp_path)
    versions(ctx, tmp_path)
    write_again(ctx, tmp_path)
    with pytest.raises(StepError, match=r"there is no gs://acme-ml/rows/flights\.parquet"):
        located(ctx, ctx.spec.data.source)
    dimensions = {"model": "flights", "version": "1", "dag_id": "flights.monitor"}
    remote.cloud_of(ctx).metrics.put({"drifted": 1.0}, dimensions, datetime.now(UTC))
    for _ in range(2):  # what is there is found, and written again
        remote_training.track(ctx, {"roc_auc": 0.7})
    assert refused(emulation, ctx, TASKS) == []
    for left_out in TASKS:
        assert refused(emulation, ctx, tuple(task for task in TASKS if task != left_out)) != []
    elsewhere = ctx.spec.model_copy(update={"data": ctx.spec.data.model_copy(update={"source": "flights.parquet"})})
    assert {one["resource"] for one in refused(emulation, replace(ctx, spec=elsewhere), TASKS)} == {
        "projects/_/buckets/acme-ml/objects/rows/flights.parquet"
    }
    # No permission is there without a call.
    seen = {one["action"] for one in emulation.report()["permissions"] if one["who"] == "connection"}
    assert {name for one in grants(made(ctx, TASKS), of="airflow_") for name in one.permissions} == seen
