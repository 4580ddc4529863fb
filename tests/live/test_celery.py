"""Windows summarised by mapped tasks, on workers of Celery: the same numbers as in one process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import polars as pl
import pytest

from tests.chaos.world import postgres
from tests.ledger.conftest import PASSWORD
from tests.live.conftest import SPEC, TRAIN, Live, _rows, empty_project, running
from tidemill.demo.settings import environment
from tidemill.ledger import open_ledger

pytestmark = [
    pytest.mark.live,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]

MONITORED = SPEC.replace("include/rows.parquet", "include/shards") + (
    "monitor:\n  window: 5 d\n  drift: {at_least: 0.2, share: 50%, columns: [first, second]}\n"
)
SPREAD = MONITORED.replace("window: 5 d\n", "window: 5 d\n  partitions: 4\n")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a broker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(20)


@pytest.fixture(scope="module")
def celery(tmp_path_factory: pytest.TempPathFactory, redis: str) -> Iterator[tuple[Live, str]]:
    """A live Airflow with one Celery worker, and the address of its ledger."""
    root = tmp_path_factory.mktemp("celery") / "project"
    empty_project(root)
    (root / "include" / "__init__.py").touch()
    (root / "include" / "train.py").write_text(TRAIN.lstrip(), encoding="utf-8")
    rows, shards = root / "include" / "rows.parquet", root / "include" / "shards"
    _rows(rows)
    shards.mkdir()
    for number in range(4):
        pl.read_parquet(rows).gather_every(4, number).write_parquet(shards / f"{number}.parquet")
    (root / "dags" / "single.yaml").write_text(MONITORED.lstrip(), encoding="utf-8")
    (root / "dags" / "spread.yaml").write_text(SPREAD.lstrip(), encoding="utf-8")
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        metadata, ledger = server.new_database(), server.new_database()
        metadata = metadata.replace("postgresql:", "postgresql+psycopg2:", 1)
        settings = {
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CELERY__BROKER_URL": redis,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{metadata}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata,
            "AIRFLOW_CONN_TIDEMILL_LEDGER": json.dumps(
                {
                    "conn_type": "postgres",
                    "host": "127.0.0.1",
                    "port": server.port,
                    "login": "owner",
                    "password": PASSWORD,
                    "schema": ledger.rpartition("/")[2],
                }
            ),
        }
        live = stack.enter_context(running(root, settings))
        worker = _worker(live, settings)
        stack.callback(_end, worker)
        yield live, ledger


def _worker(live: Live, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    shared = environment(live.project, live.address, reparse=2)
    with open(live.project.root / "worker.log", "wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow", "celery", "worker", "--concurrency", "2", "--skip-serve-logs"],
            env={**os.environ, **shared, **settings},
            cwd=live.project.root,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.terminate()
    try:
        worker.wait(30)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def judged(live: Live, ledger: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The monitor's verdict on a window of a pipeline that was trained before, and the tasks of its run."""
    live.wait_for_dag(name)
    for dag_id in (name, f"{name}.monitor"):
        live.api.pause(dag_id, False)
    trained = live.api.start(name, None, {"as_of": "2020-03-01"})["dag_run_id"]
    live.finish(name, trained, 240)
    run = live.api.start(f"{name}.monitor", None, {"as_of": "2020-03-20"})["dag_run_id"]
    live.finish(f"{name}.monitor", run, 240)
    with open_ledger(ledger) as opened:
        (found,) = (entry.body for entry in opened.entries(name, kinds=["drift"]))
    return dict(found), live.api.tasks(f"{name}.monitor", run)


def test_mapped_parts_come_to_what_one_task_does(celery: tuple[Live, str]) -> None:
    live, ledger = celery
    began = time.monotonic()
    one, _ = judged(live, ledger, "single")
    many, tasks = judged(live, ledger, "spread")
    assert [task["state"] for task in tasks if task["task_id"] == "sketch"] == ["success"] * 4
    assert {task["executor"] for task in tasks} <= {None, "CeleryExecutor"}
    assert one["rows"] == many["rows"] > 0
    assert one["drifted"] is True
    assert many["drifted"] is True
    for alone, merged in zip(one["columns"], many["columns"], strict=True):
        assert merged["name"] == alone["name"]
        assert merged["distance"] == pytest.approx(alone["distance"], abs=1e-9)
    print(f"both windows were judged in {time.monotonic() - began:.0f} s")
