"""Which guard holds for which kind of run: the one table, which docs/retraining.md shows to users."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tidemill.records import Cause
from tidemill.steps.policy.facts import Facts, Finding
from tidemill.steps.policy.hours import quiet_hours
from tidemill.steps.policy.money import budget
from tidemill.steps.policy.order import at_most, cooldown, once, order, stop_after
from tidemill.steps.policy.signals import data_quality, min_rows, triggers

Force = Literal["holds", "warns", "if counted", "no"]
"""``holds``: it refuses the run. ``warns``: it is said and recorded, and the run goes on. ``if counted``: it holds with
``count_scheduled``. ``no``: it is not asked."""


@dataclass(frozen=True)
class Guard:
    """A guard: its name, the function that asks it, and its force over each kind of run."""

    name: str
    ask: Callable[[Facts], Finding | None]
    event: Force
    scheduled: Force
    manual: Force

    def force(self, cause: Cause, *, count_scheduled: bool) -> Force:
        """Its force over a run: ``holds``, ``warns`` or ``no``."""
        found = {"asset": self.event, "scheduled": self.scheduled, "manual": self.manual}[cause]
        if found == "if counted":
            return "holds" if count_scheduled else "no"
        return found


GUARDS = (
    Guard("triggers", triggers, event="holds", scheduled="no", manual="no"),
    Guard("order", order, event="holds", scheduled="no", manual="no"),
    Guard("once", once, event="holds", scheduled="no", manual="no"),
    Guard("cooldown", cooldown, event="holds", scheduled="no", manual="no"),
    Guard("at_most", at_most, event="holds", scheduled="if counted", manual="no"),
    Guard("budget", budget, event="holds", scheduled="holds", manual="warns"),
    Guard("min_rows", min_rows, event="holds", scheduled="holds", manual="holds"),
    Guard("quiet_hours", quiet_hours, event="holds", scheduled="no", manual="no"),
    Guard("veto", data_quality, event="holds", scheduled="no", manual="no"),
    Guard("stop_after", stop_after, event="holds", scheduled="no", manual="no"),
)
"""The guards in the order in which their reasons are told. All are asked, whatever the first ones say."""
