"""SageMaker processing jobs: what steps compute over rows, away from Airflow's workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from tidemill.platforms import delivered
from tidemill.platforms.aws.processing_request import processing_request
from tidemill.platforms.aws.sagemaker import SageMakerJobs
from tidemill.platforms.aws.training_poll import Described, Kind, fault_of
from tidemill.platforms.ports import JobRef, JobStatus, RemoteJob

_TOLD: Final = re.compile(r"tidemill:(?:user|system): ")


def status_of(described: Described) -> JobStatus:
    """The status of a processing job from its description or its entry in a list, which does not say when it began."""
    status, told = described["ProcessingJobStatus"], described.get("ExitMessage", "")
    reason = described.get("FailureReason", "")
    began, ended = described.get("ProcessingStartTime"), described.get("ProcessingEndTime")
    seconds = (ended - began).total_seconds() if began and ended else None
    # "Billing" of SageMaker Processing is by the second from start to end, for each instance.
    cluster = described.get("ProcessingResources", {}).get("ClusterConfig", {})
    machine = cluster.get("SelectedInstanceType", "")
    times: dict[str, Any] = {"seconds": seconds, "billable": seconds, "machine": machine}
    if status == "Completed":
        return JobStatus("succeeded", **times)
    if status == "Failed":
        said = _TOLD.sub("", told, count=1) if _TOLD.match(told) else f"{reason} {told}".strip()
        return JobStatus("failed", said, fault_of(f"{reason} {told}"), **times)
    if status == "Stopped":
        most = described.get("StoppingCondition", {}).get("MaxRuntimeInSeconds")
        if seconds is not None and most is not None and seconds >= most:
            return JobStatus("failed", "it ran longer than platform.processing.timeout allows", "user", **times)
        return JobStatus("stopped", reason, **times)
    return JobStatus("queued" if began is None and status == "InProgress" else "running", **times)


class ProcessingJobs(SageMakerJobs):
    """The port ``RemoteJobs`` over SageMaker's processing jobs, in one account and region."""

    service = "sagemaker-processing"
    kind = Kind("ProcessingJob", status_of)

    def request(self, job: RemoteJob) -> dict[str, Any]:
        """What the service is asked for. Raises PlatformError: a setting is missing."""
        return processing_request(job)

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch what the job left. See ``RemoteJobs``."""
        from tidemill.platforms.aws.storage import S3Storage

        delivered.collect(S3Storage(self._aws), job.output, folder)
