"""Kubernetes keeps no numbers of ours."""

from __future__ import annotations

from typing import NoReturn

from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform


def open_metrics(platform: Platform, connections: Connections) -> NoReturn:
    """There is no monitoring that every cluster has.

    Raises:
        PlatformError: always.
    """
    raise PlatformError(
        "Kubernetes has no monitoring of its own for a pipeline's numbers; Airflow's metrics (StatsD, OpenTelemetry) "
        "carry them to Prometheus: see docs/monitoring.md",
        fault="user",
    )
