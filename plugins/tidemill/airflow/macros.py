"""What templates of steps may use besides Airflow's own: ``steps('name').field`` and ``as_of()``; and a field of a
step's result that stands alone, which keeps its type."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from airflow.sdk.definitions.xcom_arg import PlainXComArg
from airflow.sdk.exceptions import XComNotFound
from jinja2 import pass_context
from jinja2.runtime import Context

from tidemill.errors import TidemillError


class NoOutput(TidemillError):
    """A template asks for the result of a step that gave none in this run."""


class Result(PlainXComArg):
    """The result of a task, which must have one: Airflow's own is nothing where the task did not run."""

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The task's result. Raises NoOutput: the step did not run, or returned nothing."""
        value = super().resolve(context)
        if value is None:
            raise _missing(self.operator.task_id, context)
        return value


class Field(PlainXComArg):
    """A field of a task's result: of the mapping that it returned, else what it pushed under that name. Airflow's own
    knows the latter alone, which a function gives only if its annotation says that it returns a mapping."""

    def resolve(self, context: Mapping[str, Any]) -> Any:
        """The field's value; of a mapped task, the list of them.

        Raises:
            NoOutput: the step did not run, or its result has no such field.
        """
        value = PlainXComArg(self.operator).resolve(context)
        if self.operator.is_mapped:
            return [self._of(item, context) for item in value]
        return self._of(value, context)

    def _of(self, value: Any, context: Mapping[str, Any]) -> Any:
        if isinstance(value, Mapping) and self.key in value:
            return value[self.key]
        with suppress(XComNotFound):
            pushed = super().resolve(context)
            if pushed is not None:
                return pushed
        if value is None:
            raise _missing(self.operator.task_id, context)
        kind = "a mapping without it" if isinstance(value, Mapping) else f"{type(value).__name__}, which has no fields"
        raise NoOutput(f"steps.{self.operator.task_id}.{self.key}: the step returned {kind}")


@pass_context
def steps(context: Context, task_id: str) -> Any:
    """The result of a step in this run; the fields of a mapping can be read by name. Within a mapped group, that of the
    same repetition; of a mapped step, the list of its results.

    Raises:
        NoOutput: the step did not run, or returned nothing.
    """
    task = context["dag"].get_task(task_id)
    value = PlainXComArg(task).resolve(dict(context))
    if task.is_mapped:
        return list(value)
    if value is None:
        raise _missing(task_id, context)
    return value


def _missing(task_id: str, context: Any) -> NoOutput:
    run = getattr(context.get("dag_run"), "run_id", "this run")
    return NoOutput(
        f"steps.{task_id}: the step has no result in {run}: it was skipped, has failed, or returned nothing. "
        "Put the step that asks for it where that cannot happen, or let the other one return something."
    )


@pass_context
def as_of(context: Context) -> str:
    """The instant that the run stands at, ISO 8601 in UTC: what the task ``as_of`` of a pipeline found; in a workflow
    the param ``as_of``, else the end of the data interval, else the latest event's, else when the run was due."""
    from tidemill.airflow.operators import trigger_facts
    from tidemill.steps.as_of import instant_of

    if "as_of" in context["dag"].task_ids:
        found: Mapping[str, Any] = steps(context, "as_of")
        return str(found["instant"])
    return instant_of(trigger_facts(context)).isoformat()


MACROS = {"steps": steps, "as_of": as_of}
