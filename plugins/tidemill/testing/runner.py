"""``python -m tidemill.testing.runner``: the process of one run; the job comes as JSON on the standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> None:
    """Run the job and write what became of it to the file that it names."""
    from tidemill.cli.registry import ledger_of
    from tidemill.cli.run import Options, run
    from tidemill.cli.summary import summarise
    from tidemill.cli.validate import plan_of

    job = json.load(sys.stdin)
    plan, file, place = plan_of(Path(job["file"]), job["row"])
    # The state folder is a test's own: what would be the live one is as good as any other.
    options = Options(
        as_of=job["as_of"], live=True, answer="Approve" if job["approve"] else "Reject", params=job["params"]
    )
    outcome = run(plan, plan.dags[0], file, place, options)
    summary = None
    if plan.model:
        with ledger_of(place.project) as ledger:
            summary = summarise(ledger.entries(plan.model), plan.model)
    tasks = {
        name: {"state": state, "said": outcome.said.get(name, ""), "value": value}
        for name, (state, value) in _tasks(plan.dags[0].dag_id, outcome.run_id).items()
    }
    result = {"state": outcome.state, "run_id": outcome.run_id, "tasks": tasks, "summary": summary}
    Path(job["result"]).write_text(json.dumps(result, default=str))


def _tasks(dag_id: str, run_id: str) -> dict[str, tuple[str, Any]]:
    """Each task's state and what it returned, from the run's own metadata database. A mapped task is in the worst
    state of its instances."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    found: dict[str, list[tuple[int, str, Any]]] = {}
    with create_session() as session:
        of_run = (TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        for ti in session.scalars(select(TaskInstance).where(*of_run).order_by(TaskInstance.map_index)):
            value = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index, session=session)
            found.setdefault(ti.task_id, []).append((ti.map_index, str(ti.state), value))
    told = {}
    for task_id, instances in found.items():
        states = [state for _, state, _ in instances]
        values = [value for _, _, value in instances]
        mapped = instances[0][0] >= 0
        told[task_id] = (next((s for s in _WORST if s in states), states[0]), values if mapped else values[0])
    return told


_WORST = ("failed", "upstream_failed", "None", "skipped", "success")


if __name__ == "__main__":
    main()
