"""The local stack's servers, killed and stopped under way: found, mended, continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.demo.processes import birth_of
from tidemill.demo.stack import AIRFLOW, MLFLOW, Stack, StackError
from tidemill.project import Project

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

SLEEPS = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("sleeps", schedule=None):
    BashOperator(task_id="first", bash_command="sleep 6") >> BashOperator(task_id="second", bash_command="true")
"""


@pytest.mark.slow
def test_what_was_under_way_when_the_servers_were_stopped_goes_on_with_the_next_start(live: Any) -> None:
    live.dag_file("sleeps.py", SLEEPS)
    live.wait_for_dag("sleeps")
    run_id = live.api.start("sleeps", None, {})["dag_run_id"]
    live.wait_for("a running task", lambda: live.api.tasks("sleeps", run_id)[0]["state"] == "running")
    families = {member for server in live.stack.servers().values() for member in server.family()}
    assert len(families) > 8  # the servers, the executor's workers, the task
    assert set(live.stack.down()) == {MLFLOW, *AIRFLOW}
    assert live.stack.servers() == {}
    assert not [pid for pid, birth in families if birth_of(pid) == birth]

    assert live.stack.up().address == live.address  # the same ports, user and password
    tasks = live.finish("sleeps", run_id)
    assert {task["state"] for task in tasks.values()} == {"success"}


def test_a_start_that_fails_says_why_and_leaves_nothing_running(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / ".tidemill")
    (tmp_path / "dags").mkdir()
    (project.state / "airflow").mkdir(parents=True)
    (project.state / "airflow" / "airflow.db").write_bytes(b"no database at all " * 100)
    stack = Stack(project, ports=(0, 0))
    with pytest.raises(StackError, match=r"(?s)database could not be made; .*migrate\.log ends so:.*not a database"):
        stack.up()
    assert stack.servers() == {}
    noted = project.state / "stack" / "logs" / "mlflow.log"
    assert noted.exists()  # MLflow had been started beside it
    assert stack.down() == ()
