"""Which installation of Tidemill this is: two in one cloud account must never take each other's jobs for their own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from tidemill.ledger.errors import KeyConflict

if TYPE_CHECKING:
    from tidemill.ledger.store import Ledger

CHAIN: Final = "@installation"
"""The chain that is no model's: a model's name never begins so."""


def installation_id(ledger: Ledger) -> str:
    """Eight hexadecimal digits, drawn once for each ledger.

    Raises:
        LedgerError: the database failed.
    """
    found = ledger.find(CHAIN, "id")
    if found is None:
        try:
            found = ledger.append(CHAIN, "installation", {"id": secrets.token_hex(4)}, key="id")
        except KeyConflict:  # another process was faster
            found = ledger.find(CHAIN, "id")
            assert found is not None
    return str(found.body["id"])
