"""Numbers for Cloud Monitoring: custom metrics ``custom.googleapis.com/tidemill/…`` of the resource ``global``.

Google's client for Cloud Monitoring speaks gRPC only; its types are sent over REST here, as all else is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Final

from tidemill.platforms.gcp.account import RETRY_SECONDS, SECONDS, Account, open_account, retry
from tidemill.platforms.gcp.errors import Call, told
from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from google.auth.transport.requests import AuthorizedSession
    from google.cloud.monitoring_v3.types import CreateTimeSeriesRequest, TimeSeries

OLDEST: Final = timedelta(hours=25)
"""Cloud Monitoring takes no older point, whatever it is told about a run of the past."""
_SERIES: Final = 200
_LABELS: Final = 30
_LONGEST_VALUE: Final = 1024
_ADDRESS: Final = "https://monitoring.googleapis.com"
"""Limits: the public page "Cloud Monitoring quotas and limits"."""


def open_metrics(platform: Platform, connections: Connections) -> CloudMonitoring:
    """Cloud Monitoring of the platform's project.

    Raises:
        PlatformError: no connection or project.
    """
    return CloudMonitoring(open_account(platform, connections))


class CloudMonitoring:
    """The ``Metrics`` of one project."""

    def __init__(self, account: Account) -> None:
        self.account = account

    @cached_property
    def _session(self) -> AuthorizedSession:
        from google.auth.transport.requests import AuthorizedSession

        return AuthorizedSession(self.account.credentials)

    def put(self, values: Mapping[str, float], dimensions: Mapping[str, str], at: datetime) -> None:
        """Write a point of each number, 200 a call."""
        if at < datetime.now(UTC) - OLDEST:
            raise PlatformError(
                f"Cloud Monitoring takes no numbers from before {OLDEST.total_seconds() / 3600:g} hours ago; these are "
                f"of {at:%Y-%m-%d %H:%M} UTC",
                fault="user",
            )
        series = [self._series(name, value, dimensions, at) for name, value in values.items() if math.isfinite(value)]
        for part in _parts(series):
            self._send(part)

    def _series(self, name: str, value: float, dimensions: Mapping[str, str], at: datetime) -> TimeSeries:
        from google.api.metric_pb2 import Metric, MetricDescriptor
        from google.api.monitored_resource_pb2 import MonitoredResource
        from google.cloud.monitoring_v3.types import Point, TimeInterval, TimeSeries, TypedValue

        labels = {_key(key): value[:_LONGEST_VALUE] for key, value in list(dimensions.items())[:_LABELS]}
        return TimeSeries(
            metric=Metric(type=metric_type(name), labels=labels),
            resource=MonitoredResource(type="global", labels={"project_id": self.account.project}),
            metric_kind=MetricDescriptor.MetricKind.GAUGE,
            value_type=MetricDescriptor.ValueType.DOUBLE,
            points=[Point(interval=TimeInterval(end_time=at), value=TypedValue(double_value=value))],
        )

    def _send(self, series: list[TimeSeries]) -> None:
        from google.api_core.exceptions import from_http_response
        from google.cloud.monitoring_v3.types import CreateTimeSeriesRequest

        name = f"projects/{self.account.project}"
        body = _json(CreateTimeSeriesRequest(name=name, time_series=series))
        url = f"{self.account.api_endpoint or _ADDRESS}/v3/{name}/timeSeries"

        def once() -> None:
            answer = self._session.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=SECONDS)
            if not answer.ok:
                raise from_http_response(answer)

        call = Call(
            "write numbers to Cloud Monitoring", "monitoring.timeSeries.create", "roles/monitoring.metricWriter"
        )
        with told(self.account, call):
            retry(RETRY_SECONDS)(once)()


def _json(request: CreateTimeSeriesRequest) -> str:
    from google.cloud.monitoring_v3.types import CreateTimeSeriesRequest

    text: str = CreateTimeSeriesRequest.to_json(request, use_integers_for_enums=False)
    return text


def _parts(series: list[TimeSeries]) -> Iterator[list[TimeSeries]]:
    for at in range(0, len(series), _SERIES):
        yield series[at : at + _SERIES]


def metric_type(name: str) -> str:
    """A number's name as a metric type, whose last part has letters, digits, and ``_ / . -``."""
    return f"custom.googleapis.com/tidemill/{re.sub(r'[^A-Za-z0-9_/.-]', '_', name)}"


def _key(key: str) -> str:
    """A dimension's name as a label's: letters, digits and underscores, from a letter on."""
    key = re.sub(r"[^A-Za-z0-9_]", "_", key)
    return (key if key[:1].isalpha() else f"d{key}")[:100]
