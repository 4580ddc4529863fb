"""What the state of a Vertex AI job means, and whose fault a failure is."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.ports import Fault, JobState, JobStatus
from tidemill.runtime.files import EXIT_USER

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.types import CustomJob

_STATES: Final[dict[str, JobState]] = {
    "JOB_STATE_UNSPECIFIED": "queued",
    "JOB_STATE_QUEUED": "queued",
    "JOB_STATE_PENDING": "queued",
    "JOB_STATE_RUNNING": "running",
    "JOB_STATE_UPDATING": "running",
    "JOB_STATE_PAUSED": "running",
    "JOB_STATE_CANCELLING": "running",
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_CANCELLED": "stopped",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_EXPIRED": "failed",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "failed",
}
LIVE: Final = tuple(name for name, state in _STATES.items() if state in {"queued", "running"})
ENDED: Final = tuple(name for name in _STATES if name not in LIVE)

_EXIT: Final = re.compile(r"non-zero status of (\d+)")
_MEMORY: Final = re.compile(r"out[ -]of[ -]memory|OOM", re.IGNORECASE)
_MACHINES: Final = re.compile(r"insufficient|STOCKOUT|exhausted|quota", re.IGNORECASE)
_IMAGE: Final = re.compile(r"image\b.*(not found|pull|denied|does not exist)|pull.*image", re.IGNORECASE)
_TIME: Final = re.compile(r"timed? ?out|deadline", re.IGNORECASE)

# Codes of google.rpc.Code.
_EXHAUSTED, _DEADLINE = 8, 4
_CALLERS: Final = frozenset({3, 5, 7, 9})
"""INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, FAILED_PRECONDITION."""
# The image lacks what the command needs (126, 127), or its container cannot be made (128).
_NO_PROGRAM: Final = frozenset({126, 127, 128})
_KILLED, _TERMINATED = frozenset({9, 137}), frozenset({15, 143})


def status(job: CustomJob) -> JobStatus:
    """How a job stands. Vertex AI tells neither what is paid for nor how often a spot machine was taken away."""
    from google.cloud.aiplatform_v1.types import JobState as Vertex

    name = Vertex(job.state).name
    state = _STATES[name]
    reason = str(job.error.message) if job.error else ""
    fault: Fault | None = None
    if state == "failed":
        if name == "JOB_STATE_EXPIRED" and not reason:
            reason = "it ran longer than train.timeout"
        fault, hint = whose(int(job.error.code) if job.error else 0, reason)
        reason = f"{reason or name} ({hint})" if hint else reason or name
    return JobStatus(state=state, reason=reason, fault=fault, seconds=_seconds(job))


def whose(code: int, message: str) -> tuple[Fault, str]:
    """Whose fault a failure is, and what the message leaves unsaid. ``code`` is of ``google.rpc.Code``."""
    exited = _EXIT.search(message)
    if exited:
        return _by_exit(int(exited[1]), message)
    if _MEMORY.search(message):
        return "system", "out of memory"
    if code == _EXHAUSTED or _MACHINES.search(message):
        return "capacity", ""
    if _IMAGE.search(message):
        return "user", "see train.image, and whether the service account may read its registry"
    if code == _DEADLINE or _TIME.search(message):
        return "user", "see train.timeout"
    return ("user" if code in _CALLERS else "system"), ""


def _by_exit(code: int, message: str) -> tuple[Fault, str]:
    if code == EXIT_USER:
        return "user", ""
    if code in _KILLED or _MEMORY.search(message):
        return "system", "killed: out of memory?"
    if code in _TERMINATED:
        return "system", "interrupted"
    if code in _NO_PROGRAM:
        return "user", "train.image lacks python3, or cannot be started"
    return "system", ""


def _seconds(job: CustomJob) -> float | None:
    if not job.start_time or not job.end_time:
        return None
    return max((instant(job.end_time) - instant(job.start_time)).total_seconds(), 0.0)


def instant(given: Any) -> datetime:
    """A time of a message: the SDK gives datetimes, whatever the types of its messages say."""
    found: datetime = given
    return found
