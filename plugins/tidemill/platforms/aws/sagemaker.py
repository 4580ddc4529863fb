"""SageMaker's jobs: trainings, and what its kinds of jobs have in common."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering, code_of, console, words_of
from tidemill.platforms.aws.outputs import unpack
from tidemill.platforms.aws.shapes import check
from tidemill.platforms.aws.training_poll import TRAINING, JobPoll, Kind
from tidemill.platforms.aws.training_request import training_request
from tidemill.platforms.ports import JobLinks, JobRef, JobStatus, PlatformError, RemoteJob

_OURS: Final = ("tidemill-job", "tidemill-installation")
_UNKNOWN: Final = re.compile(r"not found|does not exist|could not find", re.IGNORECASE)
_ENDED: Final = re.compile(r"status (Completed|Failed|Stopped|Stopping|Deleting)", re.IGNORECASE)


class SageMakerJobs:
    """The port ``RemoteJobs`` over SageMaker's training jobs, in one account and region."""

    refuses_duplicates = True
    service = "sagemaker"
    kind: Kind = TRAINING

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._poll: JobPoll | None = None

    def request(self, job: RemoteJob) -> dict[str, Any]:
        """What the service is asked for. Raises PlatformError: a setting is missing."""
        return training_request(job)

    def submit(self, job: RemoteJob) -> JobRef:
        """Have SageMaker take the job; one of its name that is ours is returned instead. See ``RemoteJobs``."""
        body, noun = self.request(job), self.kind.noun
        client = self._aws.client("sagemaker")
        check(client, f"Create{noun}", body)
        try:
            with answering(self._aws, f"sagemaker:Create{noun}"):
                try:
                    return self._ref(job.name, getattr(client, f"create_{self.kind.method}")(**body)[f"{noun}Arn"])
                except client.exceptions.ClientError as e:
                    # The name exists, whoever made the job; it may be ours, of a call whose answer was lost.
                    taken = code_of(e) == "ResourceInUse"
                    if not taken:
                        _raise_for_want_of(job, e)
                        raise
        except PlatformError as error:
            found = self.find(job) if error.fault == "system" and not error.throttled else None
            if found is None:
                raise
            return found
        found = self.find(job)
        if found is None:
            raise PlatformError(f"SageMaker says that the job {job.name} exists and then does not find it; try again")
        return found

    def find(self, job: RemoteJob) -> JobRef | None:
        """The job of that name that is ours; ``None`` if there is none. See ``RemoteJobs``."""
        described = self._describe(job.name)
        if described is None:
            return None
        arn = described[f"{self.kind.noun}Arn"]
        client = self._aws.client("sagemaker")
        with answering(self._aws, "sagemaker:ListTags"):
            pages = client.get_paginator("list_tags").paginate(ResourceArn=arn)
            tags = {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
        if any(tags.get(key) != job.tags.get(key) for key in _OURS):
            raise PlatformError(
                f"the name {job.name} is taken by a stranger's job: {arn} does not have this installation's tags",
                fault="user",
            )
        return self._ref(job.name, arn)

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """How jobs stand, in a few lists for all of them. See ``RemoteJobs``; one thread at a time."""
        if self._poll is None:
            self._poll = JobPoll(self._aws, self.kind, self._describe)
        return self._poll.poll(refs)

    def stop(self, ref: JobRef) -> None:
        """Ask for the job's end. See ``RemoteJobs``."""
        client = self._aws.client("sagemaker")
        with answering(self._aws, f"sagemaker:Stop{self.kind.noun}"):
            try:
                getattr(client, f"stop_{self.kind.method}")(**{f"{self.kind.noun}Name": ref.name})
            except client.exceptions.ClientError as e:
                if not (_is_unknown(e) or (code_of(e) == "ValidationException" and _ENDED.search(words_of(e)))):
                    raise

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch what the job left: SageMaker packs it as ``model.tar.gz``. See ``RemoteJobs``."""
        from tidemill.platforms.aws.storage import S3Storage

        storage = S3Storage(self._aws)
        packed = f"{job.output.rstrip('/')}/{ref.name}/output/model.tar.gz"
        output = folder / "output"
        shutil.rmtree(output, ignore_errors=True)
        (folder / "output.result.json").unlink(missing_ok=True)
        output.mkdir(parents=True)
        with tempfile.TemporaryDirectory(prefix="tidemill-") as scratch:
            file = Path(scratch) / "model.tar.gz"
            if not any(stored.uri == packed for stored in storage.list(packed)):
                return
            storage.get(packed, file)
            unpack(file, packed, folder)

    def links(self, ref: JobRef) -> JobLinks:
        """Where a person looks at the job."""
        region = ref.region or self._aws.region
        base, noun = console(region), self.kind.noun
        log = f"$252Faws$252Fsagemaker$252F{noun}s$3FlogStreamNameFilter$3D{ref.name}$252F"
        place = "jobs" if noun == "TrainingJob" else "processing-jobs"
        return JobLinks(
            console=f"{base}/sagemaker/home?region={region}#/{place}/{ref.name}",
            log=f"{base}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{log}",
        )

    def _ref(self, name: str, arn: str) -> JobRef:
        return JobRef(service=self.service, name=name, id=arn, region=self._aws.region)

    def _describe(self, name: str) -> dict[str, Any] | None:
        client = self._aws.client("sagemaker")
        with answering(self._aws, f"sagemaker:Describe{self.kind.noun}"):
            try:
                describe = getattr(client, f"describe_{self.kind.method}")
                described: dict[str, Any] = describe(**{f"{self.kind.noun}Name": name})
                return described
            except client.exceptions.ClientError as e:
                if _is_unknown(e):
                    return None
                raise


def _is_unknown(error: Exception) -> bool:
    # The service says ValidationException "Requested resource not found." where its model has ResourceNotFound.
    code = code_of(error)
    return code == "ResourceNotFound" or (
        code == "ValidationException" and _UNKNOWN.search(words_of(error)) is not None
    )


def _machine_of(job: RemoteJob) -> str:
    named = job.machine or job.resources.machine or ""
    return " or ".join(named) if isinstance(named, list) else named


def _raise_for_want_of(job: RemoteJob, error: Exception) -> None:
    if code_of(error) == "ResourceLimitExceeded":
        asked = f"{job.resources.count} × {_machine_of(job)}{' (spot)' if job.spot else ''}"
        raise PlatformError(f"no quota for {asked}: {words_of(error)}", fault="capacity") from None
    said = words_of(error)
    if code_of(error) == "ValidationException" and "assume role" in said.lower():
        raise PlatformError(
            f"SageMaker may not run as platform.role {job.platform.role}: the role has to exist and to trust "
            f"sagemaker.amazonaws.com, and the connection needs iam:PassRole for it ({said})",
            fault="user",
        ) from None
