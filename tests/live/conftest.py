"""One real Airflow with an MLflow server for all live tests, in a project of its own, on free ports."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import pytest

from tidemill.cli.airflow_api import AirflowApi, connect
from tidemill.cli.local_stack import LocalStack, password_file
from tidemill.demo.stack import Stack
from tidemill.ledger import Ledger, open_ledger
from tidemill.project import Project

REPOSITORY = Path(__file__).parents[2]

TRAIN = '''
"""A model that takes a blink to fit."""


def train(context):
    import pandas as pd
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = pd.read_parquet(context.data.train)
    features = make_column_transformer(("passthrough", ["first", "second"]))
    return make_pipeline(features, LogisticRegression()).fit(rows.drop(columns="late"), rows["late"])
'''

SPEC = """
tidemill: 1
description: Rows that were made up for a test.
start: 2020-03-01
end: 2020-05-01
platform: {provider: local}
data:
  source: include/rows.parquet
  key: [id]
  window: {column: time, train: 1 month, holdout: 1 month}
train: {code: "include.train:train"}
evaluate: {task: classification, target: late, metrics: [roc_auc]}
promote:
  when: {roc_auc: {at_least: 0.6}}
"""

GATED = SPEC + "  approval: manual\n"

WATCHED = (
    SPEC.replace("end: 2020-05-01", "end: 2020-04-01\nschedule: {cron: 0 0 1 3 *}")
    + """
monitor:
  schedule: monthly
  drift: {at_least: 0.2, share: 50%, columns: [first, second]}
retrain:
  triggers: [drift]
  cooldown: 7 d
"""
)

SECOND_PLUGIN = '''
"""Another distribution's Airflow plugin."""

from airflow.plugins_manager import AirflowPlugin


def greeting():
    return "hello from the second plugin"


class Second(AirflowPlugin):
    name = "second"
    macros = [greeting]
'''

USES_SECOND = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("uses_second", schedule=None):
    BashOperator(task_id="say", bash_command="echo {{ macros.second.greeting() }}")
"""


USERS = "admin:admin,viewer:viewer,nobody:"
"""Those who may do everything, see everything, and see nothing."""


@dataclass
class Live:
    """The running stack and what tests ask of it. ``statsd``: where its metrics of ours arrive."""

    project: Project
    stack: Stack
    address: LocalStack
    api: AirflowApi
    statsd: socket.socket
    said: list[str] = field(default_factory=list)

    def dag_file(self, name: str, text: str) -> Path:
        """Drop a file into dags/, whole at once, as a deployment does."""
        path = self.project.root / "dags" / name
        new = path.with_suffix(".new")
        new.write_text(dedent(text).lstrip(), encoding="utf-8")
        new.replace(path)
        return path

    def wait_for(self, what: str, ask: Callable[[], Any], seconds: float = 90) -> Any:
        """Ask until the answer is something."""
        end = time.monotonic() + seconds
        while not (answer := ask()):
            assert time.monotonic() < end, f"not in {seconds:.0f} s: {what}"
            time.sleep(0.25)
        return answer

    def wait_for_dag(self, dag_id: str) -> dict[str, Any]:
        """The DAG, once Airflow has it."""
        try:
            return self.wait_for(f"a DAG {dag_id}", lambda: self.dag(dag_id))
        except AssertionError as error:
            raise AssertionError(f"{error}; import errors: {self.api.import_errors()}") from None

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        from tidemill.cli.airflow_api import NotFound

        try:
            return self.api.dag(dag_id)
        except NotFound:
            return None

    def finish(self, dag_id: str, run_id: str, seconds: float = 180) -> dict[str, dict[str, Any]]:
        """The task instances of a run by task, once it has ended well; the failed task's log if it has not."""

        def ended() -> str | None:
            state = self.api.run(dag_id, run_id)["state"]
            return state if state in {"success", "failed"} else None

        state = self.wait_for(f"the end of {dag_id} {run_id}", ended, seconds)
        tasks = {task["task_id"]: task for task in self.api.tasks(dag_id, run_id)}
        if state == "failed":
            logs = {
                name: self.api.log(dag_id, run_id, name, task["try_number"])[-10:]
                for name, task in tasks.items()
                if task["state"] == "failed"
            }
            pytest.fail(f"{dag_id} {run_id} failed: {logs}")
        return tasks

    def page(self, path: str, user: str | None = None, token: str | None = None) -> httpx.Response:
        """What Airflow answers at an address to one of its users, or to a token; redirects are not followed."""
        if user is not None:
            secret = json.loads(password_file(self.project.state).read_text(encoding="utf-8"))[user]
            asked = httpx.post(
                f"{self.address.airflow}/auth/token",
                json={"username": user, "password": secret},
                timeout=30,
                trust_env=False,
            )
            token = asked.raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return httpx.get(f"{self.address.airflow}{path}", headers=headers, timeout=30, trust_env=False)

    def gauges(self) -> dict[str, float]:
        """The gauges that have arrived since this was asked last, by name."""
        found = {}
        while True:
            try:
                lines = self.statsd.recv(65536).decode().splitlines()
            except TimeoutError:
                return found
            for line in lines:
                name, _, rest = line.partition(":")
                value, kind = rest.split("|")[:2]
                assert kind == "g", line
                found[name] = float(value)

    def aliased(self, model: str, alias: str = "champion") -> str | None:
        """The version an alias points at, as the MLflow server tells it."""
        address = f"{self.address.mlflow}/api/2.0/mlflow/registered-models/alias"
        answer = httpx.get(address, params={"name": model, "alias": alias}, timeout=30, trust_env=False)
        if answer.status_code == 404 or answer.json().get("error_code") in {
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        }:
            return None
        return str(answer.raise_for_status().json()["model_version"]["version"])

    def ledger(self) -> Ledger:
        return open_ledger(f"sqlite:///{self.project.state / 'ledger.db'}")

    def promotions(self, model: str) -> list[dict[str, Any]]:
        with self.ledger() as ledger:
            return [dict(entry.body) for entry in ledger.entries(model, kinds=["promotion"])]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("live") / "project"
    _make_project(root)
    with running(root, {}) as found:
        yield found


@contextmanager
def running(root: Path, environment: Mapping[str, str]) -> Iterator[Live]:
    """An Airflow and an MLflow server for a project; they end with the block."""
    project = Project(root, root / ".tidemill")
    path = os.pathsep.join(filter(None, [str(_second_distribution(root.parent)), os.environ.get("PYTHONPATH")]))
    said: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(0.2)
        extra = {"PYTHONPATH": path, **_settings(statsd.getsockname()[1]), **environment}
        stack = Stack(project, ports=(0, 0), reparse=2, say=said.append, extra=extra)
        try:
            up = stack.up()
            api = connect(project.state, url=up.address.airflow)
            yield Live(project, stack, up.address, api, statsd, said)
            api.close()
        finally:
            stack.down()


def _settings(port: int) -> dict[str, str]:
    """Users besides the administrator, and metrics to a port of ours; of Airflow's own many ones none."""
    return {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(port),
        "AIRFLOW__METRICS__METRICS_ALLOW_LIST": r"^tidemill\.",
    }


def empty_project(root: Path) -> None:
    """A project with the loader and nothing to load."""
    (root / "dags").mkdir(parents=True)
    (root / "include").mkdir()
    # The folder and the installed distribution both bring Tidemill's plugin: it must be registered once.
    (root / "plugins").symlink_to(REPOSITORY / "plugins")
    for name in ("tidemill.py", "tidemill_errors.py"):
        (root / "dags" / name).write_bytes((REPOSITORY / "dags" / name).read_bytes())


def _make_project(root: Path) -> None:
    empty_project(root)
    (root / "dags" / "uses_second.py").write_text(USES_SECOND, encoding="utf-8")
    (root / "dags" / "gated.yaml").write_text(GATED.lstrip(), encoding="utf-8")
    (root / "dags" / "watched.yaml").write_text(WATCHED.lstrip(), encoding="utf-8")
    (root / "include" / "__init__.py").touch()
    (root / "include" / "train.py").write_text(TRAIN.lstrip(), encoding="utf-8")
    _rows(root / "include" / "rows.parquet")


def _rows(path: Path) -> None:
    """From January to April 2020 ten rows an hour; in March ``first`` moves by two standard deviations."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(7)
    start, hours = datetime(2020, 1, 1, tzinfo=UTC), 121 * 24
    times = [start + timedelta(hours=hour) for hour in range(hours) for _ in range(2)]
    drifted = np.array([time >= datetime(2020, 3, 1, tzinfo=UTC) for time in times])
    first = random.normal(size=len(times)) + 2 * drifted
    second = random.normal(size=len(times))
    late = (second + random.normal(size=len(times)) > 0).astype("int64")
    columns = {"id": range(len(times)), "time": times, "first": first, "second": second, "late": late}
    pl.DataFrame(columns).write_parquet(path)


def _second_distribution(folder: Path) -> Path:
    """A distribution with an Airflow plugin of its own, laid out as an installer would."""
    place = folder / "site"
    information = place / "second_plugin-1.0.dist-info"
    information.mkdir(parents=True)
    (place / "second_plugin.py").write_text(SECOND_PLUGIN, encoding="utf-8")
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: second-plugin\nVersion: 1.0\n", encoding="utf-8"
    )
    (information / "entry_points.txt").write_text(
        "[airflow.plugins]\nsecond = second_plugin:Second\n", encoding="utf-8"
    )
    return place
