"""What the tests of AWS share: a platform, and its ports over the wire."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulators import Emulation, start
from tests.platforms import clouds
from tidemill.platforms.cloud import Cloud

PLATFORM: Final[dict[str, Any]] = {
    "provider": "aws",
    "region": "eu-west-1",
    "bucket": "s3://acme-ml",
    "role": "arn:aws:iam::123456789012:role/ml-training",
    "queue": "training",
    "spot_queue": "training-spot",
    "tags": {"team": "ml"},
}
MACHINE: Final = "ml.m5.large"
_OPENED: Final[dict[str, Cloud]] = {}


@cache
def running() -> Emulation:
    """One emulator for all tests of a process; it ends with the process."""
    return start("aws", Path(tempfile.mkdtemp(prefix="tidemill-aws-")), PLATFORM)


def opened(patch: pytest.MonkeyPatch, emulation: Emulation, service: str, **changes: Any) -> Cloud:
    """The ports of the platform, with changes to its section."""
    connections = clouds.connections(patch, emulation)
    if changes:
        return Cloud(clouds.platform_of({**PLATFORM, **changes}), service, connections)
    # Making clients takes a third of a second each time.
    if service not in _OPENED:
        _OPENED[service] = Cloud(clouds.platform_of(PLATFORM), service, connections)
    return _OPENED[service]


@cache
def client(emulation: Emulation, service: str, region: str = "eu-west-1") -> Any:
    """A client of somebody else, beside the product's."""
    import boto3

    return boto3.client(
        service,
        region_name=region,
        endpoint_url=emulation.url,
        aws_access_key_id="stranger",
        aws_secret_access_key="stranger",
    )
