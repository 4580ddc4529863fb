"""Spec to plan."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tidemill.plan.model import AssetPlan, DagPlan, Kind, Plan, SchedulePlan, TaskPlan, Value
from tidemill.plan.schedule import is_tick, next_tick, previous_tick
from tidemill.spec.document import Path
from tidemill.spec.load import Sources
from tidemill.spec.models import Owner, Spec, Workflow
from tidemill.spec.timing import CONTINUOUS, ONCE, PRESETS, Timing

Typed = Mapping[Path, Any]
"""Arguments in the plan's form and full names of classes, by where they are written, as the checks made them."""

NOTHING: Typed = {}
if TYPE_CHECKING:
    from tidemill.plan.graph import Graph
    from tidemill.spec.monitoring import Upstream
    from tidemill.spec.steps import DeadlineSection

OWNER = "tidemill"
"""Shown as the owner of a pipeline that names none."""

MAIN = ("training", "workflow")
"""The DAG that has the pipeline's own id; the others have their kind behind it."""

_SINCE = datetime(2000, 1, 1, tzinfo=UTC)
"""The start of a schedule whose spec names none: Airflow schedules no DAG without a start date, and without
catch-up an early one changes nothing else."""


Stage = tuple[str, tuple[str, ...], str]
"""A stage's name, those before it, and the key that asks for it."""


def owner_of(spec: Workflow) -> str:
    """Who answers for a pipeline: a name, ``OWNER`` if it names nobody."""
    return spec.owner.name if isinstance(spec.owner, Owner) else spec.owner or OWNER


def compile_plan(pipeline: str, spec: Workflow, sources: Sources, typed: Typed = NOTHING) -> Plan:
    """The plan of a spec without mistakes. ``typed``: the arguments of its steps, as the checks read them."""
    value = spec.model_dump(mode="json", exclude_none=True, by_alias=True)
    return Plan(
        pipeline=pipeline,
        file=sources.file,
        model=(spec.promote.model or pipeline) if isinstance(spec, Spec) else "",
        description=spec.description.strip(),
        owner=owner_of(spec),
        owner_link=spec.owner.link if isinstance(spec.owner, Owner) else None,
        tags=tuple(dict.fromkeys(spec.tags)),
        links=tuple(sorted(spec.links.items())),
        spec=value,
        spec_hash=hash_of(value),
        dags=tuple(_Compiler(pipeline, spec, sources, typed).dags()),
    )


@dataclass(frozen=True)
class _Compiler:
    """Makes the DAGs of one file."""

    pipeline: str
    spec: Workflow
    sources: Sources
    typed: Typed

    def dags(self) -> Iterator[DagPlan]:
        spec = self.spec
        graph = None
        if spec.steps:
            # Most pipelines have no steps of their own, and do without what places them.
            from tidemill.plan.placing import full_graph

            graph = full_graph(spec)
        if not isinstance(spec, Spec):
            yield self._dag("workflow", self._schedule(spec.schedule, ("schedule",)), [], graph)
            return
        assets: tuple[AssetPlan, ...] = ()
        if spec.retrain and spec.retrain.triggers:
            assets = (retrain_asset(self.pipeline), *(upstream_asset(item) for item in spec.retrain.assets))
        schedule = self._schedule(spec.schedule, ("schedule",), assets)
        yield self._dag("training", schedule, training_stages(spec), graph)
        if spec.score is not None:
            schedule = self._schedule(spec.score.schedule, ("score", "schedule"))
            yield self._dag("score", schedule, score_stages(spec), graph)
        if spec.monitor is not None:
            schedule = self._schedule(spec.monitor.schedule, ("monitor", "schedule"))
            yield self._dag("monitor", schedule, monitor_stages(spec), graph)

    def _dag(self, kind: Kind, schedule: SchedulePlan, stages: Sequence[Stage], graph: Graph | None) -> DagPlan:
        plan = DagPlan(
            dag_id=dag_id(self.pipeline, kind),
            kind=kind,
            schedule=schedule,
            tasks=tuple(self._stage(stage, kind) for stage in stages),
            settings=self._settings(kind),
            params=self.spec.params if kind in MAIN else {},
        )
        if self.spec.defaults is not None:
            from tidemill.plan.own import settings_of

            plan = replace(plan, defaults=settings_of(self.spec.defaults, ("defaults",), self.typed))
        if graph is not None:
            from tidemill.plan.placing import placed

            plan = placed(plan, graph, self.sources, self.typed)
        return plan

    def _stage(self, stage: Stage, kind: Kind) -> TaskPlan:
        name, before, key = stage
        file, line, _ = self.sources.place(tuple(key.split(".")), key=True)
        outlets = (_OUTLETS[name](self.pipeline),) if kind not in MAIN and name in _OUTLETS else ()
        return TaskPlan(name, name, before, line, file, outlets)

    def _settings(self, kind: Kind) -> dict[str, Value]:
        """What is set of the DAG itself, by Airflow's names. The DAGs beside the training have no name of their own,
        and no runs that would be late."""
        spec, typed = self.spec, self.typed
        found: dict[str, Value] = {
            name: value
            for name in _PLAIN
            if (value := getattr(spec, name)) not in (None, {}) and (value is not False or name == _PAUSED)
        }
        if spec.dagrun_timeout is not None:
            found["dagrun_timeout"] = {"$timedelta": spec.dagrun_timeout.total_seconds()}
        for name in ("on_success", "on_failure"):
            if (value := getattr(spec, name)) is not None:
                from tidemill.plan.own import callbacks_of

                found[f"{name}_callback"] = callbacks_of(value, (name,), typed)
        if kind not in MAIN:
            found.pop("dag_display_name", None)
        elif spec.deadline is not None:
            from tidemill.plan.own import each_of

            found["deadline"] = [_deadline(one, at, typed) for at, one in each_of(spec.deadline, ("deadline",))]
        if ("user_defined_macros",) in typed and spec.user_defined_macros:
            found["user_defined_macros"] = typed["user_defined_macros",]
        return found

    def _schedule(self, written: str | Timing | None, path: Path, assets: tuple[AssetPlan, ...] = ()) -> SchedulePlan:
        spec, typed = self.spec, self.typed
        plan = SchedulePlan(
            assets=assets,
            first=_text(spec.start),
            last=_text(spec.end),
            condition=_condition(written, path, typed),
        )
        if written is None:
            # Runs by hand keep to the bounds of a workflow, too; those of models know theirs as `as_of`.
            of_models = isinstance(spec, Spec)
            return plan if of_models else replace(plan, start=_text(spec.start), end=_text(spec.end))
        ticks = cron_of(written)
        if ticks is None:
            start, end = spec.start or _SINCE, spec.end
        else:
            start, end = shifted(*ticks, spec.start, spec.end)
            plan = replace(plan, cron=ticks[0], timezone=ticks[1])
        return replace(
            plan,
            other=other_of(written, typed.get((*path, "with"))),
            start=_text(start),
            end=_text(end),
            catchup=spec.catchup,
        )


_PAUSED = "is_paused_upon_creation"
"""The one setting of a DAG that says something when it is false: by default new DAGs wait."""
_PLAIN = (
    "max_active_runs",
    "max_active_tasks",
    "max_consecutive_failed_dag_runs",
    "fail_fast",
    "render_template_as_native_obj",
    "template_searchpath",
    "user_defined_macros",
    "user_defined_filters",
    "dag_display_name",
    _PAUSED,
    "access_control",
    "doc_md",
)


def _deadline(deadline: DeadlineSection, path: Path, typed: Typed) -> dict[str, Value]:
    return {
        "name": deadline.name,
        "reference": deadline.reference,
        "interval": deadline.interval.total_seconds(),
        "callback": deadline.callback,
        "notifier": deadline.notifier,
        "with": typed.get((*path, "with"), deadline.with_),
    }


def hash_of(value: Any) -> str:
    """SHA-256 of a JSON value whose keys are sorted, 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def retrain_asset(pipeline: str) -> AssetPlan:
    """The asset whose events ask a pipeline to retrain."""
    return AssetPlan(f"{pipeline}.retrain", f"tidemill://{pipeline}/retrain")


def scores_asset(pipeline: str) -> AssetPlan:
    """The asset that a pipeline's scores update."""
    return AssetPlan(f"{pipeline}.scores", f"tidemill://{pipeline}/scores")


def upstream_asset(item: str | Upstream) -> AssetPlan:
    """An asset of somebody else's; a name or URI alone stands for both, as in Airflow."""
    return AssetPlan(item, item) if isinstance(item, str) else AssetPlan(item.name, item.uri)


def training_stages(spec: Spec) -> list[Stage]:
    """The stages of the training DAG, in order."""
    stages: list[Stage] = [
        ("as_of", (), "tidemill"),
        ("retrain", ("as_of",), "retrain" if spec.retrain else "schedule" if spec.schedule else "tidemill"),
        ("data", ("retrain",), "data"),
    ]
    checked = "data"
    if spec.data.expect:
        stages.append(("validate", ("data",), "data.expect"))
        checked = "validate"
    stages += [
        ("train", (checked,), "train"),
        ("reference", ("train",), "monitor.drift" if spec.monitor and spec.monitor.drift else "data"),
        ("evaluate", ("train",), "evaluate"),
        (
            "register",
            ("evaluate", "reference"),
            "promote.registry" if "registry" in spec.promote.model_fields_set else "promote",
        ),
    ]
    gated = "register"
    if spec.promote.approval == "manual":
        stages.append(("approve", ("register",), "promote.approval"))
        gated = "approve"
    return [*stages, ("promote", (gated,), "promote")]


def score_stages(spec: Spec) -> list[Stage]:
    """The stages of the score's DAG, in order; none if the file asks for none."""
    return [] if spec.score is None else [("as_of", (), "score"), ("score", ("as_of",), "score")]


def monitor_stages(spec: Spec) -> list[Stage]:
    """The stages of the monitor's DAG, in order; none if the file asks for none."""
    if spec.monitor is None:
        return []
    stages: list[Stage] = [("as_of", (), "monitor")]
    if spec.monitor.partitions is not None and spec.monitor.drift is not None:
        stages += [
            ("partitions", ("as_of",), "monitor.partitions"),
            ("sketch", ("partitions",), "monitor.partitions"),
            ("monitor", ("sketch",), "monitor"),
        ]
    else:
        stages.append(("monitor", ("as_of",), "monitor"))
    if spec.retrain and spec.retrain.triggers:
        stages.append(("request", ("monitor",), "retrain.triggers"))
    return stages


def dag_id(pipeline: str, kind: Kind) -> str:
    """The id of a pipeline's DAG."""
    return pipeline if kind in MAIN else f"{pipeline}.{kind}"


_OUTLETS = {"request": retrain_asset, "score": scores_asset}
"""The stages that update an asset."""


def other_of(written: str | Timing | None, arguments: dict[str, Value] | None = None) -> dict[str, Value] | None:
    """The plan's form of a schedule whose runs are not the intervals of a cron expression. ``arguments``: those of its
    timetable, as the checks read them."""
    if isinstance(written, str):
        return {"preset": f"@{written}"} if written in (ONCE, CONTINUOUS) else None
    if written is None:
        return None
    if written.every is not None:
        return {"every": written.every.total_seconds(), "data_interval": written.data_interval}
    if written.timetable is not None:
        return {"class": written.timetable, "with": written.with_ if arguments is None else arguments}
    if isinstance(written.cron, list) or (written.cron is not None and not written.data_interval):
        crons = written.cron if isinstance(written.cron, list) else [written.cron]
        return {"crons": [PRESETS.get(cron, cron) for cron in crons], "timezone": written.timezone}
    return None


def _condition(written: str | Timing | None, path: Path, typed: Typed) -> dict[str, Value] | None:
    if not isinstance(written, Timing) or written.assets is None:
        return None
    from tidemill.plan.own import asset_of, each_of

    found = [asset_of(item, at, typed) for at, item in each_of(written.assets, (*path, "assets"))]
    return {"all": found} if isinstance(written.assets, list) else found[0]


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


def cron_of(written: str | Timing | None) -> tuple[str, str] | None:
    """Cron expression and time zone of a schedule with data intervals by one; ``None`` if it is another one."""
    if isinstance(written, str):
        return None if written in (ONCE, CONTINUOUS) else (PRESETS.get(written, written), "UTC")
    if written is None or not isinstance(written.cron, str) or not written.data_interval:
        return None
    return PRESETS.get(written.cron, written.cron), written.timezone


def _text(instant: datetime | None) -> str | None:
    return instant.isoformat() if instant else None
