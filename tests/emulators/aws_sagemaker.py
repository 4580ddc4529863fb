"""The emulated SageMaker: the operations on training jobs, with the service's own refusals.

Rules and limits are those of the SDK's model (botocore, sagemaker 2017-07-24), by its validator and by the lengths,
patterns and enumerations that the model gives beside them; each other rule names its source where it stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from tests.emulators.aws_errors import Refused
from tests.emulators.aws_jobs import Jobs, arn_of, machines, takes_no_key
from tests.emulators.aws_store import split
from tests.emulators.aws_training import Training


class SageMaker(Jobs[Training]):
    """Answers the operations on training jobs."""

    kind = "Training"
    summary = ("TrainingJobName", "TrainingJobArn", "CreationTime", "TrainingEndTime", "LastModifiedTime",
               "TrainingJobStatus", "SecondaryStatus")  # fmt: skip

    def _create(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        self._check(body)
        self._check_buckets(body, region)
        name = body["TrainingJobName"]
        with self._lock:
            if (region, name) in self.jobs:
                raise Refused(
                    "ResourceInUse",
                    "Training job names must be unique within an AWS account and region, and a training job with this "
                    f"name already exists ({arn_of(self.kind, region, name)})",
                )
            self._check_quota(machines(body["ResourceConfig"]), body["ResourceConfig"].get("InstanceCount", 1))
            job = Training(body, region, self._store, self._misbehaviour, self._folder / uuid4().hex)
            job.shown += self._misbehaviour.faults.listing_delay
            self.jobs[region, name] = job
        return self._start(job, lambda: job.become("Training"))

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
        elif takes_no_key(config):
            found = f"VolumeKmsKeyId is not supported for {' or '.join(machines(config))}"
        elif "InputDataConfig" in body and len({c["ChannelName"] for c in body["InputDataConfig"]}) < len(
            body["InputDataConfig"]
        ):
            found = "Channel names have to be unique"
        found = found or self._not_allowed(body)
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

    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        entries, token = self._listed(self._shown(region), body)
        # "First, MaxResults jobs with any status are selected. Next, those with the status are returned": SDK model
        status = body.get("StatusEquals")
        entries = [entry for entry in entries if status in (None, entry["TrainingJobStatus"])]
        return {"TrainingJobSummaries": entries, **token}
