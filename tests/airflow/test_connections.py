"""Connections: what Tidemill takes of Airflow's, and where a task finds the ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tidemill.platforms.ports import Connection
from tidemill.project import Project
from tidemill.steps.context import StepError


class Known:
    """A world of a few connections."""

    def __init__(self, *connections: Connection) -> None:
        self.connections = {connection.conn_id: connection for connection in connections}

    def get(self, conn_id: str) -> Connection | None:
        return self.connections.get(conn_id)


def ledger(conn_type: str, **fields: Any) -> Connection:
    return Connection(conn_id="tidemill_ledger", conn_type=conn_type, **fields)


@pytest.fixture
def here(tmp_path: Path) -> Project:
    return Project(tmp_path, tmp_path / ".tidemill")


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set Airflow's executor."""

    def sets(name: str) -> None:
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", name)

    return sets


def test_airflows_connections_are_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill.airflow.connections import AirflowConnections

    address = "postgres://ada:p%40ss%2Fword@db.example.org:5433/ledger?sslmode=require"
    monkeypatch.setenv("AIRFLOW_CONN_TIDEMILL_LEDGER", address)
    found = AirflowConnections().get("tidemill_ledger")
    assert found is not None
    assert (found.conn_type, found.host, found.port) == ("postgres", "db.example.org", 5433)
    assert (found.login, found.password, found.schema) == ("ada", "p@ss/word", "ledger")
    assert found.extra["sslmode"] == "require"
    assert "p@ss" not in repr(found)


def test_urls_survive_every_character_of_a_password() -> None:
    from sqlalchemy import make_url

    from tidemill.airflow.connections import url_of

    secret = "a:b@c/d?e#f%g&h"
    url = make_url(url_of(ledger("postgres", host="db", login="ada", password=secret, port=5433, schema="ledger")))
    assert url.drivername == "postgresql+psycopg"
    assert (url.username, url.password, url.host, url.port, url.database) == ("ada", secret, "db", 5433, "ledger")


def test_only_what_libpq_knows_goes_into_the_url() -> None:
    from sqlalchemy import make_url

    from tidemill.airflow.connections import url_of

    extra = {"sslmode": "require", "connect_timeout": 5, "iam": True, "cursor": "dictcursor"}
    assert dict(make_url(url_of(ledger("postgresql", host="db", extra=extra))).query) == {
        "sslmode": "require",
        "connect_timeout": "5",
    }


def test_another_kind_of_connection_is_refused_by_name() -> None:
    from tidemill.airflow.connections import url_of

    with pytest.raises(StepError, match="'tidemill_ledger' is of type 'mysql'; the ledger needs postgres or sqlite"):
        url_of(ledger("mysql", host="db"))


def test_a_connection_says_where_the_ledger_is_whatever_the_executor(here: Project, executor: Any) -> None:
    from tidemill.airflow.connections import ledger_url

    known = Known(ledger("sqlite", host="/data/ledger.db"))
    for name in ("LocalExecutor", "CeleryExecutor"):
        executor(name)
        assert ledger_url(known, here) == "sqlite:////data/ledger.db"


@pytest.mark.parametrize(
    "name", ["LocalExecutor", "airflow.executors.local_executor.LocalExecutor", "local:LocalExecutor"]
)
def test_without_a_connection_it_is_in_the_state_folder_if_all_tasks_run_here(
    here: Project, executor: Any, name: str
) -> None:
    from tidemill.airflow.connections import ledger_url

    executor(name)
    assert ledger_url(Known(), here) == f"sqlite:///{here.state / 'ledger.db'}"
    assert Path(ledger_url(Known(), here).removeprefix("sqlite:///")).is_absolute()


@pytest.mark.parametrize("name", ["CeleryExecutor", "LocalExecutor, CeleryExecutor", "KubernetesExecutor"])
def test_with_several_workers_a_missing_connection_is_an_error(here: Project, executor: Any, name: str) -> None:
    from tidemill.airflow.connections import ledger_url

    executor(name)
    with pytest.raises(StepError, match="Add an Airflow connection 'tidemill_ledger'"):
        ledger_url(Known(), here)


def test_a_ledger_opens_where_its_url_leads(here: Project, executor: Any) -> None:
    from tidemill.airflow.connections import ledger_opener

    executor("LocalExecutor")
    with ledger_opener(Known(), here)() as opened:
        assert opened.models() == []
    assert (here.state / "ledger.db").is_file()
