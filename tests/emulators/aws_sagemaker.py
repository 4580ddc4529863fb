"""The emulated SageMaker: the operations on training jobs, with the service's own refusals.

Rules and limits are those of the SDK's model (botocore, sagemaker 2017-07-24), by its validator and by the lengths,
patterns and enumerations that the model gives beside them; each other rule names its source where it stands.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from tests.emulators.aws_errors import Refused
from tests.emulators.aws_store import ACCOUNT, Store, split
from tests.emulators.aws_training import Training, machines
from tests.emulators.clock import Clock
from tests.emulators.faults import Misbehaviour

# EC2's user guide, "Instance types with local storage", as far as SageMaker trains on them.
LOCAL_DISKS = re.compile(r"ml\.(g4dn|g5|g6e?|p3dn|p4de?|p5e?n?|trn1n?|[cmr]\d\w*d)\.")
LARGEST_PAGE = 100


class SageMaker:
    """Answers the operations in ``OPERATIONS``, of each region by itself."""

    def __init__(self, store: Store, misbehaviour: Misbehaviour, clock: Clock, folder: Path, role: str | None) -> None:
        self.jobs: dict[tuple[str, str], Training] = {}
        self._store = store
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._folder = folder
        self._role = role
        self._lock = threading.Lock()
        self.operations: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "ListTrainingJobs": self._list,
            "StopTrainingJob": self._stop,
            "DeleteTrainingJob": self._delete,
        }

    def tags(self, arn: str) -> dict[str, str] | None:
        """The tags of a training job, ``None`` if it is none of ours."""
        job = next((job for job in self.jobs.values() if job.arn == arn), None)
        return None if job is None else job.tags

    def close(self) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            job.stop.set()

    def _create(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        self._check(body)
        self._check_buckets(body, region)
        name = body["TrainingJobName"]
        arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:training-job/{name}"
        with self._lock:
            if (region, name) in self.jobs:
                raise Refused(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({arn})",
                )
            faults = self._misbehaviour.faults
            asked = machines(body["ResourceConfig"])
            if all(machine in faults.no_quota for machine in asked):
                count = body["ResourceConfig"].get("InstanceCount", 1)
                # The words of the service, as re:Post's article on ResourceLimitExceeded quotes them.
                raise Refused(
                    "ResourceLimitExceeded",
                    f"The account-level service limit '{asked[0]} for training job usage' is 0 Instances, with current "
                    f"utilization of 0 Instances and a request delta of {count} Instances. Please use AWS Service "
                    "Quotas to request an increase for this quota.",
                )
            job = Training(body, arn, region, self._store, self._misbehaviour, self._folder / uuid4().hex)
            job.shown += faults.listing_delay
            self.jobs[region, name] = job
        if faults.hold:
            self._clock.after(faults.start_delay, lambda: job.become("Training"))
        elif faults.noop:
            self._clock.after(faults.start_delay, job.complete_at_once)
        else:
            self._clock.after(faults.start_delay, lambda: threading.Thread(target=job.run, daemon=True).start())
        return {"TrainingJobArn": arn}

    def _check(self, body: Mapping[str, Any]) -> None:
        stopping = body.get("StoppingCondition", {})
        run, wait = stopping.get("MaxRuntimeInSeconds", 86_400), stopping.get("MaxWaitTimeInSeconds")
        config = body.get("ResourceConfig", {})
        preferred = config.get("InstancePreferences", [])
        algorithm = body.get("AlgorithmSpecification", {})
        found = ""
        if not algorithm or not config or not stopping:
            found = "AlgorithmSpecification, ResourceConfig and StoppingCondition are required"
        elif bool(algorithm.get("TrainingImage")) == bool(algorithm.get("AlgorithmName")):
            found = "You must specify either TrainingImage or AlgorithmName, not both"  # AlgorithmSpecification, model
        elif ("InstanceType" in config) == bool(preferred):
            found = (
                "Either InstanceType or InstancePreferences has to be given, and not both"  # ResourceConfig, SDK model
            )
        elif preferred and body.get("EnableManagedSpotTraining"):
            # "mutually exclusive with … EnableManagedSpotTraining": ResourceConfig, SDK model
            found = "InstancePreferences is not for managed spot training"
        elif "SelectedInstanceType" in config or "SelectedInstanceCount" in config:
            # "This field is read-only and isn't accepted in CreateTrainingJob requests": ResourceConfig, SDK model
            found = "SelectedInstanceType and SelectedInstanceCount are read-only"
        elif len(set(machines(config))) < len(machines(config)):
            # "An instance type can appear only once in an InstancePreferences list": InstancePreference, SDK model
            found = "An instance type appears twice in InstancePreferences"
        elif {"InstanceCount" in each for each in preferred} == {True, False}:
            # "either all five specify InstanceCount or none of them do": InstancePreference, SDK model
            found = "InstanceCount is needed in all of InstancePreferences or in none"
        elif preferred and ("InstanceCount" in config) == ("InstanceCount" in preferred[0]):
            # "in one of the following two ways": InstancePreference, SDK model
            found = "InstanceCount is needed either in ResourceConfig or in InstancePreferences"
        elif any(each.get("InstanceCount", 1) < 1 for each in (config, *preferred)):
            found = "Invalid InstanceCount: it has to be at least 1"
        elif run > 28 * 86_400:  # "The maximum value is 28 days.": StoppingCondition, SDK model
            found = "MaxRuntimeInSeconds is too large"
        elif body.get("EnableManagedSpotTraining") and (wait is None or wait < run):
            # "It must be equal to or greater than MaxRuntimeInSeconds": StoppingCondition, SDK model
            found = "MaxWaitTimeInSeconds above MaxRuntimeInSeconds is needed for managed spot training"
        elif wait is not None and not body.get("EnableManagedSpotTraining"):
            found = "MaxWaitTimeInSeconds is for managed spot training only"  # guide, "Managed Spot Training"
        elif config.get("VolumeKmsKeyId") and any(LOCAL_DISKS.match(name) for name in machines(config)):
            # "You can't request a VolumeKmsKeyId when using an instance type with local storage": ResourceConfig
            found = f"VolumeKmsKeyId is not supported for {' or '.join(machines(config))}"
        elif "InputDataConfig" in body and len({c["ChannelName"] for c in body["InputDataConfig"]}) < len(
            body["InputDataConfig"]
        ):
            found = "Channel names have to be unique"
        elif any(key["Key"].lower().startswith("aws:") for key in body.get("Tags", [])):
            found = "aws: prefixed tag key names are not allowed for external use"
        elif self._role is not None and body["RoleArn"] != self._role:
            found = (
                f"Could not assume role {body['RoleArn']}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role."
            )
        if found:
            raise Refused("ValidationException", found)

    def _check_buckets(self, body: Mapping[str, Any], region: str) -> None:
        for channel in body.get("InputDataConfig", []):
            uri = channel["DataSource"]["S3DataSource"]["S3Uri"]
            actual = self._store.region(split(uri)[0])
            if actual not in (None, region):
                # "Your input bucket must be in the same Amazon Web Services region as your training job": S3DataSource
                raise Refused(
                    "ValidationException", f"The bucket of {uri} is in {actual}, the training job in {region}"
                )

    def _named(self, name: str, region: str) -> Training:
        job = self.jobs.get((region, name))
        if job is None:
            # What the service answers, where its model has ResourceNotFound.
            raise Refused("ValidationException", "Requested resource not found.")
        return job

    def _describe(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["TrainingJobName"], region)
        with job.lock:
            return dict(job.described)

    def _stop(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["TrainingJobName"], region)
        with job.lock:
            status = job.described["TrainingJobStatus"]
            if status != "InProgress":
                raise Refused(
                    "ValidationException", f"The request was rejected because the training job is in status {status}."
                )
            running = job.described["SecondaryStatus"]
            job.become("Stopping", "Stopping")
            job.stop.set()
            faults = self._misbehaviour.faults
            if faults.hold or faults.noop or running == "Starting":
                job.become("Stopped", "Stopped")
        return {}

    def _delete(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["TrainingJobName"], region)
        if not job.ended:
            # "You cannot delete a job that is in the InProgress or Stopping state": DeleteTrainingJob, SDK model
            raise Refused("ResourceInUse", f"Training job {job.name} has not ended")
        with self._lock:
            self.jobs.pop((region, job.name), None)
        return {}

    def _shown(self, region: str) -> list[Training]:
        now = time.monotonic()
        with self._lock:
            found = [job for job in self.jobs.values() if job.shown <= now and job.region == region]
        return sorted(found, key=lambda job: (job.described["CreationTime"], job.name), reverse=True)

    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        size = body.get("MaxResults", 10)
        if not 1 <= size <= LARGEST_PAGE:
            raise Refused("ValidationException", f"MaxResults {size} is not between 1 and {LARGEST_PAGE}")
        keys = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime",
                "TrainingJobStatus", "SecondaryStatus")  # fmt: skip
        entries, token = listed(self._shown(region), body, keys, size)
        # "First, MaxResults jobs with any status are selected. Next, those with the status are returned": SDK model
        status = body.get("StatusEquals")
        entries = [entry for entry in entries if status in (None, entry["TrainingJobStatus"])]
        return {"TrainingJobSummaries": entries, **token}


class Job(Protocol):
    """What a list needs of a job of either kind."""

    name: str
    described: dict[str, Any]
    lock: threading.RLock


def listed(
    jobs: Sequence[Job], body: Mapping[str, Any], keys: Sequence[str], size: int
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The entries of a page of a list's jobs, which come with the newest first; and the token of the next page."""
    found = [job for job in jobs if _is_asked_for(job, body)]
    if body.get("SortBy", "CreationTime") == "Name":
        found.sort(key=lambda job: job.name, reverse=True)
    if body.get("SortOrder", "Descending") == "Ascending":
        found.reverse()
    page, token = _page(found, body.get("NextToken"), size)
    entries = []
    for job in page:
        with job.lock:
            entries.append({key: job.described[key] for key in keys if key in job.described})
    return entries, token


def _is_asked_for(job: Job, body: Mapping[str, Any]) -> bool:
    described = job.described
    return (
        body.get("NameContains", "") in job.name
        and described["CreationTime"] > _time(body, "CreationTimeAfter", float("-inf"))
        and described["CreationTime"] < _time(body, "CreationTimeBefore", float("inf"))
        and described["LastModifiedTime"] > _time(body, "LastModifiedTimeAfter", float("-inf"))
        and described["LastModifiedTime"] < _time(body, "LastModifiedTimeBefore", float("inf"))
    )


def _time(body: Mapping[str, Any], key: str, default: float) -> float:
    return float(body[key]) if key in body else default


def _page(found: list[Job], token: str | None, size: int) -> tuple[list[Job], dict[str, str]]:
    """A page begins after the job that the last one ended with, so that new jobs do not shift it."""
    start = 0
    if token:
        names = [job.name for job in found]
        if token not in names:
            raise Refused("ValidationException", "Invalid NextToken")
        start = names.index(token) + 1
    page = found[start : start + size]
    return page, {"NextToken": page[-1].name} if start + size < len(found) else {}
