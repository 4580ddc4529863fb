"""A training on a cluster, which keeps its pods waiting for as long as there is no node for them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from tests.emulators import start
from tests.platforms import clouds
from tests.steps.test_remote import TRAIN, Task
from tidemill.steps.context import Forgetful, StepContext


@pytest.mark.slow
def test_pods_that_no_node_takes_are_followed_by_those_of_another_namespace(
    make_context: Callable[..., StepContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = {
        "provider": "kubernetes",
        "namespace": "ml",
        "volume": {"claim": "ml-data", "path": str(tmp_path / "volume")},
        "fallback": [{"namespace": "spare", "after": "1 s"}],
    }
    with start("kubernetes", tmp_path / "emulator", platform) as cluster:
        context = make_context(
            "train", platform=platform, train={"code": "include.train:train", "image": "acme/ml:1", "resources": {}}
        )
        (context.project.root / "include" / "train.py").write_text(dedent(TRAIN))
        given = {"connections": clouds.connections(monkeypatch, cluster), "memory": Forgetful()}
        training = Task(replace(context, **given, log=logging.getLogger("test.remote")), tmp_path / "task")
        cluster.set_faults(no_capacity=["ml"])
        waits = training.tries()
        assert waits is not None
        assert waits.queued_until is not None
        time.sleep(1.1)
        training.to_its_end()
        assert training.told() == [
            (1, "intended"), (1, "submitted"), (1, "stopped"), (2, "intended"), (2, "submitted"), (2, "succeeded"),
        ]  # fmt: skip
        assert [place for place, _, _ in training.tried()] == ["ml", "spare"]
        assert training.result().last() == {"rows": float(len("rows of train"))}
        assert training.links == {"console": "", "log": ""}
