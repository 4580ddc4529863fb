"""What the tests of Azure share: one emulator for a module, and ports that lead to it."""

from __future__ import annotations

import atexit
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation, start
from tests.emulators.azure_blob import installed
from tests.platforms import clouds
from tidemill.airflow.connections import AirflowConnections
from tidemill.spec.platform import Platform

PLATFORM: dict[str, Any] = {
    "provider": "azure",
    "subscription": "00000000-0000-0000-0000-000000000000",
    "resource_group": "ml",
    "workspace": "acme-ml",
    "compute": "cpu-cluster",
    "spot_compute": "spot-cluster",
    "bucket": "abfss://models@acmeml.dfs.core.windows.net/base",
}
needs_azurite = pytest.mark.skipif(not installed(), reason="Azurite is not installed (scripts/setup-azurite.sh)")


@cache
def running() -> Emulation:
    """One emulator for the tests of the stores, which takes seconds to start; it ends with this process."""
    made = start("azure", Path(tempfile.mkdtemp(prefix="tidemill-azure-")), PLATFORM)
    atexit.register(made.stop)
    return made


def platform(**changes: Any) -> Platform:
    """A spec's ``platform:`` section."""
    return clouds.platform_of({**PLATFORM, **changes})


def connected(patch: pytest.MonkeyPatch, emulation: Emulation, **extra: Any) -> AirflowConnections:
    """Airflow's connections, which lead to the emulator; ``extra`` changes what the one to Azure holds."""
    found = clouds.connections(patch, emulation)
    name = "AIRFLOW_CONN_AZURE_DEFAULT"
    value = json.loads(emulation.environment[name])
    value["extra"] = {key: v for key, v in {**value["extra"], **extra}.items() if v is not None}
    patch.setenv(name, json.dumps(value))
    return found
