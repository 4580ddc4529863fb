"""Command jobs of Azure ML: a container on a compute cluster, whose inputs and outputs are folders in the store.

The service itself refuses a second job of one name, so a submit whose answer was lost is simply repeated. How jobs
stand is asked of the workspace's run history, a hundred of them in a call.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tidemill.platforms.azure.account import Workspace, open_workspace
from tidemill.platforms.azure.errors import code_of, is_capacity, translated
from tidemill.platforms.azure.storage import Blobs, open_storage
from tidemill.platforms.delivered import collect
from tidemill.platforms.packing import folder_command
from tidemill.platforms.ports import (
    Connections,
    Fault,
    JobLinks,
    JobRef,
    JobState,
    JobStatus,
    PlatformError,
    RemoteJob,
)
from tidemill.spec.platform import Platform

STATES: Final[Mapping[str, JobState]] = {
    "NotStarted": "queued",
    "Starting": "queued",
    "Provisioning": "queued",
    "Preparing": "queued",
    "Queued": "queued",
    "Paused": "queued",
    "Running": "running",
    "Finalizing": "running",
    "CancelRequested": "running",
    "NotResponding": "running",
    "Unknown": "running",
    "Completed": "succeeded",
    "Failed": "failed",
    "Canceled": "stopped",
}
"""Azure ML's states of a job (``JobStatus`` of its management API), as the port has them."""

MOST_TAGS: Final = 50
"""Of a run; "Service limits in Azure Machine Learning", read in November 2026."""
_OWN: Final = ("tidemill-job", "tidemill-installation")
_EXIT: Final = re.compile(r"(?:status|exit) code:? (-?\d+)", re.I)
_FEW: Final = 3
_NO_WORKSPACE: Final = frozenset({"ResourceGroupNotFound", "SubscriptionNotFound", "InvalidSubscriptionId"})
"""Azure Resource Manager's own codes; a job that is not there is told by Azure ML itself (``UserError``)."""


def open_jobs(platform: Platform, service: str, connections: Connections) -> AzureMlJobs:
    """The jobs of the workspace that a spec names.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    return AzureMlJobs(open_workspace(platform, connections), open_storage(platform, connections))


class AzureMlJobs:
    """The port ``RemoteJobs`` over Azure ML."""

    refuses_duplicates = True

    def __init__(self, workspace: Workspace, storage: Blobs) -> None:
        self.workspace = workspace
        self.storage = storage
        self._environments: dict[str, str] = {}

    def submit(self, job: RemoteJob) -> JobRef:
        """See the port."""
        return self.take(job.name, command_body(job, self.workspace, self.environment(job.image)), _OWN)

    def take(self, name: str, body: Any, own: Sequence[str]) -> JobRef:
        """Have the service take a job, by the SDK's model; one of that name whose tags ``own`` are the same is
        returned instead of a second one.

        Raises:
            PlatformError: refused, the name is taken by another job, or no answer.
        """
        from azure.core.exceptions import HttpResponseError

        workspace, tags = self.workspace, body.properties.tags or {}
        with self.translated(f"job {name}"):
            try:
                made = workspace.client.jobs.create_or_update(workspace.group, workspace.name, name, body)
            except HttpResponseError as error:
                # Of a job that exists, the service lets nothing change but its words: a retry of a call whose answer
                # was lost may come to this, and so may a job of somebody else.
                made = self._get(name) if error.status_code in (400, 409) else None
                if made is None:
                    raise
        self._check_owner(made, name, {key: tags.get(key) for key in own})
        return _ref(made, name)

    def find(self, job: RemoteJob) -> JobRef | None:
        """See the port. Reads by name, so it finds a job that lists do not show yet."""
        with self.translated(f"job {job.name}"):
            found = self._get(job.name)
        if found is None:
            return None
        self._check_owner(found, job.name, {key: job.tags.get(key) for key in _OWN})
        return _ref(found, job.name)

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """See the port. One call for a hundred jobs."""
        with self.translated("how jobs stand"):
            runs = self.workspace.runs([ref.name for ref in refs])
            found = {ref.id: status_of(runs[ref.name]) for ref in refs if ref.name in runs}
            missing = [ref for ref in refs if ref.id not in found]
            if len(missing) <= _FEW:
                # Run history may be late; the management API knows a job from the moment it has taken it.
                for ref in missing:
                    if (job := self._get(ref.name)) is not None:
                        found[ref.id] = JobStatus(STATES.get(str(job.properties.status), "running"))
            stopped = [ref for ref in refs if ref.id in found and found[ref.id].state == "stopped"]
            if len(stopped) <= _FEW:
                for ref in stopped:
                    found[ref.id] = self._stopped(ref, found[ref.id])
        return found

    def _stopped(self, ref: JobRef, status: JobStatus) -> JobStatus:
        """A job that has used up its time is cancelled by the service, without a word of why."""
        job = self._get(ref.name)
        limit = getattr(getattr(job and job.properties, "limits", None), "timeout", None)
        if limit is None or status.seconds is None or status.seconds < limit.total_seconds():
            return status
        reason = f"it did not end within {limit.total_seconds():g} s (train.timeout)"
        return replace(status, state="failed", fault="user", reason=reason)

    def stop(self, ref: JobRef) -> None:
        """See the port."""
        from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

        workspace = self.workspace
        with self.translated(f"stopping job {ref.name}"):
            try:
                workspace.client.jobs.begin_cancel(workspace.group, workspace.name, ref.name, polling=False)
            except ResourceNotFoundError:
                return
            except HttpResponseError as error:
                if error.status_code not in (400, 409):
                    raise
                job = self._get(ref.name)
                if job is not None and STATES.get(str(job.properties.status)) in ("queued", "running"):
                    raise

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """See the port."""
        collect(self.storage, job.output, folder)

    def links(self, ref: JobRef) -> JobLinks:
        """See the port. The studio's page of a job holds its log, which has no address of its own."""
        address = self.workspace.studio(ref.name)
        return JobLinks(console=address, log=address)

    def log_of(self, name: str) -> str:
        """What a job has printed, as far as Azure ML keeps it; empty if there is nothing.

        Raises:
            PlatformError: refused, or no answer.
        """
        with self.translated(f"the log of job {name}"):
            details = self.workspace.call("GET", f"history/v1.0|/runs/{name}/details")
            files: Mapping[str, str] = details.get("logFiles") or {}
            named = sorted(file for file in files if file.rpartition("/")[2].startswith("std_log"))
            return "".join(self.workspace.text(files[file]) for file in named)

    def _get(self, name: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            return self.workspace.client.jobs.get(self.workspace.group, self.workspace.name, name)
        except ResourceNotFoundError as error:
            # A workspace that is not there is another matter than a job that is not.
            code, message = code_of(error), str(error.message)
            if code in _NO_WORKSPACE or (code == "ResourceNotFound" and "/jobs/" not in message):
                raise
            return None

    def _check_owner(self, found: Any, name: str, own: Mapping[str, str | None]) -> None:
        tags = found.properties.tags or {}
        theirs = {key: tags.get(key) for key in own}
        if theirs != own:
            raise PlatformError(
                f"workspace {self.workspace.name} has a job {name} that is not this pipeline's: its tags are {theirs}, "
                f"ours would be {dict(own)}. The name is taken as long as that job is not deleted",
                fault="user",
            )

    def environment(self, image: str) -> str:
        """The id of the environment that holds an image, made if it is not there. ``azureml:NAME:VERSION`` and
        ``azureml://registries/…`` name one that exists.

        Raises:
            PlatformError: refused, or no answer.
        """
        if image.startswith("azureml://"):
            return image
        if image.startswith("azureml:"):
            name, _, version = image.removeprefix("azureml:").partition(":")
            kind = f"versions/{version}" if version else "labels/latest"
            return f"{self.workspace.scope}/environments/{name}/{kind}"
        if image not in self._environments:
            with self.translated(f"the environment for image {image}"):
                self._environments[image] = register_image(self.workspace, image)
        return self._environments[image]

    def translated(self, doing: str) -> Any:
        """What Azure's libraries raise within, as PlatformError."""
        return translated(doing, self.workspace.connection, "azureml")


def register_image(workspace: Workspace, image: str) -> str:
    """The id of the environment that stands for an image; its name is made of the image's.

    Raises:
        azure.core.exceptions.AzureError: refused, or no answer.
    """
    from azure.core.exceptions import ResourceExistsError
    from azure.mgmt.machinelearningservices import models

    name = f"tidemill-{hashlib.sha256(image.encode()).hexdigest()[:16]}"
    properties = models.EnvironmentVersionProperties(image=image, os_type="Linux", tags={"tidemill-image": image[:256]})
    body = models.EnvironmentVersion(properties=properties)
    environments = workspace.client.environment_versions
    # A version never changes, and this one's name says what it holds.
    with contextlib.suppress(ResourceExistsError):
        environments.create_or_update(workspace.group, workspace.name, name, "1", body)
    return f"{workspace.scope}/environments/{name}/versions/1"


def command_body(job: RemoteJob, workspace: Workspace, environment: str) -> Any:
    """The job's body, by the SDK's own model.

    Raises:
        PlatformError: more tags than a run takes.
    """
    from azure.mgmt.machinelearningservices import models

    if len(job.tags) > MOST_TAGS:
        raise PlatformError(
            f"job {job.name}: {len(job.tags)} tags, and Azure ML takes {MOST_TAGS}; remove some from platform.tags",
            fault="user",
        )
    cluster = job.platform.spot_compute if job.spot else job.platform.compute
    if cluster is None:
        raise PlatformError(
            f"job {job.name}: no cluster; set platform.{'spot_compute' if job.spot else 'compute'}", fault="user"
        )
    folders = {"code": job.code, "data": job.data, "job": job.job}
    outputs = {"output": job.output, **({"checkpoint": job.checkpoint} if job.checkpoint else {})}
    return models.JobBase(
        properties=models.CommandJob(
            display_name=job.name,
            experiment_name=job.tags.get("tidemill-pipeline") or job.tags.get("tidemill-dag") or "tidemill",
            tags=dict(job.tags),
            command=command_line(checkpoint=job.checkpoint is not None),
            environment_id=environment,
            environment_variables=dict(job.environment),
            compute_id=f"{workspace.scope}/computes/{cluster}",
            inputs={
                # Code and settings are small; data is read where it lies, since a node's disk may not hold it.
                name: models.UriFolderJobInput(uri=f"{uri}/", mode="ReadOnlyMount" if name == "data" else "Download")
                for name, uri in folders.items()
            },
            # What is written to a mount is in the store at once: a job that fails, or loses its machine, leaves it.
            outputs={
                name: models.UriFolderJobOutput(uri=f"{uri}/", mode="ReadWriteMount") for name, uri in outputs.items()
            },
            resources=models.JobResourceConfiguration(instance_count=job.resources.count),
            # Without one, only the first of several machines would be started.
            distribution=models.PyTorch(process_count_per_instance=1) if job.resources.count > 1 else None,
            limits=models.CommandJobLimits(timeout=whole(job.timeout)) if job.timeout is not None else None,
            # The store is reached as this identity; without a client id, as the cluster's own.
            identity=models.ManagedIdentity(client_id=job.platform.identity),
        )
    )


def whole(timeout: timedelta) -> timedelta:
    """A timeout in whole seconds, at least one: the service takes no fractions."""
    return timedelta(seconds=max(1, round(timeout.total_seconds())))


def command_line(*, checkpoint: bool) -> str:
    """The job's command. The service puts the folders' paths where ``${{…}}`` stands; in double quotes, since it may
    put names of variables there."""
    argv = folder_command(
        platform="azureml",
        code="${{inputs.code}}",
        data="${{inputs.data}}",
        job="${{inputs.job}}",
        output="${{outputs.output}}",
        checkpoint="${{outputs.checkpoint}}" if checkpoint else None,
    )
    return " ".join(f'"{word}"' if word.startswith("${{") else shlex.quote(word) for word in argv)


def status_of(run: Mapping[str, Any]) -> JobStatus:
    """How a job stands, by what run history keeps of it."""
    state = STATES.get(str(run.get("status")), "running")
    error = (run.get("error") or {}).get("error") or {}
    reason = str(error.get("message") or "")
    started, ended = _instant(run.get("startTimeUtc")), _instant(run.get("endTimeUtc"))
    seconds = (ended - started).total_seconds() if started and ended else None
    if state != "failed":
        return JobStatus(state, reason, seconds=seconds)
    return JobStatus(state, reason or "failed", fault_of(str(error.get("code") or ""), reason), seconds)


def fault_of(code: str, message: str) -> Fault:
    """Whose fault a failure is: by the exit code that Azure ML tells of, else by its own code of the error."""
    exited = _EXIT.search(message)
    if exited:
        return "user" if int(exited[1]) in (10, 126, 127) else "system"
    if is_capacity(f"{code} {message}"):
        return "capacity"
    return "user" if code == "UserError" else "system"


def _ref(found: Any, name: str) -> JobRef:
    return JobRef("azureml", name, str(found.id))


def _instant(value: Any) -> datetime | None:
    # Azure writes seven digits of a second's fraction.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", str(value))) if value else None
