"""The training DAG's first decision: whether this run trains. Every answer is recorded, a no as well as a go.

Who is held back by what (semantics.md, "Time"):

- ``min_rows`` holds for every run: too few rows make no model, whoever asks.
- Runs by hand neither count nor wait.
- Runs of the schedule are the file's own commitment: neither the cooldown nor missing reasons stop them.
  With ``count_scheduled`` they count towards ``at_most`` and are bound by it, so that it is a true maximum;
  without it they do neither. Each starts the cooldown of the event runs after it.
- Runs that an event started need a reason among ``triggers``, the cooldown and the quota, and must not stand
  earlier than a training that already started, nor repeat one that came to its end at the same ``as_of``.

A training counts from its go on, so that two runs at once cannot both have the last place in a quota: the
decision is appended with compare-and-swap. A run that turned out to have nothing to train (``superseded``
before any model was made) is given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from tidemill.ledger import HeadMoved, KeyConflict
from tidemill.ledger.views import DECISION, PROMOTION, trainings
from tidemill.records import AsOf, Decision
from tidemill.spec import units
from tidemill.steps.context import StepContext, StepSkipped
from tidemill.steps.ledger_io import read, record, run_key
from tidemill.steps.owner import check_owner

if TYPE_CHECKING:
    from tidemill.ledger import Entry, Ledger
    from tidemill.spec.monitoring import Retrain
    from tidemill.spec.units import Quota

_COUNTED = ("scheduled", "asset")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def run(ctx: StepContext) -> Decision:
    """Decide, once per run: a retry or a cleared task finds what was decided.

    Raises:
        StepSkipped: the decision is no; its reasons are the message.
        StepError: the model is another pipeline's; ``min_rows`` is asked for, and the source cannot be read.
    """
    with ctx.open_ledger() as ledger:
        decision = _recorded(ledger, ctx)
        if decision is None:
            check_owner(ledger, ctx)  # before there is an entry: what is refused at `register` was trained in vain
            rows = _training_rows(ctx)
            decision = _decide_once(ledger, ctx, rows)
    if decision.decision == "no":
        raise StepSkipped("no training: " + "; ".join(decision.why), decision)
    ctx.log.info("training: %s", "; ".join(decision.why))
    return decision


def _recorded(ledger: Ledger, ctx: StepContext) -> Decision | None:
    entry = ledger.find(ctx.model, run_key(ctx, DECISION))
    return None if entry is None else read(entry, Decision)


def _decide_once(ledger: Ledger, ctx: StepContext, rows: int | None) -> Decision:
    while True:  # each turn but the last means that another run got ahead, so this ends
        entries = ledger.entries(ctx.model)
        decision = decide(ctx.spec.retrain, ctx.as_of, _of_pipeline(entries, ctx), rows, ctx.spec_hash)
        head = entries[-1].hash if entries else None
        try:
            record(ledger, ctx, DECISION, decision, key=run_key(ctx, DECISION), expect_head=head)
        except (HeadMoved, KeyConflict):
            earlier = _recorded(ledger, ctx)  # the same run may have been tried twice at once
            if earlier is None:
                continue
            return earlier
        return decision


def _of_pipeline(entries: Sequence[Entry], ctx: StepContext) -> list[Entry]:
    """What counts for this pipeline's policy: a model may have been made by another one, of an earlier name."""
    return [e for e in entries if e.body.get("pipeline") == ctx.pipeline]


@dataclass
class _Findings:
    """What speaks for a training, what against it, and the numbers looked at."""

    inputs: dict[str, Any]
    go: list[str] = field(default_factory=list)
    no: list[str] = field(default_factory=list)

    def add(self, met: bool, text: str) -> None:
        (self.go if met else self.no).append(text)


def decide(policy: Retrain | None, as_of: AsOf, entries: Sequence[Entry], rows: int | None, spec_hash: str) -> Decision:
    """The guard's decision, a pure function of its arguments.

    ``entries`` are the pipeline's own ledger entries; ``rows`` the number of training rows, needed only where
    ``policy.min_rows`` is set; ``spec_hash`` tells whether a training at the same ``as_of`` was of this spec.
    """
    found = _Findings({"as_of": units.format_instant(as_of.instant), "reasons": list(as_of.reasons)})
    if policy is None:
        found.add(True, "the spec has no retrain section, so nothing holds a run back")
    else:
        _apply(policy, as_of, entries, rows, spec_hash, found)
    verdict: Literal["go", "no"] = "no" if found.no else "go"
    why = tuple(found.no or found.go)
    return Decision(decision=verdict, cause=as_of.cause, why=why, inputs=found.inputs)


def _apply(
    policy: Retrain, as_of: AsOf, entries: Sequence[Entry], rows: int | None, spec_hash: str, found: _Findings
) -> None:
    found.inputs["policy"] = policy.model_dump(mode="json", exclude_none=True)
    if policy.min_rows is not None and rows is not None:
        found.inputs["rows"] = rows
        found.add(rows >= policy.min_rows, f"{rows:,} training rows, min_rows is {policy.min_rows:,}")
    if as_of.cause == "manual":
        found.add(True, "started by hand: it neither counts nor waits")
        return
    counting = _counting(entries)
    if as_of.cause == "asset":
        _check_reasons(policy, as_of, found)
        _check_repeat(as_of.instant, entries, spec_hash, found)
        _check_cooldown(policy, as_of.instant, counting, found)
    else:
        found.add(True, f"scheduled for {units.format_instant(as_of.instant)}")
    if policy.at_most is not None and (as_of.cause == "asset" or policy.count_scheduled):
        _check_quota(policy.at_most, policy.count_scheduled, as_of.instant, counting, found)


def _counting(entries: Sequence[Entry]) -> list[Entry]:
    """Decisions to train that count, by ``as_of``: neither by hand, nor given back for want of anything to train."""
    given_back = {
        _run_of(e)
        for e in entries
        if e.kind == PROMOTION and e.body.get("outcome") == "superseded" and not e.body.get("version")
    }
    started = trainings(entries, since=_FIRST, until=_LAST, causes=_COUNTED)
    return [e for e in started if _run_of(e) not in given_back]


def _run_of(entry: Entry) -> tuple[Any, Any]:
    return entry.body.get("dag_id"), entry.body.get("dag_run")


def _check_reasons(policy: Retrain, as_of: AsOf, found: _Findings) -> None:
    asked = [reason for reason in as_of.reasons if reason in policy.triggers]
    given, named = ", ".join(as_of.reasons) or "none", ", ".join(policy.triggers) or "none"
    no = f"the event's reasons ({given}) are not among retrain.triggers ({named})"
    found.add(bool(asked), f"asked for by {' and '.join(asked)}" if asked else no)


def _check_repeat(instant: datetime, entries: Sequence[Entry], spec_hash: str, found: _Findings) -> None:
    """The alarm was about a window that a training at this very ``as_of`` has already answered."""
    for e in entries:
        ended = e.kind == PROMOTION and e.body.get("outcome") in ("promoted", "refused")
        if ended and e.as_of == instant and e.body.get("spec_hash") == spec_hash:
            outcome = f"version {e.body['version']} was {e.body['outcome']}"
            found.add(False, f"a training for as_of {units.format_instant(instant)} already ended: {outcome}")
            return


def _check_cooldown(policy: Retrain, instant: datetime, counting: Sequence[Entry], found: _Findings) -> None:
    last = counting[-1] if counting else None
    if last is None or last.as_of is None:
        found.add(True, "no training came before")
        return
    when = units.format_instant(last.as_of)
    found.inputs["last_training"] = {"as_of": when, "cause": last.body.get("cause"), "dag_run": _run_of(last)[1]}
    said = f"{when} ({last.body.get('cause')}, run {_run_of(last)[1]})"
    if last.as_of > instant:
        found.add(False, f"as_of {units.format_instant(instant)} is earlier than that of the last training, {said}")
    elif policy.cooldown is not None:
        until = last.as_of + policy.cooldown
        found.inputs["cooldown_until"] = units.format_instant(until)
        rest = f"the cooldown of {units.format_duration(policy.cooldown)} since the last training, {said},"
        tense = "ended" if until <= instant else "ends only"
        found.add(until <= instant, f"{rest} {tense} at {units.format_instant(until)}")


def _check_quota(
    quota: Quota, count_scheduled: bool, instant: datetime, counting: Sequence[Entry], found: _Findings
) -> None:
    start, end = quota.start(instant), quota.end(instant)
    causes = _COUNTED if count_scheduled else ("asset",)
    used = sum(1 for e in counting if e.as_of and start <= e.as_of < end and e.body.get("cause") in causes)
    since = units.format_instant(start)
    found.inputs["quota"] = {"start": since, "end": units.format_instant(end), "used": used, "at_most": quota.count}
    counted = "" if count_scheduled else ", scheduled ones not counted"
    times = "training" if used == 1 else "trainings"
    text = f"{used} {times} in the {quota.period} from {since}{counted}; at_most is {quota}"
    found.add(used < quota.count, text)


def _training_rows(ctx: StepContext) -> int | None:
    """How many rows the training window has, where ``min_rows`` asks."""
    if ctx.spec.retrain is None or ctx.spec.retrain.min_rows is None:
        return None
    from tidemill.steps.data import Spans
    from tidemill.tools.source import count_rows

    data = ctx.spec.data
    spans = Spans.of(data.window, ctx.as_of.instant)
    return count_rows(ctx.project.path(data.source), data.window.column, spans.start, spans.middle)
