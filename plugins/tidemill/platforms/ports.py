"""The ports between steps and the world. A step knows these, never Airflow and never a cloud."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

from tidemill.errors import TidemillError
from tidemill.spec.platform import Platform, Resources

Cloud = Literal["aws", "gcp", "azure", "kubernetes"]


@dataclass(frozen=True)
class Connection:
    """An address with credentials, as Airflow keeps them. Its ``repr`` hides the password."""

    conn_id: str
    conn_type: str
    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    port: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Connections(Protocol):
    """Where credentials come from."""

    def get(self, conn_id: str) -> Connection | None:
        """The connection of that id; ``None`` if there is none."""
        ...

    def credentials(self, cloud: Cloud, conn_id: str) -> Any:
        """What signs the calls to a cloud, made of a connection by Airflow's own provider: a ``boto3.Session``
        (aws), a ``google.auth.credentials.Credentials`` (gcp), an ``azure.core.credentials.TokenCredential`` (azure)
        or a ``kubernetes.client.ApiClient`` (kubernetes).

        Raises:
            PlatformError: there is no such connection, or nothing can be made of it.
        """
        ...


@dataclass(frozen=True)
class Job:
    """A user's training function to be run: everything it needs, as plain values and addresses.

    ``name`` is derived from its cause (installation, DAG, run, task, attempt), so that a job can be found again.
    ``output`` is an empty folder that the job fills; ``checkpoint`` survives attempts. ``requirements`` is a file of
    what is installed into an environment of the job's own; without one it runs in the caller's.
    """

    name: str
    code: str
    root: Path
    train: Path
    holdout: Path
    output: Path
    checkpoint: Path
    params: Mapping[str, Any]
    seed: int
    resources: Resources
    timeout: timedelta | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    requirements: Path | None = None


@dataclass(frozen=True)
class JobResult:
    """What a finished job left: the model's address under ``output``, the metrics it logged, its duration."""

    model: Path
    metrics: Mapping[str, float]
    seconds: float


class JobError(TidemillError):
    """A job did not finish. ``user`` tells a mistake in the user's code from a fault of the system."""

    def __init__(self, message: str, *, user: bool, detail: str = "") -> None:
        super().__init__(message)
        self.user = user
        self.detail = detail


class Jobs(Protocol):
    """Runs the user's function."""

    def run(self, job: Job, log: Callable[[str], None]) -> JobResult:
        """Run the job to its end, handing each line it prints to ``log``; when the caller is interrupted, the
        whole process tree is gone before this returns.

        Raises:
            JobError: the function failed, was not found, ran out of time or memory, or left no model.
        """
        ...


Fault = Literal["user", "system", "capacity"]
"""Whose fault a failure is: the user's code or settings, the system's (worth another try), or a lack of machines
(worth another machine)."""


class PlatformError(TidemillError):
    """A platform refused a call or did not answer. ``fault`` tells whether another try can help."""

    def __init__(self, message: str, *, fault: Fault = "system", throttled: bool = False) -> None:
        super().__init__(message)
        self.fault = fault
        self.throttled = throttled


class VersionGone(PlatformError):
    """An object has no such version any more."""

    def __init__(self, message: str) -> None:
        super().__init__(message, fault="user")


@dataclass(frozen=True)
class RemoteJob:
    """A job for a platform's service, as plain values and addresses.

    ``name`` is at most 63 characters of ``[a-z0-9-]``, begins with a letter, and is derived from the job's cause: the
    installation, DAG, run, task, map index and attempt. ``tags`` hold the same, each key and value at most 63
    characters of ``[a-z0-9_-]``; ``tags["tidemill-job"]`` is the name. ``machine`` is one machine type, or ``None``.

    ``code``, ``data``, ``job`` are addresses of folders in the platform's store: ``code.tar.gz``; ``train.parquet``
    and ``holdout.parquet``; ``job.json``. ``output`` is the address of the folder that the job fills; ``checkpoint``
    one that survives attempts, ``None`` without checkpoints.

    A job that computes over rows but trains nothing (``python -m tidemill.processing``) has folders of its own instead
    of ``data``, in ``inputs``: by the name under which its container finds them. ``metrics`` are the names of what it
    may log, as far as they are known beforehand.
    """

    name: str
    service: str
    platform: Platform
    resources: Resources
    image: str
    code: str
    data: str
    job: str
    output: str
    checkpoint: str | None
    tags: Mapping[str, str]
    spot: bool = False
    machine: str | None = None
    timeout: timedelta | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class JobRef:
    """A job that a service has taken: ``id`` is the service's own (ARN, resource name, job id). JSON there and back."""

    service: str
    name: str
    id: str
    region: str = ""


JobState = Literal["queued", "running", "succeeded", "failed", "stopped"]


@dataclass(frozen=True)
class JobStatus:
    """How a job stands. ``reason`` is the service's own words; ``fault`` is told of a failed job only.

    ``seconds`` is how long it ran, ``billable`` how much of it is paid for; ``None`` where the service does not say.
    ``interruptions`` counts how often a spot machine was taken away, as far as the service tells. ``machine`` is the
    type that the service chose, where it had a choice.
    """

    state: JobState
    reason: str = ""
    fault: Fault | None = None
    seconds: float | None = None
    billable: float | None = None
    interruptions: int = 0
    machine: str = ""

    @property
    def ended(self) -> bool:
        """Whether the job will not change any more."""
        return self.state in {"succeeded", "failed", "stopped"}


@dataclass(frozen=True)
class JobLinks:
    """Where a person looks at a job: the service's console and the job's log; empty where there is none."""

    console: str = ""
    log: str = ""


class RemoteJobs(Protocol):
    """One service that runs jobs, in one account and region."""

    refuses_duplicates: bool
    """Whether the service itself refuses a second job of one name."""

    def submit(self, job: RemoteJob) -> JobRef:
        """Have the service take the job, whose body was checked against the SDK's own model first.

        A job of that name that is ours (same ``tidemill-job`` and ``tidemill-installation`` tags) is returned instead
        of a second one, wherever the service lets it be found.

        Raises:
            PlatformError: refused (fault ``user``: the message names the setting; ``capacity``: no machine or quota),
                the name is taken by a stranger's job (``user``), or no answer (``system``).
        """
        ...

    def find(self, job: RemoteJob) -> JobRef | None:
        """The job of that name that is ours, whatever its state; ``None`` if the service shows none.

        Raises:
            PlatformError: no answer, or the name is taken by a stranger's job.
        """
        ...

    def poll(self, refs: Sequence[JobRef]) -> Mapping[str, JobStatus]:
        """How jobs stand, by ``JobRef.id``, in as few calls as the service allows (lists, batches); a job that the
        service no longer knows is missing.

        Raises:
            PlatformError: no answer; ``throttled`` if the service asked for fewer calls.
        """
        ...

    def stop(self, ref: JobRef) -> None:
        """Ask the service to end a job; one that has ended, or is unknown, is left alone.

        Raises:
            PlatformError: no answer, or not allowed.
        """
        ...

    def collect(self, job: RemoteJob, ref: JobRef, folder: Path) -> None:
        """Fetch what a job that succeeded or failed left: its output into ``folder/output``, its result record into
        ``folder/output.result.json`` (absent if it left none).

        Raises:
            PlatformError: the store does not answer, or holds half an output.
        """
        ...

    def links(self, ref: JobRef) -> JobLinks:
        """Where a person looks at the job. No call is made."""
        ...


@dataclass(frozen=True)
class Stored:
    """An object in a store: its address, its size in bytes."""

    uri: str
    size: int


class Storage(Protocol):
    """Files in a store, by address (``s3://``, ``gs://``, ``abfss://``, a path)."""

    def put(self, file: Path, uri: str) -> None:
        """Store a file, whole or not at all. Repeatable; an object of the same content is left alone.

        Raises:
            PlatformError: no such bucket (fault ``user``; it says if it is in another region), not allowed, no answer.
        """
        ...

    def get(self, uri: str, file: Path) -> None:
        """Fetch an object into a file, whole or not at all.

        Raises:
            PlatformError: there is no such object, not allowed, no answer, an answer cut short.
        """
        ...

    def list(self, uri: str) -> Iterator[Stored]:
        """The objects below an address, in order.

        Raises:
            PlatformError: no such bucket, not allowed, no answer.
        """
        ...

    def delete(self, uri: str) -> None:
        """Remove one object; none is fine.

        Raises:
            PlatformError: not allowed, no answer.
        """
        ...

    def versions(self, uri: str) -> Sequence[str]:
        """The store's own ids of an object's versions, the newest first; empty where versions are not kept.

        Raises:
            PlatformError: not allowed, no answer.
        """
        ...


class ObjectVersions(Protocol):
    """The versions that a bucket keeps of its objects, and their lifecycle."""

    def put(self, file: Path, uri: str) -> str:
        """Store a file as the newest version of an object; the store's own id of the version with these very bytes, as
        the store answered. If the newest one has this content already, it is that one.

        Raises:
            PlatformError: the bucket keeps no versions (fault ``user``; it says how to switch them on), there is none,
                not allowed, no answer.
        """
        ...

    def get(self, uri: str, version: str, file: Path) -> None:
        """Fetch one version of an object into a file, whole or not at all.

        Raises:
            VersionGone: it is not there.
            PlatformError: not allowed, no answer, an answer cut short.
        """
        ...

    def has(self, uri: str, version: str, size: int) -> bool:
        """Whether a version of an object is there, of so many bytes.

        Raises:
            PlatformError: not allowed, no answer.
        """
        ...

    def newest(self, uri: str) -> str:
        """The id of an object's newest version.

        Raises:
            VersionGone: there is no such object.
            PlatformError: the bucket keeps no versions (fault ``user``), not allowed, no answer.
        """
        ...

    def expire(self, uri: str, name: str, days: int | None) -> None:
        """Have the store remove the versions of what lies below a folder, so many days after newer ones took their
        place (Azure: after they were written): one rule of that name (letters, digits and dashes), made, changed or
        left as it is; ``None`` removes it. No other rule is touched.

        Raises:
            PlatformError: not allowed, too many rules, somebody else keeps changing them, no answer.
        """
        ...


class Metrics(Protocol):
    """Numbers over time in a cloud's own monitoring."""

    def put(self, values: Mapping[str, float], dimensions: Mapping[str, str], at: datetime) -> None:
        """Write numbers by name. Values that are not finite are left out.

        Raises:
            PlatformError: not allowed, no answer.
        """
        ...


@dataclass(frozen=True)
class TrackedTraining:
    """A finished training, as an experiment tracker takes it; ``name`` is a ``RemoteJob``'s name."""

    name: str
    experiment: str
    params: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


class Tracking(Protocol):
    """A cloud's own experiment tracking, beside MLflow."""

    def log(self, training: TrackedTraining) -> str:
        """Write a training; repeatable. Returns the address where a person looks at it.

        Raises:
            PlatformError: not allowed, no answer.
        """
        ...
