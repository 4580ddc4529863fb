"""What templates of steps may use besides Airflow's own: ``steps('name').field`` and ``as_of()``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, pass_context
from jinja2.runtime import Context

from tidemill.errors import TidemillError


class NoOutput(TidemillError):
    """A template asks for the result of a step that gave none in this run."""


@pass_context
def steps(context: Context, task_id: str) -> Any:
    """The result of a step in this run; the fields of a mapping can be read by name.

    Raises:
        NoOutput: the step did not run, or returned nothing.
    """
    value = context["ti"].xcom_pull(task_ids=task_id)
    if value is None:
        run = getattr(context.get("dag_run"), "run_id", "this run")
        raise NoOutput(
            f"steps('{task_id}'): the step has no result in {run}: it was skipped, has failed, or returned nothing. "
            "Put the step that asks for it where that cannot happen, or let the other one return something."
        )
    return value


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


def native_sandbox(env: Environment) -> Environment:
    """A sandbox whose templates give objects instead of text. Airflow's own environment for that is no sandbox, and a
    template in it reaches Python's insides through names put together at run time."""
    from airflow.sdk.definitions._internal.templater import NativeEnvironment, SandboxedEnvironment

    class NativeSandbox(SandboxedEnvironment, NativeEnvironment):
        """Both: what the first forbids, and how the second puts results together."""

    env.__class__ = NativeSandbox
    return env
