"""Steps as Airflow's tasks: what is stored of a built DAG is what is stored of one written by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidemill.airflow.lazy import lazy_function
from tidemill.plan.model import Plan
from tidemill.project import Project

PlanOf = Callable[[str], Plan]
TASKS = '''\
"""Functions of a workflow."""

from __future__ import annotations

from typing import Any


def plain(path: str, *, limit: int = 10):
    """What it does."""


def typed(a: int) -> dict[str, Any]:
    return {}


def choose() -> str:
    return "a"


def arrived(path: str) -> bool:
    return True


def page(context: Any, team: str = "ops") -> None: ...


async def late(team: str, context: Any = None) -> None: ...
'''


@pytest.fixture(autouse=True)
def _tasks(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "include" / "tasks.py").write_text(TASKS)
    (project.root / "include" / "__init__.py").write_text("")
    for name in [name for name in sys.modules if name.partition(".")[0] == "include"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(project.root))


def built(plan: Plan, project: Project, *, only: str | None = None, lazy: bool = False) -> Any:
    from tidemill.airflow.factory import build

    return build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project, only, lazy=lazy)


_OURS = ("fileloc", "relative_fileloc", "doc_md", "tags", "dag_id", "description", "default_args", "owner_links")


def stored(dag: Any) -> dict[str, Any]:
    """What Airflow stores, without where the file is and what a plan says of itself."""
    from airflow.serialization.serialized_objects import DagSerialization

    dag.validate()
    found: dict[str, Any] = json.loads(json.dumps(DagSerialization.to_dict(dag)["dag"], default=str))
    found["tasks"].sort(key=lambda task: task["__var"]["task_id"])
    return {key: value for key, value in found.items() if key not in _OURS}


def by_hand(**arguments: Any) -> Any:
    from airflow.sdk import DAG

    from tidemill.airflow.macros import MACROS

    macros = {**MACROS, **arguments.pop("user_defined_macros", {})}
    return DAG("flights", schedule=arguments.pop("schedule", None), user_defined_macros=macros, **arguments)


def same(text: str, dag: Any, plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(f"tidemill: 1\n{text}")
    for task in dag.tasks:
        task.owner = "tidemill"
    expected = stored(dag)
    assert stored(built(plan, project)) == expected
    # The dag-processor's build looks at the user's functions without importing them, and stores the same.
    assert stored(built(plan, project, lazy=True)) == expected


def function(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module("include.tasks"), name)


def test_operators_sensors_and_settings(plan_of: PlanOf, project: Project) -> None:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.providers.standard.sensors.time_delta import TimeDeltaSensor

    with by_hand() as dag:
        wait = TimeDeltaSensor(task_id="wait", delta=timedelta(minutes=15), mode="reschedule")
        a = BashOperator(
            task_id="a",
            bash_command="echo {{ params.x }}",
            env={"A": "b"},
            retries=3,
            retry_delay=timedelta(minutes=5),
            retry_exponential_backoff=2.0,
            execution_timeout=timedelta(hours=1),
            pool="database",
            pool_slots=2,
            queue="small",
            priority_weight=5,
            weight_rule="absolute",
            depends_on_past=True,
            wait_for_downstream=True,
            max_active_tis_per_dag=2,
            task_display_name="A",
            doc_md="What it *does*.",
        )
        b = EmptyOperator(task_id="b", trigger_rule="none_failed")
        wait >> a >> b
    text = """
steps:
  wait: {operator: TimeDeltaSensor, with: {delta: 15 min, mode: reschedule}}
  a:
    operator: BashOperator
    after: wait
    retries: 3
    retry_delay: 5 min
    retry_exponential_backoff: 2
    execution_timeout: 1 h
    pool: database
    pool_slots: 2
    queue: small
    priority_weight: 5
    weight_rule: absolute
    depends_on_past: true
    wait_for_downstream: true
    max_active_tis_per_dag: 2
    task_display_name: A
    doc_md: What it *does*.
    with: {bash_command: "echo {{ params.x }}", env: {A: b}}
  b: {operator: EmptyOperator, after: a, trigger_rule: none_failed}
"""
    same(text, dag, plan_of, project)


def test_functions_by_decorators(plan_of: PlanOf, project: Project) -> None:
    from airflow.sdk import task

    with by_hand() as dag:
        a = task(task_id="a")(function("typed"))(a=1)
        b = task.branch(task_id="b")(function("choose"))()
        c = task.short_circuit(task_id="c", ignore_downstream_trigger_rules=False)(function("arrived"))(path="x")
        d = task.sensor(task_id="d", poke_interval=30)(function("arrived"))(path="x")
        e = task(task_id="e", retries=2)(function("plain"))(path=a["p"], limit=5)
        a >> b >> c >> d >> e
    text = """
steps:
  a: {python: "include.tasks:typed", with: {a: 1}}
  b: {python: "include.tasks:choose", decorator: branch, after: a}
  c:
    python: include.tasks:arrived
    decorator: short_circuit
    after: b
    options: {ignore_downstream_trigger_rules: false}
    with: {path: x}
  d: {python: "include.tasks:arrived", decorator: sensor, after: c, options: {poke_interval: 30}, with: {path: x}}
  e: {python: "include.tasks:plain", after: d, retries: 2, with: {path: "{{ steps.a.p }}", limit: 5}}
"""
    same(text, dag, plan_of, project)


def test_groups_setups_and_teardowns(plan_of: PlanOf, project: Project) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import TaskGroup

    with by_hand(default_args={"retries": 1}) as dag:
        up = EmptyOperator(task_id="up").as_setup()
        with TaskGroup("outer", tooltip="Both", default_args={"retries": 4}) as outer:
            first = EmptyOperator(task_id="first")
            with TaskGroup("inner", prefix_group_id=False, default_args={"pool": "p"}):
                second = EmptyOperator(task_id="second", retries=7)
            first >> second
        down = EmptyOperator(task_id="down").as_teardown(setups=up, on_failure_fail_dagrun=True)
        up >> outer >> down
    text = """
defaults: {retries: 1}
steps:
  up: {operator: EmptyOperator, setup: true}
  outer:
    after: up
    tooltip: Both
    defaults: {retries: 4}
    steps:
      first: {operator: EmptyOperator}
      inner:
        prefix: false
        defaults: {pool: p}
        steps:
          second: {operator: EmptyOperator, after: first, retries: 7}
  down: {operator: EmptyOperator, after: outer, teardown: {of: up, fail_run: true}}
"""
    plan = plan_of(f"tidemill: 1\n{text}")
    ours = built(plan, project)
    # What edges lead to groups is a matter of form; the tasks and their edges are the same.
    assert edges(ours) == edges(dag)
    for name, task in dag.task_dict.items():
        made = ours.task_dict[name]
        for key in ("retries", "pool", "is_setup", "is_teardown", "on_failure_fail_dagrun", "trigger_rule"):
            assert getattr(made, key) == getattr(task, key), (name, key)
    assert set(ours.task_group_dict) == set(dag.task_group_dict)


def edges(dag: Any) -> dict[str, set[str]]:
    return {task.task_id: set(task.upstream_task_ids) for task in dag.tasks}


def test_mapping(plan_of: PlanOf, project: Project) -> None:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import task

    with by_hand() as dag:
        source = task(task_id="source")(function("plain"))(path="x")
        BashOperator.partial(task_id="a", map_index_template="{{ env }}", retries=2).expand(
            bash_command=["echo a", "echo b"], env=[{"A": "1"}]
        )
        BashOperator.partial(task_id="b").expand_kwargs([{"bash_command": "echo a"}, {"bash_command": "echo b"}])
        task(task_id="c")(function("plain")).partial(limit=3).expand(path=source)
    text = """
steps:
  source: {python: "include.tasks:plain", with: {path: x}}
  a:
    operator: BashOperator
    retries: 2
    map_index_template: "{{ env }}"
    for_each: {bash_command: [echo a, echo b], env: [{A: "1"}]}
  b: {operator: BashOperator, for_each: [{bash_command: echo a}, {bash_command: echo b}]}
  c: {python: "include.tasks:plain", for_each: {path: "{{ steps.source }}"}, with: {limit: 3}}
"""
    same(text, dag, plan_of, project)


def test_settings_of_the_dag(plan_of: PlanOf, project: Project) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import MultipleCronTriggerTimetable

    timetable = MultipleCronTriggerTimetable("0 3 * * *", "0 6 * * *", timezone="Europe/Berlin")
    with by_hand(
        schedule=timetable,
        start_date=datetime(2024, 1, 1, tzinfo=UTC),
        catchup=True,
        max_active_runs=3,
        max_active_tasks=8,
        max_consecutive_failed_dag_runs=5,
        dagrun_timeout=timedelta(hours=2),
        render_template_as_native_obj=True,
        dag_display_name="Flights",
        is_paused_upon_creation=True,
        fail_fast=True,
    ) as dag:
        EmptyOperator(task_id="a")
    text = """
schedule: {cron: ["0 3 * * *", "0 6 * * *"], timezone: Europe/Berlin}
start: 2024-01-01
catchup: true
max_active_runs: 3
max_active_tasks: 8
max_consecutive_failed_dag_runs: 5
dagrun_timeout: 2 h
render_template_as_native_obj: true
dag_display_name: Flights
is_paused_upon_creation: true
fail_fast: true
steps:
  a: {operator: EmptyOperator}
"""
    same(text, dag, plan_of, project)


def test_schedules_of_assets(plan_of: PlanOf, project: Project) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.providers.standard.triggers.file import FileDeleteTrigger
    from airflow.sdk import Asset, AssetAlias, AssetAll, AssetAny, AssetWatcher

    watcher = AssetWatcher(name="w", trigger=FileDeleteTrigger(filepath="/data/x"))
    condition = AssetAny(
        Asset("rates"),
        AssetAll(Asset(name="orders", uri="s3://acme/orders", group="raw", extra={"a": 1}), AssetAlias("late")),
        Asset(name="inbox", watchers=[watcher]),
    )
    with by_hand(schedule=condition, start_date=datetime(2000, 1, 1, tzinfo=UTC)) as dag:
        EmptyOperator(task_id="a", outlets=[Asset("sales")], inlets=[Asset(uri="s3://acme/x")])
    text = """
schedule:
  assets:
    any:
    - rates
    - all: [{name: orders, uri: "s3://acme/orders", group: raw, extra: {a: 1}}, {alias: late}]
    - name: inbox
      watch:
      - name: w
        trigger: airflow.providers.standard.triggers.file.FileDeleteTrigger
        with: {filepath: /data/x}
steps:
  a: {operator: EmptyOperator, outlets: [sales], inlets: ["s3://acme/x"]}
"""
    same(text, dag, plan_of, project)


def test_callbacks_deadlines_and_macros(plan_of: PlanOf, project: Project) -> None:
    text = """tidemill: 1
on_failure:
- {callback: "include.tasks:page", with: {team: ops}}
- {notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier, with: {to: ops@example.org}}
deadline: {name: slow, interval: 2 h, reference: queued, callback: "include.tasks:late", with: {team: ops}}
user_defined_macros: {currency: EUR}
user_defined_filters: {shout: "include.tasks:choose"}
steps:
  a: {operator: EmptyOperator, on_retry: {callback: "include.tasks:page"}}
"""
    dag = built(plan_of(text), project)
    called, notifier = dag.on_failure_callback
    assert repr(called) == "<include.tasks:page>"
    assert (type(notifier).__name__, notifier.to) == ("SmtpNotifier", "ops@example.org")
    (deadline,) = dag.deadline
    assert (deadline.name, deadline.interval) == ("slow", timedelta(hours=2))
    assert (deadline.callback.path, deadline.callback.kwargs) == ("include.tasks.late", {"team": "ops"})
    assert dag.user_defined_macros["currency"] == "EUR"
    assert dag.user_defined_filters["shout"]() == "a"
    (retried,) = dag.task_dict["a"].on_retry_callback
    assert repr(retried) == "<include.tasks:page>"
    assert stored(dag)


def test_a_pod_override_is_read_as_kubernetes_reads_it(plan_of: PlanOf, project: Project) -> None:
    text = """tidemill: 1
steps:
  a:
    operator: EmptyOperator
    executor_config: {pod_override: {spec: {containers: [{name: base, image: "acme:2"}]}}}
"""
    pod = built(plan_of(text), project).task_dict["a"].executor_config["pod_override"]
    assert type(pod).__name__ == "V1Pod"
    assert pod.spec.containers[0].image == "acme:2"


FLOW = """tidemill: 1
steps:
  up: {operator: EmptyOperator, setup: true}
  load:
    after: up
    for_each: {path: [a, b]}
    steps:
      clean: {python: "include.tasks:plain", with: {path: "{{ each.path }}"}}
      check: {operator: BashOperator, after: clean, with: {bash_command: echo}}
  each: {python: "include.tasks:plain", after: load, trigger_rule: none_failed, for_each: {path: [x, y]}}
  down: {operator: EmptyOperator, after: each, teardown: {of: up}}
"""


@pytest.mark.parametrize("only", ["up", "load.clean", "load.check", "each", "down"])
def test_a_tasks_process_has_the_same_dag_around_its_task(only: str, plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(FLOW)
    whole, alone = built(plan, project), built(plan, project, only=only)
    assert edges(alone) == edges(whole)
    assert set(alone.task_group_dict) == set(whole.task_group_dict)
    for name, task in whole.task_dict.items():
        there = alone.task_dict[name]
        assert type(there).__name__ == type(task).__name__ or name != only
        for key in ("trigger_rule", "is_setup", "is_teardown", "is_mapped"):
            assert getattr(there, key) == getattr(task, key), (name, key)
        assert (there.get_closest_mapped_task_group() is None) == (task.get_closest_mapped_task_group() is None)
        real = getattr(there, "operator_class", type(there)).__name__ != "Placeholder"
        assert real == (name == only)


def test_a_tasks_process_imports_its_own_class_alone(
    plan_of: PlanOf, write: Callable[..., Path], project: Project
) -> None:
    text = """tidemill: 1
steps:
  a: {operator: airflow.providers.http.operators.http.HttpOperator, with: {endpoint: x}}
  b: {python: "include.tasks:plain", after: a, with: {path: x}}
  c: {operator: EmptyOperator, after: b}
"""
    plan_of(text)
    code = f"""
import sys
from pathlib import Path
from tidemill.airflow.loader import dags_of
from tidemill.project import Project
from tidemill.verdict import judge
file = Path({str(project.root / "dags" / "flights.yaml")!r})
project = Project.of(file.parent)
verdict = judge(file, file.parent, project)
list(dags_of(verdict, file, project, "flights", "c"))
print(any("operators.http" in name or name.startswith("include") for name in sys.modules))
list(dags_of(verdict, file, project, lazy=True))
print(any(name.startswith("include") for name in sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.split()[-2:] == ["False", "False"], ran.stderr


def test_what_stands_for_a_function_shows_what_its_source_does(project: Project) -> None:
    import inspect

    stand_in = lazy_function("include.tasks:plain", project)
    assert (stand_in.__name__, stand_in.__module__, stand_in.__doc__) == ("plain", "include.tasks", "What it does.")
    assert str(inspect.signature(stand_in)) == "(path, *, limit=None)"
    assert inspect.isfunction(stand_in)
    assert lazy_function("include.tasks:typed", project).__annotations__ == {"return": dict}
    assert "include.tasks" not in sys.modules
    assert lazy_function("include.tasks:choose", project)() == "a"
    assert "include.tasks" in sys.modules
