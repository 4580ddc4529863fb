"""Whole runs by Airflow's in-process runner, on a sample, beside a project whose own state nobody may touch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.testing import Pipeline, load

WORKFLOW = """\
tidemill: 1
params: {size: 3}
defaults: {retries: 2, retry_delay: 1 h}
steps:
  first:
    python: include.flow:read
    with: {path: "p{{ params.size }}", day: "${vars.text}"}
  each:
    python: include.flow:clean
    with: {factor: 2}
    for_each: {rows: [[1], [2, 3]]}
  told: {operator: BashOperator, with: {bash_command: "echo {{ var.value.colour }}"}, after: [first, each]}
  group:
    defaults: {retries: 3}
    steps:
      broken: {python: "include.flow:fail", retries: 1, retry_delay: 1 h}
  never: {operator: EmptyOperator, after: group}
vars: {text: "$${vars.text}"}
environments: {test: {steps: {each: {with: {factor: 5}}, group: {steps: {broken: {python: "include.flow:skip"}}}}}}
"""


@pytest.fixture
def work(project: Path) -> Path:
    spec = project / "dags" / "work.yaml"
    spec.write_text(WORKFLOW)
    return spec


class TestOverrides:
    """What is wrong with a run before it begins is told at once."""

    @pytest.mark.parametrize(
        ("overrides", "said"),
        [
            ({"promote.when.roc_auc.at_last": 0}, 'did you mean "at_least"'),
            ({"evaluate.metrics.7": "f1"}, '"7" is no index of a list of 2'),
            ({"train.timeout": "soon"}, "train.timeout"),
        ],
    )
    def test_that_are_no_spec(self, churn: Pipeline, overrides: dict[str, Any], said: str) -> None:
        with pytest.raises(AssertionError) as caught:
            churn.run(overrides=overrides)
        assert said in str(caught.value)

    def test_a_param_that_is_none(self, flow: Pipeline) -> None:
        with pytest.raises(AssertionError, match='flow has no param "siz"; it has: size, python, few'):
            flow.run(params={"siz": 1})


@pytest.mark.slow
class TestModel:
    def test_it_is_promoted_on_a_sample_and_the_project_is_untouched(self, churn: Pipeline) -> None:
        root = churn.place.project.root
        before = _files(root)
        run = churn.run(
            sample=600,
            overrides={"promote.when.roc_auc.worst_slice.min_rows": 10, "promote.approval": "manual"},
        )
        run.assert_success()
        assert (run.outcome, run.version) == ("promoted", "1"), run.why
        assert set(run.metrics) == {"roc_auc", "log_loss"}
        assert 590 <= sum(run.tasks["data"].value[part]["rows"] for part in ("train", "holdout")) <= 610
        assert run.tasks["promote"].value["approval"]["answer"] == "Approve"
        assert _files(root) == before
        assert (run.state_folder / "ledger.db").is_file()

    def test_a_gate_that_is_missed_is_an_outcome(self, model_project: Path) -> None:
        spec = model_project / "dags" / "rows.yaml"
        text = (model_project / "dags" / "churn.yaml").read_text()
        spec.write_text(text + "matrix: {low: {}, high: {}}\n")
        run = load(spec, row="low").run(sample=400, overrides={"promote.when.roc_auc.at_least": 1.0})
        run.assert_success()
        assert run.outcome == "refused"
        assert any(reason.startswith("roc_auc is 0.") for reason in run.why), run.why


@pytest.mark.slow
class TestWorkflow:
    def test_a_failure_is_told_and_not_tried_again(self, work: Path) -> None:
        began = time.monotonic()
        run = load(work).run(params={"size": 9}, variables={"colour": "crimson"}, timeout=200)
        assert time.monotonic() - began < 200
        assert run.state == "failed"
        assert run.tasks["group.broken"].state == "failed"
        assert run.tasks["never"].state == "upstream_failed"
        assert run.tasks["first"].value["path"] == "p9"
        assert run.tasks["first"].value["day"] == "${vars.text}"
        assert run.tasks["each"].value == [[2], [4, 6]]
        assert run.tasks["told"].value == "crimson"
        assert (run.outcome, run.version, run.metrics) == (None, None, {})
        with pytest.raises(AssertionError) as caught:
            run.assert_success()
        assert str(caught.value).startswith("the run failed\ngroup.broken: no such thing\n")

    def test_in_another_environment(self, work: Path) -> None:
        before = dict(os.environ)
        run = load(work, environment="test").run(variables={"colour": "crimson"})
        assert os.environ == before
        run.assert_success()
        assert run.tasks["each"].value == [[5], [10, 15]]
        assert run.tasks["group.broken"].state == run.tasks["never"].state == "skipped"

    def test_it_ends_when_its_time_is_over(self, flow: Pipeline) -> None:
        began = time.monotonic()
        with pytest.raises(AssertionError, match="the run of flow took more than 4 s"):
            flow.run(timeout=4)
        assert time.monotonic() - began < 30


def _files(root: Path) -> dict[Path, int]:
    kept = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path: path.stat().st_mtime_ns for path in kept}
