"""What can go wrong with the ledger, as values that say what happened and what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.ledger.entry import Entry


class LedgerError(TidemillError):
    """The ledger cannot do what was asked. `message` says why, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)  # both in `args`, so that the error survives pickling
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class InvalidEntry(LedgerError, ValueError):
    """The caller offered something that an entry cannot hold; nothing was written."""


class HeadMoved(LedgerError):
    """Compare-and-swap failed: the chain's head is not the expected one; nothing was written.

    `expected` is the hash that was expected (None: an empty chain), `head` the entry found there.
    """

    def __init__(self, model: str, expected: str | None, head: Entry | None) -> None:
        wanted = "an empty chain" if expected is None else f"head {expected[:12]}…"
        found = "the chain is empty" if head is None else f"it is {head.hash[:12]}… (entry {head.seq})"
        super().__init__(
            f"The ledger of model {model!r} has moved on: {wanted} was expected, {found}.",
            "Read the new entries and decide again.",
        )
        self.args = (model, expected, head)
        self.model = model
        self.expected = expected
        self.head = head


class KeyConflict(LedgerError):
    """The idempotency key is taken by a different entry, which is `existing`; nothing was written."""

    def __init__(self, model: str, key: str, existing: Entry) -> None:
        super().__init__(
            f"Key {key!r} of model {model!r} already belongs to entry {existing.seq} ({existing.kind}), "
            "whose content differs.",
            "A key names one fact for ever: use another key for another fact.",
        )
        self.args = (model, key, existing)
        self.model = model
        self.key = key
        self.existing = existing
