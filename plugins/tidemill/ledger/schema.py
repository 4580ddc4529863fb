"""The ledger's tables, and the numbered migrations that make them.

A migration changes tables and indexes, never the stored bytes of an entry. A published one is never edited:
what has to change gets the next number.
"""

# ruff: noqa: TID253  (only open_ledger imports this module, inside the function)
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import BigInteger, Connection, LargeBinary, Text, column, func, insert, inspect, select, table
from sqlalchemy.exc import DBAPIError

from tidemill.ledger.database import Database
from tidemill.ledger.entry import format_instant
from tidemill.ledger.errors import LedgerError

ENTRIES = table(
    "tidemill_ledger",
    column("model", Text),
    column("seq", BigInteger),
    column("kind", Text),
    column("key", Text),
    column("as_of", Text),
    column("recorded_at", Text),
    column("prev_hash", Text),
    column("hash", Text),
    column("payload", LargeBinary),
)
VERSIONS = table(
    "tidemill_ledger_schema", column("version", BigInteger), column("name", Text), column("applied_at", Text)
)
# Printable names are model names; this lock must not be one of them.
_LOCK = "\nschema"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `apply` runs in the transaction that records `version` as done."""

    version: int
    name: str
    apply: Callable[[Connection], None]


def _first(connection: Connection) -> None:
    blob = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS tidemill_ledger ("
        " model TEXT NOT NULL, seq BIGINT NOT NULL, kind TEXT NOT NULL, key TEXT, as_of TEXT,"
        f" recorded_at TEXT NOT NULL, prev_hash TEXT, hash TEXT NOT NULL, payload {blob} NOT NULL,"
        " PRIMARY KEY (model, seq), UNIQUE (model, key))"
    )
    connection.exec_driver_sql("CREATE INDEX IF NOT EXISTS tidemill_ledger_kind ON tidemill_ledger (model, kind, seq)")


MIGRATIONS: tuple[Migration, ...] = (Migration(1, "entries", _first),)


def migrate(database: Database, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the schema to the last of `migrations` and return its number. Safe in several processes at once.

    Raises:
        LedgerError: the schema is newer than the code; the database is Airflow's own; it cannot be written.
    """
    latest = migrations[-1].version
    with database.read() as connection:
        version = _version(connection)
        _check(connection, database, version, latest)
    if version == latest:
        return latest
    if version == 0 and database.is_sqlite:
        database.use_wal()
    try:
        with database.write(_LOCK) as connection:
            version = _version(connection)  # another process may have been faster
            _check(connection, database, version, latest)
            for migration in migrations:
                if migration.version > version:
                    _apply(connection, migration)
    except DBAPIError as error:
        raise database.explain(error) from error
    return latest


def _version(connection: Connection) -> int:
    """The number of the last migration done; 0 in an empty database."""
    if not inspect(connection).has_table(VERSIONS.name):
        return 0
    return int(connection.execute(select(func.coalesce(func.max(VERSIONS.c.version), 0))).scalar_one())


def _check(connection: Connection, database: Database, version: int, latest: int) -> None:
    if version > latest:
        raise LedgerError(
            f"The ledger {database.place} has schema {version}; this Tidemill knows {latest}.",
            "A newer Tidemill has written it: install that version here too.",
        )
    # Airflow's migrations and clean-ups know nothing of ours, and a task should not write there at all.
    if version == 0 and all(inspect(connection).has_table(name) for name in ("dag_run", "serialized_dag")):
        raise LedgerError(
            f"The database {database.place} is Airflow's own metadata database.",
            "Give the ledger a database of its own.",
        )


def _apply(connection: Connection, migration: Migration) -> None:
    connection.exec_driver_sql(
        "CREATE TABLE IF NOT EXISTS tidemill_ledger_schema ("
        "version BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL)"
    )
    migration.apply(connection)
    done = {
        "version": migration.version,
        "name": migration.name,
        "applied_at": format_instant(datetime.now(UTC)),
    }
    connection.execute(insert(VERSIONS).values(done))
