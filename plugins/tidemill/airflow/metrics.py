"""What a monitor found, as metrics: to StatsD, OpenTelemetry or Datadog, as Airflow itself is configured.

Gauges ``tidemill.monitor.<model>.<what>``, with the tags ``model``, ``version`` and ``dag_id``. The model stands in the
name, too, since plain StatsD has no tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.records import MonitorReport
    from tidemill.steps.context import StepContext

_MONITORED = frozenset({"aws", "gcp", "azure"})
"""The providers with a monitoring of their own: CloudWatch, Cloud Monitoring, Application Insights."""
_LONGEST = 100


def gauges(report: MonitorReport) -> Iterator[tuple[str, float]]:
    """Name, from the model on, and value of each gauge. What does not exist for this window is left out."""
    yield "rows", report.rows
    yield "labelled", report.labelled
    yield "alarms", len(report.fired)
    if report.judged_columns is not None:
        # Rows too broken to be judged have findings all the same.
        yield "findings_severe", sum(1 for finding in report.findings if finding.severity == "severe")
    if report.drifted is not None and report.share_drifted is not None:
        yield "drifted", float(report.drifted)
        yield "share_drifted", report.share_drifted
    for column in (*report.columns, *report.outputs):
        if column.distance is not None:
            yield f"distance.{_plain(column.name)}", column.distance
    if report.performance is not None:
        yield from ((f"metric.{name}", v) for name, v in report.performance.metrics.items() if v is not None)
        for interval in report.performance.intervals:
            yield f"metric_low.{interval.metric}", interval.low
            yield f"metric_high.{interval.metric}", interval.high
    if report.estimate is not None:
        yield from ((f"estimated.{name}", v) for name, v in report.estimate.metrics.items() if v is not None)


def emit(report: MonitorReport, dag_id: str) -> None:
    """Send the gauges of a report; Airflow sends nothing where no metrics are configured."""
    from airflow.sdk.observability import stats

    tags = {"model": report.model, "version": report.version or "none", "dag_id": dag_id}
    for name, value in gauges(report):
        stats.gauge(f"tidemill.monitor.{_plain(report.model)}.{name}", value, tags=tags)


def forward(report: MonitorReport, ctx: StepContext) -> None:
    """Write the same numbers to the monitoring of the pipeline's cloud; that it does not take them is a warning."""
    from tidemill.platforms.ports import PlatformError
    from tidemill.steps.remote import cloud_of

    if ctx.spec.platform.provider not in _MONITORED:
        return
    dimensions = {"model": report.model, "version": report.version or "none", "dag_id": ctx.dag_id}
    try:
        cloud_of(ctx).metrics.put(dict(gauges(report)), dimensions, ctx.as_of.instant)
    except PlatformError as error:
        ctx.log.warning("the numbers are not in the cloud's own monitoring: %s", error)


def _plain(name: str) -> str:
    """A name of one part: dots make levels in StatsD, and a column may be called anything. With a prefix of Airflow's
    own, two of them stay within the 250 characters that it allows."""
    from airflow.sdk.observability.stats import normalize_name_for_stats

    return normalize_name_for_stats(name, log_warning=False).replace(".", "_")[:_LONGEST]
