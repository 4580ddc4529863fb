"""Plan to DAG."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, Param

from tidemill.airflow.operators import StepOperator, approval
from tidemill.plan.model import AssetPlan, DagPlan, Plan, TaskPlan
from tidemill.project import Project


class SpecDag(DAG):
    """A DAG whose source is a spec: Airflow's Code tab shows the YAML."""

    spec_file: str = ""

    def validate(self) -> None:
        """Airflow's own validation. The DAG bag sets ``fileloc`` to the loader after import and then calls
        this, so here is the one place where the address of the source can be set."""
        super().validate()  # type: ignore[no-untyped-call] # Airflow left it untyped
        if self.spec_file:
            self.fileloc = self.spec_file


class Placeholder(BaseOperator):
    """Stands for a task in the process of another task of its DAG: the same id and edges, nothing to import."""

    def execute(self, context: Any) -> None:
        """Raises RuntimeError: a placeholder is never run."""
        raise RuntimeError(f"{self.task_id} was built as a placeholder; its task_id was not in the parsing context")


def build(plan: Plan, dag_plan: DagPlan, file: Path, project: Project, only: str | None = None) -> DAG:
    """The DAG of a plan.

    ``only``: the one task that is built for real, in that task's own process; ``None`` builds all.
    """
    dag = SpecDag(
        dag_id=dag_plan.dag_id,
        description=plan.description.partition("\n")[0] or None,
        schedule=_schedule(dag_plan),
        start_date=_instant(dag_plan.schedule.start),
        end_date=_instant(dag_plan.schedule.end),
        catchup=dag_plan.schedule.catchup,
        max_active_runs=1,
        default_args={"owner": plan.owner},
        owner_links={plan.owner: plan.owner_link} if plan.owner_link else {},
        tags=[*plan.tags, "tidemill"],
        doc_md=_doc(plan, dag_plan),
    )
    dag.spec_file = str(file)
    tasks: dict[str, BaseOperator] = {}
    for task in dag_plan.tasks:
        if only is not None and task.task_id != only:
            tasks[task.task_id] = Placeholder(task_id=task.task_id, dag=dag)
        else:
            tasks[task.task_id] = _task(task, dag, dag_plan, plan, project)
        for upstream in task.upstream:
            tasks[task.task_id].set_upstream(tasks[upstream])
    # After the tasks: each would otherwise keep a deep copy of the DAG's parameters, which takes a third of the time
    # to build a DAG, most of the time to store it, and half of its stored size. A run takes them from the DAG.
    dag.params.update(_params())
    return dag


def asset(plan: AssetPlan) -> Asset:
    """The Airflow asset of an asset plan."""
    return Asset(name=plan.name, uri=plan.uri)


def _task(task: TaskPlan, dag: DAG, dag_plan: DagPlan, plan: Plan, project: Project) -> BaseOperator:
    if task.step == "approve":
        return approval(task.task_id, dag, plan)
    return StepOperator(
        task_id=task.task_id,
        step=task.step,
        plan=plan,
        earlier=_ancestors(task, dag_plan),
        project=project,
        outlets=[asset(a) for a in task.outlets],
        dag=dag,
    )


def _ancestors(task: TaskPlan, dag_plan: DagPlan) -> tuple[str, ...]:
    """Every task before a task, in the order of the plan."""
    upstream = {t.task_id: t.upstream for t in dag_plan.tasks}
    found: set[str] = set()
    open_ends = list(task.upstream)
    while open_ends:
        name = open_ends.pop()
        if name not in found:
            found.add(name)
            open_ends.extend(upstream[name])
    return tuple(t.task_id for t in dag_plan.tasks if t.task_id in found)


def _schedule(dag_plan: DagPlan) -> Any:
    schedule = dag_plan.schedule
    assets = [asset(a) for a in schedule.assets]
    if schedule.cron is None:
        return assets or None
    from airflow.sdk import AssetOrTimeSchedule, CronDataIntervalTimetable

    timetable = CronDataIntervalTimetable(schedule.cron, timezone=schedule.timezone)
    return AssetOrTimeSchedule(timetable=timetable, assets=assets) if assets else timetable


def _params() -> dict[str, Param]:
    # Objects of their own for each DAG: what is given to a run is written into them.
    return {
        "as_of": Param(
            None,
            source="dag",
            type=["null", "string"],
            title="as_of",
            description="The instant the run stands at, e.g. 2013-07-01. Empty: now, or the end of the pipeline.",
        ),
        "scheduled": Param(
            False,
            source="dag",
            type="boolean",
            title="scheduled",
            description="Treat the run as the scheduled one of its as_of.",
        ),
    }


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
    rows = {
        "Model": f"`{plan.model}`, alias `{plan.spec['promote']['alias']}`",
        "Source": f"`{plan.spec['data']['source']}`",
        "Spec": f"`{plan.file}` (hash `{plan.spec_hash}`; the Code tab shows it)",
        "See also": ", ".join(f"[{o}](/dags/{o})" for o in others),
    }
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items() if text), ""]
    lines += [f"- [{name}]({address})" for name, address in plan.links]
    return "\n".join(lines).strip() + "\n"


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
