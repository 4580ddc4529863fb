"""One emulator of Google Cloud for the tests of all its parts: it takes seconds to start."""

from __future__ import annotations

import atexit
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from tests.emulators import Emulation, start
from tests.platforms import clouds
from tidemill.platforms.ports import RemoteJob
from tidemill.spec.platform import Resources

PLATFORM: dict[str, Any] = {
    "provider": "gcp",
    "project": "acme-ml",
    "region": "europe-west4",
    "bucket": "gs://acme-models/team",
    "service_account": "training@acme-ml.iam.gserviceaccount.com",
}
MACHINE = "n1-standard-4"
US = {"region": "us-central1", "bucket": "gs://acme-models-us"}
"""Another place, whose bucket is there, too."""


@cache
def emulation() -> Emulation:
    """The emulator; it ends with this process."""
    running = start("gcp", Path(tempfile.mkdtemp(prefix="tidemill-gcp-")), {**PLATFORM, "fallback": [US]})
    atexit.register(running.stop)
    return running


def job(name: str, **changes: Any) -> RemoteJob:
    """A job for Vertex AI; what its spec asks for is given as ``resources={…}``."""
    resources = Resources.model_validate({"machine": MACHINE, **changes.pop("resources", {})})
    platform = clouds.platform_of({**PLATFORM, **changes.pop("platform", {})})
    return clouds.remote_job(platform, "vertex", name, **{"machine": MACHINE, "resources": resources, **changes})


def held(name: str) -> list[dict[str, Any]]:
    """What the emulator holds of the jobs of a name."""
    return [found for found in emulation().report()["jobs"] if found["name"] == name]


def remove(identity: str) -> None:
    """Delete a job behind our back."""
    body = json.dumps({"id": identity}).encode()
    urlopen(Request(f"{emulation().url}/_emulator/delete", body, method="POST"), timeout=30).close()
