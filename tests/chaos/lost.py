"""Answers that are lost after the service has acted: how many jobs are there twice then."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from unittest.mock import patch

import yaml

from tests.airflow_home import import_airflow
from tests.chaos.audit import jobs_of
from tests.emulators import Emulation, start
from tests.emulators.examples import PLATFORMS, TRAINS
from tests.platforms.clouds import platform_of, remote_job
from tidemill.airflow.connections import AirflowConnections
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import PlatformError, RemoteJob
from tidemill.spec.platform import Resources
from tidemill.steps.remote import find

Say = Callable[[str], None]
_SUBMITS: Final[Mapping[str, str]] = {
    "sagemaker": "CreateTrainingJob",
    "batch": "SubmitJob",
    "vertex": "CreateCustomJob",
    "azureml": "Jobs_CreateOrUpdate",
    "kubernetes": "create_namespaced_job",
}
_LANES: Final = 20
_LATE: Final = 5.0
_RETRY: Final = 10.0
"""Seconds between two tries of a task, as in the local stack."""


def answers(folder: Path, services: Sequence[str], count: int, say: Say) -> int:
    """Have each service lose ``count`` answers: with lists up to date, with late ones, and with late ones and tasks
    that are tried again at once. Returns how many jobs were doubled though they must not be: those of services that
    refuse a second job of a name, and all where lists are up to date.
    """
    with patch.dict(os.environ, AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING"):
        import_airflow()
    bad = 0
    for service in services:
        platform = PLATFORMS["sagemaker" if service == "batch" else service]
        with start(platform["provider"], folder / f"lost-{service}", platform) as emulation:
            for late, pause in ((0.0, _RETRY), (_LATE, _RETRY), (_LATE, 0.0)):
                lost, doubled, refuses = _lose(service, emulation, count, late, pause)
                say(
                    f"{service:10} lists {late:.0f} s late, tried again after {pause:2.0f} s: "
                    f"{lost} answers lost, {doubled} duplicates"
                )
                bad += doubled if refuses or not late else 0
                bad += lost != count
    return bad


def _lose(service: str, emulation: Emulation, count: int, late: float, pause: float) -> tuple[int, int, bool]:
    """How many answers were lost, how many jobs there are beyond one each, and whether the service refuses those."""
    operation, run = _SUBMITS[service], f"{late:.0f}-{pause:.0f}"
    with patch.dict(os.environ, emulation.environment):
        lanes = [_cloud(service) for _ in range(_LANES)]
        lanes[0].jobs.find(
            _job(lanes[0], service, "nothing")
        )  # what is imported late is not imported in twenty threads
        emulation.set_faults(noop=True, lose={operation: count}, listing_delay=late)
        with ThreadPoolExecutor(_LANES) as pool:
            todo = [
                pool.submit(_submit, lanes[lane], service, f"lost-{run}-{number}", pause)
                for lane in range(_LANES)
                for number in range(lane, count, _LANES)
            ]
            for done in todo:
                done.result()
        left = emulation.report()["faults"]["lose"].get(operation, 0)
    names = Counter(job.name for job in jobs_of([emulation]) if f"lost-{run}-" in job.name)
    assert len(names) == count, f"{len(names)} jobs of {count}"
    return count - left, sum(names.values()) - count, lanes[0].jobs.refuses_duplicates


def _cloud(service: str) -> Cloud:
    platform = platform_of(PLATFORMS["sagemaker" if service == "batch" else service])
    return Cloud(platform, service, AirflowConnections())


def _job(cloud: Cloud, service: str, name: str) -> RemoteJob:
    resources = Resources.model_validate((yaml.safe_load(TRAINS[service]) or {}).get("resources", {}))
    machine = resources.machine if isinstance(resources.machine, str) else None
    return remote_job(cloud.platform, service, name, resources=resources, machine=machine)


def _submit(cloud: Cloud, service: str, name: str, pause: float) -> None:
    """As a task does it, with its retries: search, submit, and all over where that is not known to have worked."""
    job = _job(cloud, service, name)
    for attempt in range(10):
        try:
            if find(cloud.jobs, job, again=attempt > 0) is None:
                cloud.jobs.submit(job)
            return
        except PlatformError as error:
            if error.fault != "system":
                raise
            time.sleep(pause)
    raise AssertionError(f"{name} was never taken")
