"""Vertex AI's custom jobs: what the service refuses, and jobs that really run.

Sources: [sdk] the types and comments of google-cloud-aiplatform; [containers], [distributed], [service], [spot], [disk]
the public pages "Configure container settings", "Distributed training", "Understand the custom training service", "Use
Spot VMs with training" and "Configure compute resources for custom training"; [seen] messages in public issues.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from google.cloud.aiplatform_v1.types import CustomJob, JobState, ListCustomJobsResponse, Scheduling, WorkerPoolSpec
from google.protobuf import json_format

from tests.emulators.faults import Misbehaviour
from tests.emulators.gcp_filter import BadFilter, parse
from tests.emulators.processes import Container

_ENDED = {
    JobState.JOB_STATE_SUCCEEDED,
    JobState.JOB_STATE_FAILED,
    JobState.JOB_STATE_CANCELLED,
    JobState.JOB_STATE_EXPIRED,
}
_INSUFFICIENT = (  # [seen]
    "Resources are insufficient in region: {region}. Please try a different region or use different machine type."
)
_WAIT = 24 * 3600.0  # [sdk] Scheduling.max_wait_duration: the default is 24 hours.
_TIMEOUT = 7 * 24 * 3600.0  # [sdk] Scheduling.timeout: the default is 7 days.
_LABEL = re.compile(r"[\w-]{0,64}")
_STEP = 0.05
_GRACE = 15.0  # a spot machine has 30 seconds


class Refused(Exception):
    """An error answer: its HTTP code, its status, its message."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


@dataclass
class _Run:
    """A job and its processes. What a filter may ask for is held beside the message, which is slow to read."""

    job: CustomJob
    visible: float
    display_name: str
    labels: dict[str, str]
    create_time: datetime
    state: str = "JOB_STATE_QUEUED"
    stop: threading.Event = field(default_factory=threading.Event)
    log: str = ""
    restarts: int = 0


class Vertex:
    """The custom jobs of all projects and regions. Threads share it."""

    def __init__(
        self, misbehaviour: Misbehaviour, environment: Callable[[], Mapping[str, str]], forget: Callable[[str], None]
    ) -> None:
        """``environment`` is what containers get beside Vertex AI's own; ``forget`` removes what is below a ``gs://``
        address."""
        self._misbehaviour = misbehaviour
        self._environment = environment
        self._forget = forget
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def create(self, parent: str, body: bytes) -> CustomJob:
        """CreateCustomJob: takes any number of one name, since it has neither a name of the caller's nor a token."""
        job = _read(body)
        _check(job)
        faults = self._misbehaviour.faults
        if job.job_spec.worker_pool_specs[0].machine_spec.machine_type in faults.no_quota:
            metrics = "aiplatform.googleapis.com/custom_model_training_cpus"
            raise Refused(429, "RESOURCE_EXHAUSTED", f"The following quota metrics exceed quota limits: {metrics}")
        job.name = f"{parent}/customJobs/{random.randrange(10**18, 10**19)}"
        job.create_time = job.update_time = datetime.now(UTC)
        job.state = JobState.JOB_STATE_QUEUED
        run = _Run(
            job,
            time.monotonic() + faults.listing_delay,
            display_name=job.display_name,
            labels=dict(job.labels),
            create_time=job.create_time,
        )
        if faults.noop and not faults.start_delay:
            self._move(run, JobState.JOB_STATE_RUNNING)
            self._move(run, JobState.JOB_STATE_SUCCEEDED)
        with self._lock:
            self._runs[job.name] = run
        if job.state not in _ENDED:
            thread = threading.Thread(target=self._live, args=(run,), daemon=True)
            self._threads.append(thread)
            thread.start()
        return job

    def get(self, name: str) -> CustomJob:
        """GetCustomJob."""
        return self._run(name).job

    def list(self, parent: str, given: Mapping[str, str]) -> ListCustomJobsResponse:
        """ListCustomJobs: the newest first, by pages; the token is an offset from the page's own listing."""
        try:
            matches = parse(given.get("filter", ""))
        except BadFilter as e:
            raise Refused(400, "INVALID_ARGUMENT", str(e)) from None
        now = time.monotonic()
        with self._lock:
            jobs = [
                run.job
                for name, run in reversed(self._runs.items())
                if name.startswith(f"{parent}/customJobs/") and run.visible <= now and matches(run)
            ]
        size = min(int(given.get("pageSize") or 0) or 100, 100)
        at = int(given.get("pageToken") or 0)
        more = str(at + size) if at + size < len(jobs) else ""
        return ListCustomJobsResponse(custom_jobs=jobs[at : at + size], next_page_token=more)

    def cancel(self, name: str) -> None:
        """CancelCustomJob: asks for it; the job is CANCELLED a moment later. [sdk] It is not deleted."""
        run = self._run(name)
        if run.job.state in _ENDED:
            raise Refused(400, "FAILED_PRECONDITION", f"Cannot cancel a job in state {run.job.state.name}.")
        run.stop.set()

    def delete(self, name: str) -> None:
        """Remove a job, as somebody may do behind our back."""
        self._run(name).stop.set()
        with self._lock:
            del self._runs[name]

    def describe(self) -> list[dict[str, Any]]:
        """Every job: its name, display name, labels, state, log and restarts."""
        with self._lock:
            return [
                {
                    "id": run.job.name,
                    "name": run.job.display_name,
                    "labels": dict(run.job.labels),
                    "state": run.job.state.name,
                    "image": run.job.job_spec.worker_pool_specs[0].container_spec.image_uri,
                    "strategy": run.job.job_spec.scheduling.strategy.name,
                    "restarts": run.restarts,
                    "log": run.log,
                }
                for run in self._runs.values()
            ]

    def close(self) -> None:
        """End every job's processes."""
        for run in list(self._runs.values()):
            run.stop.set()
        for thread in self._threads:
            thread.join(10.0)

    def _run(self, name: str) -> _Run:
        with self._lock:
            if name not in self._runs:
                raise Refused(404, "NOT_FOUND", f"The CustomJob does not exist: {name}")
            return self._runs[name]

    def _move(self, run: _Run, state: JobState, code: int = 0, message: str = "") -> None:
        now = datetime.now(UTC)
        job = run.job
        job.update_time = now
        if state == JobState.JOB_STATE_RUNNING and not job.start_time:
            job.start_time = now
        if state in _ENDED:
            job.end_time = now
        if message:
            job.error = {"code": code, "message": message}
        # Last: who sees the state sees what belongs to it.
        job.state = state
        run.state = state.name

    def _live(self, run: _Run) -> None:
        """A job's way from the queue to its end."""
        try:
            ended = self._queue(run) or self._work(run)
        except Exception as e:  # noqa: BLE001  (an emulator's own mistake is a job's internal error, and seen in the tests)
            ended = (JobState.JOB_STATE_FAILED, 13, f"Internal error occurred: {type(e).__name__}: {e}")
        self._move(run, *ended)

    def _queue(self, run: _Run) -> tuple[JobState, int, str] | None:
        """Wait for a machine: how the job ended without one, or ``None``."""
        faults, spec = self._misbehaviour.faults, run.job.job_spec
        region = run.job.name.split("/")[3]
        # [service] Queued is usually brief; with a quota used up it lasts until there is some.
        if run.stop.wait(faults.start_delay):
            return _CANCELLED
        self._move(run, JobState.JOB_STATE_PENDING)
        container = spec.worker_pool_specs[0].container_spec
        if container.image_uri in faults.no_image:
            return JobState.JOB_STATE_FAILED, 5, f"Image {container.image_uri} not found."
        spot = spec.scheduling.strategy == Scheduling.Strategy.SPOT
        if faults.lacks(spec.worker_pool_specs[0].machine_spec.machine_type, region):
            return JobState.JOB_STATE_FAILED, 8, _INSUFFICIENT.format(region=region)
        if spot and faults.lacks("spot", region):
            wait = spec.scheduling.max_wait_duration
            if run.stop.wait(wait.total_seconds() if wait else _WAIT):
                return _CANCELLED
            return JobState.JOB_STATE_FAILED, 8, _INSUFFICIENT.format(region=region)
        return None

    def _work(self, run: _Run) -> tuple[JobState, int, str]:
        faults, scheduling = self._misbehaviour.faults, run.job.job_spec.scheduling
        self._move(run, JobState.JOB_STATE_RUNNING)
        if faults.noop:
            return JobState.JOB_STATE_SUCCEEDED, 0, ""
        if faults.hold:
            run.stop.wait()
            return _CANCELLED
        end = time.monotonic() + (scheduling.timeout.total_seconds() if scheduling.timeout else _TIMEOUT)
        while True:
            preempted = scheduling.strategy == Scheduling.Strategy.SPOT and self._misbehaviour.preempts()
            ended = self._attempt(run, end, faults.preempt_after if preempted else None)
            if ended is not None:
                break
            # [spot] A preempted job is started again when there are machines.
            run.restarts += 1
        if ended[0] == JobState.JOB_STATE_SUCCEEDED and faults.missing_output:
            self._forget(run.job.job_spec.base_output_directory.output_uri_prefix)
        return ended

    def _attempt(self, run: _Run, end: float, preempt: float | None) -> tuple[JobState, int, str] | None:
        """Run all replicas: how the job ended, or ``None`` if its machines were taken away."""
        replicas = [(pool, index) for pool, spec in enumerate(_pools(run)) for index in range(spec.replica_count)]
        containers = [
            Container(_command(_pools(run)[pool]), {**self._variables(run, pool, index), **self._environment()})
            for pool, index in replicas
        ]
        taken = None if preempt is None else time.monotonic() + preempt
        try:
            while True:
                codes = [container.process.poll() for container in containers]
                for (pool, index), code in zip(replicas, codes, strict=True):
                    # [service] Which exits are retried in place is not public: here each ends the job.
                    if code:
                        return JobState.JOB_STATE_FAILED, 3, _exited(pool, index, code)
                # [distributed] The primary replica reports the status of the job as a whole.
                if codes[0] == 0:
                    return JobState.JOB_STATE_SUCCEEDED, 0, ""
                if taken is not None and time.monotonic() > taken:
                    return None
                if time.monotonic() > end:
                    return JobState.JOB_STATE_FAILED, 4, "The job timed out: it ran longer than scheduling.timeout."
                if run.stop.wait(_STEP):
                    return _CANCELLED
        finally:
            for container in containers:
                container.end(_GRACE)
                run.log += container.text()
                container.close()

    def _variables(self, run: _Run, pool: int, index: int) -> dict[str, str]:
        """The environment of a replica: [containers] and [distributed]; the spec's own last."""
        project, region, number = (run.job.name.split("/")[i] for i in (1, 3, 5))
        hosts = {
            f"workerpool{n}": [f"cmle-training-workerpool{n}-{number[:10]}-{i}:2222" for i in range(spec.replica_count)]
            for n, spec in enumerate(_pools(run))
        }
        cluster = {
            "cluster": hosts,
            "environment": "cloud",
            "task": {"type": f"workerpool{pool}", "index": index},
            "job": json.dumps({"worker_pool_specs": []}),
        }
        base = run.job.job_spec.base_output_directory.output_uri_prefix.rstrip("/")
        folders = (
            {
                "AIP_MODEL_DIR": f"{base}/model/",
                "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
                "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
            }
            if base
            else {}
        )
        return {
            "CLUSTER_SPEC": json.dumps(cluster),
            "CLOUD_ML_PROJECT_ID": project,
            "CLOUD_ML_REGION": region,
            "CLOUD_ML_JOB_ID": number,
            "HOSTNAME": hosts[f"workerpool{pool}"][index].partition(":")[0],
            **folders,
            **{variable.name: variable.value for variable in _pools(run)[pool].container_spec.env},
        }


_CANCELLED = (JobState.JOB_STATE_CANCELLED, 1, "CANCELED")


def _pools(run: _Run) -> list[WorkerPoolSpec]:
    return list(run.job.job_spec.worker_pool_specs)


def _command(pool: WorkerPoolSpec) -> list[str]:
    return [*pool.container_spec.command, *pool.container_spec.args]


def _exited(pool: int, index: int, code: int) -> str:
    code = 128 - code if code < 0 else code
    return f"The replica workerpool{pool}-{index} exited with a non-zero status of {code}. Termination reason: Error."


def _read(body: bytes) -> CustomJob:
    """A job as the service reads JSON: an unknown field or value is refused."""
    try:
        return CustomJob(json_format.Parse(body, CustomJob.pb(CustomJob())))
    except json_format.ParseError as e:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {e}") from None


def _check(job: CustomJob) -> None:
    """What CreateCustomJob refuses."""
    spec = job.job_spec
    rules = {
        # [sdk] CustomJob.display_name: required, up to 128 characters.
        "custom_job.display_name": 0 < len(job.display_name) <= 128,
        # [sdk] CustomJob.labels: keys and values up to 64 characters; lowercase letters, digits, underscores, dashes.
        "custom_job.labels": len(job.labels) <= 64
        and all(_LABEL.fullmatch(text) and text == text.lower() for item in job.labels.items() for text in item),
        # [sdk] CustomJobSpec.worker_pool_specs: required.
        "custom_job.job_spec.worker_pool_specs": bool(spec.worker_pool_specs),
        # [sdk] CustomJobSpec.network: projects/{project number}/global/networks/{network}.
        "custom_job.job_spec.network": not spec.network
        or re.fullmatch(r"projects/\d+/global/networks/[a-z0-9-]+", spec.network) is not None,
        # [sdk] GcsDestination.output_uri_prefix: a Cloud Storage URI.
        "custom_job.job_spec.base_output_directory": spec.base_output_directory.output_uri_prefix[:5] in {"", "gs://"},
    }
    for number, pool in enumerate(spec.worker_pool_specs):
        name = f"custom_job.job_spec.worker_pool_specs[{number}]"
        disk = pool.disk_spec.boot_disk_size_gb or 100
        rules |= {
            # [distributed] The first pool is the primary replica: exactly one.
            f"{name}.replica_count": pool.replica_count == 1 if number == 0 else pool.replica_count >= 1,
            f"{name}.machine_spec.machine_type": bool(pool.machine_spec.machine_type),
            # [sdk] ContainerSpec.image_uri: required.
            f"{name}.container_spec.image_uri": bool(pool.container_spec.image_uri),
            f"{name}.machine_spec.accelerator_count": bool(pool.machine_spec.accelerator_type)
            == bool(pool.machine_spec.accelerator_count),
            # [disk] The boot disk has 100 to 64,000 GB; [sdk] its type is one of three.
            f"{name}.disk_spec.boot_disk_size_gb": 100 <= disk <= 64_000,
            f"{name}.disk_spec.boot_disk_type": pool.disk_spec.boot_disk_type
            in {"", "pd-ssd", "pd-standard", "hyperdisk-balanced"},
        }
    for name, holds in rules.items():
        if not holds:
            raise Refused(400, "INVALID_ARGUMENT", f"Request contains an invalid argument: {name}.")
