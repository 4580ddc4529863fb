"""The emulated SageMaker: processing jobs that really run, with the service's own refusals.

Rules and limits are those of the SDK's model (botocore, sagemaker 2017-07-24), by its validator and by the lengths,
patterns and enumerations that the model gives beside them; each other rule names its source where it stands.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.emulators.aws_errors import Refused
from tests.emulators.aws_jobs import (
    ENDED,
    NO_CAPACITY,
    NO_IMAGE,
    RUNNING,
    Job,
    Jobs,
    arn_of,
    machines,
    takes_no_key,
)
from tests.emulators.processes import Container

_ML = "/opt/ml"


class ProcessingJob(Job):
    """A processing job."""

    kind = "Processing"

    def become(self, status: str, reason: str = "") -> None:
        """Go over into another state, now; a terminal one is not left."""
        with self.lock:
            if self.ended:
                return
            now = time.time()
            self.described |= {"ProcessingJobStatus": status, "LastModifiedTime": now}
            if status in ENDED:
                self.described["ProcessingEndTime"] = now
                if reason:
                    self.described["FailureReason"] = reason[:1024]

    def fail(self, reason: str) -> None:
        """It has failed, now."""
        self.become("Failed", reason)

    def begin(self) -> None:
        """The container starts."""
        with self.lock:
            self.described["ProcessingStartTime"] = self.described["LastModifiedTime"] = time.time()

    def complete_at_once(self) -> None:
        """A job that runs nothing has succeeded."""
        self.begin()
        self.become("Stopped" if self.stop.is_set() else "Completed")

    def run(self) -> None:
        """Run to the end, and leave nothing behind."""
        try:
            super().run()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        faults = self._misbehaviour.faults
        if not self._launched():
            return
        if self.body["AppSpecification"]["ImageUri"] in faults.no_image:
            self.fail(NO_IMAGE)
            return
        if not self._lay_out():
            return
        with RUNNING:
            self._process()

    def _launched(self) -> bool:
        """Whether one of the machines is to be had; if not, the job has ended."""
        if self.stop.is_set():
            self.become("Stopped")
            return False
        missing = self._misbehaviour.faults.no_capacity
        cluster = self.body["ProcessingResources"]["ClusterConfig"]
        for name in machines(cluster):
            if name not in missing:
                if "InstancePreferences" in cluster:
                    # "Returned by DescribeProcessingJob after an instance type is selected": SDK model
                    with self.lock:
                        self.described["ProcessingResources"] = {
                            "ClusterConfig": {**cluster, "SelectedInstanceType": name, "SelectedInstanceCount": 1}
                        }
                return True
        self.fail(NO_CAPACITY)
        return False

    def _lay_out(self) -> bool:
        """The inputs where the request wants them: "How SageMaker Processing Configures Input and Output", guide."""
        for each in self.body.get("ProcessingInputs", []):
            source = each["S3Input"]
            folder = self._inside(source["LocalPath"])
            folder.mkdir(parents=True, exist_ok=True)
            if not self._store.download(source["S3Uri"], folder):
                self.fail(
                    f'ClientError: Data download failed:No S3 objects found under S3 URL "{source["S3Uri"]}" given in '
                    "input data source.",
                )
                return False
        for each in self._outputs():
            # "This directory will be created by the platform": ProcessingS3Output.LocalPath, SDK model
            self._inside(each["LocalPath"]).mkdir(parents=True, exist_ok=True)
        (self._folder / "output").mkdir(parents=True, exist_ok=True)
        return True

    def _process(self) -> None:
        limit = self.body.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", 86_400)
        application = self.body["AppSpecification"]
        # The container sees this folder as /opt/ml; here that is a folder like any other.
        command = [
            part.replace(_ML, str(self._folder))
            for part in (*application.get("ContainerEntrypoint", []), *application.get("ContainerArguments", []))
        ]
        environment = {
            "PROCESSING_JOB_ARN": self.arn,
            "PROCESSING_JOB_NAME": self.name,
            "AWS_REGION": self.region,
            **self.body.get("Environment", {}),
        }
        self.begin()
        container = Container(command, environment, self._folder / "container")
        code = container.wait(self.stop, limit)
        self.log = container.text()[-20_000:]
        message = self._folder / "output" / "message"
        if message.is_file():
            # "the first 1 KB of this file", whatever the job's end: "Save and Access Metadata Information", guide
            with self.lock:
                self.described["ExitMessage"] = message.read_bytes()[:1024].decode("utf-8", "ignore")
        if code is None:
            self.become("Stopped")
        elif code:
            shown = 128 - code if code < 0 else code
            self.fail(f"AlgorithmError: See job logs for more information, exit code: {shown}")
        else:
            self._upload()
            self.become("Completed")

    def _upload(self) -> None:
        if self._misbehaviour.faults.missing_output:
            return
        for each in self._outputs():
            local = self._inside(each["LocalPath"])
            for file in sorted(path for path in local.rglob("*") if path.is_file()):
                at = f"{each['S3Uri'].rstrip('/')}/{file.relative_to(local).as_posix()}"
                self._store.write(at, file.read_bytes())

    def _outputs(self) -> list[dict[str, Any]]:
        return [each["S3Output"] for each in self.body.get("ProcessingOutputConfig", {}).get("Outputs", [])]

    def _inside(self, path: str) -> Path:
        return self._folder / os.path.relpath(path, _ML)


class Processing(Jobs[ProcessingJob]):
    """Answers the operations on processing jobs."""

    kind = "Processing"
    # ProcessingJobSummary, SDK model: when the job began is not among them.
    summary = ("ProcessingJobName", "ProcessingJobArn", "CreationTime", "ProcessingEndTime", "LastModifiedTime",
               "ProcessingJobStatus", "FailureReason", "ExitMessage")  # fmt: skip

    def report(self) -> list[dict[str, Any]]:
        """The jobs, for the emulator's report."""
        return [
            {
                "name": job.name,
                "status": job.status,
                "reason": job.described.get("FailureReason", ""),
                "message": job.described.get("ExitMessage", ""),
                "log": job.log[-2000:],
            }
            for job in list(self.jobs.values())
        ]

    def _create(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        self._check(body)
        name = body["ProcessingJobName"]
        with self._lock:
            if (region, name) in self.jobs:
                # "The name must be unique within an AWS Region in the AWS account": CreateProcessingJob, API reference
                arn = arn_of(self.kind, region, name)
                raise Refused("ResourceInUse", f"Job name must be unique within an AWS account and region ({arn})")
            self._check_quota(machines(body["ProcessingResources"]["ClusterConfig"]), 1)
            job = ProcessingJob(body, region, self._store, self._misbehaviour, self._folder / uuid4().hex)
            job.shown += self._misbehaviour.faults.listing_delay
            self.jobs[region, name] = job
        return self._start(job, job.begin)

    def _check(self, body: Mapping[str, Any]) -> None:
        cluster = body["ProcessingResources"]["ClusterConfig"]
        inputs = body.get("ProcessingInputs", [])
        found = ""
        if ("InstanceType" in cluster) == ("InstancePreferences" in cluster):
            # "InstancePreferences is mutually exclusive with InstanceType": ProcessingClusterConfig, SDK model
            found = "Either InstanceType or InstancePreferences has to be given, and not both"
        elif "SelectedInstanceType" in cluster or "SelectedInstanceCount" in cluster:
            # "This field is read-only and isn't accepted in CreateProcessingJob requests": SDK model
            found = "SelectedInstanceType and SelectedInstanceCount are read-only"
        elif takes_no_key(cluster):
            found = "VolumeKmsKeyId is not supported for instances with local storage"
        elif len({each["InputName"] for each in inputs}) < len(inputs):
            found = "Input names have to be unique"
        elif any("S3Input" in each and "LocalPath" not in each["S3Input"] for each in inputs):
            # "LocalPath is a required parameter when AppManaged is False": ProcessingS3Input, SDK model
            found = "LocalPath is required"
        found = found or self._not_allowed(body)
        if found:
            raise Refused("ValidationException", found)

    def _named(self, name: str, region: str) -> ProcessingJob:
        job = self.jobs.get((region, name))
        if job is None:
            raise Refused("ValidationException", f"Could not find requested job with name: {name}")
        return job

    def _stop(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["ProcessingJobName"], region)
        with job.lock:
            if job.status != "InProgress":
                why = f"The request was rejected because the job is in status {job.status}."
                raise Refused("ValidationException", why)
            job.become("Stopping")
            job.stop.set()
            faults = self._misbehaviour.faults
            if faults.hold or faults.noop or "ProcessingStartTime" not in job.described:
                job.become("Stopped")
        return {}

    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        shown = [job for job in self._shown(region) if body.get("StatusEquals") in (None, job.status)]
        entries, token = self._listed(shown, body)
        return {"ProcessingJobSummaries": entries, **token}
