"""Plan to DAG."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, AssetAny, BaseOperator, Param

from tidemill.airflow.operators import (
    SPREAD,
    MappedStepOperator,
    Placeholder,
    PromoteOperator,
    Stage,
    StepOperator,
    approval,
)
from tidemill.plan.model import AssetPlan, DagPlan, Plan, SchedulePlan, TaskPlan
from tidemill.project import Project

if TYPE_CHECKING:
    from jinja2 import Environment

    from tidemill.airflow.own import Builder


class SpecDag(DAG):
    """A DAG whose source is a spec: Airflow's Code tab shows the YAML."""

    spec_file: str = ""

    def validate(self) -> None:
        """Airflow's own validation. The DAG bag sets ``fileloc`` to the loader after import and then calls
        this, so here is the one place where the address of the source can be set."""
        super().validate()  # type: ignore[no-untyped-call] # Airflow left it untyped
        if self.spec_file:
            self.fileloc = self.spec_file

    def get_template_env(self, *, force_sandboxed: bool = False) -> Environment:
        """Airflow's environment for templates; the one for native objects, which is none in Airflow, is a sandbox."""
        env = super().get_template_env(force_sandboxed=True)
        if self.render_template_as_native_obj and not force_sandboxed:
            from tidemill.airflow.sandbox import native_sandbox

            return native_sandbox(env)
        return env


def build(
    plan: Plan, dag_plan: DagPlan, file: Path, project: Project, only: str | None = None, *, lazy: bool = False
) -> DAG:
    """The DAG of a plan.

    ``only``: the one task that is built for real, in that task's own process; ``None`` builds all. ``lazy``: the
    user's functions are looked up when they are called, so that none of their modules is imported here.

    Raises:
        Unbuildable: a class or function of a step is not there.
    """
    builder = None
    asked = dag_plan.settings or dag_plan.defaults or dag_plan.schedule.condition or any(t.own for t in dag_plan.tasks)
    if dag_plan.kind == "workflow" or asked:
        from tidemill.airflow.own import Builder

        builder = Builder(project, lazy)
    dag = SpecDag(**_dag_arguments(plan, dag_plan, builder, whole=only is None))
    dag.spec_file = str(file)
    if builder is not None:
        builder.open(dag, dag_plan.groups)
    tasks: dict[str, Any] = builder.tasks if builder is not None else {}
    for task in dag_plan.tasks:
        real = only is None or task.task_id == only
        if task.own is not None and builder is not None:
            builder.task(task, real=real)
        elif task.step == SPREAD[1]:
            tasks[task.task_id] = _mapped(task, dag, dag_plan, plan, project, tasks[SPREAD[0]], real=real)
        elif real:
            tasks[task.task_id] = _task(task, dag, dag_plan, plan, project)
        else:
            tasks[task.task_id] = Placeholder(task_id=task.task_id, trigger_rule=_rule(task), dag=dag)
    nodes = {**builder.groups, **tasks} if builder is not None else tasks
    for name, before in dag_plan.edges():
        for upstream in before:
            if (upstream, name) != SPREAD:  # what a task is mapped over comes before it anyway
                nodes[name].set_upstream(nodes[upstream])
    # After the tasks: each would otherwise keep a deep copy of the DAG's parameters, which takes a third of the time
    # to build a DAG, most of the time to store it, and half of its stored size. A run takes them from the DAG.
    dag.params.update(_params(dag_plan))
    return dag


def _dag_arguments(plan: Plan, dag_plan: DagPlan, builder: Builder | None, *, whole: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "dag_id": dag_plan.dag_id,
        # The loader hands its DAGs over itself; one built for a check must not be taken for one of its file's.
        "auto_register": False,
        "description": plan.description.partition("\n")[0] or None,
        # A task's process has no use for a schedule, whose classes it would have to import.
        "schedule": _schedule(dag_plan, builder) if whole else None,
        "start_date": _instant(dag_plan.schedule.start),
        "end_date": _instant(dag_plan.schedule.end),
        "catchup": dag_plan.schedule.catchup,
        "default_args": {"owner": plan.owner},
        "owner_links": {plan.owner: plan.owner_link} if plan.owner_link else {},
        "tags": [*plan.tags, "tidemill"],
        "doc_md": _doc(plan, dag_plan),
    }
    if dag_plan.kind != "workflow":
        arguments["max_active_runs"] = 1
    if builder is not None:
        arguments |= builder.of_dag(dag_plan, arguments, whole=whole)
    return arguments


def asset(plan: AssetPlan) -> Asset:
    """The Airflow asset of an asset plan."""
    return Asset(name=plan.name, uri=plan.uri)


def _task(task: TaskPlan, dag: DAG, dag_plan: DagPlan, plan: Plan, project: Project) -> BaseOperator:
    if task.step == "approve":
        return approval(task.task_id, dag, plan)
    operator = PromoteOperator if task.followers else StepOperator
    return operator(
        task_id=task.task_id,
        step=task.step,
        plan=plan,
        earlier=_ancestors(task, dag_plan),
        project=project,
        outlets=[asset(a) for a in task.outlets],
        trigger_rule=_rule(task),
        **({"followers": task.followers} if task.followers else {}),
        dag=dag,
    )


def _mapped(
    task: TaskPlan, dag: DAG, dag_plan: DagPlan, plan: Plan, project: Project, source: Any, *, real: bool
) -> Any:
    """A stage that runs once for each part of what another one dealt out."""
    if not real:
        return Placeholder.partial(task_id=task.task_id, dag=dag).expand(stub=source.output)
    stage = Stage(task.step, plan, _ancestors(task, dag_plan), project)
    return MappedStepOperator.partial(task_id=task.task_id, dag=dag, stage=stage).expand(part=source.output)


def _rule(task: TaskPlan) -> str:
    """Where there is nothing to spread, its mapped tasks are skipped, and what comes after them tells why."""
    return "none_failed" if SPREAD[1] in task.upstream else "all_success"


def _ancestors(task: TaskPlan, dag_plan: DagPlan) -> tuple[str, ...]:
    """Every stage before a task, in the order of the plan."""
    tasks = dag_plan.flat()
    upstream = {t.task_id: t.upstream for t in tasks}
    found: set[str] = set()
    open_ends = list(upstream[task.task_id])
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends.extend(upstream[name])
    return tuple(t.task_id for t in tasks if t.task_id in found and t.own is None)


def _schedule(dag_plan: DagPlan, builder: Builder | None) -> Any:
    schedule = dag_plan.schedule
    timetable = _timetable(schedule, builder)
    assets: Any = any_of(schedule.assets) if schedule.assets else None
    if schedule.condition is not None:
        from tidemill.airflow.own import asset_of

        assert builder is not None
        assets = asset_of(schedule.condition, builder.project)
    if timetable is None or assets is None:
        return timetable if timetable is not None else assets
    from airflow.sdk import AssetOrTimeSchedule

    return AssetOrTimeSchedule(timetable=timetable, assets=assets)


def any_of(plans: tuple[AssetPlan, ...]) -> AssetAny:
    """The condition that any one of the assets was updated: a list of them would wait for all.

    They are assets and not references to them by name or URI: Airflow 3.3.2 starts a run for a reference's event, and
    then tells the run of no event.
    """
    return AssetAny(*(asset(plan) for plan in plans))


def _timetable(schedule: SchedulePlan, builder: Builder | None) -> Any:
    other = schedule.other
    if other is not None and builder is not None:
        return builder.timetable(other)
    if schedule.cron is None:
        return None
    from airflow.sdk import CronDataIntervalTimetable

    return CronDataIntervalTimetable(schedule.cron, timezone=schedule.timezone)


def _params(dag_plan: DagPlan) -> dict[str, Param]:
    # Objects of their own for each DAG: what is given to a run is written into them.
    params = {name: _param(value) for name, value in dag_plan.params.items()}
    if dag_plan.kind == "workflow":
        return params
    params["as_of"] = Param(
        None,
        source="dag",
        type=["null", "string"],
        title="as_of",
        description="The instant the run stands at, e.g. 2013-07-01. Empty: now, or the end of the pipeline.",
    )
    params["scheduled"] = Param(
        False,
        source="dag",
        type="boolean",
        title="scheduled",
        description="Treat the run as the scheduled one of its as_of.",
    )
    return params


def _param(value: Any) -> Param:
    if not isinstance(value, dict):
        return Param(value, source="dag")
    schema = dict(value)
    default = {"default": schema.pop("default")} if "default" in schema else {}
    return Param(**default, description=schema.pop("description", None), source="dag", **schema)


def _doc(plan: Plan, dag_plan: DagPlan) -> str:
    """What the DAG's book icon opens."""
    chain = " → ".join(t.task_id for t in dag_plan.tasks)
    lines = [
        plan.description,
        "",
        f"**{dag_plan.kind.capitalize()}** of pipeline `{plan.pipeline}`: {chain}",
        "",
    ]
    others = [d.dag_id for d in plan.dags if d.dag_id != dag_plan.dag_id]
    of_model = dag_plan.kind != "workflow"
    rows = {
        "Model": f"`{plan.model}`, alias `{plan.spec['promote']['alias']}`" if of_model else "",
        "Source": f"`{plan.spec['data']['source']}`" if of_model else "",
        "Spec": f"`{plan.file}` (hash `{plan.spec_hash}`; the Code tab shows it)",
        "See also": ", ".join(f"[{o}](/dags/{o})" for o in others),
    }
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items() if text), ""]
    lines += [f"- [{name}]({address})" for name, address in plan.links]
    lines += ["", plan.spec.get("doc_md", "")]
    return "\n".join(lines).strip() + "\n"


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
