"""What a model's entries add up to: who is champion, what was trained when.

Pure functions over entries in ledger order, as `Ledger.entries` returns them. Time is `as_of` time, in UTC;
of two entries with one `as_of`, the later in the ledger counts. Bodies are read for these fields only:

    promotion  {"outcome": "promoted" | "refused" | "superseded", "version": ...}
    rollback   {"to_version": ... or null, "from_version": ...}
    decision   {"decision": "go" | ..., "cause": "scheduled" | "asset" | "manual"}
    cost       {"amount": "0.25", "currency": "USD"}
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Final

from tidemill.ledger.entry import Entry, in_utc

DATA_VERSION: Final = "data_version"
RUN: Final = "run"
EVALUATION: Final = "evaluation"
REGISTERED: Final = "registered"
PROMOTION: Final = "promotion"
DRIFT: Final = "drift"
DECISION: Final = "decision"
APPROVAL: Final = "approval"
ROLLBACK: Final = "rollback"
LOST_RACE: Final = "lost_race"
COST: Final = "cost"
JOB: Final = "job"
SCORING: Final = "scoring"


def champion(entries: Iterable[Entry], at: datetime | None = None) -> Entry | None:
    """The promotion in force at the instant `at` (None: at the end of all time), or None.

    That is the latest promotion with `as_of` ≤ `at`, where only the outcome `promoted` counts. Latest means
    by `as_of`, then by place in the ledger: a backfilled promotion of an earlier `as_of`, though recorded
    later, is in force only until the `as_of` of the next one, and never now. A rollback is a change of
    champion at its own `as_of`: back to the promotion of `to_version`, or to none. One that names a version
    which was not promoted before it, in that same order, changes nothing: no version serves without having
    passed a gate.
    """
    reigns = _reigns(entries, at)
    return reigns[-1] if reigns else None


def previous_champion(entries: Iterable[Entry], at: datetime | None = None, *, of: str | None = None) -> Entry | None:
    """The promotion that a rollback at `at` would go back to: the champion before `champion(entries, at)`; or the one
    before the version `of`, if that has been champion by then.

    A version that was rolled back from is not offered again: after promotions of 1, 2, 3 and a rollback to 2
    it is 1.
    """
    reigns = _reigns(entries, at)
    while of is not None and reigns and _version(reigns[-1]) != of:
        reigns.pop()
    return reigns[-2] if len(reigns) > 1 else None


def trainings(
    entries: Iterable[Entry], *, since: datetime, until: datetime, causes: Collection[str] | None = None
) -> list[Entry]:
    """The decisions to train with `since` ≤ `as_of` < `until`, by `as_of`; of any cause, or of `causes`."""
    first, end = in_utc(since, "since"), in_utc(until, "until")
    return [e for when, e in _trainings(entries, causes) if first <= when < end]


def last_training_as_of(
    entries: Iterable[Entry], at: datetime | None = None, *, causes: Collection[str] | None = None
) -> datetime | None:
    """The `as_of` of the last decision to train with `as_of` ≤ `at` (None: of all), whatever became of it."""
    limit = None if at is None else in_utc(at, "at")
    return max((when for when, _ in _trainings(entries, causes) if limit is None or when <= limit), default=None)


def costs(entries: Iterable[Entry], *, since: datetime, until: datetime) -> list[Entry]:
    """What was paid for trainings with `since` ≤ `as_of` < `until`, in ledger order."""
    first, end = in_utc(since, "since"), in_utc(until, "until")
    return [e for e in entries if e.kind == COST and e.as_of is not None and first <= e.as_of < end]


def latest_as_of(entries: Iterable[Entry]) -> datetime | None:
    """The latest `as_of` that any entry has: how far this model's time has come."""
    return max((e.as_of for e in entries if e.as_of is not None), default=None)


def _trainings(entries: Iterable[Entry], causes: Collection[str] | None) -> list[tuple[datetime, Entry]]:
    found = [
        (e.as_of, e)
        for e in entries
        if e.kind == DECISION and e.as_of is not None and e.body.get("decision") == "go"
        if causes is None or e.body.get("cause") in causes
    ]
    return sorted(found, key=lambda pair: (pair[0], pair[1].seq))


def _reigns(entries: Iterable[Entry], at: datetime | None) -> list[Entry]:
    """The promotions up to the one in force: a promotion adds itself, a rollback removes what it undoes."""
    limit = None if at is None else in_utc(at, "at")
    changes = [
        (e.as_of, e.seq, e)
        for e in entries
        if e.kind in (PROMOTION, ROLLBACK) and e.as_of is not None and (limit is None or e.as_of <= limit)
    ]
    reigns: list[Entry] = []
    promoted: dict[str, Entry] = {}
    for _, _, entry in sorted(changes, key=lambda change: change[:2]):
        if entry.kind == PROMOTION:
            if entry.body.get("outcome") == "promoted":
                promoted[_version(entry)] = entry
                if reigns and _version(reigns[-1]) == _version(entry):
                    reigns.pop()  # the same version again: it did not come before itself
                reigns.append(entry)
            continue
        to_version = entry.body.get("to_version")
        if to_version is None:
            reigns.clear()
        elif str(to_version) in promoted:
            _go_back(reigns, promoted[str(to_version)])
    return reigns


def _go_back(reigns: list[Entry], target: Entry) -> None:
    """End every reign after `target`'s last one; a target that reigns no more (undone before) begins anew."""
    version = _version(target)
    last = next((i for i in reversed(range(len(reigns))) if _version(reigns[i]) == version), None)
    if last is None:
        reigns.append(target)
    else:
        del reigns[last + 1 :]


def _version(promotion: Entry) -> str:
    # Registries number versions, some as text: "3" and 3 are one version.
    return str(promotion.body.get("version"))
