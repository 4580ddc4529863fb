"""Real MLflow for tests: a server of its own for the session, and local stores made quickly."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.platforms.ports import Connection
from tidemill.project import Project
from tidemill.tools.mlflow_calls import local_store


class AtServer:
    """The port ``Connections`` of a world with one connection: an MLflow server."""

    def __init__(
        self, port: int, host: str = "127.0.0.1", login: str | None = None, password: str | None = None
    ) -> None:
        self.port, self.host, self.login, self.password = port, host, login, password

    def get(self, conn_id: str) -> Connection | None:
        """The connection to the server."""
        return Connection(conn_id, "http", self.host, self.login, self.password, None, self.port)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="session")
def store_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: its migrations take seconds, a copy of it takes none. All processes share one."""
    if _made:  # a fixture that several modules import is one fixture for each of them
        return _made[0]
    several = "PYTEST_XDIST_WORKER" in os.environ
    folder = tmp_path_factory.getbasetemp().parent / "mlflow" if several else tmp_path_factory.mktemp("mlflow")
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            local_store(Project(root=folder, state=folder))
            (folder / "whole").touch()
    _made.append(folder / "mlflow" / "mlflow.db")
    return _made[0]


_made: list[Path] = []


def copy_store(template: Path, project: Project) -> None:
    """Give a project a local store."""
    (project.state / "mlflow").mkdir(parents=True)
    shutil.copy(template, project.state / "mlflow" / "mlflow.db")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A running ``mlflow server`` on a SQLite backend; its port."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    port = free_port()
    log = (folder / "log").open("w")
    options = {
        "backend-store-uri": f"sqlite:///{folder / 'mlflow.db'}",
        "artifacts-destination": str(folder / "artifacts"),
        "host": "127.0.0.1",
        "port": str(port),
        "workers": "1",
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *(f"--{k}={v}" for k, v in options.items())],
        cwd=folder,
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not _healthy(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(server.pid, 9)
        server.wait()
        log.close()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
