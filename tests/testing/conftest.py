"""A project with a workflow of steps of every kind, and one with a model, as `tidemill new` writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.airflow_home import import_airflow
from tidemill.cli.new import write
from tidemill.testing import Pipeline, load

TASKS = """\
from pathlib import Path

from airflow.sdk import BaseHook, Variable
from airflow.sdk.exceptions import AirflowSkipException


def read(path, day):
    return {"rows": [1, 2, 3], "path": path, "day": day}

def clean(rows, factor=2):
    return [row * factor for row in rows]

def choose(rows):
    return "big" if len(rows) > 2 else "small"

def greet(country, base):
    return f"{country} from {base}"

def length(values):
    return len([*values])

def ready(path):
    return Path(path).exists()

def fail():
    raise ValueError("no such thing")

def secrets():
    store = BaseHook.get_connection("store")
    Variable.set("seen", "yes")
    return [store.host, store.password, Variable.get("colour"), Variable.get("sizes", deserialize_json=True)]

def skip():
    raise AirflowSkipException("nothing today")

def asking(rows):
    from airflow.sdk import Variable
    return [len(rows), Variable.get("colour")]

def where():
    import include
    return include.__file__
"""

FLOW = """\
tidemill: 1
description: Steps of every kind
owner: me
schedule: daily
start: 2025-01-01
params: {size: 3, python: "", few: {type: integer, default: 1, minimum: 1}}
steps:
  read:
    python: include.flow:read
    with: {path: "in/{{ params.size }}.csv", day: "{{ as_of }}"}
    options: {multiple_outputs: true}
  clean:
    python: include.flow:clean
    with: {rows: "{{ steps.read.rows }}"}
  choose:
    python: include.flow:choose
    decorator: branch
    with: {rows: "{{ steps.clean }}"}
  big:
    operator: BashOperator
    with: {bash_command: "echo {{ steps.read.path }} {{ var.value.colour }}"}
    after: choose
  small: {operator: EmptyOperator, after: choose}
  greet:
    python: include.flow:greet
    with: {base: "{{ steps.read.path }}"}
    for_each: {country: [dk, se]}
  length: {python: "include.flow:length", with: {values: "{{ steps.greet }}"}}
  wait:
    python: include.flow:ready
    decorator: sensor
    with: {path: "{{ params.size }}"}
    options: {poke_interval: 60}
  fail: {python: "include.flow:fail", retries: 3, after: wait}
  secrets: {python: "include.flow:secrets"}
  skip: {python: "include.flow:skip"}
  where: {python: "include.flow:where"}
  sense:
    operator: DateTimeSensor
    for_each: {target_time: ["2020-01-01", "2999-01-01"]}
  ask: {operator: HITLOperator, with: {subject: Really, options: ["yes", "no"]}}
  elsewhere:
    python: include.flow:asking
    decorator: external_python
    options: {python: "{{ params.python }}"}
    with: {rows: "{{ steps.read.rows }}"}
  later: {operator: TimeDeltaSensor, with: {delta: 10 min, deferrable: true}}
  start_other: {operator: TriggerDagRunOperator, with: {trigger_dag_id: other, conf: {n: 1}}}
  per_row:
    for_each: {row: "{{ steps.clean }}"}
    steps:
      double: {python: "include.flow:clean", with: {rows: [1], factor: "{{ each.row }}"}}
      count: {python: "include.flow:length", with: {values: "{{ steps.double }}"}}
"""


@pytest.fixture(scope="session", autouse=True)
def airflow() -> None:
    """Nobody's Airflow home, also where the developer has one."""
    import_airflow()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the workflow ``flow``."""
    root = tmp_path_factory.mktemp("flow_project")
    (root / "dags").mkdir()
    (root / "include").mkdir()
    (root / "include" / "__init__.py").touch()
    (root / "include" / "flow.py").write_text(TASKS)
    (root / "dags" / "flow.yaml").write_text(FLOW)
    return root


@pytest.fixture(scope="session")
def model_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the pipeline ``churn``, which makes a model."""
    root = tmp_path_factory.mktemp("model_project")
    write("churn", "local", root)
    return root


@pytest.fixture(scope="session")
def flow(project: Path) -> Pipeline:
    """The workflow."""
    return load(project / "dags" / "flow.yaml")


@pytest.fixture(scope="session")
def churn(model_project: Path) -> Pipeline:
    """The pipeline with a model."""
    return load(model_project / "dags" / "churn.yaml")
