"""The parameters of a run stand at the DAG alone, and are each DAG's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.param import process_params
from airflow.serialization.serialized_objects import DagSerialization

from tidemill.airflow.factory import build
from tidemill.project import Project
from tidemill.verdict import judge

SPEC = """
tidemill: 1
schedule: monthly
start: 2020-01-01
platform: {provider: local}
data:
  source: include/rows.parquet
  window: {column: time, train: 1 month, holdout: 1 month}
train: {code: "include.train:train"}
evaluate: {task: classification, target: late, metrics: [roc_auc]}
promote:
  when: {roc_auc: {at_least: 0.6}}
  approval: manual
"""


@pytest.fixture
def dags(tmp_path: Path) -> list[DAG]:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    folder = tmp_path / "dags"
    folder.mkdir()
    project, made = Project.of(folder), []
    for name in ("one", "two"):
        file = folder / f"{name}.yaml"
        file.write_text(SPEC)
        verdict = judge(file, folder, project)
        (plan,) = verdict.plans
        made.append(build(plan, plan.dags[0], file, project))
    return made


def test_the_parameters_are_asked_for_once_and_not_with_the_approval(dags: list[DAG]) -> None:
    dag = dags[0]
    assert dict(dag.params.dump()) == {"as_of": None, "scheduled": False}
    assert {task.task_id: list(task.params) for task in dag.tasks if task.params} == {}
    stored = DagSerialization.to_dict(dag)["dag"]
    assert [name for name, _ in stored["params"]] == ["as_of", "scheduled"]
    assert [task["__var"]["task_id"] for task in stored["tasks"] if "params" in task["__var"]] == []


def test_a_run_takes_them_from_the_dag_and_its_own_change_nothing_elsewhere(dags: list[DAG]) -> None:
    one, two = dags
    task = one.task_dict["as_of"]
    given = process_params(one, task, {"as_of": "2020-02-01"}, suppress_exception=False)
    assert given == {"as_of": "2020-02-01", "scheduled": False}
    assert process_params(two, two.task_dict["as_of"], {}, suppress_exception=False)["as_of"] is None


def test_a_value_of_the_wrong_type_is_refused(dags: list[DAG]) -> None:
    with pytest.raises(Exception, match="as_of"):
        process_params(dags[0], dags[0].task_dict["as_of"], {"as_of": 20200201}, suppress_exception=False)
