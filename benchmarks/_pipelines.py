"""Writes the same 10-task pipeline N times, once in the format of each side of the comparison.

The pipeline is the training DAG of a spec with `data.expect` and `promote.approval: manual`: as_of, retrain, data,
validate, train, reference, evaluate, register, approve, promote. Each copy has its own name, model and source.

plain       one Python file that makes the DAGs in a loop: the operator classes, arguments, documentation and plan
            that Tidemill's factory gives them, written out as Python. Nothing is read, checked or compiled.
tidemill    N specs and the loader that the product ships.
dag-factory N YAML files in dag-factory's format and its one-line loader, telemetry off.
blueprint   N `.dag.yaml` files, two blueprints (a step, an approval), one template of DAG arguments, the one-line
            loader.

What differs, each time in favour of the other two: the tasks of dag-factory and blueprint carry neither the spec
(`plan`) nor the project, and their YAML says nothing of the data, the model or the gate; the DAG's parameters are
plain defaults without a schema; the approval's text and the documentation are short; nobody looks for their
mistakes beyond what they do by themselves (neither checks that code and expectations exist). dag-factory adds the
YAML to each DAG's documentation and sorts the tasks by itself; that cannot be turned off. Tidemill's factory gives
the DAG its parameters after the tasks, which saves time that the plain file, written as people write it, spends.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

SIDES = ("plain", "tidemill", "dag-factory", "blueprint")

TASKS: dict[str, tuple[str, ...]] = {
    "as_of": (),
    "retrain": ("as_of",),
    "data": ("retrain",),
    "validate": ("data",),
    "train": ("validate",),
    "reference": ("validate",),
    "evaluate": ("train",),
    "register": ("evaluate", "reference"),
    "approve": ("register",),
    "promote": ("approve",),
}
"""Task → what it waits for."""

_SPEC = """\
tidemill: 1
description: Which departures of NAME will arrive more than 15 minutes late?
owner: ops-research
tags: [flights]
schedule: monthly
start: 2024-01-01

platform:
  provider: local

data:
  source: include/data/NAME.parquet
  key: [flight_id]
  window: {column: time_hour, train: 5 months, holdout: 1 month}
  version: dvc
  expect: include/expectations.yaml

train:
  code: include.training:train
  params: {learning_rate: 0.05, max_iter: 150}
  seed: 2013
  timeout: 10 min
  track: mlflow

evaluate:
  task: classification
  target: late
  metrics: [roc_auc, log_loss]
  slices: [carrier]

promote:
  model: NAME
  registry: mlflow
  alias: champion
  when:
    roc_auc:
      at_least: 0.65
      gain: {at_least: 0.0, without_champion: pass}
      worst_slice: {at_least: 0.55, min_rows: 500}
    log_loss:
      at_most: 0.60
  approval: manual
"""

_EXPECTATIONS = """\
expectations:
  - {type: expect_column_values_to_not_be_null, column: flight_id}
  - {type: expect_column_values_to_be_between, column: distance, min_value: 50, max_value: 5000}
"""

_TRAINING = '''\
"""The user's own code."""


def train(context):
    """Fit a model."""
'''

_LOADERS = {
    "tidemill": """\
from tidemill.airflow.loader import load  # an Airflow DAG file

globals().update(load(__file__))
""",
    "dag-factory": """\
from pathlib import Path  # an Airflow DAG file

from dagfactory import load_yaml_dags

load_yaml_dags(globals(), dags_folder=str(Path(__file__).parent), defaults_config_path=str(Path(__file__).parent))
""",
    "blueprint": """\
from pathlib import Path

from blueprint import build_all_airflow_dags

build_all_airflow_dags(Path(__file__).parent, globals())
""",
}

_BLUEPRINTS = """\
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import CronDataIntervalTimetable
from blueprint import BaseModel, Blueprint, BlueprintDagArgs
from tidemill.airflow.operators import StepOperator


class DagConfig(BaseModel):
    description: str
    cron: str
    start_date: str
    owner: str
    tags: list[str]
    doc_md: str


class DagArgs(BlueprintDagArgs[DagConfig]):
    def render(self, config: DagConfig) -> dict[str, Any]:
        return {
            "description": config.description,
            "schedule": CronDataIntervalTimetable(config.cron, timezone="UTC"),
            "start_date": config.start_date,
            "catchup": False,
            "max_active_runs": 1,
            "default_args": {"owner": config.owner},
            "tags": config.tags,
            "doc_md": config.doc_md,
        }


class StepConfig(BaseModel):
    earlier: list[str] = []


class Step(Blueprint[StepConfig]):
    def render(self, config: StepConfig) -> StepOperator:
        return StepOperator(
            task_id=self.step_id, step=self.step_id, plan=None, earlier=tuple(config.earlier), project=None
        )


class ApproveConfig(BaseModel):
    subject: str
    body: str


class Approve(Blueprint[ApproveConfig]):
    def render(self, config: ApproveConfig) -> HITLOperator:
        return HITLOperator(
            task_id=self.step_id, subject=config.subject, body=config.body, options=["Approve", "Reject"]
        )
"""


def write(root: Path, side: str, count: int) -> Path:
    """Write `count` pipelines of a side below `root`; the loader's path. What is there already is kept."""
    dags = root / "dags"
    loader = dags / "loader.py"
    if loader.exists():
        return loader
    dags.mkdir(parents=True)
    include = root / "include"
    include.mkdir()
    (include / "__init__.py").touch()
    (include / "training.py").write_text(_TRAINING)
    (include / "expectations.yaml").write_text(_EXPECTATIONS)
    if side in _FORMATS:
        text = _FORMATS[side]()
        suffix = ".dag.yaml" if side == "blueprint" else ".yaml"
        for index in range(count):
            name = f"pipeline_{index:05d}"
            (dags / f"{name}{suffix}").write_text(text.replace("NAME", name))
    if side == "blueprint":
        (dags / "blueprints.py").write_text(_BLUEPRINTS)
    loader.write_text(_plain(root, count) if side == "plain" else _LOADERS[side])
    return loader


def earlier(task: str) -> list[str]:
    """Every task before a task, in order."""
    found: set[str] = set()
    stack = list(TASKS[task])
    while stack:
        found.add(upstream := stack.pop())
        stack.extend(TASKS[upstream])
    return [name for name in TASKS if name in found]


def _example(root: Path) -> tuple[Any, Any]:
    """The plan and the DAG of a pipeline called NAME, as Tidemill makes them."""
    from tidemill.airflow.factory import build
    from tidemill.project import Project
    from tidemill.verdict import judge

    dags = root / "dags"
    file = dags / "NAME.yaml"
    file.write_text(_SPEC)
    project = Project.of(dags)
    verdict = judge(file, dags, project)
    file.unlink()
    if not verdict.plans:
        raise SystemExit(f"the benchmark's spec is not sound: {verdict.errors}")
    (plan,) = verdict.plans
    return plan, build(plan, plan.dags[0], file, project)


def _plain(root: Path, count: int) -> str:
    plan, dag = _example(root)
    approve = dag.task_dict["approve"]

    def code(value: Any) -> str:
        """A value as Python; the name in it comes from the loop."""
        return " + name + ".join(repr(part) for part in value.split("NAME")) if isinstance(value, str) else repr(value)

    def literal(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k!r}: {literal(v)}" for k, v in value.items()) + "}"
        return code(value)

    dag_plan = plan.dags[0]
    task_plans = ", ".join(
        f"TaskPlan({t.task_id!r}, {t.step!r}, {t.upstream!r}, {t.line}, file)" for t in dag_plan.tasks
    )
    lines = [
        f"    {task} = "
        + (
            f'HITLOperator(task_id="approve", dag=dag, subject={code(approve.subject)}, body=BODY, '
            'options=["Approve", "Reject"])'
            if task == "approve"
            else f"StepOperator(task_id={task!r}, step={task!r}, plan=plan, earlier={tuple(earlier(task))!r}, "
            "project=project, outlets=[], dag=dag)"
        )
        for task in TASKS
    ]
    lines += [f"    {task}.set_upstream({upstream})" for task, above in TASKS.items() for upstream in above]
    return textwrap.dedent(
        """\
        from datetime import datetime
        from pathlib import Path

        from airflow.providers.standard.operators.hitl import HITLOperator
        from airflow.sdk import DAG, CronDataIntervalTimetable, Param

        from tidemill.airflow.operators import StepOperator
        from tidemill.plan.model import DagPlan, Plan, SchedulePlan, TaskPlan
        from tidemill.project import Project

        BODY = {body}
        project = Project.of(Path(__file__).parent)
        for index in range({count}):
            name = f"pipeline_{{index:05d}}"
            file = "dags/" + name + ".yaml"
            schedule = {schedule}
            plan = Plan(
                pipeline=name, file=file, model=name, description={description}, owner={owner!r}, owner_link=None,
                tags={tags!r}, links=(), spec={spec}, spec_hash={hash!r},
                dags=(DagPlan(name, "training", schedule, ({tasks},)),),
            )
            dag = DAG(
                dag_id=name,
                description={description},
                schedule=CronDataIntervalTimetable({cron!r}, timezone="UTC"),
                start_date=datetime.fromisoformat({start!r}),
                end_date=None,
                catchup=False,
                max_active_runs=1,
                default_args={{"owner": {owner!r}}},
                owner_links={{}},
                tags=[*plan.tags, "tidemill"],
                doc_md={doc},
                params={{
                    "as_of": Param(
                        None, type=["null", "string"], title="as_of",
                        description="The instant the run stands at, e.g. 2013-07-01. "
                        "Empty: now, or the end of the pipeline.",
                    ),
                    "scheduled": Param(
                        False, type="boolean", title="scheduled",
                        description="Treat the run as the scheduled one of its as_of.",
                    ),
                }},
            )
        """
    ).format(
        body=repr(approve.body),
        count=count,
        schedule=repr(dag_plan.schedule),
        description=code(plan.description),
        owner=plan.owner,
        tags=plan.tags,
        spec=literal(plan.spec),
        hash=plan.spec_hash,
        tasks=task_plans,
        cron=dag_plan.schedule.cron,
        start=dag_plan.schedule.start,
        doc=code(dag.doc_md),
    ) + "\n".join([*lines, "    globals()[name] = dag", ""])


def _dag_factory() -> str:
    tasks: dict[str, Any] = {}
    for task, upstream in TASKS.items():
        if task == "approve":
            own = {
                "operator": "airflow.providers.standard.operators.hitl.HITLOperator",
                **_approval(),
                "options": ["Approve", "Reject"],
            }
        else:
            own = {
                "operator": "tidemill.airflow.operators.StepOperator",
                "step": task,
                "plan": None,
                "earlier": earlier(task),
                "project": None,
            }
        tasks[task] = own | ({"dependencies": list(upstream)} if upstream else {})
    return _yaml(
        {
            "NAME": {
                "description": "Which departures of NAME will arrive more than 15 minutes late?",
                "schedule": {
                    "__type__": "airflow.sdk.CronDataIntervalTimetable",
                    "__args__": ["0 0 1 * *"],
                    "timezone": "UTC",
                },
                "start_date": "2023-12-01",
                "catchup": False,
                "max_active_runs": 1,
                "default_args": {"owner": "ops-research"},
                "tags": ["flights", "tidemill"],
                "doc_md": _short_doc(),
                "params": {"as_of": None, "scheduled": False},
                "tasks": tasks,
            }
        }
    )


def _blueprint() -> str:
    steps: dict[str, Any] = {}
    for task, upstream in TASKS.items():
        if task == "approve":
            own: dict[str, Any] = {"blueprint": "approve", **_approval()}
        else:
            own = {"blueprint": "step", "earlier": earlier(task)}
        steps[task] = own | ({"depends_on": list(upstream)} if upstream else {})
    return _yaml(
        {
            "dag_id": "NAME",
            "description": "Which departures of NAME will arrive more than 15 minutes late?",
            "cron": "0 0 1 * *",
            "start_date": "2023-12-01T00:00:00+00:00",
            "owner": "ops-research",
            "tags": ["flights", "tidemill"],
            "doc_md": _short_doc(),
            "steps": steps,
        }
    )


def _approval() -> dict[str, str]:
    return {"subject": "Promote a new version of NAME?", "body": "The evaluation is in the task before this one."}


def _short_doc() -> str:
    chain = " → ".join(f"`{task}`" for task in TASKS)
    return f"Which departures of NAME will arrive late?\n\n**Training** of pipeline `NAME`: {chain}\n"


def _yaml(value: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True, width=110)


_FORMATS = {"tidemill": lambda: _SPEC, "dag-factory": _dag_factory, "blueprint": _blueprint}
