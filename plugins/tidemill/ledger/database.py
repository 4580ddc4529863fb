"""A connection to the ledger's database: which URLs are taken, how transactions begin, what errors mean.

Imported only when a ledger is opened, because it brings SQLAlchemy with it.
"""

# ruff: noqa: TID253  (only open_ledger imports this module, inside the function)
from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from tidemill.ledger.errors import LedgerError
from tidemill.ledger.failures import explain

_URLS = "Use sqlite:////absolute/path.db or postgresql://user:password@host:5432/database."
# A server that vanishes from the network must not hold a task for the kernel's quarter of an hour.
_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "client_encoding": "utf8",
}


class Database:
    """Short transactions on a SQLite file or a PostgreSQL database.

    Every transaction opens its own connection (NullPool) and closes it, so that nothing is shared across a
    fork and a server that was restarted is found again. `place` names the database without its secrets.
    """

    def __init__(self, url: str, busy_timeout: float) -> None:
        parsed = _parse(url)
        self.busy_timeout = busy_timeout
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.place = str(_sqlite_file(parsed))
            self._engine = _sqlite_engine(parsed, busy_timeout)
        else:
            host = parsed.host or parsed.query.get("host") or "a local socket"
            port = f":{parsed.port}" if parsed.port else ""
            self.place = f"{parsed.database or parsed.username or 'the default database'} at {host}{port}"
            self._engine = _postgresql_engine(parsed)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads. Database errors come out as LedgerError."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise self.explain(error) from error

    @contextmanager
    def write(self, lock: str) -> Iterator[Connection]:
        """A transaction that from its beginning excludes others of the same `lock` (SQLite: all others).

        Raises DBAPIError as it is: only the writer knows which ones are worth another attempt.
        """
        with self._engine.connect() as connection:
            connection = connection.execution_options(tidemill_write=True)
            with connection.begin():
                if not self.is_sqlite:
                    self._lock(connection, lock)
                yield connection

    def use_wal(self) -> None:
        """Let readers and the writer of a SQLite file not wait for each other, where the file system can.

        Where it cannot (network file systems) the file keeps its journal: slower, and as safe.
        """
        try:
            with self._engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute("PRAGMA journal_mode=WAL").close()
        except DBAPIError as error:
            raise self.explain(error) from error

    def explain(self, error: DBAPIError) -> LedgerError:
        """The database's error as one for a user."""
        return explain(error, self.place, self.busy_timeout)

    def close(self) -> None:
        """Let go of what the engine holds; no connection is ever kept open between transactions."""
        self._engine.dispose()

    def _lock(self, connection: Connection, lock: str) -> None:
        milliseconds = str(max(1, int(self.busy_timeout * 1000)))
        connection.execute(text("SELECT set_config('lock_timeout', :ms, true)"), {"ms": milliseconds})
        # Advisory locks are numbers that a whole database shares: 64 bits of a hash keep ours apart.
        digest = hashlib.sha256(f"tidemill_ledger {lock}".encode()).digest()
        number = int.from_bytes(digest[:8], signed=True)
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1))
    except (ArgumentError, ValueError):
        # The text itself is not shown: it may hold a password.
        raise LedgerError("The ledger's URL is not a SQLAlchemy URL.", _URLS) from None
    drivers = {"sqlite": "sqlite", "sqlite+pysqlite": "sqlite"}
    drivers |= {"postgresql": "postgresql+psycopg", "postgresql+psycopg": "postgresql+psycopg"}
    if parsed.drivername not in drivers:
        raise LedgerError(f"The ledger does not work with {parsed.drivername!r}.", _URLS)
    return parsed.set(drivername=drivers[parsed.drivername])


def _sqlite_file(url: URL) -> Path:
    """The file, with its folder created."""
    path = Path(url.database or "")
    if not path.is_absolute():
        # A relative path would be another ledger in every working directory, and so another champion.
        raise LedgerError(f"The ledger's SQLite file needs an absolute path, not {url.database!r}.", _URLS)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_folder = path.is_dir()
    except OSError as error:
        raise LedgerError(
            f"The ledger's folder {path.parent} cannot be created or entered: {error.strerror}.",
            "Give this user permission, or point the ledger's URL elsewhere.",
        ) from error
    if is_folder:
        raise LedgerError(f"The ledger's path {path} is a folder.", "Add a file name, such as ledger.db.")
    return path


def _sqlite_engine(url: URL, busy_timeout: float) -> Engine:
    # The driver's own transaction handling would begin writes late, when two readers can already wait for
    # each other; so it is switched off and BEGIN is said by us.
    arguments = {"timeout": busy_timeout, "isolation_level": None}
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _on_connect(driver: object, _record: object) -> None:
        driver.execute("PRAGMA synchronous=FULL").close()  # type: ignore[attr-defined]

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("tidemill_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgresql_engine(url: URL) -> Engine:
    arguments: dict[str, object] = {k: v for k, v in _POSTGRESQL_ARGUMENTS.items() if k not in url.query}
    arguments["prepare_threshold"] = None  # prepared statements do not survive a transaction-pooling proxy
    try:
        # READ COMMITTED whatever the server's default: what is read after the lock must be today's head.
        return create_engine(url, poolclass=NullPool, connect_args=arguments, isolation_level="READ COMMITTED")
    except (ImportError, NoSuchModuleError) as error:
        raise LedgerError(
            "The PostgreSQL driver psycopg is missing.", "Install it: pip install 'psycopg[binary]'."
        ) from error
