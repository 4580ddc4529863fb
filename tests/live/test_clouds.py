"""Trainings on every cloud's service, in a live Airflow: the same numbers as here, and nothing runs on unwatched."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.flights import prepare
from tests.emulators import Emulation, start
from tests.emulators.examples import PLATFORMS, TRAINS
from tests.live.conftest import REPOSITORY, Live, empty_project, running

# An Airflow of its own for minutes: beside the other one of `make test` neither would come to anything.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

TRAIN = '''
"""The demonstration's training, which also tells where its own code was."""

from include.flights import train as flights


def train(context):
    import time

    (context.output / "where.txt").write_text(flights.__file__)
    time.sleep(context.params.get("sleep", 0))
    if context.params.get("fail"):
        raise ValueError("no such column")
    return flights.train(Given(context))


class Given:
    """The context without the parameters that scikit-learn does not know."""

    def __init__(self, context):
        self._context = context
        self.params = {"max_iter": context.params["max_iter"]}

    def __getattr__(self, name):
        return getattr(self._context, name)
'''

SPEC = """
tidemill: 1
platform: %(platform)s
data:
  source: include/flights/departures.parquet
  key: [flight_id]
  window: {column: time_hour, train: 1 month, holdout: 1 month}
train:
  code: include.placed:train
  params: {max_iter: 30}
  seed: 2013
evaluate: {task: classification, target: late, metrics: [roc_auc, log_loss]}
promote:
  when: {roc_auc: {at_least: 0.6}}
"""

SERVICES = tuple(PLATFORMS)
AS_OF = "2013-04-01T00:00:00+00:00"


@dataclass
class Clouds:
    """A live Airflow whose connections lead to the emulators."""

    live: Live
    emulations: Mapping[str, Emulation]

    def drop(self, name: str, service: str, **params: Any) -> None:
        """A spec of the flights for a service; returns when Airflow has its DAG."""
        import yaml

        platform = {"provider": "local"} if service == "local" else _platform(service)
        value = yaml.safe_load(SPEC % {"platform": yaml.safe_dump(platform, default_flow_style=True).strip()})
        value["train"]["params"] |= params
        value["train"] |= yaml.safe_load(TRAINS[service]) or {}
        self.live.dag_file(f"{name}.yaml", yaml.safe_dump(value, sort_keys=False))
        self.live.wait_for_dag(name)
        self.live.api.pause(name, False)

    def started(self, name: str) -> str:
        """A run that waits for its job, and a triggerer for it: its id."""
        run: str = self.live.api.start(name, None, {"as_of": AS_OF})["dag_run_id"]
        self.watched(name, run)
        return run

    def watched(self, name: str, run: str) -> None:
        """Return when a triggerer waits for the run's job."""
        self.live.wait_for(f"{name} to be watched", lambda: self.train(name, run).get("triggerer_job"), 180)
        time.sleep(3)  # it takes the trigger up in its next round

    def train(self, name: str, run: str) -> dict[str, Any]:
        tasks = {task["task_id"]: task for task in self.live.api.tasks(name, run)}
        return tasks["train"]

    def links(self, name: str, run: str) -> dict[str, str | None]:
        """What the UI links to from the task ``train``."""
        found = self.live.api._call("GET", f"/api/v2/dags/{name}/dagRuns/{run}/taskInstances/train/links")
        return dict(found["extra_links"])

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """What the ledger has of a model's jobs."""
        with self.live.ledger() as ledger:
            return [dict(entry.body) for entry in ledger.entries(name, kinds=["job"])]

    def evaluated(self, name: str) -> dict[str, Any]:
        with self.live.ledger() as ledger:
            return dict(ledger.entries(name, kinds=["evaluation"])[-1].body)

    def change(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """A person's action, as the UI sends it."""
        self.live.api._call(method, f"/api/v2{path}", json=dict(body))


def _platform(service: str) -> dict[str, Any]:
    return PLATFORMS["sagemaker" if service == "batch" else service]


_data = shutil.ignore_patterns("*.parquet*")


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    root = tmp_path_factory.mktemp("clouds") / "project"
    empty_project(root)
    (root / "include" / "__init__.py").touch()
    shutil.copytree(REPOSITORY / "include" / "flights", root / "include" / "flights", ignore=_data)
    prepare.DEPARTURES.prepare(root / "include" / "flights" / "departures.parquet")
    (root / "include" / "placed.py").write_text(TRAIN.lstrip(), encoding="utf-8")
    with ExitStack() as stack:
        emulations, environment = {}, {}
        for service in SERVICES:
            provider = _platform(service)["provider"]
            if provider in emulations:
                continue
            folder = root.parent / provider
            folder.mkdir()
            emulations[provider] = stack.enter_context(start(provider, folder, _platform(service)))
            environment |= emulations[provider].environment
        yield Clouds(stack.enter_context(running(root, environment)), emulations)


@pytest.fixture(scope="module")
def here(clouds: Clouds) -> dict[str, Any]:
    """What the training on this machine came to."""
    clouds.drop("local_flights", "local")
    run = clouds.live.api.start("local_flights", None, {"as_of": AS_OF})["dag_run_id"]
    clouds.live.finish("local_flights", run)
    return clouds.evaluated("local_flights")


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_trains_the_model_that_this_machine_does(
    clouds: Clouds, here: dict[str, Any], service: str
) -> None:
    name = f"{service}_flights"
    clouds.drop(name, service)
    run = clouds.live.api.start(name, None, {"as_of": AS_OF})["dag_run_id"]
    tasks = clouds.live.finish(name, run, 300)
    assert tasks["promote"]["state"] == "success"
    there = clouds.evaluated(name)
    for metric, value in here["challenger"]["metrics"].items():
        assert there["challenger"]["metrics"][metric] == pytest.approx(value, abs=1e-9)
    assert [job["state"] for job in clouds.jobs(name)] == ["intended", "submitted", "succeeded"]
    run_id = clouds.live.api.xcom(name, run, "train")["run_id"]
    links = clouds.links(name, run)
    assert run_id in str(links["MLflow"])
    # A cluster has no console of its own.
    assert [bool(links["Job"]), bool(links["Job log"])] == [service != "kubernetes"] * 2
    where = _artifact(clouds.live, run_id, "output/where.txt")
    assert not where.startswith((str(clouds.live.project.root), str(REPOSITORY)))


def _artifact(live: Live, run_id: str, path: str) -> str:
    from mlflow.artifacts import download_artifacts

    # By its address: the process has other tests, which know another server or none.
    file = download_artifacts(run_id=run_id, artifact_path=path, tracking_uri=live.address.mlflow)
    return Path(file).read_text(encoding="utf-8")


ENDED = {
    "failed": ("PATCH", "/dags/{dag}/dagRuns/{run}/taskInstances/train", {"new_state": "failed"}),
    "success": ("PATCH", "/dags/{dag}/dagRuns/{run}/taskInstances/train", {"new_state": "success"}),
    "run": ("PATCH", "/dags/{dag}/dagRuns/{run}", {"state": "failed"}),
}


@pytest.mark.parametrize("how", list(ENDED))
def test_a_job_ends_when_somebody_ends_its_waiting_task(clouds: Clouds, how: str) -> None:
    name = f"ended_{how}"
    clouds.drop(name, "kubernetes", sleep=600)
    run = clouds.started(name)
    method, path, body = ENDED[how]
    clouds.change(method, path.format(dag=name, run=run), body)
    clouds.live.wait_for("the end of the job", lambda: not _running(clouds, name), 60)


def test_a_task_links_to_its_job_while_that_runs_and_when_it_has_failed(clouds: Clouds) -> None:
    clouds.drop("linked", "vertex", sleep=15, fail=True)
    run = clouds.started("linked")
    while_waiting = clouds.links("linked", run)
    assert _number(clouds, "linked") in str(while_waiting["Job"])
    assert _number(clouds, "linked") in str(while_waiting["Job log"])
    assert "/runs/" in str(while_waiting["MLflow"])
    clouds.live.wait_for("the end of the task", lambda: clouds.train("linked", run)["state"] == "failed", 180)
    assert clouds.links("linked", run) == while_waiting
    body = {"dry_run": False, "task_ids": ["train"], "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    clouds.change("POST", "/dags/linked/clearTaskInstances", body)
    clouds.watched("linked", run)
    assert clouds.jobs("linked")[-1]["attempt"] == 2
    again = clouds.links("linked", run)
    assert _number(clouds, "linked") in str(again["Job"])
    assert again["Job"] != while_waiting["Job"]


def _number(clouds: Clouds, name: str) -> str:
    """What Vertex AI calls the last job of a pipeline."""
    return str(clouds.jobs(name)[-1]["id"]).rpartition("/")[2]


def test_clearing_a_waiting_task_ends_its_job_and_starts_another(clouds: Clouds) -> None:
    clouds.drop("cleared", "vertex", sleep=600)
    run = clouds.started("cleared")
    body = {"dry_run": False, "task_ids": ["train"], "dag_run_id": run, "only_failed": False, "reset_dag_runs": True}
    clouds.change("POST", "/dags/cleared/clearTaskInstances", body)

    def second() -> bool:
        return [(j["attempt"], j["state"]) for j in clouds.jobs("cleared")][-1] == (2, "submitted")

    clouds.live.wait_for("a second job", second, 90)
    assert len(_running(clouds, "cleared", "gcp")) == 1
    clouds.watched("cleared", run)
    clouds.change("PATCH", f"/dags/cleared/dagRuns/{run}", {"state": "failed"})
    clouds.live.wait_for("the end of the job", lambda: not _running(clouds, "cleared", "gcp"), 60)


def test_a_triggerer_that_is_killed_loses_no_job(clouds: Clouds) -> None:
    clouds.drop("survives", "vertex", sleep=15)
    run = clouds.started("survives")
    killed = clouds.live.stack.servers()["triggerer"]
    for pid, _ in killed.family():
        _kill(pid)
    time.sleep(1)
    clouds.live.stack.up()
    clouds.live.finish("survives", run, 300)
    assert [job["state"] for job in clouds.jobs("survives")] == ["intended", "submitted", "succeeded"]


def _kill(pid: int) -> None:
    import contextlib
    import os
    import signal

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _running(clouds: Clouds, name: str, provider: str = "kubernetes") -> list[dict[str, Any]]:
    """The jobs of a pipeline that the service still runs."""
    label = name.replace("_", "-")
    found = clouds.emulations[provider].report()["jobs"]
    return [job for job in found if label in job["name"] and _lives(job)]


def _lives(job: dict[str, Any]) -> bool:
    if "state" in job:
        return job["state"] in {"JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING"}
    return bool(job["status"].get("active"))
