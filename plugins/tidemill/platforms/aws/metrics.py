"""Numbers for CloudWatch, in the namespace ``Tidemill``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering
from tidemill.platforms.ports import Connections, PlatformError
from tidemill.spec.platform import Platform

NAMESPACE: Final = "Tidemill"
VERSION: Final = "version"
"""The dimension that changes with each model that is promoted."""
# "Each PutMetricData request … 1,000 metrics, 30 dimensions"; "up to two weeks before the current date"; "values must
# be in the range of -2^360 to 2^360": PutMetricData, CloudWatch's API reference.
_OLDEST: Final = timedelta(days=14)
_NUMBERS: Final = 500
_DIMENSIONS: Final = 30
_LONGEST_NAME: Final = 255
_LONGEST_VALUE: Final = 1024
_LARGEST: Final = 2.0**360


def open_metrics(platform: Platform, connections: Connections) -> CloudWatch:
    """The port ``Metrics`` over CloudWatch."""
    return CloudWatch(Aws(platform, connections))


class CloudWatch:
    """The port ``Metrics`` of one account and region."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws

    def put(self, values: Mapping[str, float], dimensions: Mapping[str, str], at: datetime) -> None:
        """Write numbers by name. Those that CloudWatch has no place for (not finite, beyond 2^360) are left out.

        Raises:
            PlatformError: not allowed, no answer, or an instant that is too long ago.
        """
        if at < datetime.now(UTC) - _OLDEST:
            raise PlatformError(
                f"CloudWatch takes no numbers from more than {_OLDEST.days} days ago; these are of {at:%Y-%m-%d %H:%M} "
                "UTC",
                fault="user",
            )
        told: list[dict[str, str]] = [
            {"Name": plain(name, _LONGEST_NAME), "Value": plain(value)}
            for name, value in sorted(dimensions.items())
            if value.strip()
        ][:_DIMENSIONS]
        # An alarm names every dimension, and outlives versions: what it may watch is told without them, too.
        lasting = [one for one in told if one["Name"] != VERSION]
        numbers: list[dict[str, Any]] = [
            {"MetricName": name[:_LONGEST_NAME], "Dimensions": dimensions, "Timestamp": at, "Value": float(value)}
            for name, value in sorted(values.items())
            if math.isfinite(value) and abs(value) <= _LARGEST
            for dimensions in ([told, lasting] if lasting != told and watched(name) else [told])
        ]
        for start in range(0, len(numbers), _NUMBERS):
            with answering(self._aws, "cloudwatch:PutMetricData"):
                self._aws.client("cloudwatch").put_metric_data(
                    Namespace=NAMESPACE, MetricData=numbers[start : start + _NUMBERS]
                )


def watched(name: str) -> bool:
    """Whether a number is one to give an alarm on: the verdict on drift, and what bounds of performance are held
    against. Columns are many, and each number is paid for."""
    return name == "drifted" or name.startswith(("metric_low.", "metric_high."))


def plain(text: str, longest: int = _LONGEST_VALUE) -> str:
    """A text as a dimension takes it."""
    # "Dimension values … contain only ASCII characters"; a name does not begin with a colon.
    return text.lstrip(":").encode("ascii", "replace").decode()[:longest]
