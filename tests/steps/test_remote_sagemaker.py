"""A training on SageMaker, whose regions have nothing in common: not even a bucket may be of another."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.platforms import clouds
from tests.platforms.aws_emulated import PLATFORM, client, running
from tests.steps.test_remote import TRAIN, Task
from tidemill.ledger import views
from tidemill.steps.context import Forgetful, StepContext
from tidemill.steps.remote_training import logged_metrics

US = {
    "region": "us-east-1",
    "bucket": "s3://acme-ml-us",
    "checkpoint": "s3://acme-ml-us/checkpoints",
    "image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/flights:1",
}
TYPES = ["ml.m5.2xlarge", "ml.m5.xlarge"]


@pytest.fixture
def task(make_context: Callable[..., StepContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    emulation = running()
    emulation.set_faults()
    client(emulation, "s3", "us-east-1").create_bucket(Bucket="acme-ml-us")

    def make(**resources: Any) -> Task:
        context = make_context(
            "train",
            platform={**PLATFORM, "fallback": [US]},
            train={
                "code": "include.train:train",
                "service": "sagemaker",
                "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flights:1",
                "resources": {"machine": TYPES, **resources},
            },
        )
        (context.project.root / "include" / "train.py").write_text(dedent(TRAIN))
        connections = clouds.connections(monkeypatch, emulation)
        given = {"connections": connections, "memory": Forgetful(), "log": logging.getLogger("test.remote")}
        return Task(replace(context, **given), tmp_path / "task")

    yield make
    emulation.set_faults()


def jobs(task: Task) -> list[tuple[Any, ...]]:
    """What the ledger has of the jobs."""
    with task.context.open_ledger() as ledger:
        entries = ledger.entries(task.context.model, kinds=[views.JOB])
    return [tuple(e.body[key] for key in ("attempt", "state", "place", "machine", "spot")) for e in entries]


def name(task: Task) -> str:
    return str(task.context.memory.get("job")["name"])


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(c):\n  c.log_metric('a b', 1)\n  for n in x: c.log_metric(n, 1)", ["a b"]),
        ("context.log_metric(value=1, name='c')", ["c"]),
        ("log_metric('free', 1)\ncontext.log_metric(f'x{1}', 2)\ncontext.log_metric()\ncontext.log_metric(1, 2)", []),
        ("context.log_metric('a', 1); context.log_metric('a', 2)", ["a"]),
        ("def (", []),
        ("a = '\0'", []),
    ],
)
def test_the_names_that_a_function_logs_are_read_from_its_text(source: str, names: list[str]) -> None:
    assert logged_metrics(source.encode()) == names


def test_a_full_region_is_followed_by_another_and_the_ledger_knows_the_machine_that_was_taken(task: Any) -> None:
    trained = task()
    running().set_faults(no_capacity=["eu-west-1", f"us-east-1/{TYPES[0]}"])
    trained.to_its_end()
    assert jobs(trained) == [
        (1, "intended", "eu-west-1", None, False),
        (1, "submitted", "eu-west-1", None, False),
        (1, "failed", "eu-west-1", None, False),
        (2, "intended", "us-east-1", None, False),
        (2, "submitted", "us-east-1", None, False),
        (2, "succeeded", "us-east-1", TYPES[1], False),
    ]
    described = client(running(), "sagemaker", "us-east-1").describe_training_job(TrainingJobName=name(trained))
    names = [metric["Name"] for metric in described["AlgorithmSpecification"]["MetricDefinitions"]]
    assert names[:2] == ["roc_auc", "rows"]  # what is evaluated, and what the function logs
    assert trained.links["console"].startswith("https://us-east-1.console.aws.amazon.com/")
    assert trained.result().last() == {"rows": float(len("rows of train"))}


def test_a_job_is_gone_on_with_at_its_service_whatever_the_spec_says_by_then(task: Any) -> None:
    trained = task()
    waits = trained.tries()
    spec = trained.context.spec
    resources = spec.train.resources.model_copy(update={"machine": None, "cpu": 1, "memory": 1 << 30})
    train = spec.train.model_copy(update={"service": "batch", "resources": resources})
    trained.context = replace(trained.context, spec=spec.model_copy(update={"train": train}))
    again = trained.tries(woken=True)
    assert again is None or again.ref == waits.ref
    trained.to_its_end()
    assert {state[:2] for state in jobs(trained)} == {(1, "intended"), (1, "submitted"), (1, "succeeded")}


@pytest.mark.slow
def test_a_spot_machine_is_waited_for_at_each_place(task: Any) -> None:
    trained = task(spot={"checkpoint": "s3://acme-ml/checkpoints", "wait": "1 s"}, machine=TYPES[0])
    running().set_faults(no_capacity=["eu-west-1/spot"])
    trained.to_its_end()
    assert jobs(trained)[-1] == (2, "succeeded", "us-east-1", TYPES[0], True)
    assert (1, "stopped", "eu-west-1", TYPES[0], True) in jobs(trained)
