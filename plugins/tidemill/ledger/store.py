"""The ledger itself: appending, reading and verifying. Open one with `tidemill.ledger.open_ledger`."""

# ruff: noqa: TID253  (only open_ledger imports this module, inside the function)
from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from tidemill.ledger.chain import Problem, Row, examine
from tidemill.ledger.database import Database
from tidemill.ledger.entry import ANY, AnyHead, Draft, Entry, draft, format_instant, read_entry
from tidemill.ledger.errors import HeadMoved, KeyConflict, LedgerError
from tidemill.ledger.failures import is_transient
from tidemill.ledger.schema import ENTRIES

_ATTEMPTS = 5
_COLUMNS = [ENTRIES.c[name] for name in Row._fields]


class Ledger:
    """The ledger of all models in one database.

    It holds no connection between calls, so it may be used in several threads and after a fork, and finds a
    server that was restarted. Every method raises LedgerError where the database fails.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def place(self) -> str:
        """The database as a person would name it, without secrets."""
        return self._database.place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release what is held; harmless to repeat."""
        self._database.close()

    def append(
        self,
        model: str,
        kind: str,
        body: Mapping[str, Any],
        *,
        as_of: datetime | None = None,
        key: str | None = None,
        expect_head: str | AnyHead | None = ANY,
    ) -> Entry:
        """Add one entry at the end of the model's chain and return it as stored.

        `key` makes the call repeatable: if the model has an entry of that key with the same kind, as_of and
        body, it is returned and nothing is written, whatever `expect_head` says. `expect_head` makes it a
        compare-and-swap: the hash that the chain's head must have, or None for an empty chain.

        Raises:
            InvalidEntry: the entry could not be stored faithfully (see `tidemill.ledger.entry.draft`).
            HeadMoved: the head is not the expected one.
            KeyConflict: the key belongs to an entry with other content.
            LedgerError: the database failed.
        """
        wanted = draft(model, kind, body, as_of=as_of, key=key)
        unsure: Entry | None = None  # sent with a COMMIT to which no answer came
        for attempt in range(1, _ATTEMPTS + 1):
            entry: Entry | None = None
            try:
                with self._database.write(model) as connection:
                    found = self._existing(connection, wanted, unsure)
                    if found is not None:
                        return found
                    unsure = None
                    entry = self._place(connection, wanted, expect_head)
                    _insert(connection, entry)
                return entry
            except DBAPIError as error:
                if entry is not None and error.connection_invalidated:
                    unsure = entry
                if attempt == _ATTEMPTS or not (isinstance(error, IntegrityError) or is_transient(error)):
                    raise self._failed(error, unsure) from error
                time.sleep(0.05 * attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def head(self, model: str) -> Entry | None:
        """The model's last entry, or None."""
        with self._database.read() as connection:
            return _head(connection, model)

    def entries(self, model: str, *, kinds: Collection[str] | None = None, since_seq: int = 0) -> list[Entry]:
        """The model's entries in ledger order: those of `kinds` (None: all) with `seq` > `since_seq`."""
        conditions = [ENTRIES.c.model == model, ENTRIES.c.seq > since_seq]
        if kinds is not None:
            conditions.append(ENTRIES.c.kind.in_(sorted(kinds)))
        with self._database.read() as connection:
            return _select(connection, *conditions)

    def find(self, model: str, key: str) -> Entry | None:
        """The model's entry with this idempotency key, or None."""
        with self._database.read() as connection:
            return _find(connection, model, key)

    def models(self) -> list[str]:
        """The names of all models that have an entry, sorted."""
        with self._database.read() as connection:
            found = connection.execute(select(ENTRIES.c.model).distinct()).scalars()
            return sorted(name for name in found if not name.startswith("@"))  # "@…" are chains of the ledger's own

    def verify(self, model: str, expected_head: str | None = None) -> list[Problem]:
        """What is wrong with the model's chain; an empty list if nothing is.

        `expected_head` is a hash kept elsewhere, as on the promoted model version: it must occur in the
        chain, which shows whether the end was cut off.
        """
        statement = select(*_COLUMNS).where(ENTRIES.c.model == model).order_by(ENTRIES.c.seq)
        with self._database.read() as connection:
            rows = connection.execution_options(yield_per=100).execute(statement)
            return examine((Row(*row) for row in rows), expected_head)

    def _existing(self, connection: Connection, wanted: Draft, unsure: Entry | None) -> Entry | None:
        """The entry that already says what is wanted: by a commit whose answer was lost, or under its key."""
        if unsure is not None:
            # The lock is ours, so that transaction has ended: its entry is there, or it never will be.
            same = _select(connection, ENTRIES.c.model == unsure.model, ENTRIES.c.hash == unsure.hash)
            if same:
                return same[0]
        if wanted.key is None:
            return None
        existing = _find(connection, wanted.model, wanted.key)
        if existing is not None and not wanted.says_the_same_as(existing):
            raise KeyConflict(wanted.model, wanted.key, existing)
        return existing

    def _place(self, connection: Connection, wanted: Draft, expect_head: str | AnyHead | None) -> Entry:
        head = _head(connection, wanted.model)
        actual = None if head is None else head.hash
        if expect_head is not ANY and expect_head != actual:
            raise HeadMoved(wanted.model, expect_head, head)
        return wanted.at(1 if head is None else head.seq + 1, actual, datetime.now(UTC))

    def _failed(self, error: DBAPIError, unsure: Entry | None) -> LedgerError:
        failure = self._database.explain(error)
        if unsure is None:
            return failure
        text = "It is not known whether the entry was written: append it again with the same key."
        return LedgerError(f"{failure.message} {text}", failure.hint)


def _insert(connection: Connection, entry: Entry) -> None:
    row = Row(
        model=entry.model,
        seq=entry.seq,
        kind=entry.kind,
        key=entry.key,
        as_of=None if entry.as_of is None else format_instant(entry.as_of),
        recorded_at=format_instant(entry.recorded_at),
        prev_hash=entry.prev_hash,
        hash=entry.hash,
        payload=entry.payload,
    )
    connection.execute(insert(ENTRIES).values(row._asdict()))


def _head(connection: Connection, model: str) -> Entry | None:
    statement = select(*_COLUMNS).where(ENTRIES.c.model == model).order_by(ENTRIES.c.seq.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _read(Row(*row))


def _find(connection: Connection, model: str, key: str) -> Entry | None:
    found = _select(connection, ENTRIES.c.model == model, ENTRIES.c.key == key)
    return found[0] if found else None


def _select(connection: Connection, *conditions: ColumnElement[bool]) -> list[Entry]:
    statement = select(*_COLUMNS).where(*conditions).order_by(ENTRIES.c.seq)
    return [_read(Row(*row)) for row in connection.execute(statement)]


def _read(row: Row) -> Entry:
    try:
        return read_entry(row.payload, row.prev_hash, row.hash)
    except ValueError as error:
        raise LedgerError(
            f"Entry {row.seq} of model {row.model!r} cannot be read: {error}.",
            f"It was altered or written by a newer Tidemill: see `tidemill history {row.model} --verify`.",
        ) from error
