"""The operators: unpack what Airflow knows, call the step, hand back its record."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BaseOperator, SkipMixin

from tidemill.airflow.links import ConsoleLink, JobLogLink, MlflowLink, ReportLink
from tidemill.plan.model import Plan
from tidemill.project import Project

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from airflow.sdk.definitions.context import Context

    from tidemill.records import Record
    from tidemill.steps.context import StepContext, StepWaits, TriggerFacts

_COLOURS = {
    "as_of": "#e8eef2",
    "retrain": "#fde9c9",
    "request": "#fde9c9",
    "data": "#d9ead3",
    "validate": "#d9ead3",
    "reference": "#d9ead3",
    "promote": "#d0e0f5",
    "score": "#e6dcf0",
    "partitions": "#e8eef2",
    "register": "#d0e0f5",
}

_SAYING = frozenset({"retrain", "request", "monitor", "promote", "score"})
"""The steps that decide something, or not to do it: what, and why, stands under *Rendered Templates* of their task."""

_LINKED = frozenset({"train", "register", "promote"})
"""The steps whose task links to what it made in MLflow."""

_REMOTE = frozenset({"train", "validate", "evaluate", "monitor", "score"})
"""The steps whose work may be a job on the platform's service, where that is not this machine."""

_LOST_AFTER = timedelta(minutes=5)
SPREAD = ("partitions", "sketch")
"""The stage that says what each mapped task has to do, and the mapped one."""


class Placeholder(BaseOperator):
    """Stands for a task in the process of another task of its DAG: the same id and edges, nothing to import.

    ``stub`` takes what the task is mapped over.
    """

    def __init__(self, *, stub: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stub = stub

    def execute(self, context: Any) -> None:
        """Raises RuntimeError: a placeholder is never run."""
        raise RuntimeError(f"{self.task_id} was built as a placeholder; its task_id was not in the parsing context")


class StepOperator(BaseOperator):
    """Runs one step of a pipeline.

    ``earlier``: the tasks before this one, whose records the step may read.
    """

    def __init__(self, *, step: str, plan: Plan, earlier: tuple[str, ...], project: Project, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.plan = plan
        self.earlier = earlier
        self.project = project
        self.said = ""
        self.stopping: list[Callable[[], None]] = []
        if step in _SAYING:
            # What a task says becomes known when it has run: Airflow stores these fields again then. The note of a
            # task, which would be another place for it, is for people alone: a task cannot write its own.
            self.template_fields = ("said",)
            self.overwrite_rtif_after_execution = True
        self.links: dict[str, str] = {}
        self.reported = False
        self.operator_extra_links = (
            *((ConsoleLink(), JobLogLink()) if _leaves(plan, step) else ()),
            *((MlflowLink(),) if step in _LINKED else ()),
            *((ReportLink(),) if step == "monitor" else ()),
        )
        self.ui_color = _COLOURS.get(step, "#ffffff")

    @property
    def custom_operator_name(self) -> str:
        """What the UI calls this task's operator."""
        return f"tidemill {self.step}"

    def execute(self, context: Context) -> Any:
        """Run the step; see :meth:`_run`."""
        return self._run(context)

    def wake(self, context: Context, event: Any) -> Any:
        """Run the step again: what it waited for has ended, or asks for its attention."""
        return self._run(context, woken=True)

    def on_kill(self) -> None:
        """Somebody stops the task while it runs: what it has running elsewhere ends with it."""
        for stop in self.stopping:
            try:
                stop()
            except Exception:  # the task is being ended, and whatever else it holds has to be let go of, too
                logging.getLogger(__name__).exception("what the task had running could not be stopped")

    def _wait(self, waits: StepWaits) -> NoReturn:
        from datetime import UTC, datetime

        from tidemill.airflow.triggers import trigger_for

        self.defer(
            trigger=trigger_for(waits.cloud, waits.ref, waits.until, waits.queued_until),
            method_name="wake",
            # A trigger that is lost must not leave its task waiting for ever.
            timeout=waits.until - datetime.now(UTC) + _LOST_AFTER,
        )

    def _run(self, context: Context, *, woken: bool = False) -> Any:
        """Run the step; the record it returns, as JSON, is the task's XCom, or what each mapped task is given.

        Raises:
            AirflowSkipException: there is nothing to do; the reason is in the log and in what the task said.
            AirflowFailException: the step failed, and trying again cannot help.
            AirflowException: the step failed, and trying again may help.
        """
        from importlib import import_module

        from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

        from tidemill.ledger import LedgerError
        from tidemill.records import MonitorReport, Partitions, RetrainRequest, Scoring
        from tidemill.steps.context import StepError, StepSkipped, StepWaits

        step = import_module(f"tidemill.steps.{self.step}")
        ctx = self._context(context)
        if woken:
            ctx = replace(ctx, woken=True)
        self.stopping, self.links = ctx.on_stop, ctx.links
        try:
            record = step.run(ctx)
        except StepWaits as waits:
            self._wait(waits)
        except StepSkipped as skipped:
            self.said = (said(skipped.record) if skipped.record else "") or str(skipped)
            if skipped.record is not None:
                context["ti"].xcom_push("return_value", skipped.record.to_json())
            raise AirflowSkipException(str(skipped)) from None
        except StepError as error:
            kind = AirflowException if error.retry else AirflowFailException
            raise kind(str(error)) from None
        except LedgerError as error:
            raise AirflowException(str(error)) from None
        if isinstance(record, Partitions):
            return record.parts()
        self.said = said(record)
        value: dict[str, Any] = record.to_json()
        if isinstance(record, MonitorReport):
            from tidemill.airflow.metrics import emit, forward

            self.reported = record.page is not None
            emit(record, ctx.dag_id)
            forward(record, ctx)
        if isinstance(record, RetrainRequest | Scoring):
            for outlet in self.outlets:
                context["outlet_events"][outlet].extra = value
        return value

    def _context(self, context: Context, part: dict[str, Any] | None = None) -> StepContext:
        from tidemill.airflow.connections import AirflowConnections, ledger_opener
        from tidemill.platforms.local.jobs import LocalJobs
        from tidemill.records import SketchPart, from_json
        from tidemill.spec.models import Spec
        from tidemill.steps.context import StepContext

        ti = context["ti"]
        values = {name: ti.xcom_pull(task_ids=name) for name in self.earlier if name not in SPREAD}
        sketches = ti.xcom_pull(task_ids=SPREAD[-1]) if SPREAD[-1] in self.earlier else ()
        connections = AirflowConnections()
        return StepContext(
            pipeline=self.plan.pipeline,
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            task_id=ti.task_id,
            try_number=ti.try_number,
            spec=Spec.model_validate(self.plan.spec),
            spec_hash=self.plan.spec_hash,
            model=self.plan.model,
            project=self.project,
            connections=connections,
            jobs=LocalJobs(self.project.state),
            open_ledger=ledger_opener(connections, self.project),
            trigger=trigger_facts(context),
            results={name: from_json(value) for name, value in values.items() if value and "record" in value},
            answer=values.get("approve"),
            part=part,
            memory=TaskMemory(context),
            # Airflow grants a task its retries anew whenever it is cleared.
            cleared=(ti.max_tries or 0) - (self.retries or 0) if self.step in _REMOTE else 0,
            parts=tuple(SketchPart.from_json(value) for value in sketches or () if value),
            log=logging.getLogger(f"tidemill.{self.step}"),
        )


class Stage:
    """What a mapped task is besides its part. Its text is what Airflow stores of it."""

    def __init__(self, step: str, plan: Plan, earlier: tuple[str, ...], project: Project) -> None:
        self.step = step
        self.plan = plan
        self.earlier = earlier
        self.project = project

    def __str__(self) -> str:
        """The step and its pipeline."""
        return f"{self.step} of {self.plan.pipeline}"


class MappedStepOperator(StepOperator):
    """Runs one step for a part of the work."""

    # Airflow asks the class for it, where there is no task yet.
    custom_operator_name = f"tidemill {SPREAD[1]}"

    def __init__(self, *, stage: Stage, part: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(step=stage.step, plan=stage.plan, earlier=stage.earlier, project=stage.project, **kwargs)
        self.part = part

    def _context(self, context: Context, part: dict[str, Any] | None = None) -> StepContext:
        return super()._context(context, self.part)


class PromoteOperator(StepOperator, SkipMixin):
    """The step ``promote`` where others follow it: those that ask for another outcome are skipped.

    ``followers``: outcome → the tasks that run after it.
    """

    def __init__(self, *, followers: dict[str, list[str]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.followers = followers

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step, then skip the tasks right after it that ask for another outcome."""
        value: dict[str, Any] = super().execute(context)
        # Skipping ends the task by an exception, and what a task returns is lost with it.
        context["ti"].xcom_push("return_value", value)
        self.skip_all_except(context["ti"], self.followers.get(value["outcome"], []))
        return value


class TaskMemory:
    """What a task remembers, in Airflow's task state store: its tries share it, and clearing the task keeps it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def get(self, name: str) -> Any:
        """The value; ``None`` if there is none."""
        return self._context["task_state_store"].get(name)

    def set(self, name: str, value: Any) -> None:
        """Remember a value for as long as the run is kept."""
        from airflow.sdk.execution_time.context import NEVER_EXPIRE

        self._context["task_state_store"].set(name, value, retention=NEVER_EXPIRE)


def said(record: Record) -> str:
    """What a step decided, and why, a reason a line; nothing for a step that decides nothing."""
    from tidemill.records import Decision, MonitorReport, Promotion, RetrainRequest, Scoring

    newline = "\n"
    if isinstance(record, Decision):
        from tidemill.steps import retrain

        return retrain.said(record, joint="\n")
    if isinstance(record, Promotion):
        return f"version {record.version} {record.outcome}: {newline.join(record.reasons)}"
    if isinstance(record, RetrainRequest):
        return f"asked for a training, because of {' and '.join(record.reasons)}"
    if isinstance(record, Scoring):
        unscored = f", {record.unscored:,} of them without a score" if record.unscored else ""
        return f"version {record.version} scored {record.rows:,} rows{unscored}: {record.path}"
    if isinstance(record, MonitorReport):
        return f"alarm: {' and '.join(record.fired) or 'none'}: {newline.join(record.why)}"
    return ""


def _leaves(plan: Plan, step: str) -> bool:
    """Whether a step's work is done by a job elsewhere."""
    platform = plan.spec.get("platform") or {}
    if step not in _REMOTE or platform.get("provider", "local") == "local":
        return False
    processing = platform.get("processing")
    return step == "train" or (processing is not None and step in (processing.get("steps") or _REMOTE))


def trigger_facts(context: Any) -> TriggerFacts:
    """What Airflow knows of how a run was started."""
    from tidemill.steps.context import Event, TriggerFacts

    run = context["dag_run"]
    events = [event for group in context["triggering_asset_events"].values() for event in group]
    return TriggerFacts(
        params=dict(context["params"]),
        run_after=_utc(run.run_after),
        run_type=str(getattr(run.run_type, "value", run.run_type)),
        interval_start=_utc(run.data_interval_start) if run.data_interval_start else None,
        interval_end=_utc(run.data_interval_end) if run.data_interval_end else None,
        events=tuple(Event(dict(e.extra or {}), _utc(e.timestamp), str(e.asset.name)) for e in events),
    )


def _utc(instant: Any) -> datetime:
    from datetime import UTC

    return datetime.fromtimestamp(instant.timestamp(), UTC)


def approval(task_id: str, dag: DAG, plan: Plan) -> BaseOperator:
    """The task at which a person answers. ``promote`` reads the answer and records it, so a rejection must not
    skip it, as Airflow's ``ApprovalOperator`` would."""
    from airflow.providers.standard.operators.hitl import HITLOperator

    return HITLOperator(
        task_id=task_id,
        dag=dag,
        subject=f"Promote a new version of {plan.model}?",
        body=_APPROVAL_BODY,
        options=["Approve", "Reject"],
    )


_APPROVAL_BODY = """\
{% set e = ti.xcom_pull(task_ids='evaluate') %}{% set v = ti.xcom_pull(task_ids='register') %}
Version **{{ v['version'] }}** of **{{ v['model'] }}**, judged on {{ e['rows'] }} holdout rows.

| metric | challenger | champion {{ e['champion_version'] or '(none)' }} |
| --- | --- | --- |
{% for name, value in e['challenger']['metrics'].items() -%}
| {{ name }} | {{ value }} | {{ (e['champion'] or {}).get('metrics', {}).get(name, '') }} |
{% endfor %}
Approving does not skip the gate: a version that misses it is refused all the same.
"""
