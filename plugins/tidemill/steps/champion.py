"""The champion in the registry: the alias follows the ledger, and a rollback moves both.

The registry's alias takes no precondition, so it decides nothing: it is set from the ledger after each change,
and set right by every later promotion, rollback or ``repair_alias`` if a process was killed in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from tidemill.ledger import Entry, HeadMoved
from tidemill.ledger.views import DRIFT, PROMOTION, ROLLBACK, SCORING, champion, latest_as_of, previous_champion
from tidemill.steps.context import StepError

if TYPE_CHECKING:
    from tidemill.ledger import Ledger
    from tidemill.tools.mlflow import Mlflow

NONE = "none"
"""What a rollback goes to that leaves no champion at all."""
HEAD_TAG = "tidemill.ledger_head"
"""On the champion's version: the hash of the ledger's last entry when the alias was last set or confirmed."""


def version_of(entry: Entry | None) -> str | None:
    """The model version that a promotion in force names."""
    return None if entry is None else str(entry.body["version"])


def is_change(entry: Entry) -> bool:
    """Whether an entry changes the champion: a promotion that went through, or a rollback."""
    return entry.kind == ROLLBACK or (entry.kind == PROMOTION and entry.body.get("outcome") == "promoted")


def check_ledger(ledger: Ledger, mlflow: Mlflow, model: str, alias: str) -> None:
    """Refuse to build on a ledger that was altered: the chain itself, and the head known to the registry.

    Raises:
        StepError: the chain is broken, or its end was cut off.
    """
    tagged = mlflow.alias(model, alias)
    known_head = mlflow.version_tags(model, tagged).get(HEAD_TAG) if tagged is not None else None
    problems = ledger.verify(model, known_head)
    if not problems:
        return
    shown = " ".join(problem.text for problem in problems[:3])
    more = f" And {len(problems) - 3} more." if len(problems) > 3 else ""
    raise StepError(
        f"The ledger of model {model!r} at {ledger.place} was altered: {shown}{more} Nothing was promoted and the "
        f"alias stays where it is. See `tidemill history {model} --verify`, then restore the ledger from a backup."
    )


def repair_alias(ledger: Ledger, mlflow: Mlflow, model: str, alias: str) -> str | None:
    """Make the alias say what the ledger says; returns the champion's version.

    An alias that no promotion stands behind is removed. Two processes may do this at once: each reads the
    ledger again after its last write, so the later one leaves the right champion.
    """
    while True:
        entries = ledger.entries(model)
        version = version_of(champion(entries))
        current = mlflow.alias(model, alias)
        if version is None:
            if current is not None:
                mlflow.delete_alias(model, alias)
        else:
            _point(mlflow, model, alias, version, current, entries[-1].hash)
        if version_of(champion(ledger.entries(model))) == version:
            return version


def _point(mlflow: Mlflow, model: str, alias: str, version: str, current: str | None, head: str) -> None:
    try:
        if current != version:
            mlflow.set_alias(model, alias, version)
        mlflow.tag_version(model, version, {HEAD_TAG: head})
    except StepError as error:
        if error.retry:
            raise
        raise StepError(
            f"By the ledger version {version} of {model!r} is champion, but its alias cannot be set: {error}. If "
            f"that version was removed on purpose: `tidemill rollback {model}`, to another version or to none."
        ) from error


def rollback(
    ledger: Ledger,
    mlflow: Mlflow,
    *,
    model: str,
    alias: str,
    by: str,
    to: str | None = None,
    note: str = "",
    as_of: datetime | None = None,
) -> Entry:
    """Go back to the previous champion, to a version that was promoted before, or to ``none``; move the alias.

    ``as_of`` is the instant from which on it counts; without one how far the model's time has come: the latest
    ``as_of`` of a promotion, rollback, scoring or drift report. Returns the ledger entry, of the kind ``rollback``.

    Raises:
        StepError: there is no champion or none to go back to; ``to`` is in force already or was never
            promoted; ``as_of`` is earlier than the last change of champion; the ledger was altered.
    """
    check_ledger(ledger, mlflow, model, alias)
    while True:
        entries = ledger.entries(model)
        now = version_of(champion(entries))
        target = _target(model, entries, now, to)
        when = _when(entries, as_of)
        body = {"from_version": now, "to_version": None if target == NONE else target, "by": by, "note": note}
        try:
            entry = ledger.append(model, ROLLBACK, body, as_of=when, expect_head=entries[-1].hash)
        except HeadMoved:
            continue
        repair_alias(ledger, mlflow, model, alias)
        return entry


def _target(model: str, entries: Sequence[Entry], now: str | None, to: str | None) -> str:
    if now is None:
        raise StepError(f"Model {model!r} has no champion, so there is nothing to roll back.")
    promoted = [str(e.body["version"]) for e in entries if e.kind == PROMOTION and is_change(e)]
    if to is None:
        previous = version_of(previous_champion(entries))
        if previous is None:
            raise StepError(
                f"Version {now} of {model!r} is the first champion: there is none before it to roll back to. To have "
                f"no champion at all: `tidemill rollback {model} --to {NONE}`."
            )
        return previous
    if to == NONE:
        return NONE
    if to == now:
        raise StepError(f"Version {to} of {model!r} is the champion already.")
    if to not in promoted:
        others = ", ".join(v for v in dict.fromkeys(promoted) if v != now) or "none but the champion"
        raise StepError(
            f"Version {to} of {model!r} was never promoted, and a rollback goes only to a version that passed its "
            f"gate ({others}). To put it through the gate: `tidemill promote {model}`."
        )
    return to


def _when(entries: Sequence[Entry], as_of: datetime | None) -> datetime:
    standing = latest_as_of(e for e in entries if is_change(e))
    assert standing is not None  # there is a champion
    if as_of is None:
        return latest_as_of(e for e in entries if is_change(e) or e.kind in (DRIFT, SCORING)) or standing
    if as_of < standing:
        raise StepError(
            f"as_of {as_of.isoformat()} is earlier than the last change of champion, {standing.isoformat()}: a "
            "rollback there would change nothing now."
        )
    return as_of
