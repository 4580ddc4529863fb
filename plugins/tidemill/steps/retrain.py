"""The training DAG's first decision: whether this run trains. Every answer is recorded, a no as well as a go.

What holds whom back is the policy's affair (``steps/policy``; docs/retraining.md). Here the facts are gathered, and
the answer is given once: the decision is appended with compare-and-swap on the very ledger it was made on, so that
of two runs at once only one can have the last place in a quota.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tidemill.ledger import HeadMoved, KeyConflict
from tidemill.ledger.views import DECISION
from tidemill.records import Decision
from tidemill.spec import units
from tidemill.steps.context import StepContext, StepSkipped
from tidemill.steps.ledger_io import read, record, run_key
from tidemill.steps.owner import check_owner
from tidemill.steps.policy import Facts, decide
from tidemill.steps.sources import source_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tidemill.ledger import Entry, Ledger

_WORDS = {"pass": "let through", "refuse": "refused", "warn": "warned"}


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
    for check in decision.checks:
        level = logging.INFO if check.verdict == "pass" else logging.WARNING
        ctx.log.log(level, "%s by %s: %s", _WORDS[check.verdict], check.guard, check.text)
    ctx.log.info("%s", said(decision))
    if decision.decision == "no":
        raise StepSkipped(said(decision), decision)
    return decision


def said(decision: Decision, joint: str = "; ") -> str:
    """A decision in words, with all its reasons, as it stands in the task's log and on its page."""
    if decision.dry_run:
        head = f"dry run, no training: it would have {'trained' if decision.would == 'go' else 'been refused'}: "
    else:
        head = "training: " if decision.decision == "go" else "no training: "
    against = (f"against it, but not holding it back: {text}" for text in decision.warnings)
    return head + joint.join((*decision.why, *against))


def _recorded(ledger: Ledger, ctx: StepContext) -> Decision | None:
    entry = ledger.find(ctx.model, run_key(ctx, DECISION))
    return None if entry is None else read(entry, Decision)


def _decide_once(ledger: Ledger, ctx: StepContext, rows: int | None) -> Decision:
    while True:  # each turn but the last means that another run got ahead, so this ends
        entries = ledger.entries(ctx.model)
        decision = _decide(ctx, entries, rows)
        head = entries[-1].hash if entries else None
        try:
            record(ledger, ctx, DECISION, decision, key=run_key(ctx, DECISION), expect_head=head)
        except (HeadMoved, KeyConflict):
            earlier = _recorded(ledger, ctx)  # the same run may have been tried twice at once
            if earlier is None:
                continue
            return earlier
        return decision


def _decide(ctx: StepContext, entries: Sequence[Entry], rows: int | None) -> Decision:
    policy, as_of = ctx.spec.retrain, ctx.as_of
    if policy is None:
        why = ("the spec has no retrain section, so nothing holds a run back",)
        inputs = {"as_of": units.format_instant(as_of.instant), "reasons": list(as_of.reasons)}
        return Decision(decision="go", cause=as_of.cause, why=why, inputs=inputs)
    # A model may have been made by another pipeline, of an earlier name: what that one did does not count here.
    own = [e for e in entries if e.body.get("pipeline") == ctx.pipeline]
    return decide(Facts(policy, as_of, own, rows, ctx.spec_hash))


def _training_rows(ctx: StepContext) -> int | None:
    """How many rows the training window has, where ``min_rows`` asks."""
    if ctx.spec.retrain is None or ctx.spec.retrain.min_rows is None:
        return None
    from tidemill.steps.data import Spans
    from tidemill.tools.source import count_rows

    data = ctx.spec.data
    spans = Spans.of(data.window, ctx.as_of.instant)
    return count_rows(source_path(ctx, data.source), data.window.column, spans.start, spans.middle)
