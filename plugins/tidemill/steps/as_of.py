"""The first step of every DAG: resolves the instant that the run stands at, once, for all its steps.

Order (semantics.md, "Time"): the param ``as_of``; the end of the data interval, for scheduled and backfill
runs; the latest ``as_of`` among the triggering asset events; for a run by hand without a param the earlier of
its ``run_after`` and the spec's ``end``. Nothing here reads the clock: ``run_after`` is the run's own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tidemill.plan.compile import cron_of, dag_id, retrain_asset
from tidemill.plan.schedule import previous_tick
from tidemill.records import AsOf, Cause
from tidemill.spec import units
from tidemill.spec.errors import printable
from tidemill.steps.context import Event, StepContext, StepError, TriggerFacts

_EXAMPLE = '{"as_of": "2013-10-01"}'
_WITH_INTERVAL = ("scheduled", "backfill")
_SKEW = timedelta(hours=1)
"""By so much the clocks of two machines may differ before an event counts as one from the future."""
_MOST, _LONGEST = 50, 300
"""Events come from anyone: so many of their texts are kept, and so much of each."""


def run(ctx: StepContext) -> AsOf:
    """Resolve the run's ``as_of``.

    ``cause`` is ``scheduled`` for runs of the schedule, of a backfill and of a replay (param ``scheduled``),
    ``asset`` for runs that an event started, else ``manual``. ``reasons`` and ``findings`` are the union of what the
    pipeline's own events give; an upstream asset is the reason ``asset``, and its name is among ``assets``.

    Raises:
        StepError: a param or event gives no readable instant, or the instant lies outside ``start`` … ``end``, or an
            event's in the future.
    """
    facts = ctx.trigger
    cause = _cause(facts)
    instant, origin = _instant(facts, ctx.spec.end)
    _check_bounds(ctx, instant, origin)
    start, end = _interval(ctx, instant, cause)
    ctx.log.info("as_of is %s: %s", units.format_instant(instant), origin)
    upstream = _upstream(facts, ctx.pipeline)
    own = [event for event in facts.events if event.asset not in upstream]
    reasons = _texts(own, "reasons")
    return AsOf(
        instant=instant,
        cause=cause,
        interval_start=start,
        interval_end=end,
        # Only the asset itself can be the reason of that name.
        reasons=(*(r for r in reasons if r != "asset"), *(("asset",) if upstream else ())),
        assets=upstream,
        findings=_texts(own, "findings"),
    )


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
        found = max(_of_event(event, facts.run_after) for event in facts.events)
        return found, f"the latest of {len(facts.events)} triggering event{'s' if len(facts.events) > 1 else ''}"
    run_after = facts.run_after.astimezone(UTC)
    if end is not None and end < run_after:
        return end, "the spec's end, which is earlier than the run"
    return run_after, "when the run was due"


def _of_event(event: Event, run_after: datetime) -> datetime:
    if event.extra.get("as_of") is None:
        return event.timestamp.astimezone(UTC)
    hint = 'whoever emits it must write ISO 8601, as in extra={"as_of": "2013-10-01T00:00:00+00:00"}'
    found = _read(event.extra["as_of"], "the as_of of a triggering asset event", hint)
    if found > run_after + _SKEW:
        # Believed, it would make every later event one of the past.
        raise StepError(
            f"The as_of of a triggering asset event, {units.format_instant(found)}, lies in the future: the run is of "
            f"{units.format_instant(run_after)}. Whoever emits it must write the instant that the data stands at."
        )
    return found


def _read(value: Any, what: str, hint: str) -> datetime:
    try:
        return units.instant(value)
    except ValueError as error:
        raise StepError(f"{what[0].upper()}{what[1:]} cannot be read: {error}; {hint}.") from None


def _upstream(facts: TriggerFacts, pipeline: str) -> tuple[str, ...]:
    """The names of the assets among the events that are not the pipeline's own."""
    own = retrain_asset(pipeline).name
    return tuple(dict.fromkeys(event.asset for event in facts.events if event.asset not in ("", own)))


def _texts(events: list[Event], name: str) -> tuple[str, ...]:
    """The union of the texts that the events give under a name, in the order they were first given. What is not a
    list of texts gives none."""
    found: dict[str, None] = {}
    for event in events:
        given = event.extra.get(name)
        if isinstance(given, list | tuple):
            found.update(dict.fromkeys(printable(text[:_LONGEST]) for text in given if isinstance(text, str)))
    return tuple(found)[:_MOST]


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
