"""What a monitor found, as metrics: their names and values, as they arrive where Airflow is told to send them."""

from __future__ import annotations

import atexit
import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tidemill.airflow.metrics import emit, gauges
from tidemill.records import ColumnDrift, DataFinding, Estimate, Interval, MonitorReport, Performance

START, END = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC)
BOUND = Interval(metric="roc_auc", low=0.66, high=0.7, confidence=0.95, method="delong")
REPORT = MonitorReport(
    model="flights.UA",
    version="7",
    start=START,
    end=END,
    rows=29_425,
    labelled=28_293,
    fired=("drift", "performance"),
    columns=(
        ColumnDrift(name="temp", type="numeric", distance=5.0625, drifted=True),
        ColumnDrift(name="wind speed.mph", type="numeric", distance=0.125, drifted=False),
        ColumnDrift(name="cauchy", type="numeric", distance=None, drifted=False, note="has no mean"),
    ),
    outputs=(ColumnDrift(name="late", type="boolean", distance=0.25, drifted=False),),
    judged_columns=2,
    share_drifted=0.5,
    drifted=True,
    findings=(
        DataFinding(kind="missing_column", column="pressure", severity="severe", detail="missing"),
        DataFinding(kind="new_column", column="x", severity="info", detail="new"),
    ),
    performance=Performance(version="7", metrics={"roc_auc": 0.68, "log_loss": None, "r2": -0.5}, intervals=(BOUND,)),
    estimate=Estimate(
        version="7", metrics={"roc_auc": 0.71}, intervals=(), start=START, end=END, rows=9, calibration="isotonic"
    ),
)
SENT = {
    "rows": 29_425,
    "labelled": 28_293,
    "alarms": 2,
    "findings_severe": 1,
    "drifted": 1,
    "share_drifted": 0.5,
    "distance.temp": 5.0625,
    "distance.wind_speed_mph": 0.125,
    "distance.late": 0.25,
    "metric.roc_auc": 0.68,
    "metric.r2": -0.5,
    "metric_low.roc_auc": 0.66,
    "metric_high.roc_auc": 0.7,
    "estimated.roc_auc": 0.71,
}


@pytest.fixture
def send(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Send a report's metrics as a task of an Airflow with these settings does; none are kept for other tests."""
    from airflow.sdk.observability import stats
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory

    def sends(report: MonitorReport = REPORT, **environment: str) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        stats.initialize(factory=get_stats_factory(), export_legacy_names=True)
        emit(report, "flights.UA.monitor")

    yield sends
    monkeypatch.undo()
    stats.initialize(factory=get_stats_factory(), export_legacy_names=True)


@pytest.fixture
def statsd() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.settimeout(2)
        yield listening


def to_statsd(listening: socket.socket, **more: str) -> dict[str, str]:
    """The settings that send metrics there."""
    return {
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(listening.getsockname()[1]),
        **more,
    }


def arrived(listening: socket.socket, last: str) -> dict[str, float]:
    """The gauges that have arrived, up to the ``last`` one."""
    found: dict[str, float] = {}
    while last not in found:
        for line in listening.recv(65536).decode().splitlines():
            name, value = line.removesuffix("|g").rsplit(":", 1)
            found[name] = float(value)
    return found


def test_statsd_gets_a_gauge_for_every_number_that_exists(send: Callable[..., None], statsd: socket.socket) -> None:
    send(**to_statsd(statsd))
    found = arrived(statsd, "airflow.tidemill.monitor.flights_UA.estimated.roc_auc")
    assert found == {f"airflow.tidemill.monitor.flights_UA.{name}": value for name, value in SENT.items()}


def test_tags_go_where_airflow_is_told_to_send_them(send: Callable[..., None], statsd: socket.socket) -> None:
    send(**to_statsd(statsd, AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED="True"))
    tags = "model=flights.UA,version=7,dag_id=flights.UA.monitor"
    last = f"airflow.tidemill.monitor.flights_UA.estimated.roc_auc,{tags}"
    assert arrived(statsd, last)[f"airflow.tidemill.monitor.flights_UA.share_drifted,{tags}"] == 0.5


def test_opentelemetry_gets_the_same_gauges_with_their_tags(send: Callable[..., None]) -> None:
    from airflow.sdk._shared.observability.metrics.otel_logger import flush_otel_metrics
    from opentelemetry import metrics
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        send(AIRFLOW__METRICS__OTEL_ON="True", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, NO_PROXY="127.0.0.1")
        provider: Any = metrics.get_meter_provider()
        provider.shutdown()  # sends what is there, as the end of a task's process does
        atexit.unregister(flush_otel_metrics)
        server.shutdown()

    sent = [ExportMetricsServiceRequest.FromString(body) for body in bodies]
    found = [m for request in sent for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
    points = {m.name: m.gauge.data_points[0] for m in found}
    values = {name: point.as_double or point.as_int for name, point in points.items()}
    # OpenTelemetry's names are lower case; the tag keeps the model's.
    assert values == {f"airflow.tidemill.monitor.flights_ua.{name}": value for name, value in SENT.items()}
    tags = {a.key: a.value.string_value for a in next(iter(points.values())).attributes}
    assert tags == {"model": "flights.UA", "version": "7", "dag_id": "flights.UA.monitor"}


def test_names_of_any_length_and_alphabet_arrive(send: Callable[..., None], statsd: socket.socket) -> None:
    names = ["größe:1|c\n", "x" * 300, "rows"]
    columns = tuple(ColumnDrift(name=name, type="numeric", distance=1.0, drifted=True) for name in names)
    send(
        replace(REPORT, model="m" * 250, columns=columns, outputs=(), performance=None, estimate=None),
        **to_statsd(statsd),
    )
    prefix = f"airflow.tidemill.monitor.{'m' * 100}"
    found = arrived(statsd, f"{prefix}.distance.rows")
    assert [name for name in found if ".distance." in name] == [
        f"{prefix}.distance.gr__e_1_c_",
        f"{prefix}.distance.{'x' * 100}",
        f"{prefix}.distance.rows",
    ]


def test_what_was_not_judged_has_no_gauge_but_its_findings_do() -> None:
    unjudged = replace(
        REPORT, columns=(), outputs=(), drifted=None, share_drifted=None, fired=(), performance=None, estimate=None
    )
    assert dict(gauges(unjudged)) == {"rows": 29_425, "labelled": 28_293, "alarms": 0, "findings_severe": 1}
    few = MonitorReport(model="m", version=None, start=START, end=END, rows=3, labelled=0)
    assert dict(gauges(few)) == {"rows": 3, "labelled": 0, "alarms": 0}


def test_where_no_metrics_are_configured_nothing_is_sent(send: Callable[..., None], statsd: socket.socket) -> None:
    statsd.settimeout(0.05)
    send(**to_statsd(statsd, AIRFLOW__METRICS__STATSD_ON="False"))
    with pytest.raises(TimeoutError):
        statsd.recv(65536)
