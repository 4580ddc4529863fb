"""Spec to plan."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tidemill.plan.model import AssetPlan, DagPlan, Kind, Plan, SchedulePlan, TaskPlan
from tidemill.plan.schedule import is_tick, next_tick, previous_tick
from tidemill.spec.load import Sources
from tidemill.spec.models import PRESETS, Cron, Owner, Spec

OWNER = "tidemill"
"""Shown as the owner of a pipeline that names none."""

_SINCE = datetime(2000, 1, 1, tzinfo=UTC)
"""The start of a schedule whose spec names none: Airflow schedules no DAG without a start date, and without
catch-up an early one changes nothing else."""


def compile_plan(pipeline: str, spec: Spec, sources: Sources) -> Plan:
    """The plan of a spec without mistakes."""
    value = spec.model_dump(mode="json", exclude_none=True)
    owner = spec.owner
    dags = [_training(pipeline, spec, sources)]
    if spec.monitor is not None:
        dags.append(_monitor(pipeline, spec, sources))
    return Plan(
        pipeline=pipeline,
        file=sources.file,
        model=spec.promote.model or pipeline,
        description=spec.description.strip(),
        owner=owner.name if isinstance(owner, Owner) else owner or OWNER,
        owner_link=owner.link if isinstance(owner, Owner) else None,
        tags=tuple(dict.fromkeys(spec.tags)),
        links=tuple(sorted(spec.links.items())),
        spec=value,
        spec_hash=hash_of(value),
        dags=tuple(dags),
    )


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value whose keys are sorted, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def retrain_asset(pipeline: str) -> AssetPlan:
    """The asset whose events ask a pipeline to retrain."""
    return AssetPlan(f"{pipeline}.retrain", f"tidemill://{pipeline}/retrain")


def _training(pipeline: str, spec: Spec, sources: Sources) -> DagPlan:
    steps: list[tuple[str, tuple[str, ...], str]] = [
        ("as_of", (), "tidemill"),
        ("retrain", ("as_of",), "retrain" if spec.retrain else "schedule" if spec.schedule else "tidemill"),
        ("data", ("retrain",), "data"),
    ]
    checked = "data"
    if spec.data.expect:
        steps.append(("validate", ("data",), "data.expect"))
        checked = "validate"
    steps += [
        ("train", (checked,), "train"),
        ("reference", (checked,), "monitor.drift" if spec.monitor and spec.monitor.drift else "data"),
        ("evaluate", ("train",), "evaluate"),
        (
            "register",
            ("evaluate", "reference"),
            "promote.registry" if "registry" in spec.promote.model_fields_set else "promote",
        ),
    ]
    gated = "register"
    if spec.promote.approval == "manual":
        steps.append(("approve", ("register",), "promote.approval"))
        gated = "approve"
    steps.append(("promote", (gated,), "promote"))
    assets = (retrain_asset(pipeline),) if spec.retrain and spec.retrain.triggers else ()
    schedule = _schedule(spec.schedule, spec, assets)
    return DagPlan(pipeline, "training", schedule, _tasks(steps, sources))


def _monitor(pipeline: str, spec: Spec, sources: Sources) -> DagPlan:
    assert spec.monitor is not None
    steps: list[tuple[str, tuple[str, ...], str]] = [
        ("as_of", (), "monitor"),
        ("monitor", ("as_of",), "monitor"),
    ]
    outlets: dict[str, tuple[AssetPlan, ...]] = {}
    if spec.retrain and spec.retrain.triggers:
        steps.append(("request", ("monitor",), "retrain.triggers"))
        outlets = {"request": (retrain_asset(pipeline),)}
    schedule = _schedule(spec.monitor.schedule, spec, ())
    return DagPlan(dag_id(pipeline, "monitor"), "monitor", schedule, _tasks(steps, sources, outlets))


def dag_id(pipeline: str, kind: Kind) -> str:
    """The id of a pipeline's DAG."""
    return pipeline if kind == "training" else f"{pipeline}.{kind}"


def _tasks(
    steps: list[tuple[str, tuple[str, ...], str]],
    sources: Sources,
    outlets: dict[str, tuple[AssetPlan, ...]] | None = None,
) -> tuple[TaskPlan, ...]:
    tasks = []
    for step, upstream, path in steps:
        file, line, _ = sources.place(tuple(path.split(".")), key=True)
        tasks.append(TaskPlan(step, step, upstream, line, file, (outlets or {}).get(step, ())))
    return tuple(tasks)


def _schedule(written: str | Cron | None, spec: Spec, assets: tuple[AssetPlan, ...]) -> SchedulePlan:
    first, last = spec.start, spec.end
    if written is None:
        return SchedulePlan(assets=assets, first=_text(first), last=_text(last))
    cron, timezone = cron_of(written)
    start, end = shifted(cron, timezone, first, last)
    return SchedulePlan(
        cron=cron,
        timezone=timezone,
        assets=assets,
        first=_text(first),
        last=_text(last),
        start=_text(start),
        end=_text(end),
        catchup=spec.catchup,
    )


@lru_cache(maxsize=1024)
def shifted(
    cron: str, timezone: str, first: datetime | None, last: datetime | None
) -> tuple[datetime, datetime | None]:
    """The bounds of ``as_of`` as Airflow counts them, by the start of the interval; the wrong way round if the
    schedule has no time between them."""
    start, end = _SINCE, None
    if first is not None:
        tick = first if is_tick(cron, timezone, first) else next_tick(cron, timezone, first)
        start = previous_tick(cron, timezone, tick)
    if last is not None:
        tick = last if is_tick(cron, timezone, last) else previous_tick(cron, timezone, last)
        end = previous_tick(cron, timezone, tick)
    return start, end


def cron_of(written: str | Cron) -> tuple[str, str]:
    """Cron expression and time zone of a schedule as it is written."""
    if isinstance(written, Cron):
        return written.cron, written.timezone
    return PRESETS.get(written, written), "UTC"


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
