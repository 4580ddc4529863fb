"""How steps write to the ledger and read from it: one form of body, one form of key.

A body is the record's JSON with an envelope beside its fields: ``dag_id``, ``dag_run`` (the Airflow run; a
record's own ``run_id`` is the tracked training run), ``pipeline`` and ``spec_hash``, and what the step adds.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from tidemill.ledger import ANY, AnyHead, Entry, KeyConflict
from tidemill.records import Record
from tidemill.steps.context import StepContext

if TYPE_CHECKING:
    from tidemill.ledger import Ledger

R = TypeVar("R", bound=Record)


def envelope_of(ctx: StepContext) -> dict[str, Any]:
    """What every body of this run says besides its record."""
    return {
        "dag_id": ctx.dag_id,
        "dag_run": ctx.run_id,
        "pipeline": ctx.pipeline,
        "spec_hash": ctx.spec_hash,
    }


def run_key(ctx: StepContext, kind: str) -> str:
    """The key of what one DAG run records once."""
    key = f"{kind}/{ctx.dag_id}/{ctx.run_id}"
    if len(key) <= 240:  # a ledger key has at most 255 characters; the attempt's number needs a few
        return key
    return f"{kind}/{hashlib.sha256(key.encode()).hexdigest()}"


def record(
    ledger: Ledger,
    ctx: StepContext,
    kind: str,
    record: Record,
    *,
    key: str | None = None,
    expect_head: str | AnyHead | None = ANY,
    extra: Mapping[str, Any] | None = None,
) -> Entry:
    """Append a record of this run to the ledger of its model, once.

    Without ``key`` the fact belongs to the DAG run: recording the same again returns the entry that is there,
    and a cleared run that came to another result is recorded beside the first, under the next number. An
    explicit ``key`` names one fact for ever.

    Raises:
        HeadMoved: the chain's head is not ``expect_head``.
        KeyConflict: ``key`` already names another fact.
    """
    body = {**envelope_of(ctx), **(extra or {}), **record.to_json()}
    if key is None:
        return append_once(ledger, ctx, kind, body, expect_head=expect_head)
    return ledger.append(ctx.model, kind, body, as_of=ctx.as_of.instant, key=key, expect_head=expect_head)


def append_once(
    ledger: Ledger,
    ctx: StepContext,
    kind: str,
    body: Mapping[str, Any],
    *,
    expect_head: str | AnyHead | None = ANY,
) -> Entry:
    """``record`` for a body that is no record's; the caller puts the envelope in."""
    own, as_of = run_key(ctx, kind), ctx.as_of.instant
    for attempt in count(1):
        numbered = own if attempt == 1 else f"{own}#{attempt}"
        try:
            return ledger.append(ctx.model, kind, body, as_of=as_of, key=numbered, expect_head=expect_head)
        except KeyConflict:
            continue
    raise AssertionError("unreachable: count has no end")


def read(entry: Entry, kind: type[R]) -> R:
    """The record in an entry, without its envelope.

    Raises:
        RecordError: the entry holds another record.
    """
    names = {"record", *(f.name for f in dataclasses.fields(kind))}
    return kind.from_json({k: v for k, v in entry.body.items() if k in names})
