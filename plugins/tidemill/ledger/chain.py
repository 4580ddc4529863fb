"""Whether a model's chain is what was written: pure functions over stored rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tidemill.ledger.entry import Entry, chain_hash, format_instant, read_entry

What = Literal["changed", "missing", "link", "reordered", "index", "unreadable", "head"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a chain.

    `seq` is the place it was found at (None: the chain as a whole). `what` is one of `changed` (bytes do not
    fit their hash), `missing` (entries deleted from the middle or the beginning), `link` (an entry does not
    follow from the one before it: one of the two was rewritten), `reordered` (the entry was written for
    another place or model), `index` (a column disagrees with the stored bytes), `unreadable`, and `head` (the
    expected head is not in the chain: its end was cut off, or all of it rewritten).
    """

    seq: int | None
    what: What
    text: str


class Row(NamedTuple):
    """A row as stored: the index columns, the two hashes and the bytes."""

    model: str
    seq: int
    kind: str
    key: str | None
    as_of: str | None
    recorded_at: str
    prev_hash: str | None
    hash: str
    payload: bytes


def examine(rows: Iterable[Row], expected_head: str | None = None) -> list[Problem]:
    """All problems of one model's rows, which must come in the order of `seq`.

    `expected_head` is a hash kept outside the ledger (the tag on the promoted model version); it has to occur
    in the chain, since a chain alone does not show that its end was cut off.
    """
    problems: list[Problem] = []
    previous: Row | None = None
    found_head = expected_head is None
    for row in rows:
        of_row = list(_of_row(row))
        reported = [p for p in (*problems, *of_row) if p.what in ("reordered", "changed")]
        expected_seq = 1 if previous is None else previous.seq + 1
        if row.seq > expected_seq:
            problems.append(_missing(expected_seq, row.seq - 1))
        elif row.seq < expected_seq:
            problems.append(Problem(row.seq, "reordered", f"Entry {row.seq} stands before the beginning."))
        elif not any(p.seq in (row.seq, expected_seq - 1) for p in reported):
            # Where a row was moved or changed, and is reported for it, its links are bound to be broken.
            problems.extend(_of_link(row, previous))
        problems.extend(of_row)
        found_head = found_head or row.hash == expected_head
        previous = row
    if not found_head:
        end = "the ledger holds no entry of it" if previous is None else f"its last entry is {previous.seq}"
        text = (
            f"The head {expected_head} is not in the chain ({end}): entries were deleted at its end, or it "
            "was rewritten. Restore the ledger from a backup that holds it."
        )
        problems.append(Problem(None, "head", text))
    return problems


def _missing(first: int, last: int) -> Problem:
    which = f"Entry {first} is" if first == last else f"Entries {first} to {last} are"
    return Problem(first, "missing", f"{which} missing: deleted, or given another number.")


def _of_link(row: Row, previous: Row | None) -> Iterator[Problem]:
    if row.prev_hash != (None if previous is None else previous.hash):
        before = "the beginning of the chain" if previous is None else f"entry {previous.seq}"
        yield Problem(row.seq, "link", f"Entry {row.seq} does not follow from {before}: one was rewritten.")


def _of_row(row: Row) -> Iterator[Problem]:
    if chain_hash(row.prev_hash, row.payload) != row.hash:
        yield Problem(row.seq, "changed", f"Entry {row.seq} was changed: its bytes do not fit its hash.")
    try:
        entry = read_entry(row.payload, row.prev_hash, row.hash)
    except ValueError as error:
        yield Problem(row.seq, "unreadable", f"Entry {row.seq} cannot be read: {error}.")
        return
    if (entry.model, entry.seq) != (row.model, row.seq):
        written = f"number {entry.seq} of model {entry.model!r}"
        yield Problem(row.seq, "reordered", f"Entry {row.seq} was moved: it was written as {written}.")
    yield from _of_index(row, entry)


def _of_index(row: Row, entry: Entry) -> Iterator[Problem]:
    as_of = None if entry.as_of is None else format_instant(entry.as_of)
    written = {
        "kind": (row.kind, entry.kind),
        "key": (row.key, entry.key),
        "as_of": (row.as_of, as_of),
        "recorded_at": (row.recorded_at, format_instant(entry.recorded_at)),
    }
    for column, (indexed, stored) in written.items():
        if indexed != stored:
            text = f"Entry {row.seq}: column {column} says {indexed!r}, the stored bytes say {stored!r}."
            yield Problem(row.seq, "index", text)
