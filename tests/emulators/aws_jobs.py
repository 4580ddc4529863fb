"""What the emulated SageMaker's two kinds of job, trainings and processing jobs, have in common."""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from tests.emulators.aws_errors import Refused
from tests.emulators.aws_store import ACCOUNT, NoSuchBucket, Store
from tests.emulators.clock import Clock
from tests.emulators.faults import Misbehaviour

ENDED = frozenset({"Completed", "Failed", "Stopped"})
RUNNING = threading.BoundedSemaphore(6)
"""Containers at once: the machine is small, whatever is asked of the emulator."""
# The words of the developer guide's page on troubleshooting.
NO_IMAGE = (
    "ClientError: Cannot pull algorithm container. Either the image does not exist or its permissions are incorrect."
)
NO_CAPACITY = (
    "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
)
_LARGEST_PAGE = 100
# EC2's user guide, "Instance types with local storage", as far as SageMaker computes on them.
_LOCAL_DISKS = re.compile(r"ml\.(g4dn|g5|g6e?|p3dn|p4de?|p5e?n?|trn1n?|[cmr]\d\w*d)\.")


class Job(ABC):
    """A job. ``described`` is what Describe…Job answers; ``lock`` guards it."""

    kind: ClassVar[str]

    def __init__(
        self, body: Mapping[str, Any], region: str, store: Store, misbehaviour: Misbehaviour, folder: Path
    ) -> None:
        self.body = body
        self.name: str = body[f"{self.kind}JobName"]
        self.arn = arn_of(self.kind, region, self.name)
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
            f"{self.kind}JobArn": self.arn,
            f"{self.kind}JobStatus": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }

    @property
    def status(self) -> str:
        """The service's own word for its state."""
        return str(self.described[f"{self.kind}JobStatus"])

    @property
    def ended(self) -> bool:
        """Whether it is in a terminal state."""
        return self.status in ENDED

    @abstractmethod
    def fail(self, reason: str) -> None:
        """It has failed, now."""

    @abstractmethod
    def complete_at_once(self) -> None:
        """A job that runs nothing has succeeded."""

    @abstractmethod
    def _run(self) -> None: ...

    def run(self) -> None:
        """Run to the end. Called in a thread of its own."""
        try:
            self._run()
        except NoSuchBucket as e:
            self.fail(f"ClientError: Data download failed:NoSuchBucket: {e}")
        except Exception as e:  # noqa: BLE001  (the emulator's own mistake has to be seen, as the service's would be)
            self.fail(f"InternalServerError: the emulator: {type(e).__name__}: {e}")


J = TypeVar("J", bound=Job)


class Jobs(ABC, Generic[J]):
    """Answers the operations on one kind of job, of each region by itself."""

    kind: ClassVar[str]
    summary: ClassVar[tuple[str, ...]]
    """What a list tells of a job."""

    def __init__(self, store: Store, misbehaviour: Misbehaviour, clock: Clock, folder: Path, role: str | None) -> None:
        self.jobs: dict[tuple[str, str], J] = {}
        self._store = store
        self._misbehaviour = misbehaviour
        self._clock = clock
        self._folder = folder
        self._role = role
        self._lock = threading.Lock()
        self.operations: dict[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
            f"Create{self.kind}Job": self._create,
            f"Describe{self.kind}Job": self._describe,
            f"List{self.kind}Jobs": self._list,
            f"Stop{self.kind}Job": self._stop,
            f"Delete{self.kind}Job": self._delete,
        }

    def tags(self, arn: str) -> dict[str, str] | None:
        """The tags of a job, ``None`` if it is none of ours."""
        job = next((job for job in self.jobs.values() if job.arn == arn), None)
        return None if job is None else job.tags

    def close(self) -> None:
        """End every job."""
        for job in list(self.jobs.values()):
            job.stop.set()

    @abstractmethod
    def _create(self, body: Mapping[str, Any], region: str) -> dict[str, Any]: ...

    @abstractmethod
    def _stop(self, body: Mapping[str, Any], region: str) -> dict[str, Any]: ...

    @abstractmethod
    def _named(self, name: str, region: str) -> J: ...

    def _check_quota(self, asked: Sequence[str], count: int) -> None:
        if all(machine in self._misbehaviour.faults.no_quota for machine in asked):
            # The words of the service, as re:Post's article on ResourceLimitExceeded quotes them for trainings.
            raise Refused(
                "ResourceLimitExceeded",
                f"The account-level service limit '{asked[0]} for {self.kind.lower()} job usage' is 0 Instances, with "
                f"current utilization of 0 Instances and a request delta of {count} Instances. Please use AWS Service "
                "Quotas to request an increase for this quota.",
            )

    def _not_allowed(self, body: Mapping[str, Any]) -> str:
        """Why a job's tags or role are refused; empty if they are not."""
        if any(key["Key"].lower().startswith("aws:") for key in body.get("Tags", [])):
            return "aws: prefixed tag key names are not allowed for external use"
        if self._role is not None and body["RoleArn"] != self._role:
            return (
                f"Could not assume role {body['RoleArn']}. Please ensure that the role exists and allows principal "
                "'sagemaker.amazonaws.com' to assume the role."
            )
        return ""

    def _start(self, job: J, begin: Callable[[], None]) -> dict[str, Any]:
        """Have a new job run, or, where jobs are held, ``begin`` and do no more."""
        faults = self._misbehaviour.faults
        if faults.hold:
            self._clock.after(faults.start_delay, begin)
        elif faults.noop:
            self._clock.after(faults.start_delay, job.complete_at_once)
        else:
            self._clock.after(faults.start_delay, lambda: threading.Thread(target=job.run, daemon=True).start())
        return {f"{self.kind}JobArn": job.arn}

    def _describe(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body[f"{self.kind}JobName"], region)
        with job.lock:
            return dict(job.described)

    def _delete(self, body: Mapping[str, Any], region: str) -> dict[str, Any]:
        job = self._named(body[f"{self.kind}JobName"], region)
        if not job.ended:
            # "You cannot delete a job that is in the InProgress or Stopping state": DeleteTrainingJob, SDK model
            raise Refused("ResourceInUse", f"{self.kind} job {job.name} has not ended")
        with self._lock:
            self.jobs.pop((region, job.name), None)
        return {}

    def _shown(self, region: str) -> list[J]:
        now = time.monotonic()
        with self._lock:
            found = [job for job in self.jobs.values() if job.shown <= now and job.region == region]
        return sorted(found, key=lambda job: (job.described["CreationTime"], job.name), reverse=True)

    def _listed(self, jobs: Sequence[J], body: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The entries of a page of jobs, which come with the newest first; and the token of the next page."""
        size = body.get("MaxResults", 10)
        if not 1 <= size <= _LARGEST_PAGE:
            raise Refused("ValidationException", f"MaxResults {size} is not between 1 and {_LARGEST_PAGE}")
        found = [job for job in jobs if _is_asked_for(job, body)]
        if body.get("SortBy", "CreationTime") == "Name":
            found.sort(key=lambda job: job.name, reverse=True)
        if body.get("SortOrder", "Descending") == "Ascending":
            found.reverse()
        page, token = _page(found, body.get("NextToken"), size)
        entries = []
        for job in page:
            with job.lock:
                entries.append({key: job.described[key] for key in self.summary if key in job.described})
        return entries, token

    @abstractmethod
    def _list(self, body: Mapping[str, Any], region: str) -> dict[str, Any]: ...


def arn_of(kind: str, region: str, name: str) -> str:
    """The name of a job for the whole of AWS."""
    return f"arn:aws:sagemaker:{region}:{ACCOUNT}:{kind.lower()}-job/{name}"


def machines(config: Mapping[str, Any]) -> list[str]:
    """The machine types of which a job takes one, in the order of preference."""
    if "InstanceType" in config:
        return [config["InstanceType"]]
    return [each["InstanceType"] for each in config.get("InstancePreferences", [])]


def takes_no_key(config: Mapping[str, Any]) -> bool:
    """Whether a key is asked for that one of the machine types cannot have."""
    # "You can't request a VolumeKmsKeyId when using an instance type with local storage": SDK model
    return bool(config.get("VolumeKmsKeyId")) and any(_LOCAL_DISKS.match(name) for name in machines(config))


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


def _page(found: list[J], token: str | None, size: int) -> tuple[list[J], dict[str, str]]:
    """A page begins after the job that the last one ended with, so that new jobs do not shift it."""
    start = 0
    if token:
        names = [job.name for job in found]
        if token not in names:
            raise Refused("ValidationException", "Invalid NextToken")
        start = names.index(token) + 1
    page = found[start : start + size]
    return page, {"NextToken": page[-1].name} if start + size < len(found) else {}
