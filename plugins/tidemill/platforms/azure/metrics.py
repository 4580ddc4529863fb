"""Numbers over time as custom metrics of Application Insights, by OpenTelemetry's data model and Microsoft's exporter.

The resource is named by its connection string, in the Airflow connection's extra as ``application_insights``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from tidemill.platforms.azure.account import quiet
from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform

OLDEST: Final = timedelta(hours=48)
"""Application Insights drops older telemetry without a word: "How long is the data kept", in its FAQ."""
_SILENT: Final = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
)
"""The exporter would report on its own use, to Microsoft and to the resource, and ask for settings, from threads."""
_LONGEST_KEY: Final = 150
_LONGEST_VALUE: Final = 8192
"""Of custom properties: "Application Insights limits", read in November 2026."""


def open_metrics(platform: Platform, connections: Connections) -> ApplicationInsights:
    """The Application Insights resource of a platform's connection.

    Raises:
        PlatformError: there is no such connection, or it names no resource.
    """
    conn_id = connection_id(platform)
    found = connections.get(conn_id)
    address = str(found.extra.get("application_insights") or "") if found is not None else ""
    if not address:
        raise PlatformError(
            f"connection {conn_id!r} names no Application Insights resource; add its connection string to the extra "
            "as application_insights",
            fault="user",
        )
    return ApplicationInsights(address, conn_id)


class ApplicationInsights:
    """The port ``Metrics`` over one resource."""

    def __init__(self, address: str, connection: str) -> None:
        self._address = address
        self._connection = connection

    @cached_property
    def _exporter(self) -> Any:
        for name in _SILENT:
            os.environ.setdefault(name, "true")
        from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter

        quiet()
        try:
            # What could not be sent is an error here, not a file for another day.
            return AzureMonitorMetricExporter(connection_string=self._address, disable_offline_storage=True)
        except ValueError as error:
            raise PlatformError(
                f"connection {self._connection!r}: application_insights is no connection string: {error}", fault="user"
            ) from error

    def put(self, values: Mapping[str, float], dimensions: Mapping[str, str], at: datetime) -> None:
        """See the port. One call for all values.

        Raises:
            PlatformError: as the port says; and for numbers from before two days ago, which would be dropped.
        """
        from opentelemetry.sdk.metrics.export import MetricExportResult

        if at < datetime.now(UTC) - OLDEST:
            raise PlatformError(
                f"Application Insights takes no numbers from before {OLDEST.total_seconds() / 3600:g} hours ago; these "
                f"are of {at:%Y-%m-%d %H:%M} UTC",
                fault="user",
            )
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if not finite:
            return
        if self._exporter.export(metrics_data(finite, dimensions, at)) is not MetricExportResult.SUCCESS:
            raise PlatformError(
                "Application Insights did not take the numbers; the line of its client in the log says why. If it "
                f"names the instrumentation key, mend application_insights in the connection {self._connection!r}"
            )


def metrics_data(values: Mapping[str, float], dimensions: Mapping[str, str], at: datetime) -> Any:
    """Gauges at an instant, in OpenTelemetry's data model; its own instruments know no other time than now."""
    from opentelemetry.sdk.metrics.export import (
        Gauge,
        Metric,
        MetricsData,
        NumberDataPoint,
        ResourceMetrics,
        ScopeMetrics,
    )
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    nanoseconds = int(at.timestamp() * 1_000_000) * 1000
    attributes = {key[:_LONGEST_KEY]: value[:_LONGEST_VALUE] for key, value in dimensions.items()}
    metrics = [
        Metric(f"tidemill.{name}", None, None, Gauge([NumberDataPoint(attributes, nanoseconds, nanoseconds, value)]))
        for name, value in values.items()
    ]
    scope = ScopeMetrics(InstrumentationScope("tidemill"), metrics, "")
    resource = Resource({"service.name": "tidemill"})
    return MetricsData([ResourceMetrics(resource, [scope], "")])
