"""A ledger on each database: a SQLite file, and a PostgreSQL server of our own, started once a session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import NullPool

from tidemill.ledger import Ledger, open_ledger

PASSWORD = "tide & mill/@"  # characters that a URL has to quote


class PostgresServer:
    """A PostgreSQL server with its own data folder and port, reachable by password on the loopback only."""

    def __init__(self, bin_folder: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tidemill-postgres-"))
        self._bin = bin_folder
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"ledger_{i}" for i in count())
        # PostgreSQL refuses to run as root.
        self._identity: dict[str, object] = {}
        if os.geteuid() == 0:
            self._identity = {"user": _unprivileged(), "extra_groups": [], "cwd": "/"}
            shutil.chown(self.folder, _unprivileged())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        self._run("initdb", "--no-sync", "--auth=scram-sha-256", "-U", "owner", f"--pwfile={password}", "-E", "UTF8")

    def url(self, database: str, *, user: str = "owner", password: str = PASSWORD, port: int = 0) -> str:
        from sqlalchemy.engine import URL

        where = {"host": "127.0.0.1", "port": port or self.port, "database": database}
        return URL.create("postgresql", user, password, **where).render_as_string(hide_password=False)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = next(self._names)
        self.sql("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def empty_database(self) -> str:
        """The URL of a database that is emptied each time: several times faster than a new one."""
        self.sql("postgres", "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        return self.url("postgres")

    def sql(self, database: str, *statements: str) -> None:
        import psycopg

        with psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user="owner",
            password=PASSWORD,
            dbname=database,
            autocommit=True,
        ) as connection:
            for statement in statements:
                connection.execute(statement)

    def start(self, *, connections: int = 40) -> None:
        import psycopg

        where = ("listen_addresses=127.0.0.1", "unix_socket_directories=", f"max_connections={connections}")
        light = ("fsync=off", "shared_buffers=4MB", "autovacuum=off", "huge_pages=off")
        settings = (*where, *light)
        options = [part for setting in settings for part in ("-c", setting)]
        command = [self._bin / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._identity)  # type: ignore[call-overload]
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.sql("postgres", "SELECT 1")
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(2)  # SIGINT: a fast shutdown
            self._process.wait(30)
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [self._bin / program, "-D", self.folder / "data", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, **self._identity)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stdout + done.stderr


def _unprivileged() -> str:
    import pwd

    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def postgres_binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((f for f in reversed(folders) if (f / "initdb").exists() and (f / "postgres").exists()), None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server; tests that stop it start it again."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL server binaries not found: apt-get install postgresql")
    server = PostgresServer(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, on each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/ledger.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.empty_database()


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty, open ledger."""
    with open_ledger(ledger_url) as opened:
        yield opened


@pytest.fixture
def tamper(ledger_url: str) -> Callable[..., None]:
    """Runs SQL statements behind the ledger's back."""
    url = ledger_url.replace("postgresql://", "postgresql+psycopg://")

    def run(*statements: str) -> None:
        engine: Engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    return run
