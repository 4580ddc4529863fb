"""Guards of place in time: what came before this run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.ledger.views import DECISION, PROMOTION
from tidemill.spec import units
from tidemill.steps.policy.facts import COUNTED, Facts, Finding, counted, run_of

if TYPE_CHECKING:
    from tidemill.ledger import Entry

ENDED = ("promoted", "refused")


def order(facts: Facts) -> Finding:
    """An alarm about the past, from before the last training, is of no use any more."""
    if not facts.counting:
        return Finding(True, "no training came before")
    last = facts.counting[-1]
    assert last.as_of is not None
    when = units.format_instant(last.as_of)
    inputs = {"last_training": {"as_of": when, "cause": last.body.get("cause"), "dag_run": run_of(last)[1]}}
    if last.as_of > facts.instant:
        said = f"{when} ({last.body.get('cause')}, run {run_of(last)[1]})"
        return Finding(False, f"as_of {facts.when} is earlier than that of the last training, {said}", inputs)
    return Finding(True, f"the last training, {when}, is not later", inputs)


def once(facts: Facts) -> Finding:
    """One training for one ``as_of`` and spec: it has already answered every alarm about that instant."""
    for e in facts.entries:
        ended = e.kind == PROMOTION and e.body.get("outcome") in ENDED
        if ended and e.as_of == facts.instant and e.body.get("spec_hash") == facts.spec_hash:
            outcome = f"version {e.body['version']} was {e.body['outcome']}"
            return Finding(False, f"a training for as_of {facts.when} already ended: {outcome}")
    for e in facts.counting:
        if e.as_of == facts.instant and e.body.get("spec_hash") == facts.spec_hash:
            text = (
                f"a training for as_of {facts.when} was already started, run {run_of(e)[1]}, and came to no end: "
                "it is under way or failed"
                if e.body.get("decision") == "go"
                else f"a training for as_of {facts.when} would already have been started by run {run_of(e)[1]}"
            )
            return Finding(False, text)
    return Finding(True, f"there was no training for as_of {facts.when} yet")


def cooldown(facts: Facts) -> Finding | None:
    """Time since the last training that counts, whatever became of it."""
    last = facts.counting[-1] if facts.counting else None
    if facts.policy.cooldown is None or last is None or last.as_of is None or last.as_of > facts.instant:
        return None  # `order` speaks of what is later than this
    until = last.as_of + facts.policy.cooldown
    said = f"{units.format_instant(last.as_of)} ({last.body.get('cause')}, run {run_of(last)[1]})"
    rest = f"the cooldown of {units.format_duration(facts.policy.cooldown)} since the last training, {said},"
    over = until <= facts.instant
    text = f"{rest} {'ended' if over else 'ends only'} at {units.format_instant(until)}"
    return Finding(over, text, {"cooldown_until": units.format_instant(until)})


def at_most(facts: Facts) -> Finding | None:
    """How many trainings there were in the period of ``as_of``."""
    quota = facts.policy.at_most
    if quota is None:
        return None
    start, end = quota.start(facts.instant), quota.end(facts.instant)
    causes = COUNTED if facts.policy.count_scheduled else ("asset",)
    used = sum(1 for e in facts.counting if e.as_of and start <= e.as_of < end and e.body.get("cause") in causes)
    since = units.format_instant(start)
    without = "" if facts.policy.count_scheduled else " (scheduled ones not counted)"
    return Finding(
        used < quota.count,
        f"{counted(used, 'training')} in the {quota.period} from {since}{without}, at_most is {quota}",
        {"quota": {"start": since, "end": units.format_instant(end), "used": used, "at_most": quota.count}},
    )


def stop_after(facts: Facts) -> Finding | None:
    """How many challengers were refused in a row, in the order in which that was recorded.

    A promotion begins the row anew, and so does a training that a person started: what that one comes to is the
    person's affair, and neither lengthens the row nor stands in it.
    """
    limit = facts.policy.stop_after
    if limit is None:
        return None
    row: dict[str, str] = {}
    by_hand: set[object] = set()
    for e in facts.entries:
        if e.kind == DECISION and (e.body.get("decision"), e.body.get("cause")) == ("go", "manual"):
            by_hand.add(run_of(e))
            row.clear()
        elif e.kind == PROMOTION and e.body.get("outcome") == "promoted":
            row.clear()
        elif _refused(e) and run_of(e) not in by_hand:
            row[str(e.body.get("version"))] = units.format_instant(e.as_of) if e.as_of else ""
    inputs = {"refused_in_a_row": list(row), "stop_after": limit}
    if len(row) < limit:
        return Finding(True, f"{counted(len(row), 'challenger')} refused in a row, stop_after is {limit}", inputs)
    versions = f"version{'s' if len(row) > 1 else ''} {', '.join(row)}"
    text = f"{counted(len(row), 'challenger')} in a row refused ({versions}, the last for as_of {[*row.values()][-1]})"
    return Finding(False, f"{text}, stop_after is {limit}: only a person starts the next training", inputs)


def _refused(entry: Entry) -> bool:
    """Whether a run's challenger was refused; a version that a person put to the gate again is none."""
    return entry.kind == PROMOTION and entry.body.get("outcome") == "refused" and not entry.body.get("by_hand")
