"""Migrations: numbered, repeatable, all or nothing, and they leave the stored bytes alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, inspect

from tidemill.ledger import Ledger, LedgerError, open_ledger
from tidemill.ledger.database import Database
from tidemill.ledger.schema import MIGRATIONS, Migration, migrate


def _add_index(connection: Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX tidemill_ledger_as_of ON tidemill_ledger (model, as_of)")


LATER = (*MIGRATIONS, Migration(MIGRATIONS[-1].version + 1, "an index on as_of", _add_index))


@pytest.fixture
def database(ledger_url: str) -> Database:
    return Database(ledger_url, 5.0)


def indexes(database: Database) -> set[str | None]:
    with database.read() as connection:
        return {index["name"] for index in inspect(connection).get_indexes("tidemill_ledger")}


def versions(database: Database) -> list[int]:
    with database.read() as connection:
        statement = "SELECT version FROM tidemill_ledger_schema ORDER BY version"
        return [row[0] for row in connection.exec_driver_sql(statement)]


def test_numbers_count_up_from_one() -> None:
    assert [m.version for m in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_all_tables_are_ours_by_name(ledger: Ledger, database: Database) -> None:
    with database.read() as connection:
        tables = inspect(connection).get_table_names()
    assert sorted(tables) == ["tidemill_ledger", "tidemill_ledger_schema"]


def test_migrating_twice_changes_nothing(ledger: Ledger, database: Database) -> None:
    assert migrate(database) == MIGRATIONS[-1].version
    assert versions(database) == [m.version for m in MIGRATIONS]


def test_from_version_1_to_a_later_one_with_the_bytes_untouched(ledger: Ledger, database: Database) -> None:
    entries = [ledger.append("m", "run", {"i": i}) for i in range(3)]
    assert migrate(database, LATER) == LATER[-1].version
    assert "tidemill_ledger_as_of" in indexes(database)
    assert versions(database) == [m.version for m in LATER]
    assert migrate(database, LATER) == LATER[-1].version
    # An object opened before goes on working; the entries are what they were.
    assert [(e.payload, e.hash) for e in ledger.entries("m")] == [(e.payload, e.hash) for e in entries]
    assert ledger.append("m", "run", {}, expect_head=entries[-1].hash).seq == 4
    assert ledger.verify("m", entries[-1].hash) == []


def test_an_empty_database_gets_all_of_them(database: Database) -> None:
    assert migrate(database, LATER) == LATER[-1].version
    assert versions(database) == [m.version for m in LATER]


def test_older_code_refuses_a_newer_schema(database: Database, ledger_url: str) -> None:
    migrate(database, LATER)
    with pytest.raises(LedgerError, match=r"has schema 2; this Tidemill knows 1\. A newer Tidemill"):
        open_ledger(ledger_url)


def test_a_migration_that_fails_leaves_nothing_behind(ledger: Ledger, database: Database) -> None:
    def broken(connection: Connection) -> None:
        _add_index(connection)
        connection.exec_driver_sql("CREATE INDEX tidemill_oops ON tidemill_ledger (no_such_column)")

    with pytest.raises(LedgerError, match="no_such_column"):
        migrate(database, (*MIGRATIONS, Migration(2, "broken", broken)))
    assert "tidemill_ledger_as_of" not in indexes(database)
    assert versions(database) == [1]
    assert ledger.append("m", "run", {}).seq == 1


def test_airflows_own_database_is_refused(ledger_url: str, tamper: Callable[..., None]) -> None:
    if ledger_url.startswith("sqlite"):
        from pathlib import Path

        Path(ledger_url.removeprefix("sqlite:///")).parent.mkdir()
    tamper("CREATE TABLE dag_run (id INT)", "CREATE TABLE serialized_dag (id INT)")
    with pytest.raises(LedgerError, match="Airflow's own metadata database"):
        open_ledger(ledger_url)
