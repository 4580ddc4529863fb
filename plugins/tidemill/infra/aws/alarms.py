"""Alarms on what a pipeline's monitor writes to CloudWatch."""

from __future__ import annotations

from tidemill.infra.hcl import Value
from tidemill.infra.needs import Pipeline


def alarms_of(pipeline: Pipeline) -> dict[str, Value]:
    """The alarms of a pipeline by the end of their names; none without a monitor of drift or performance.

    They say what the monitor's own alarms say: the window has drifted, or the whole confidence interval of a metric
    lies beyond its bound.
    """
    monitor = pipeline.spec.monitor
    found: dict[str, Value] = {}
    if monitor is None or "monitor" not in pipeline.tasks:
        return found
    if monitor.drift is not None:
        found["drift"] = _alarm(
            "drifted", "GreaterThanOrEqualToThreshold", 1, "The judged rows have drifted", pipeline, "drift"
        )
    for metric, bound in (monitor.performance or {}).items():
        at = f"performance.{metric}"
        if bound.at_least is not None:
            told = f"{metric} is surely below {bound.at_least:g}"
            found[f"{metric}-low"] = _alarm(
                f"metric_high.{metric}", "LessThanThreshold", bound.at_least, told, pipeline, at
            )
        if bound.at_most is not None:
            told = f"{metric} is surely above {bound.at_most:g}"
            found[f"{metric}-high"] = _alarm(
                f"metric_low.{metric}", "GreaterThanThreshold", bound.at_most, told, pipeline, at
            )
    return found


def _alarm(metric: str, comparison: str, threshold: float, told: str, pipeline: Pipeline, at: str) -> Value:
    return {
        "metric": metric,
        "comparison": comparison,
        "threshold": threshold,
        "description": f"{told}: model {pipeline.model} ({pipeline.asked(f'monitor.{at}')})",
    }
