"""The check by serialization: a DAG that Airflow could not store would take every DAG of its loader with it."""

from __future__ import annotations

from pathlib import Path

from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.spec.errors import SpecError


class SafetyCheck:
    """Builds a plan's DAGs and serializes them, as the dag-processor will; what fails becomes an error of the
    spec instead of an import error of the loader, by which Airflow would mark all pipelines stale."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def __call__(self, plan: Plan, file: Path) -> tuple[SpecError, ...]:
        """What Airflow would refuse of the plan; nothing if it takes it."""
        from airflow.serialization.serialized_objects import DagSerialization

        from tidemill.airflow.factory import build
        from tidemill.airflow.values import Unbuildable
        from tidemill.discovery import line_of

        for dag_plan in plan.dags:
            try:
                dag = build(plan, dag_plan, file, self._project, lazy=True)
                dag.validate()
                dag.check_cycle()
                DagSerialization.to_dict(dag)
            except Unbuildable as e:
                place = (e.task.file, e.task.line) if e.task is not None else (plan.file, 1)
                path = f"steps.{e.task.task_id}" if e.task is not None else ""
                return (SpecError(*place, 1, path, str(e), source=line_of(file, place[1])),)
            except Exception as e:  # noqa: BLE001 - whatever Airflow raises, the loader must go on with the others
                message = f"Airflow cannot take the DAG {dag_plan.dag_id!r}: {type(e).__name__}: {e}"
                hint = "please report this: the spec passed every check"
                return (SpecError(plan.file, 1, 1, "", message, hint, source=line_of(file, 1)),)
        return ()
