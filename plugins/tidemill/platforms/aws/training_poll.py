"""How many SageMaker jobs of one kind stand, in few calls.

Few jobs are looked at one by one. Many are listed: all of them once, and from then on those that changed since. A list
does not say why a job failed, how long it ran and what it costs: those that ended are looked at by their names, as is
what a list does not show, as far as two calls for each hundred jobs allow. What is left over waits for the next poll.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering
from tidemill.platforms.ports import Fault, JobRef, JobStatus

_PAGE: Final = 100
_ONE_BY_ONE: Final = 3
_LEAST_CALLS: Final = 8
_CALLS_A_JOB: Final = 0.02
# Lists follow their jobs with a delay, and clocks differ: what changed shortly before the last list is asked for again.
_OVERLAP: Final = timedelta(minutes=2)
_STARTING: Final = frozenset(
    {"Starting", "Pending", "LaunchingMLInstances", "PreparingTrainingStack", "Downloading", "DownloadingTrainingImage"}
)
_EXIT: Final = re.compile(r"exit code:? (\d+)", re.IGNORECASE)

Described = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """A kind of SageMaker's jobs: its noun in the names of operations and fields, and how a description is read."""

    noun: str
    status_of: Callable[[Described], JobStatus]

    @property
    def method(self) -> str:
        """The noun in the names of boto3's methods."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", self.noun).lower()


class JobPoll:
    """Remembers what it has seen of the jobs that are waited for. Not for several threads at once."""

    def __init__(self, aws: Aws, kind: Kind, describe: Callable[[str], Described | None]) -> None:
        self._aws = aws
        self._kind = kind
        self._describe = describe
        self._settled: dict[str, JobStatus] = {}
        self._going: dict[str, JobStatus] = {}
        self._changed: datetime | None = None
        self._turn = 0
        self._calls = 0

    def poll(self, refs: Sequence[JobRef]) -> dict[str, JobStatus]:
        """The status of each job by its ``id``; one that SageMaker does not know is missing."""
        wanted = {ref.id: ref for ref in refs}
        self._settled = {key: status for key, status in self._settled.items() if key in wanted}
        self._going = {key: status for key, status in self._going.items() if key in wanted}
        waiting = {key: ref for key, ref in wanted.items() if key not in self._settled}
        self._calls = max(_LEAST_CALLS, int(len(waiting) * _CALLS_A_JOB))
        gone: set[str] = set()
        if len(waiting) <= _ONE_BY_ONE:
            self._look(list(waiting.values()), gone)
        else:
            self._list(waiting, gone)
        return {key: self._status(key) for key in wanted if key not in gone}

    def _status(self, key: str) -> JobStatus:
        known = self._settled.get(key) or self._going.get(key)
        if known is None:
            # Neither seen yet nor looked for this time: it was taken, so it is somewhere.
            return JobStatus("queued")
        # A failure whose reason is not known yet is not told.
        untold = key in self._going and known.state in {"failed", "stopped"}
        return JobStatus("running") if untold else known

    def _list(self, waiting: Mapping[str, JobRef], gone: set[str]) -> None:
        seen: set[str] = set()
        for entry in self._entries(waiting):
            key = entry[f"{self._kind.noun}Arn"]
            if key in waiting and key not in seen:
                seen.add(key)
                self._going[key] = self._kind.status_of(entry)
        over = [waiting[key] for key, status in self._going.items() if status.ended]
        # Why a job failed has to be known; of one that succeeded, when it is looked at by itself.
        over.sort(key=lambda ref: self._going[ref.id].state == "succeeded")
        unseen = [ref for key, ref in waiting.items() if key not in self._going]
        self._look([*over, *unseen], gone)
        # One of those that the lists did not mention, in turn: a job that was deleted is never listed as changed.
        quiet = [ref for key, ref in waiting.items() if key in self._going and key not in seen]
        if quiet:
            self._turn += 1
            self._look([quiet[self._turn % len(quiet)]], gone)

    def _entries(self, waiting: Mapping[str, JobRef]) -> Iterator[Described]:
        """The list's entries: of all jobs the first time, of those that changed from then on."""
        query: dict[str, Any] = {"MaxResults": _PAGE, "SortBy": "CreationTime", "SortOrder": "Descending"}
        # The first and the last in order differ where any two do.
        common = _common(min(ref.name for ref in waiting.values()), max(ref.name for ref in waiting.values()))
        if common:
            query["NameContains"] = common
        since = self._changed
        if since is not None:
            query["LastModifiedTimeAfter"] = since - _OVERLAP
        missing, noun = waiting.keys() - self._going.keys(), self._kind.noun
        while self._calls > 0:
            self._calls -= 1
            with answering(self._aws, f"sagemaker:List{noun}s"):
                page = getattr(self._aws.client("sagemaker"), f"list_{self._kind.method}s")(**query)
            for entry in page[f"{noun}Summaries"]:
                missing.discard(entry[f"{noun}Arn"])
                changed = entry.get("LastModifiedTime", entry["CreationTime"])
                self._changed = max(self._changed or changed, changed)
                yield entry
            if "NextToken" not in page or (since is None and not missing):
                return
            query["NextToken"] = page["NextToken"]
        # Not all of what changed was read: from where the last poll began, once more.
        self._changed = since

    def _look(self, refs: Sequence[JobRef], gone: set[str]) -> None:
        for ref in refs:
            if self._calls <= 0:
                return
            self._calls -= 1
            described = self._describe(ref.name)
            # A job of that name made anew after ours was deleted is another one.
            if described is None or described[f"{self._kind.noun}Arn"] != ref.id:
                gone.add(ref.id)
            else:
                self._settle(ref.id, described)

    def _settle(self, key: str, described: Described) -> None:
        status = self._kind.status_of(described)
        if status.ended:
            self._settled[key] = status
            self._going.pop(key, None)
        else:
            self._going[key] = status


def _common(first: str, last: str) -> str:
    """What two names begin with alike."""
    for at, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:at]
    return first[: len(last)]


def status_of(described: Described) -> JobStatus:
    """The status of a training job from its description or its entry in a list."""
    status, secondary = described["TrainingJobStatus"], described.get("SecondaryStatus", "")
    reason = described.get("FailureReason", "")
    transitions = described.get("SecondaryStatusTransitions", [])
    times: dict[str, Any] = {
        "seconds": described.get("TrainingTimeInSeconds"),
        "billable": described.get("BillableTimeInSeconds"),
        "interruptions": sum(step["Status"] == "Interrupted" for step in transitions),
        "machine": described.get("ResourceConfig", {}).get("SelectedInstanceType", ""),
    }
    if status == "Completed":
        return JobStatus("succeeded", **times)
    if status == "Failed":
        return JobStatus("failed", reason, fault_of(reason), **times)
    if status == "Stopped" and secondary == "MaxRuntimeExceeded":
        return JobStatus("failed", "it ran longer than train.timeout allows", "user", **times)
    if status == "Stopped" and secondary == "MaxWaitTimeExceeded":
        return JobStatus("failed", "no spot machine, or not for long enough, in the time to wait", "capacity", **times)
    if status == "Stopped":
        return JobStatus("stopped", reason, **times)
    return JobStatus("queued" if secondary in _STARTING else "running", **times)


TRAINING: Final = Kind("TrainingJob", status_of)


def fault_of(reason: str) -> Fault:
    """Whose fault a failure is, by SageMaker's FailureReason: what the runtime wrote in it, else its own classes.

    The classes (AlgorithmError, ClientError, CapacityError, InternalServerError) are those of the developer guide's
    page on troubleshooting training jobs.
    """
    if "tidemill:user" in reason:
        return "user"
    if "tidemill:system" in reason:
        return "system"
    if reason.startswith("CapacityError") or "insufficient capacity" in reason.lower():
        return "capacity"
    if reason.startswith("InternalServerError"):
        return "system"
    code = _EXIT.search(reason)
    # What ended without the runtime's word: 10 is its own code, 126 and 127 are the shell's for an image that lacks a
    # program. Others are killed (137, mostly for want of memory), asked to end (143), or broken.
    return "user" if code is None or code[1] in {"10", "126", "127"} else "system"
