"""Everything that runs: PostgreSQL, the emulators, MLflow and Airflow, with the pipelines of a project of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.emulators import Emulation, start
from tests.emulators.azure_blob import installed
from tests.emulators.examples import PLATFORMS, TRAINS
from tests.ledger.conftest import PASSWORD, PostgresServer, postgres_binaries
from tests.live.conftest import Live, empty_project, running
from tidemill.ledger import Ledger, open_ledger

_TRAIN: Final = '''
"""A model that takes no time to train."""


class Slope:
    """The chance grows with one column."""

    def predict_proba(self, rows):
        import numpy as np

        chance = 1 / (1 + np.exp(-rows["second"].to_numpy()))
        return np.column_stack([1 - chance, chance])

    def predict(self, rows):
        return (self.predict_proba(rows)[:, 1] > 0.5).astype("int64")


def train(context):
    import time

    time.sleep(context.params["sleep"])
    context.log_metric("loss", 0.5)
    return Slope()
'''
_LOADED: Final = '''
"""What steps import, brought along once by the scheduler for the workers that it forks: otherwise two thirds of the
time of a run go into imports."""

import sys

if "scheduler" in sys.argv:
    from importlib import import_module

    for name in %r:
        try:
            import_module(name)
        except ImportError:
            pass
'''
_MODULES: Final = (
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.tracking",
    "polars",
    "sklearn.linear_model",
    "dvc.repo",
    "boto3",
    "google.cloud.aiplatform_v1.services.job_service",
    "google.cloud.storage",
    "azure.mgmt.machinelearningservices",
    "azure.storage.blob",
    "kubernetes.client",
    "airflow.providers.amazon.aws.hooks.base_aws",
    "airflow.providers.google.common.hooks.base_google",
    "airflow.providers.cncf.kubernetes.hooks.kubernetes",
)
_SLEEP: Final = 1.0
"""Seconds that a training takes, so that kills hit runs whose job is under way."""
_TASKS: Final = {"retries": 5, "retry_delay": "5 s"}
_SETTINGS: Final = {
    "CORE__PARALLELISM": 6,
    # What tells that a process is gone, in seconds instead of minutes.
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": 20,
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 3,
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": 4,
    "SCHEDULER__JOB_HEARTBEAT_SEC": 2,
    "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": 2,
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": 12,
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": 5,
    "SCHEDULER__TASK_QUEUED_TIMEOUT": 60,
    "SCHEDULER__TASK_QUEUED_TIMEOUT_CHECK_INTERVAL": 10,
    "SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": 5,
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.1,
    "TRIGGERER__JOB_HEARTBEAT_SEC": 2,
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": 20,
    # The pipelines do not change once they are there.
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 60,
}


@dataclass(frozen=True)
class World:
    """What is up. ``metadata``: the URL of Airflow's database; ``ledger_url``: the ledger's;
    ``pipelines``: each is named after its service, and has one run at a time."""

    live: Live
    emulations: Mapping[str, Emulation]
    metadata: str
    ledger_url: str
    pipelines: Sequence[str]

    def database(self) -> Any:
        """A connection of psycopg's to Airflow's database, where each statement stands for itself."""
        import psycopg
        from sqlalchemy.engine import make_url

        url = make_url(self.metadata)
        return psycopg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            password=url.password,
            dbname=url.database,
            autocommit=True,
        )

    def ledger(self) -> Ledger:
        """The ledger, open."""
        return open_ledger(self.ledger_url)


def services() -> list[str]:
    """The services that can be emulated on this machine."""
    return [service for service in PLATFORMS if service != "azureml" or installed()]


def _spec(service: str) -> str:
    """A pipeline on a service."""
    import yaml

    spec = {
        "tidemill": 1,
        "platform": PLATFORMS["sagemaker" if service == "batch" else service],
        "defaults": dict(_TASKS),
        "data": {
            "source": "include/rows.parquet",
            "key": ["id"],
            "window": {"column": "time", "train": "14 d", "holdout": "7 d"},
        },
        "train": {"code": "include.train:train", "params": {"sleep": _SLEEP}, **yaml.safe_load(TRAINS[service])},
        "evaluate": {"task": "classification", "target": "late", "metrics": ["roc_auc"]},
        "promote": {"when": {"roc_auc": {"at_least": 0.6}}},
    }
    return str(yaml.safe_dump(spec, sort_keys=False))


@contextmanager
def standing(folder: Path, chosen: Sequence[str], copies: int) -> Iterator[World]:
    """Everything up; all of it ends with the block.

    Raises:
        RuntimeError: PostgreSQL is not installed, or an emulator did not come up.
    """
    root = folder / "project"
    empty_project(root)
    (root / "include" / "__init__.py").touch()
    (root / "include" / "train.py").write_text(_TRAIN.lstrip(), encoding="utf-8")
    _rows(root / "include" / "rows.parquet")
    config = root / ".tidemill" / "airflow" / "config"
    config.mkdir(parents=True)
    (config / "airflow_local_settings.py").write_text(_LOADED.lstrip() % (_MODULES,), encoding="utf-8")
    pipelines = {f"{service}_{n}": _spec(service) for service in chosen for n in range(copies)}
    for name, spec in pipelines.items():
        (root / "dags" / f"{name}.yaml").write_text(spec, encoding="utf-8")
    with ExitStack() as stack:
        server = stack.enter_context(postgres())
        metadata, ledger_url = server.new_database(), server.new_database()
        environment = {f"AIRFLOW__{name}": str(value) for name, value in _SETTINGS.items()}
        environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = metadata.replace("postgresql:", "postgresql+psycopg2:", 1)
        environment["AIRFLOW_CONN_TIDEMILL_LEDGER"] = json.dumps(
            {
                "conn_type": "postgres",
                "host": "127.0.0.1",
                "port": server.port,
                "login": "owner",
                "password": PASSWORD,
                "schema": ledger_url.rpartition("/")[2],
            }
        )
        emulations: dict[str, Emulation] = {}
        for service in chosen:
            platform = PLATFORMS["sagemaker" if service == "batch" else service]
            provider = platform["provider"]
            if provider not in emulations:
                emulations[provider] = stack.enter_context(start(provider, folder / provider, platform))
                environment |= emulations[provider].environment
        live = stack.enter_context(running(root, environment))
        for name in pipelines:
            live.wait_for_dag(name)
        yield World(live, emulations, metadata, ledger_url, list(pipelines))


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of one's own; it ends with the block."""
    binaries = postgres_binaries()
    if binaries is None:
        raise RuntimeError("PostgreSQL's server is not installed: apt-get install postgresql")
    server = PostgresServer(binaries)
    try:
        server.start(connections=150)
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


def _rows(path: Path) -> None:
    """A row an hour from January to April 2020, of which one column tells the target."""
    import numpy as np
    import polars as pl

    chance = np.random.default_rng(7)
    begin, hours = datetime(2020, 1, 1, tzinfo=UTC), 121 * 24
    second = chance.normal(size=hours)
    columns = {
        "id": range(hours),
        "time": [begin + timedelta(hours=hour) for hour in range(hours)],
        "first": chance.normal(size=hours),
        "second": second,
        "late": (second + chance.normal(size=hours) > 0).astype("int64"),
    }
    pl.DataFrame(columns).write_parquet(path)
