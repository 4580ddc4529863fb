"""The emulated AWS Batch: job definitions, queues on EC2 machines, and jobs that really run.

Rules are those of the SDK's model (botocore, batch 2016-08-10); each other rule names its source where it stands.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.emulators.aws_batch_job import BatchJob
from tests.emulators.aws_errors import Refused
from tests.emulators.aws_store import ACCOUNT, Store
from tests.emulators.clock import Clock
from tests.emulators.faults import Misbehaviour

# "It can be up to 128 letters long. The first character must be alphanumeric, can contain uppercase and lowercase
# letters, numbers, hyphens (-), and underscores (_)": SubmitJob.jobName, SDK model; the definition's name likewise.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_LARGEST_PAGE = 100
_MOST_DESCRIBED = 100
_SUBMIT_BYTES = 30 * 1024


class Batch:
    """Answers the operations, of each region by itself; every region has the platform's queues."""

    def __init__(
        self,
        store: Store,
        misbehaviour: Misbehaviour,
        clock: Clock,
        folder: Path,
        platform: Mapping[str, Any],
        credentials: Callable[[], dict[str, str]],
    ) -> None:
        self.jobs: dict[str, BatchJob] = {}
        self._definitions: dict[str, list[dict[str, Any]]] = {}
        self._store = store
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._folder = folder
        self._credentials = credentials
        self._spot_queue = platform.get("spot_queue")
        self._queues = {_short(name) for key in ("queue", "spot_queue") if (name := platform.get(key))}
        self._lock = threading.Lock()
        self._operations: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            "RegisterJobDefinition": self._register,
            "DescribeJobDefinitions": self._describe_definitions,
            "SubmitJob": self._submit,
            "ListJobs": self._list,
            "DescribeJobs": self._describe,
            "TerminateJob": self._terminate,
            "CancelJob": self._cancel,
        }

    def answer(self, operation: str, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        """Do it.

        Raises:
            Refused: as the service refuses.
        """
        found = self._operations.get(operation)
        if found is None:
            raise Refused("ClientException", f"the emulator has no {operation}")
        return found(body, region)

    def report(self) -> list[dict[str, Any]]:
        """The jobs, one entry each."""
        return [
            {
                "name": job.name,
                "id": job.id,
                "status": job.described["status"],
                "reason": job.described.get("statusReason", ""),
                "attempts": len(job.described["attempts"]),
                "log": job.log[-2000:],
            }
            for job in list(self.jobs.values())
        ]

    def close(self) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            job.stop.set()

    def _register(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        name = body["jobDefinitionName"]
        if not _NAME.fullmatch(name):
            raise Refused("ClientException", f"Job definition name should match valid pattern: {_NAME.pattern}")
        containers = [body["containerProperties"]] if "containerProperties" in body else []
        nodes = body.get("nodeProperties", {}).get("nodeRangeProperties", [])
        containers += [node.get("container", {}) for node in nodes]
        if not containers:
            raise Refused("ClientException", "Container properties should not be empty")
        for container in containers:
            _check_container(container)
        _check_retries(body.get("retryStrategy", {}))
        # "The minimum value for the timeout is 60 seconds": JobTimeout, SDK model
        if body.get("timeout", {}).get("attemptDurationSeconds", 60) < 60:
            raise Refused("ClientException", "attemptDurationSeconds has to be at least 60")
        with self._lock:
            revisions = self._definitions.setdefault(name, [])
            revision = len(revisions) + 1
            arn = f"arn:aws:batch:{region}:{ACCOUNT}:job-definition/{name}:{revision}"
            revisions.append({**body, "jobDefinitionArn": arn, "revision": revision, "status": "ACTIVE"})
        return {"jobDefinitionName": name, "jobDefinitionArn": arn, "revision": revision}

    def _describe_definitions(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        with self._lock:
            every = [one for revisions in self._definitions.values() for one in revisions]
        wanted = set(body.get("jobDefinitions", []))
        found = [
            one
            for one in every
            if body.get("jobDefinitionName") in (None, one["jobDefinitionName"])
            and body.get("status") in (None, one["status"])
            and (not wanted or wanted & {one["jobDefinitionArn"], f"{one['jobDefinitionName']}:{one['revision']}"})
        ]
        return {"jobDefinitions": found[:_LARGEST_PAGE]}

    def _submit(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        if not _NAME.fullmatch(body["jobName"]):
            raise Refused("ClientException", f"Job name should match valid pattern: {_NAME.pattern}")
        queue = _short(body["jobQueue"])
        if queue not in self._queues:
            raise Refused("ClientException", f"Job Queue {body['jobQueue']} does not exist")
        definition = self._definition(body["jobDefinition"])
        _check_retries(body.get("retryStrategy", {}))
        # "Maximum job payload size (for SubmitJob): 30 KiB": AWS Batch, service quotas
        if len(str(dict(body))) > _SUBMIT_BYTES:
            raise Refused("ClientException", "The job is larger than 30 KiB")
        is_spot = self._spot_queue is not None and queue == _short(str(self._spot_queue))
        if is_spot and "nodeProperties" in definition:
            # "Multi-node parallel jobs aren't supported on compute environments that use Spot": user guide
            raise Refused("ClientException", "Multi-node parallel jobs are not supported on Spot Instances")
        job = BatchJob(body, definition, region, queue, is_spot, self._misbehaviour, self._folder / uuid4().hex)
        job.credentials = self._credentials
        job.store = self._store
        faults = self._misbehaviour.faults
        job.shown += faults.listing_delay
        # A second job of the same name is as good as the first.
        with self._lock:
            self.jobs[job.id] = job
        if faults.hold:
            self._clock.after(faults.start_delay, job.begin)
        elif faults.noop:
            self._clock.after(faults.start_delay, job.complete_at_once)
        else:
            self._clock.after(faults.start_delay, lambda: threading.Thread(target=job.run, daemon=True).start())
        return {"jobArn": job.arn, "jobName": job.name, "jobId": job.id}

    def _definition(self, name: str) -> dict[str, Any]:
        short = name.rpartition("job-definition/")[2]
        base, _, revision = short.partition(":")
        revisions = self._definitions.get(base, [])
        if not revisions or (revision and int(revision) > len(revisions)):
            raise Refused("ClientException", f"JobDefinition with name {name} does not exist")
        return revisions[int(revision) - 1] if revision else revisions[-1]

    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        now = time.monotonic()
        size = body.get("maxResults", _LARGEST_PAGE)
        with self._lock:
            every = [job for job in self.jobs.values() if job.shown <= now and job.region == region]
        every.sort(key=lambda job: (-job.described["createdAt"], job.id))
        if not body.get("jobQueue"):
            raise Refused("ClientException", "jobQueue, arrayJobId or multiNodeJobId is needed")
        if _short(body["jobQueue"]) not in self._queues:
            raise Refused("ClientException", f"Job Queue {body['jobQueue']} does not exist")
        every = [job for job in every if job.queue == _short(body["jobQueue"])]
        filters = body.get("filters", [])
        if filters:
            every = [job for job in every if any(_names(job, entry) for entry in filters)]
        else:
            # "If you don't specify a status, only RUNNING jobs are returned": ListJobs, SDK model
            every = [job for job in every if job.described["status"] == body.get("jobStatus", "RUNNING")]
        start = 0
        if body.get("nextToken"):
            ids = [job.id for job in every]
            if body["nextToken"] not in ids:
                raise Refused("ClientException", "Invalid nextToken")
            start = ids.index(body["nextToken"]) + 1
        page = every[start : start + size]
        token = {"nextToken": page[-1].id} if start + size < len(every) else {}
        keys = ("jobArn", "jobId", "jobName", "createdAt", "status", "statusReason", "startedAt", "stoppedAt")
        return {
            "jobSummaryList": [{key: job.described[key] for key in keys if key in job.described} for job in page],
            **token,
        }

    def _describe(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        if len(body["jobs"]) > _MOST_DESCRIBED:  # "A list of up to 100 job IDs": DescribeJobs, SDK model
            raise Refused("ClientException", "DescribeJobs takes at most 100 jobs")
        found = []
        for given in body["jobs"]:
            key, _, node = given.partition("#")
            job = self.jobs.get(key)
            if job is not None and job.region == region:
                found.append(job.node(int(node)) if node else job.description())
        return {"jobs": found}

    def _terminate(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self.jobs.get(body["jobId"])
        if job is not None:
            job.terminate(body["reason"])
        return {}

    def _cancel(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self.jobs.get(body["jobId"])
        # "Jobs that progressed to STARTING or RUNNING aren't canceled": CancelJob, SDK model
        if job is not None and job.described["status"] in {"SUBMITTED", "PENDING", "RUNNABLE"}:
            job.terminate(body["reason"])
        return {}


def _short(queue: str) -> str:
    return queue.rpartition("/")[2]


def _check_container(container: Mapping[str, Any]) -> None:
    needs = {entry["type"] for entry in container.get("resourceRequirements", [])}
    if not container.get("image"):
        raise Refused("ClientException", "Container image should not be empty")
    # "You must specify at least one vCPU / 4 MiB of memory": ContainerProperties and ResourceRequirement, SDK model
    if not {"VCPU", "MEMORY"} <= needs:
        raise Refused("ClientException", "resourceRequirements has to hold VCPU and MEMORY")
    for entry in container["resourceRequirements"]:
        least = {"MEMORY": 4, "VCPU": 1, "GPU": 1}[entry["type"]]
        if not entry["value"].isdigit() or int(entry["value"]) < least:
            raise Refused("ClientException", f"{entry['type']} {entry['value']} is less than {least}")


def _check_retries(strategy: Mapping[str, Any]) -> None:
    # "You can specify between 1 and 10 attempts"; "up to 5 objects"; patterns of 512 characters in which only the last
    # may be an asterisk: RetryStrategy and EvaluateOnExit, SDK model
    if not 1 <= strategy.get("attempts", 1) <= 10:
        raise Refused("ClientException", "attempts has to be between 1 and 10")
    rules = strategy.get("evaluateOnExit", [])
    if len(rules) > 5:
        raise Refused("ClientException", "evaluateOnExit takes at most 5 rules")
    if rules and "attempts" not in strategy:
        raise Refused("ClientException", "attempts is needed with evaluateOnExit")
    for rule in rules:
        for key, text in rule.items():
            if key != "action" and ("*" in text[:-1] or len(text) > 512):
                raise Refused("ClientException", f"{key} {text!r} is not a valid pattern")


def _names(job: BatchJob, entry: Mapping[str, Any]) -> bool:
    # "The value of the filter is a case-insensitive match for the job name. If the value ends with an asterisk, the
    # filter matches any job name that begins with the string before the '*'": ListJobs, SDK model
    if entry.get("name") != "JOB_NAME":
        raise Refused("ClientException", f"the emulator does not filter by {entry.get('name')}")
    for value in entry.get("values", []):
        wanted = value.lower()
        if job.name.lower().startswith(wanted[:-1]) if wanted.endswith("*") else job.name.lower() == wanted:
            return True
    return False
