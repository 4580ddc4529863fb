"""The real DAGs of a plan, in the process of a test."""

from __future__ import annotations

import os
import sys
import tempfile
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.plan.model import DagPlan, Plan
from tidemill.project import Project
from tidemill.testing.code import importable

if TYPE_CHECKING:
    from airflow.sdk import DAG


@cache
def import_airflow() -> None:
    """Import Airflow; where nobody chose its home, with an empty one, since it writes a configuration there.

    The environment is left as it was.
    """
    if "airflow" in sys.modules or "AIRFLOW_HOME" in os.environ:
        return
    home = tempfile.mkdtemp(prefix="tidemill-airflow-")
    settings = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{Path(home) / 'airflow.db'}",
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        for name in ("airflow.configuration", "airflow.sdk", "airflow.serialization.serialized_objects"):
            import_module(name)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def built(plan: Plan, dag_plan: DagPlan, file: Path, project: Project) -> DAG:
    """As :meth:`tidemill.testing.Pipeline.build`."""
    __tracebackhide__ = True
    import_airflow()
    from airflow.serialization.serialized_objects import DagSerialization

    from tidemill.airflow.factory import build
    from tidemill.airflow.values import Unbuildable

    try:
        with importable(project.root):
            dag = build(plan, dag_plan, file, project)
            dag.validate()
            dag.check_cycle()
            DagSerialization.from_dict(DagSerialization.to_dict(dag))
    except Unbuildable as e:
        place = f"{e.task.file}:{e.task.line}: steps.{e.task.task_id}" if e.task is not None else plan.file
        raise AssertionError(f"{place}: {e}") from None
    except Exception as e:
        # Whatever Airflow makes of it is about this spec.
        raise AssertionError(f"{plan.file}: Airflow cannot take {dag_plan.dag_id}: {type(e).__name__}: {e}") from e
    return dag
