"""Every call that steps and their jobs make on Azure is allowed by the roles that are written for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulators import Emulation, start
from tests.emulators.azure_accounts import GROUP
from tests.emulators.azure_permissions import STORAGE
from tests.infra.azure_allowed import allows, roles
from tests.platforms import clouds
from tests.platforms.azure import PLATFORM, needs_azurite
from tests.steps.test_aws_permissions import stop, train, versions
from tidemill.infra.generate import root_of
from tidemill.infra.needs import Needs, Pipeline, Task
from tidemill.infra.root import Root, Variable
from tidemill.steps import remote, remote_training
from tidemill.steps.context import Forgetful, StepContext

pytestmark = needs_azurite
SPEC: Final[dict[str, Any]] = {
    # The emulated account lies in a group of its own.
    "platform": {**PLATFORM, "existing": ["bucket"]},
    "data": {"version": "object-store", "keep": "1 year"},
    "train": {
        "code": "include.train:train",
        "image": "acmeimages.azurecr.io/flights:1",
        "resources": {"spot": {"checkpoint": "abfss://models@acmeml.dfs.core.windows.net/checkpoints"}},
        "track": "azureml",
    },
}
TASKS: Final[tuple[Task, ...]] = ("train", "versions", "track")
ACCOUNT: Final = "/".join(
    ("", "subscriptions", PLATFORM["subscription"], "resourceGroups", GROUP, "providers", STORAGE, "acmeml")
)


@pytest.fixture
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    """Azure of one test's own: what it was asked, this test asked."""
    with start("azure", tmp_path_factory.mktemp("azure"), PLATFORM) as running:
        yield running


def made(ctx: StepContext, tasks: tuple[Task, ...]) -> Root:
    """The root of a pipeline, told where the account is."""
    pipeline = Pipeline(
        "flights", "flights", "ops", ctx.spec, tasks, "flights.monitor", lambda path: ("flights.yaml", 1)
    )
    root = root_of(Needs("azure", (pipeline,)), "tidemill")
    root.variables["storage_acmeml_id"] = Variable("storage_acmeml_id", "string", "", ACCOUNT)
    return root


def refused(emulation: Emulation, ctx: StepContext, tasks: tuple[Task, ...]) -> list[dict[str, Any]]:
    """What the emulator was asked so far that the roles of a pipeline do not allow."""
    root = made(ctx, tasks)
    given = {"connection": roles(root, of="airflow_"), "job": roles(root, of="jobs_")}
    return [one for one in emulation.report()["permissions"] if not allows(given[one["who"]], one)]


@pytest.mark.slow
def test_what_a_training_calls_is_allowed(
    make_context: Callable[..., StepContext], emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    connections = clouds.connections(monkeypatch, emulation)
    found = make_context("train", **SPEC)
    log = logging.getLogger("test.permissions")
    ctx = replace(found, connections=connections, memory=Forgetful(), log=log)
    train(ctx, tmp_path)
    emulation.set_faults(hold=True)
    stop(ctx, tmp_path)
    versions(ctx, tmp_path)
    dimensions = {"model": "flights", "version": "1", "dag_id": "flights.monitor"}
    remote.cloud_of(ctx).metrics.put({"drifted": 1.0}, dimensions, datetime.now(UTC))
    remote_training.track(ctx, {"roc_auc": 0.7})
    assert refused(emulation, ctx, TASKS) == []
    for left_out in TASKS:
        assert refused(emulation, ctx, tuple(task for task in TASKS if task != left_out)) != []
    asked = emulation.report()["permissions"]
    actions = {(one["who"], one["action"].partition("/")[2]) for one in asked}
    # What was asked is what is meant to be asked: the test has not come to nothing.
    assert {
        ("connection", "workspaces/jobs/write"),
        ("connection", "workspaces/jobs/cancel/action"),
        ("connection", "workspaces/experiments/runs/write"),
        ("connection", "storageAccounts/managementPolicies/write"),
        ("job", "registries/pull/read"),
        ("job", "storageAccounts/blobServices/containers/blobs/write"),
    } <= actions
