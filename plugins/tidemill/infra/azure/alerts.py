"""Alerts on what a pipeline's monitor writes to Application Insights."""

from __future__ import annotations

from tidemill.infra.hcl import Value
from tidemill.infra.needs import Pipeline


def alerts_of(pipeline: Pipeline) -> dict[str, Value]:
    """The alerts of a pipeline by the end of their names; none without a monitor of drift or performance.

    They say what the monitor's own alarms say: the window has drifted, or the whole confidence interval of a metric
    lies beyond its bound.
    """
    monitor = pipeline.spec.monitor
    found: dict[str, Value] = {}
    if monitor is None or "monitor" not in pipeline.tasks:
        return found
    if monitor.drift is not None:
        found["drift"] = _alert("drifted", ">= 1", "The judged rows have drifted", pipeline, "drift")
    for metric, bound in (monitor.performance or {}).items():
        at = f"performance.{metric}"
        if bound.at_least is not None:
            told = f"{metric} is surely below {bound.at_least:g}"
            found[f"{metric}-low"] = _alert(f"metric_high.{metric}", f"< {bound.at_least!r}", told, pipeline, at)
        if bound.at_most is not None:
            told = f"{metric} is surely above {bound.at_most:g}"
            found[f"{metric}-high"] = _alert(f"metric_low.{metric}", f"> {bound.at_most!r}", told, pipeline, at)
    return found


def _alert(metric: str, holds: str, told: str, pipeline: Pipeline, at: str) -> Value:
    return {
        "metric": f"tidemill.{metric}",
        "holds": holds,
        "description": f"{told}: model {pipeline.model} ({pipeline.asked(f'monitor.{at}')})",
    }
