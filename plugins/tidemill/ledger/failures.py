"""Database errors in a user's words: what happened to the ledger, and what to do next.

Recognised by error codes (SQLite's names, PostgreSQL's SQLSTATE), because a server's texts may be in any
language; a failed connection has no code, so there the client library's English text is read.
"""

# ruff: noqa: TID253  (only open_ledger imports this module, inside the function)
from __future__ import annotations

from sqlalchemy.exc import DBAPIError

from tidemill.ledger.errors import LedgerError

# name, or its part before the first qualifier → message, hint; {place} and {seconds} are filled in
_SQLITE = {
    "SQLITE_BUSY": (
        "The ledger {place} is locked: another process kept it for more than {seconds:g} s.",
        "Find that process with `fuser {place}`; end it or wait for it, and run again.",
    ),
    "SQLITE_READONLY": (
        "The ledger {place} is read-only.",
        "Give this user write permission on the file and on its folder.",
    ),
    "SQLITE_NOTADB": (
        "The file {place} is not a SQLite database.",
        "Move it away, or point the ledger's URL at another file.",
    ),
    "SQLITE_CANTOPEN": (
        "The ledger {place} cannot be opened.",
        "Check that this user may read and write the file and its folder.",
    ),
    "SQLITE_FULL": ("The disk that holds the ledger {place} is full.", "Free some space and run again."),
    "SQLITE_CORRUPT": (
        "The ledger {place} is damaged.",
        "Restore it from a backup, then check it with `tidemill history --verify`.",
    ),
    "SQLITE_IOERR": (
        "The disk failed under the ledger {place}.",
        "Check the disk and its quotas.",
    ),
}

_PASSWORD = (
    "The ledger's database {place} refuses the user or the password.",
    "Correct them in the ledger's connection.",
)
_ABSENT = ("The ledger's database {place} does not exist.", "Create it, for instance with `createdb`.")
_UNREACHABLE = (
    "The ledger's database {place} cannot be reached.",
    "Check that the server runs and that host and port are right.",
)
_POSTGRESQL = {
    "28P01": _PASSWORD,
    "28000": _PASSWORD,
    "3D000": _ABSENT,
    "42501": (
        "The ledger's user may not do this in {place}.",
        "Let it create and use tables: GRANT USAGE, CREATE ON SCHEMA public TO the user.",
    ),
    "55P03": (
        "The ledger {place} is locked: another session kept it for more than {seconds:g} s.",
        "Look at pg_stat_activity for a session that waits in a transaction; end it and run again.",
    ),
    "53300": (
        "The ledger's server {place} has no connection left.",
        "Raise max_connections or run fewer tasks.",
    ),
    "53100": ("The disk that holds the ledger {place} is full.", "Free some space and run again."),
    "25006": (
        "The ledger's server {place} is read-only.",
        "Point the ledger's connection at the primary server.",
    ),
    "57P01": ("The ledger's server {place} was shut down.", "Start it and run again."),
    "57P03": ("The ledger's server {place} is still starting.", "Run again in a moment."),
}
_CONNECTION_TEXTS = {
    "authentication failed": _PASSWORD,
    "no password supplied": _PASSWORD,
    "does not exist": _ABSENT,
    "too many clients": _POSTGRESQL["53300"],
    "starting up": _POSTGRESQL["57P03"],
    "shutting down": _POSTGRESQL["57P01"],
}
# Another writer came between, or the server chose this transaction to give way: the same again may succeed.
_TRANSIENT = {"40001", "40P01"}


def explain(error: DBAPIError, place: str, seconds: float) -> LedgerError:
    """The LedgerError that says what `error` means; the driver's own first line is kept at its end."""
    message, hint = _meaning(error)
    detail = str(error.orig).strip().splitlines()
    said = f" (The database says: {detail[0].strip()})" if detail else ""
    return LedgerError(message.format(place=place, seconds=seconds), hint.format(place=place) + said)


def is_transient(error: DBAPIError) -> bool:
    """Whether the transaction, which had begun, may succeed when it is run again at once."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _TRANSIENT


def _meaning(error: DBAPIError) -> tuple[str, str]:
    name = getattr(error.orig, "sqlite_errorname", None)
    if name is not None:
        for code, meaning in _SQLITE.items():
            if name == code or name.startswith(code + "_"):
                return meaning
    sqlstate = getattr(error.orig, "sqlstate", None)
    if sqlstate in _POSTGRESQL:
        return _POSTGRESQL[sqlstate]
    if error.connection_invalidated or (name is None and sqlstate is None):
        text = str(error.orig)
        return next((m for part, m in _CONNECTION_TEXTS.items() if part in text), _UNREACHABLE)
    return "The ledger's database {place} reports an error.", "Look at what it says and at its log."
