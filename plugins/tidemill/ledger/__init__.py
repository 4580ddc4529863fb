"""The one memory of a model: an append-only, hash-chained ledger with compare-and-swap.

    with open_ledger("sqlite:////var/lib/tidemill/ledger.db") as ledger:
        ledger.append("flight_delays", "decision", {"decision": "go"}, as_of=as_of, key="run-7/decision")

Importing this package costs nothing; SQLAlchemy and a driver are imported when a ledger is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tidemill.ledger.chain import Problem
from tidemill.ledger.entry import ANY, AnyHead, Entry
from tidemill.ledger.errors import HeadMoved, InvalidEntry, KeyConflict, LedgerError

if TYPE_CHECKING:
    from tidemill.ledger.store import Ledger

__all__ = [
    "ANY",
    "AnyHead",
    "Entry",
    "HeadMoved",
    "InvalidEntry",
    "KeyConflict",
    "Ledger",
    "LedgerError",
    "Problem",
    "open_ledger",
]


def open_ledger(url: str, *, busy_timeout: float = 30.0) -> Ledger:
    """Open the ledger at a SQLAlchemy URL, creating or migrating its tables where needed.

    Several processes may do so at once. `sqlite:////absolute/path.db` creates the file and its folder;
    `postgresql://user:password@host/database` needs a database that exists. `busy_timeout` is how long, in
    seconds, to wait for another process that is writing.

    Raises:
        LedgerError: the URL is not usable; the server or file is not reachable, locked, read-only or not a
            database; or its schema is newer than this code.
    """
    from tidemill.ledger.database import Database
    from tidemill.ledger.schema import migrate
    from tidemill.ledger.store import Ledger

    database = Database(url, busy_timeout)
    migrate(database)
    return Ledger(database)


def __getattr__(name: str) -> Any:
    # For annotations and isinstance; not imported above because it brings SQLAlchemy with it.
    if name == "Ledger":
        from tidemill.ledger.store import Ledger

        return Ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
