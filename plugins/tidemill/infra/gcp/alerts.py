"""Alert policies on what a pipeline's monitor writes to Cloud Monitoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from tidemill.infra.gcp.base import Gcp
from tidemill.infra.hcl import Raw, Value
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Pipeline
from tidemill.infra.root import Made
from tidemill.platforms.gcp.metrics import metric_type

_ALERT: Final = Limit("an alert policy's name", 512)
"""AlertPolicy.display_name, Cloud Monitoring's API reference, November 2026."""
_LABELS: Final = ("dag_id", "model", "version")
"""The labels that the monitor's numbers have."""


@dataclass(frozen=True)
class Alert:
    """``metric``, as Cloud Monitoring knows it, is beyond a threshold; ``end``: the end of the policy's name."""

    end: str
    metric: str
    comparison: Literal["COMPARISON_GT", "COMPARISON_LT"]
    threshold: float
    told: str


def alerts(gcp: Gcp) -> None:
    """The metrics that alerts are on, and the alerts of each pipeline."""
    found = {pipeline.name: list(alerts_of(pipeline)) for pipeline in gcp.needs.pipelines}
    watched = [pipeline for pipeline in gcp.needs.pipelines if found[pipeline.name]]
    if any("monitor" in pipeline.tasks for pipeline in gcp.needs.pipelines):
        gcp.services.add("monitoring")
    if not watched:
        return
    metrics = sorted({alert.metric for pipeline in watched for alert in found[pipeline.name]})
    asked = tuple(pipeline.asked("monitor") for pipeline in watched)
    inputs: dict[str, Value] = {"project": Raw(gcp.project), "types": metrics, "labels": [*_LABELS]}
    described = gcp.root.module("metrics", "metrics", inputs, Made("metrics", "custom.googleapis.com/tidemill", asked))
    channels = gcp.root.variable(
        "alert_channels", "list(string)", "Notification channels, projects/PROJECT/notificationChannels/NUMBER.", []
    )
    for pipeline in watched:
        for alert in found[pipeline.name]:
            checked(f"{gcp.prefix}-{pipeline.name}-{alert.end}", _ALERT, (pipeline.asked("monitor"),))
        made = Made("alerts", pipeline.name, (pipeline.asked("monitor"),))
        policies: dict[str, Value] = {
            alert.end: {
                "metric": alert.metric,
                "comparison": alert.comparison,
                "threshold": alert.threshold,
                "description": alert.told,
            }
            for alert in found[pipeline.name]
        }
        gcp.root.module(
            "alerts",
            gcp.root.label("alerts", pipeline.name, made.asked),
            {
                "prefix": Raw(f'"${{var.prefix}}-{pipeline.name}"'),
                "project": Raw(f"{described}.project"),
                "labels": {"dag_id": pipeline.monitor_dag, "model": pipeline.model},
                "alerts": policies,
                "channels": channels,
            },
            made,
        )


def alerts_of(pipeline: Pipeline) -> Iterator[Alert]:
    """The alerts of a pipeline; none without a monitor of drift or performance.

    They say what the monitor's own alarms say: the window has drifted, or the whole confidence interval of a metric
    lies beyond its bound.
    """
    monitor = pipeline.spec.monitor
    if monitor is None or "monitor" not in pipeline.tasks:
        return

    def of(at: str, told: str) -> str:
        return f"{told}: model {pipeline.model} ({pipeline.asked(f'monitor.{at}')})"

    if monitor.drift is not None:
        told = of("drift", "The judged rows have drifted")
        yield Alert("drift", metric_type("drifted"), "COMPARISON_GT", 0.5, told)
    for metric, bound in (monitor.performance or {}).items():
        at = f"performance.{metric}"
        if bound.at_least is not None:
            told = of(at, f"{metric} is surely below {bound.at_least:g}")
            high = metric_type(f"metric_high.{metric}")
            yield Alert(f"{metric}-low", high, "COMPARISON_LT", bound.at_least, told)
        if bound.at_most is not None:
            told = of(at, f"{metric} is surely above {bound.at_most:g}")
            low = metric_type(f"metric_low.{metric}")
            yield Alert(f"{metric}-high", low, "COMPARISON_GT", bound.at_most, told)
