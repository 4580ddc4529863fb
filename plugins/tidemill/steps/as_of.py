"""The first step of every DAG: resolves the instant that the run stands at, once, for all its steps.

Order (semantics.md, "Time"): the param ``as_of``; the end of the data interval, for scheduled and backfill
runs; the latest ``as_of`` among the triggering asset events; for a run by hand without a param the earlier of
its ``run_after`` and the spec's ``end``. Nothing here reads the clock: ``run_after`` is the run's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tidemill.plan.compile import cron_of, dag_id
from tidemill.plan.schedule import previous_tick
from tidemill.records import AsOf, Cause
from tidemill.spec import units
from tidemill.steps.context import StepContext, StepError, TriggerFacts

_EXAMPLE = '{"as_of": "2013-10-01"}'
_WITH_INTERVAL = ("scheduled", "backfill")


def run(ctx: StepContext) -> AsOf:
    """Resolve the run's ``as_of``.

    ``cause`` is ``scheduled`` for runs of the schedule, of a backfill and of a replay (param ``scheduled``),
    ``asset`` for runs that an event started, else ``manual``. ``reasons`` is the union of the events' reasons.

    Raises:
        StepError: a param or event gives no readable instant, or the instant lies outside ``start`` … ``end``.
    """
    facts = ctx.trigger
    cause, reasons = _cause(facts), _reasons(facts)
    instant, origin = _instant(facts, ctx.spec.end)
    _check_bounds(ctx, instant, origin)
    start, end = _interval(ctx, instant, cause)
    ctx.log.info("as_of is %s: %s", units.format_instant(instant), origin)
    return AsOf(instant=instant, cause=cause, interval_start=start, interval_end=end, reasons=reasons)


def _cause(facts: TriggerFacts) -> Cause:
    if facts.params.get("scheduled") is True:
        return "scheduled"
    if facts.run_type in _WITH_INTERVAL:
        return "scheduled"
    # A run by hand has no events; `asset_triggered` without events is one whose events were purged.
    return "asset" if facts.events or facts.run_type.startswith("asset") else "manual"


def instant_of(facts: TriggerFacts, end: datetime | None = None) -> datetime:
    """The instant that a run stands at. ``end``: the last one that a run by hand may stand at.

    Raises:
        StepError: a param or event gives no readable instant.
    """
    return _instant(facts, end)[0]


def _instant(facts: TriggerFacts, end: datetime | None) -> tuple[datetime, str]:
    """The instant and where it came from."""
    if facts.params.get("as_of") not in (None, ""):
        return _read(facts.params["as_of"], "the param as_of", f"as in {_EXAMPLE}"), "the param as_of"
    if facts.params.get("scheduled") is True:
        raise StepError(
            "The param scheduled says that this run stands for a scheduled one, but there is no param as_of "
            'that says which. Give both, as in {"as_of": "2013-10-01", "scheduled": true}.'
        )
    if facts.run_type in _WITH_INTERVAL and facts.interval_end is not None:
        return facts.interval_end.astimezone(UTC), "the end of the data interval"
    if facts.events:
        found = [_of_event(extra, when) for extra, when in facts.events]
        return max(found), f"the latest of {len(found)} triggering event{'s' if len(found) > 1 else ''}"
    run_after = facts.run_after.astimezone(UTC)
    if end is not None and end < run_after:
        return end, "the spec's end, which is earlier than the run"
    return run_after, "when the run was due"


def _of_event(extra: Mapping[str, Any], timestamp: datetime) -> datetime:
    if extra.get("as_of") is None:
        return timestamp.astimezone(UTC)
    hint = 'whoever emits it must write ISO 8601, as in extra={"as_of": "2013-10-01T00:00:00+00:00"}'
    return _read(extra["as_of"], "the as_of of a triggering asset event", hint)


def _read(value: Any, what: str, hint: str) -> datetime:
    try:
        return units.instant(value)
    except ValueError as error:
        raise StepError(f"{what[0].upper()}{what[1:]} cannot be read: {error}; {hint}.") from None


def _reasons(facts: TriggerFacts) -> tuple[str, ...]:
    """The union of the events' reasons, in the order they were first given. Events come from anyone: what is
    not a list of texts gives no reason."""
    found: dict[str, None] = {}
    for extra, _ in facts.events:
        given = extra.get("reasons")
        if isinstance(given, list | tuple):
            found.update(dict.fromkeys(reason for reason in given if isinstance(reason, str)))
    return tuple(found)


def _check_bounds(ctx: StepContext, instant: datetime, origin: str) -> None:
    start, end = ctx.spec.start, ctx.spec.end
    if (start is None or start <= instant) and (end is None or instant <= end):
        return
    early = start is not None and instant < start
    bound, side = (start, "start, earlier than which") if early else (end, "end, later than which")
    assert bound is not None
    raise StepError(
        f"as_of is {units.format_instant(instant)} ({origin}), but the spec's {side} no as_of may be, is "
        f"{units.format_instant(bound)}. Start the run with another as_of, as in {_EXAMPLE}, or change "
        f"`{'start' if early else 'end'}` in the spec."
    )


def _interval(ctx: StepContext, instant: datetime, cause: Cause) -> tuple[datetime | None, datetime | None]:
    """The data interval that ends at the instant, if the run is, or stands for, a scheduled one."""
    facts = ctx.trigger
    if cause != "scheduled":
        return None, None
    if facts.params.get("scheduled") is not True:
        # A backfill may carry a param as_of for all its runs: then the interval is another one's.
        start, end = facts.interval_start, facts.interval_end
        known = start is not None and end is not None and start < end and end == instant
        return (start, end) if known else (None, None)
    given = facts.params.get("interval_start")
    if given not in (None, ""):
        start = _read(given, "the param interval_start", 'as in {"interval_start": "2013-09-01"}')
        if start >= instant:
            raise StepError(
                f"The param interval_start, {units.format_instant(start)}, must be earlier than as_of, "
                f"{units.format_instant(instant)}."
            )
        return start, instant
    beside = {dag_id(ctx.pipeline, "monitor"): ctx.spec.monitor, dag_id(ctx.pipeline, "score"): ctx.spec.score}
    section = beside.get(ctx.dag_id)
    ticks = cron_of(ctx.spec.schedule if section is None else section.schedule)
    return (previous_tick(*ticks, instant), instant) if ticks else (None, None)
