"""What the tests of all clouds share: connections as Airflow has them, and a job to submit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.airflow_home import import_airflow
from tests.emulators import Emulation
from tidemill.airflow.connections import AirflowConnections
from tidemill.platforms.ports import JobRef, JobStatus, RemoteJob, RemoteJobs
from tidemill.spec.platform import Platform, Resources

INSTALLATION = "a1b2c3d4"


def connections(patch: pytest.MonkeyPatch, emulation: Emulation) -> AirflowConnections:
    """Airflow's own connections, which lead to the emulator."""
    import_airflow()
    for name, value in emulation.environment.items():
        patch.setenv(name, value)
    return AirflowConnections()


def platform_of(values: dict[str, Any]) -> Platform:
    """A spec's ``platform:`` section."""
    return Platform.model_validate(values)


def remote_job(platform: Platform, service: str, name: str, **changes: Any) -> RemoteJob:
    """A job with the tags that the product gives it; its addresses lie below the platform's bucket."""
    at = f"{platform.bucket}/tidemill/{INSTALLATION}"
    job = RemoteJob(
        name=name,
        service=service,
        platform=platform,
        resources=Resources(),
        image="registry.example/flights:1",
        code=f"{at}/code/0123456789abcdef",
        data=f"{at}/data/{name}",
        job=f"{at}/jobs/{name}",
        output=f"{at}/output/{name}",
        checkpoint=None,
        tags={"tidemill-job": name, "tidemill-installation": INSTALLATION, "tidemill-dag": "flight_delays"},
    )
    return replace(job, **changes)


def until_ended(jobs: RemoteJobs, refs: Sequence[JobRef], seconds: float = 60.0) -> dict[str, JobStatus]:
    """Poll until every job has ended; fails the test after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = dict(jobs.poll(refs))
        if all(ref.id in found and found[ref.id].ended for ref in refs):
            return found
        if time.monotonic() > end:
            pytest.fail(f"after {seconds} s: {found}")
        time.sleep(0.2)
