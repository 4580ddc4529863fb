"""The policies that a backtest compares: the spec's own, never retraining, and always retraining."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tidemill.records import MonitorReport, RetrainRequest
from tidemill.spec.models import Spec

Name = Literal["given", "never", "always"]


@dataclass(frozen=True)
class Policy:
    """When a model is trained anew. ``title`` is what people read."""

    name: Name
    title: str

    def spec(self, spec: Spec) -> Spec:
        """The spec as this policy has it: only the given one has guards. The windows are judged by all metrics of
        `evaluate`, whether the monitor has a bound for them or not."""
        from tidemill.spec.monitoring import Bound

        monitor = spec.monitor
        if monitor is not None:
            bounds = {name: Bound() for name in spec.evaluate.metrics} | (monitor.performance or {})
            monitor = monitor.model_copy(update={"performance": bounds, "partitions": None})
        update: dict[str, Any] = {"monitor": monitor}
        return spec.model_copy(update=update if self.name == "given" else {**update, "retrain": None})

    def follows_calendar(self, *, has_champion: bool) -> bool:
        """Whether a run of the training's own schedule takes place."""
        return self.name != "never" or not has_champion

    def answers(self, report: MonitorReport, request: RetrainRequest | None) -> bool:
        """Whether a window that was judged starts a training."""
        if self.name == "given":
            return request is not None
        return self.name == "always" and report.version is not None


GIVEN = Policy("given", "as the spec says")
NEVER = Policy("never", "never retrained")
ALWAYS = Policy("always", "retrained after every window")
POLICIES: tuple[Policy, ...] = (GIVEN, NEVER, ALWAYS)
