"""The emulated SageMaker: processing jobs that really run, with the service's own refusals.

Rules and limits are those of the SDK's model (botocore, sagemaker 2017-07-24), by its validator and by the lengths,
patterns and enumerations that the model gives beside them; each other rule names its source where it stands.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.emulators.aws_errors import Refused
from tests.emulators.aws_sagemaker import LARGEST_PAGE, LOCAL_DISKS, listed
from tests.emulators.aws_store import ACCOUNT, NoSuchBucket, Store
from tests.emulators.aws_training import RUNNING, machines
from tests.emulators.clock import Clock
from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import Container

_ML = "/opt/ml"
_ENDED = {"Completed", "Failed", "Stopped"}


class ProcessingJob:
    """A processing job. ``described`` is what DescribeProcessingJob answers; ``lock`` guards it."""

    def __init__(
        self, body: Mapping[str, Any], arn: str, region: str, store: Store, misbehaviour: Misbehaviour, folder: Path
    ) -> None:
        self.body = body
        self.name: str = body["ProcessingJobName"]
        self.arn = arn
        self.region = region
        self.tags = {tag["Key"]: tag["Value"] for tag in body.get("Tags", [])}
        self.shown = time.monotonic()
        self.stop = threading.Event()
        self.lock = threading.RLock()
        self.log = ""
        self._store = store
        self._misbehaviour = misbehaviour
        self._folder = folder
        now = time.time()
        self.described: dict[str, Any] = {
            **{key: value for key, value in body.items() if key != "Tags"},
            "ProcessingJobArn": arn,
            "ProcessingJobStatus": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal state."""
        return self.described["ProcessingJobStatus"] in _ENDED

    def become(self, status: str, reason: str = "") -> None:
        """Go over into another state, now; a terminal one is not left."""
        with self.lock:
            if self.ended:
                return
            now = time.time()
            self.described |= {"ProcessingJobStatus": status, "LastModifiedTime": now}
            if status in _ENDED:
                self.described["ProcessingEndTime"] = now
                if reason:
                    self.described["FailureReason"] = reason[:1024]

    def begin(self) -> None:
        """The container starts."""
        with self.lock:
            self.described["ProcessingStartTime"] = self.described["LastModifiedTime"] = time.time()

    def complete_at_once(self) -> None:
        """A job that runs nothing has succeeded."""
        self.begin()
        self.become("Stopped" if self.stop.is_set() else "Completed")

    def run(self) -> None:
        """Run to the end. Called in a thread of its own."""
        try:
            self._run()
        except NoSuchBucket as e:
            self.become("Failed", f"ClientError: Data download failed:NoSuchBucket: {e}")
        except Exception as e:  # noqa: BLE001  (the emulator's own mistake has to be seen, as the service's would be)
            self.become("Failed", f"InternalServerError: the emulator: {type(e).__name__}: {e}")
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self) -> None:
        faults = self._misbehaviour.faults
        if not self._launched():
            return
        if self.body["AppSpecification"]["ImageUri"] in faults.no_image:
            # The words of the developer guide's page on troubleshooting.
            self.become(
                "Failed",
                "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are "
                "incorrect.",
            )
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
        self.become(
            "Failed",
            "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML "
            "instance type.",
        )
        return False

    def _lay_out(self) -> bool:
        """The inputs where the request wants them: "How SageMaker Processing Configures Input and Output", guide."""
        for each in self.body.get("ProcessingInputs", []):
            source = each["S3Input"]
            folder = self._inside(source["LocalPath"])
            folder.mkdir(parents=True, exist_ok=True)
            if not self._store.download(source["S3Uri"], folder):
                self.become(
                    "Failed",
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
            self.become("Failed", f"AlgorithmError: See job logs for more information, exit code: {shown}")
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


class Processing:
    """Answers the operations on processing jobs."""

    def __init__(self, store: Store, misbehaviour: Misbehaviour, clock: Clock, folder: Path, role: str | None) -> None:
        self.jobs: dict[str, ProcessingJob] = {}
        self._store = store
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._folder = folder
        self._role = role
        self._lock = threading.Lock()
        self.operations: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            "CreateProcessingJob": self._create,
            "DescribeProcessingJob": self._describe,
            "ListProcessingJobs": self._list,
            "StopProcessingJob": self._stop,
            "DeleteProcessingJob": self._delete,
        }

    def tags(self, arn: str) -> dict[str, str] | None:
        """The tags of a processing job, ``None`` if it is none of ours."""
        job = next((job for job in self.jobs.values() if job.arn == arn), None)
        return None if job is None else job.tags

    def report(self) -> list[dict[str, Any]]:
        """The jobs, for the emulator's report."""
        return [
            {
                "name": job.name,
                "status": job.described["ProcessingJobStatus"],
                "reason": job.described.get("FailureReason", ""),
                "message": job.described.get("ExitMessage", ""),
                "log": job.log[-2000:],
            }
            for job in list(self.jobs.values())
        ]

    def close(self) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            job.stop.set()

    def _create(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        self._check(body)
        name = body["ProcessingJobName"]
        arn = f"arn:aws:sagemaker:{region}:{ACCOUNT}:processing-job/{name}"
        faults = self._misbehaviour.faults
        with self._lock:
            if name in self.jobs:
                # "The name must be unique within an AWS Region in the AWS account": CreateProcessingJob, API reference
                raise Refused("ResourceInUse", f"Job name must be unique within an AWS account and region ({arn})")
            asked = machines(body["ProcessingResources"]["ClusterConfig"])
            if all(machine in faults.no_quota for machine in asked):
                # The words of the service, as re:Post's article on ResourceLimitExceeded quotes them for trainings.
                raise Refused(
                    "ResourceLimitExceeded",
                    f"The account-level service limit '{asked[0]} for processing job usage' is 0 Instances, with "
                    "current utilization of 0 Instances and a request delta of 1 Instances. Please use AWS Service "
                    "Quotas to request an increase for this quota.",
                )
            job = ProcessingJob(body, arn, region, self._store, self._misbehaviour, self._folder / uuid4().hex)
            job.shown += faults.listing_delay
            self.jobs[name] = job
        if faults.hold:
            self._clock.after(faults.start_delay, job.begin)
        elif faults.noop:
            self._clock.after(faults.start_delay, job.complete_at_once)
        else:
            self._clock.after(faults.start_delay, lambda: threading.Thread(target=job.run, daemon=True).start())
        return {"ProcessingJobArn": arn}

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
        elif cluster.get("VolumeKmsKeyId") and any(LOCAL_DISKS.match(name) for name in machines(cluster)):
            # "You can't request a VolumeKmsKeyId when using an instance type with local storage": SDK model
            found = "VolumeKmsKeyId is not supported for instances with local storage"
        elif len({each["InputName"] for each in inputs}) < len(inputs):
            found = "Input names have to be unique"
        elif any("S3Input" in each and "LocalPath" not in each["S3Input"] for each in inputs):
            # "LocalPath is a required parameter when AppManaged is False": ProcessingS3Input, SDK model
            found = "LocalPath is required"
        elif any(key["Key"].lower().startswith("aws:") for key in body.get("Tags", [])):
            found = "aws: prefixed tag key names are not allowed for external use"
        elif self._role is not None and body["RoleArn"] != self._role:
            found = (
                f"Could not assume role {body['RoleArn']}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role."
            )
        if found:
            raise Refused("ValidationException", found)

    def _named(self, name: str) -> ProcessingJob:
        job = self.jobs.get(name)
        if job is None:
            raise Refused("ValidationException", f"Could not find requested job with name: {name}")
        return job

    def _describe(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["ProcessingJobName"])
        with job.lock:
            return dict(job.described)

    def _stop(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["ProcessingJobName"])
        with job.lock:
            status = job.described["ProcessingJobStatus"]
            if status != "InProgress":
                raise Refused("ValidationException", f"The request was rejected because the job is in status {status}.")
            job.become("Stopping")
            job.stop.set()
            faults = self._misbehaviour.faults
            if faults.hold or faults.noop or "ProcessingStartTime" not in job.described:
                job.become("Stopped")
        return {}

    def _delete(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body["ProcessingJobName"])
        if not job.ended:
            raise Refused("ResourceInUse", f"Processing job {job.name} has not ended")
        with self._lock:
            self.jobs.pop(job.name, None)
        return {}

    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        size = body.get("MaxResults", 10)
        if not 1 <= size <= LARGEST_PAGE:
            raise Refused("ValidationException", f"MaxResults {size} is not between 1 and {LARGEST_PAGE}")
        now = time.monotonic()
        with self._lock:
            shown = [job for job in self.jobs.values() if job.shown <= now]
        shown.sort(key=lambda job: (job.described["CreationTime"], job.name), reverse=True)
        if "StatusEquals" in body:
            shown = [job for job in shown if job.described["ProcessingJobStatus"] == body["StatusEquals"]]
        # ProcessingJobSummary, SDK model: when the job began is not among them.
        keys = ("ProcessingJobName", "ProcessingJobArn", "CreationTime", "ProcessingEndTime", "LastModifiedTime",
                "ProcessingJobStatus", "FailureReason", "ExitMessage")  # fmt: skip
        entries, token = listed(shown, body, keys, size)
        return {"ProcessingJobSummaries": entries, **token}
