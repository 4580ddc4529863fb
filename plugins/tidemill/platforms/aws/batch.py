"""AWS Batch: jobs in containers on the machines behind a queue."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tidemill.platforms import delivered
from tidemill.platforms.aws.batch_request import definition_request, queue_of, submit_request
from tidemill.platforms.aws.clients import Aws, answering, console
from tidemill.platforms.aws.shapes import check
from tidemill.platforms.ports import Fault, JobLinks, JobRef, JobStatus, PlatformError, RemoteJob

_OURS: Final = ("tidemill-job", "tidemill-installation")
_PAGE: Final = 100
_SUBMITS: Final = 4
_SEARCHES: Final = (0.0, 1.0, 3.0)
"""Seconds before each search for a job whose submit was not answered: lists are late."""
_HOST: Final = "Host EC2"


class BatchJobs:
    """The port ``RemoteJobs`` over AWS Batch, in one account and region."""

    refuses_duplicates = False

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._definitions: dict[str, str] = {}

    def submit(self, job: RemoteJob) -> JobRef:
        """Have Batch take the job, unless a job of its name that is ours is there. See ``RemoteJobs``.

        Batch takes a second job of a name. So a submit is sent once, whatever becomes of it: where the answer is lost,
        the job is looked for, and if its queue does not show it (yet) the caller is told that it is not known.
        """
        found = self.find(job)
        if found is not None:
            return found
        definition = self._definition(job)
        body = submit_request(job, definition)
        client = self._aws.client("batch", attempts=1)
        check(client, "SubmitJob", body)
        for attempt in range(1, _SUBMITS + 1):
            try:
                with answering(self._aws, "batch:SubmitJob"):
                    return self._ref(job.name, client.submit_job(**body)["jobId"])
            except PlatformError as error:
                if error.fault != "system":
                    raise
                if not error.throttled:
                    return self._after_silence(job, error)
                if attempt == _SUBMITS:
                    raise
            # It was refused, so it may be sent again.
            time.sleep(2 ** (attempt - 1) * random.uniform(0.5, 1.0))
        raise AssertionError

    def find(self, job: RemoteJob) -> JobRef | None:
        """The first job of that name that is ours. See ``RemoteJobs``. Batch shows jobs for seven days after their
        end; names are anybody's, so a stranger's job of the same name is passed over."""
        queues = {queue_of(job), *filter(None, (job.platform.queue, job.platform.spot_queue))}
        ids: list[str] = []
        client = self._aws.client("batch")
        filters = [{"name": "JOB_NAME", "values": [job.name]}]
        for queue in sorted(queues):
            with answering(self._aws, "batch:ListJobs"):
                pages = client.get_paginator("list_jobs").paginate(jobQueue=queue, filters=filters)
                ids += [entry["jobId"] for page in pages for entry in page["jobSummaryList"]]
        ours = [
            described
            for described in self._described(ids)
            if described["jobName"] == job.name
            and all(described.get("tags", {}).get(key) == job.tags.get(key) for key in _OURS)
        ]
        if not ours:
            return None
        return self._ref(job.name, min(ours, key=lambda one: (one.get("createdAt", 0), one["jobId"]))["jobId"])

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """How jobs stand, a hundred with each call. See ``RemoteJobs``."""
        found = {described["jobId"]: described for described in self._described([ref.id for ref in refs])}
        # Of a job on several machines only its main node tells how it ended.
        nodes = [
            f"{key}#{described['nodeProperties'].get('mainNode', 0)}"
            for key, described in found.items()
            if "nodeProperties" in described and described["status"] == "FAILED"
        ]
        for node in self._described(nodes):
            found[node["jobId"].partition("#")[0]]["container"] = node.get("container", {})
        return {key: status_of(described) for key, described in found.items()}

    def stop(self, ref: JobRef) -> None:
        """Ask for the job's end, whatever its state. See ``RemoteJobs``."""
        client = self._aws.client("batch")
        with answering(self._aws, "batch:TerminateJob"):
            client.terminate_job(jobId=ref.id, reason="Stopped by Tidemill")

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch what the job delivered to the bucket. See ``RemoteJobs``."""
        from tidemill.platforms.aws.storage import S3Storage

        delivered.collect(S3Storage(self._aws), job.output, folder)

    def links(self, ref: JobRef) -> JobLinks:
        """Where a person looks at the job, and the log group of Batch's jobs."""
        region = ref.region or self._aws.region
        base = console(region)
        return JobLinks(
            console=f"{base}/batch/home?region={region}#jobs/detail/{ref.id}",
            log=f"{base}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/$252Faws$252Fbatch$252Fjob",
        )

    def _after_silence(self, job: RemoteJob, error: PlatformError) -> JobRef:
        for pause in _SEARCHES:
            time.sleep(pause)
            found = self.find(job)
            if found is not None:
                return found
        raise PlatformError(
            f"{error}; whether AWS Batch took the job {job.name} is not known: it is looked for before it is "
            "submitted again"
        )

    def _definition(self, job: RemoteJob) -> str:
        """The job definition of this content, registered if it is not there."""
        body = definition_request(job, self._aws.region)
        name: str = body["jobDefinitionName"]
        if name not in self._definitions:
            client = self._aws.client("batch")
            check(client, "RegisterJobDefinition", body)
            with answering(self._aws, "batch:DescribeJobDefinitions"):
                page = client.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")
            found = page["jobDefinitions"]
            if not found:
                with answering(self._aws, "batch:RegisterJobDefinition"):
                    found = [client.register_job_definition(**body)]
            self._definitions[name] = f"{name}:{found[0]['revision']}"
        return self._definitions[name]

    def _described(self, ids: Sequence[str]) -> Iterable[dict[str, Any]]:
        client = self._aws.client("batch")
        for start in range(0, len(ids), _PAGE):
            with answering(self._aws, "batch:DescribeJobs"):
                page = client.describe_jobs(jobs=list(ids[start : start + _PAGE]))
            yield from page["jobs"]

    def _ref(self, name: str, key: str) -> JobRef:
        return JobRef(service="batch", name=name, id=key, region=self._aws.region)


def status_of(described: Mapping[str, Any]) -> JobStatus:
    """The status of a job from its description."""
    attempts = described.get("attempts", [])
    reason = described.get("statusReason", "")
    interruptions = sum(attempt.get("statusReason", "").startswith(_HOST) for attempt in attempts)
    times = [
        (attempt["stoppedAt"] - attempt["startedAt"]) / 1000
        for attempt in attempts
        if attempt.get("startedAt") and attempt.get("stoppedAt")
    ]
    seconds = sum(times) if times else None
    match described["status"]:
        case "SUCCEEDED":
            return JobStatus("succeeded", seconds=seconds, interruptions=interruptions)
        case "FAILED":
            container = described.get("container", {})
            fault, words = _failure(described, container)
            if fault is None:
                return JobStatus("stopped", words, seconds=seconds, interruptions=interruptions)
            return JobStatus("failed", words, fault, seconds=seconds, interruptions=interruptions)
        case "RUNNING":
            return JobStatus("running", interruptions=interruptions)
    # A queue that is blocked says why: "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - …" or "MISCONFIGURATION:…".
    return JobStatus("queued", reason, interruptions=interruptions)


def _failure(described: Mapping[str, Any], container: Mapping[str, Any]) -> tuple[Fault | None, str]:
    """Whose fault it is (``None``: somebody stopped it), in words."""
    reason, detail = described.get("statusReason", ""), container.get("reason", "")
    code = container.get("exitCode")
    words = "; ".join(filter(None, (reason, detail, f"exit code {code}" if code else "")))
    if "exceeded timeout" in reason:
        return "user", f"it ran longer than train.timeout allows ({words})"
    if described.get("isTerminated") or described.get("isCancelled"):
        return None, words
    if detail.startswith(("CannotPull", "CannotInspectImage")):
        return "user", f"the image is not to be had: {detail}"
    if reason.startswith(_HOST):
        return "capacity", f"the machine was taken away too often ({words})"
    if code == 137:
        return "system", f"it was killed, maybe for want of memory: train.resources.memory ({words})"
    # 10 is the runtime's own code, 126 and 127 are those of an image that lacks a program.
    return ("user" if code in {10, 126, 127} else "system"), words
