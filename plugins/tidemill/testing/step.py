"""One step of the user's own, run for real in this process with fakes for what is around it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.plan.model import DagPlan, GroupPlan, Plan, TaskPlan
from tidemill.plan.schedule import previous_tick
from tidemill.project import Project
from tidemill.records import AsOf
from tidemill.testing.building import import_airflow
from tidemill.testing.dag import Dag

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tidemill.testing.supervisor import Supervisor

_RUN = "tidemill_testing"


@dataclass(frozen=True)
class World:
    """What stands for the world around a step: see :meth:`tidemill.testing.Pipeline.run_step`."""

    outputs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    as_of: str | datetime | None = None
    connections: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    each: Mapping[str, Any] | None = None

    @property
    def instant(self) -> datetime:
        """The instant that the run stands at, in UTC; now if none was given. Raises AssertionError if it is none."""
        __tracebackhide__ = True
        from tidemill.spec.units import instant

        try:
            return datetime.now(UTC) if self.as_of is None else instant(self.as_of)
        except ValueError as e:
            raise AssertionError(f"as_of: {e}") from None


@dataclass(frozen=True)
class StepResult:
    """What became of a step.

    ``value`` is what it returned, as the steps after it get it; ``state`` Airflow's name of what became of it,
    ``success``, ``skipped`` or ``up_for_reschedule`` (a sensor whose time has not come); ``rendered`` its templated
    fields as they were rendered; ``pushed`` what it handed on under other keys; ``follows`` the tasks that a branch
    goes on with, ``skips`` those that a branch or short circuit leaves out; ``triggered`` the DAG runs that it started,
    each with ``dag_id`` and ``conf``; ``variables`` those that it wrote.
    """

    value: Any
    state: str
    rendered: dict[str, Any]
    pushed: dict[str, Any] = field(default_factory=dict)
    follows: tuple[str, ...] = ()
    skips: tuple[str, ...] = ()
    triggered: tuple[dict[str, Any], ...] = ()
    variables: dict[str, str] = field(default_factory=dict)


def run_step(plan: Plan, dag_plan: DagPlan, name: str, file: Path, project: Project, world: World) -> StepResult:
    """As :meth:`tidemill.testing.Pipeline.run_step`."""
    __tracebackhide__ = True
    dag = Dag.of(dag_plan, plan.file)
    task = dag.task(name)
    if task.stage is not None:
        raise AssertionError(
            f'"{name}" is a stage of the pipeline, which needs those before it: try it with pipeline.run(); the '
            "training function alone with pipeline.train()"
        )
    for other in world.outputs:
        dag.task(other)
    if dag_plan.kind != "workflow" and "as_of" not in world.outputs:
        world = replace(
            world, outputs={**world.outputs, "as_of": AsOf(instant=world.instant, cause="scheduled").to_json()}
        )
    _check_params(dag_plan, world)
    dag_plan = _one_instance(dag_plan, name, world)
    import_airflow()

    from tidemill.testing.supervisor import Supervisor, in_place

    supervisor = Supervisor(dag, task, world)
    with in_place(supervisor, world, project):
        return _run(_built(plan, dag_plan, name, file, project), dag, name, world, supervisor)


def _check_params(dag_plan: DagPlan, world: World) -> None:
    __tracebackhide__ = True
    known = [*dag_plan.params, *([] if dag_plan.kind == "workflow" else ["as_of", "scheduled"])]
    for param in world.params:
        if param not in known:
            raise AssertionError(f'{dag_plan.dag_id} has no param "{param}"; it has: {", ".join(known) or "none"}')


def _one_instance(dag_plan: DagPlan, name: str, world: World) -> DagPlan:
    """The plan with the step, or the mapped group around it, mapped over one instance alone.

    So the plan's own way of mapping is tried out, and not another one."""
    __tracebackhide__ = True
    task = next(t for t in dag_plan.tasks if t.task_id == name)
    own = task.own
    assert own is not None
    if own.expand is not None:
        given = _given(task, own.expand, world)
        tasks = tuple(replace(t, own=replace(own, expand=given)) if t is task else t for t in dag_plan.tasks)
        return replace(dag_plan, tasks=tasks)
    group = _mapped_group(dag_plan, task)
    if group is None:
        if world.each is not None:
            raise AssertionError(f'"{name}" ({_place(task)}) is not mapped: run it without `each`')
        return dag_plan
    given = _given(task, group.expand, world)
    return replace(dag_plan, groups=tuple(replace(g, expand=given) if g is group else g for g in dag_plan.groups))


def _mapped_group(dag_plan: DagPlan, task: TaskPlan) -> GroupPlan | None:
    groups = {group.group_id: group for group in dag_plan.groups}
    at = task.group
    while at is not None:
        if groups[at].expand is not None:
            return groups[at]
        at = groups[at].parent
    return None


def _given(task: TaskPlan, expand: Any, world: World) -> Any:
    __tracebackhide__ = True
    by_name = isinstance(expand, Mapping) and "$output" not in expand
    if world.each is None:
        example = dict.fromkeys(expand, "…") if by_name else {"argument": "…"}
        raise AssertionError(f'"{task.task_id}" ({_place(task)}) is mapped: say which instance, each={example}')
    if not by_name:
        return [dict(world.each)]
    if set(world.each) != set(expand):
        raise AssertionError(
            f'"{task.task_id}" ({_place(task)}) is mapped over {", ".join(expand)}; each gives '
            f"{', '.join(world.each) or 'nothing'}"
        )
    return {argument: [value] for argument, value in world.each.items()}


def _place(task: TaskPlan) -> str:
    return f"{task.file}:{task.line}"


def _built(plan: Plan, dag_plan: DagPlan, name: str, file: Path, project: Project) -> DAG:
    __tracebackhide__ = True
    from tidemill.airflow.factory import build
    from tidemill.airflow.values import Unbuildable

    try:
        return build(plan, dag_plan, file, project, only=name)
    except Unbuildable as e:
        place = _place(e.task) if e.task is not None else plan.file
        raise AssertionError(f"{place}: {e}") from None


def _run(dag: DAG, planned: Dag, name: str, world: World, supervisor: Supervisor) -> StepResult:
    __tracebackhide__ = True
    import structlog
    from airflow.sdk.exceptions import ParamValidationError
    from airflow.sdk.execution_time import task_runner

    ti = _instance(dag, name, planned, world)
    _ask_once(ti.task)
    try:
        context = ti.get_template_context()
    except ParamValidationError as e:
        raise AssertionError(f"{planned.id} ({planned.file}): {e}") from None
    with _signals_kept():
        state, _, error = task_runner.run(ti, context, structlog.get_logger("task"))
    missing = supervisor.missing
    if missing is not None and error is not None:
        raise AssertionError(missing) from None
    timed_out = error is not None and _is_sensor(ti.task) and type(error).__name__ == "AirflowSensorTimeout"
    if error is not None and not timed_out:
        raise error
    where = planned.task(name).place
    if state.value == "deferred":
        raise AssertionError(
            f'"{name}" ({where}) is deferrable: it goes on in Airflow\'s triggerer, which is not here. Try it with '
            "pipeline.run(), or let an environment for tests say `deferrable: false`"
        )
    if state.value == "awaiting_input":
        raise AssertionError(f'"{name}" ({where}) waits for a person\'s answer; try it with pipeline.run(approve=True)')
    pushed = dict(supervisor.pushed)
    branched = pushed.pop("skipmixin_key", {})
    return StepResult(
        value=pushed.pop("return_value", None),
        state="up_for_reschedule" if timed_out else state.value,
        rendered={field: _fetched(getattr(ti.task, field, None)) for field in ti.task.template_fields},
        pushed=pushed,
        follows=tuple(branched.get("followed", ())),
        skips=tuple(supervisor.skips),
        triggered=tuple(supervisor.triggered),
        variables=supervisor.variables,
    )


def _fetched(value: Any) -> Any:
    """A rendered value with the results of mapped steps as lists: Airflow fetches them when they are looked at."""
    from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

    if isinstance(value, LazyXComSequence):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _fetched(item) for key, item in value.items()}
    return [_fetched(item) for item in value] if isinstance(value, list) else value


def _is_sensor(task: Any) -> bool:
    from airflow.sdk import BaseSensorOperator

    return isinstance(task, BaseSensorOperator)


def _ask_once(task: Any) -> None:
    """A sensor is asked once instead of being waited for."""
    if task.is_mapped:
        from airflow.sdk import BaseSensorOperator

        if issubclass(task.operator_class, BaseSensorOperator):
            task.partial_kwargs.update(mode="poke", timeout=0, poke_interval=0, soft_fail=False)
    elif _is_sensor(task):
        task.mode, task.timeout, task.poke_interval, task.soft_fail = "poke", 0, 0, False


def _instance(dag: DAG, name: str, planned: Dag, world: World) -> Any:
    """What Airflow makes of a task that it runs, with what its server would tell of the run."""
    from uuid import uuid4

    from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    task, at, schedule = dag.task_dict[name], world.instant, planned.schedule
    # As a scheduled run has it: the interval ends where the run stands.
    begin = at if schedule.cron is None else previous_tick(schedule.cron, schedule.timezone, at)
    run = DagRun.model_validate(
        {
            "dag_id": dag.dag_id,
            "run_id": _RUN,
            "logical_date": begin,
            "data_interval_start": begin,
            "data_interval_end": at,
            "run_after": at,
            "start_date": datetime.now(UTC),
            "end_date": None,
            "run_type": "scheduled",
            "state": "running",
            "conf": dict(world.params),
            "consumed_asset_events": [],
            "partition_key": None,
        }
    )
    given: dict[str, Any] = {
        "id": uuid4(),
        "task_id": name,
        "dag_id": dag.dag_id,
        "run_id": _RUN,
        "try_number": 1,
        "dag_version_id": uuid4(),
        "map_index": -1 if world.each is None else 0,
        "task": task,
        "start_date": datetime.now(UTC),
        "max_tries": 0,
        "_ti_context_from_server": TIRunContext(dag_run=run, max_tries=0),
    }
    return RuntimeTaskInstance.model_construct(**given)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Airflow answers SIGTERM by killing its task; after it, whoever did before answers again."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stdout.flush()
