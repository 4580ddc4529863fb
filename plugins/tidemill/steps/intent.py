"""What a task remembers of its job, from before the service hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from tidemill.platforms.places import Choice
from tidemill.steps.context import StepContext

State = Literal["intended", "submitted", "succeeded", "failed", "stopped"]
_KEY: Final = "job"


@dataclass(frozen=True)
class Intent:
    """One attempt's job. ``service`` and ``choice`` are what runs it, where and on what, whatever the spec says by now;
    ``began`` the instant (ISO 8601) from which it waits for a machine; ``code`` the packed code's version; ``given``
    what its work is made of, as the work has it; ``console`` and ``log`` are where a person sees the job."""

    attempt: int
    cleared: int
    name: str
    state: State = "intended"
    id: str = ""
    region: str = ""
    service: str = ""
    choice: Mapping[str, Any] = field(default_factory=dict)
    began: str = ""
    code: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    console: str = ""
    log: str = ""

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return self.state not in ("intended", "submitted")

    @cached_property
    def where(self) -> Choice:
        """Where the job runs, and on what."""
        return Choice.from_json(self.choice)


def recall(ctx: StepContext) -> Intent | None:
    """What the task remembers of its job, if there is one; the task then links to it."""
    value = ctx.memory.get(_KEY)
    intent = None if value is None else Intent(**value)
    if intent is not None:
        _link(ctx, intent)
    return intent


def begun(ctx: StepContext) -> Intent | None:
    """The job of the task that is under way or has succeeded, with which the task goes on, if there is one."""
    intent = recall(ctx)
    if intent is None or intent.cleared != ctx.cleared or intent.state in ("failed", "stopped"):
        return None
    return intent


def remember(ctx: StepContext, intent: Intent) -> None:
    """Keep this of the task's job, and link to it."""
    ctx.memory.set(_KEY, asdict(intent))
    _link(ctx, intent)


def _link(ctx: StepContext, intent: Intent) -> None:
    ctx.links.update(console=intent.console, log=intent.log)
