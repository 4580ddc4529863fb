"""How a job stands, read from its Job and its pods."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.kubernetes.body import CONTAINER
from tidemill.platforms.ports import Fault, JobStatus
from tidemill.runtime.files import EXIT_SYSTEM, EXIT_USER

if TYPE_CHECKING:
    from kubernetes.client import V1Job, V1Pod

ENDED: Final = "tidemill/ended"
"""The annotation of a job that we ended: ``stopped`` or a fault, a colon, and why."""
_NOTE: Final = re.compile(r"^tidemill:(user|system): (.*)$", re.MULTILINE)
_HOPELESS: Final = re.compile(r"not found|manifest unknown|does not exist|denied|unauthorized|forbidden", re.IGNORECASE)
_NO_IMAGE: Final = ("ErrImagePull", "ImagePullBackOff")
_NEVER_STARTS: Final = ("InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError")
_PATIENCE_SECONDS: Final = 600
"""How long a registry may fail to answer before the image is given up."""
_COMMAND_MISSING: Final = (126, 127)


def needs_pods(job: V1Job) -> bool:
    """Whether the job alone does not tell enough: it has ended, or does not run."""
    return _condition(job, "Complete") or _condition(job, "Failed") or not (job.status.ready or 0)


def status_of(job: V1Job, pods: Sequence[V1Pod]) -> JobStatus:
    """The status of a job; ``pods`` are its own."""
    interrupted = sum(_disrupted(pod) for pod in pods)
    if _condition(job, "Complete"):
        return JobStatus("succeeded", seconds=_seconds(pods), interruptions=interrupted)
    if _condition(job, "Failed"):
        ended = (job.metadata.annotations or {}).get(ENDED, "")
        kind, _, why = ended.partition(":")
        if kind == "stopped":
            return JobStatus("stopped", why, seconds=_seconds(pods), interruptions=interrupted)
        fault, reason = (kind, why) if ended else _why(job, pods)
        return JobStatus(
            "failed",
            reason,
            "user" if fault == "user" else "capacity" if fault == "capacity" else "system",
            _seconds(pods),
            interruptions=interrupted,
        )
    if job.status.ready:
        return JobStatus("running", interruptions=interrupted)
    return JobStatus("queued", _waiting_for(job, pods), interruptions=interrupted)


def hopeless(pods: Iterable[V1Pod]) -> str:
    """Why a job that has not begun never will, if so: nobody has to wait for an image that does not exist."""
    for pod in pods:
        waiting = _waiting(pod)
        if waiting is None:
            continue
        image = next((c.image for c in pod.spec.containers if c.name == CONTAINER), "")
        said = f"{waiting.reason}: {waiting.message or ''}"
        if waiting.reason in _NEVER_STARTS:
            return said
        age = (datetime.now(UTC) - pod.metadata.creation_timestamp).total_seconds()
        if waiting.reason in _NO_IMAGE and (_HOPELESS.search(waiting.message or "") or age > _PATIENCE_SECONDS):
            return f"train.image {image} cannot be pulled: {said}"
    return ""


def _why(job: V1Job, pods: Sequence[V1Pod]) -> tuple[Fault, str]:
    """Whose fault a failure is, and what happened: from the pod that failed first, else from the job's condition."""
    failed = [pod for pod in pods if pod.status.phase == "Failed" and not _disrupted(pod)]
    failed.sort(key=lambda pod: (_ended(pod) or datetime.max.replace(tzinfo=UTC), pod.metadata.name))
    for pod in failed:
        return _why_of(pod)
    said = next((c for c in job.status.conditions or () if c.type == "Failed"), None)
    return "system", f"{said.reason}: {said.message}" if said is not None else "its pods are gone"


def _why_of(pod: V1Pod) -> tuple[Fault, str]:
    state = _terminated(pod)
    reason, message = pod.status.reason or "", pod.status.message or ""
    if reason == "DeadlineExceeded":
        return "user", f"it ran longer than train.timeout allows, and did not end by itself ({message})"
    if state is None:  # evicted, or its node is gone
        return "system", f"{reason or 'Failed'}: {message}"
    told = _NOTE.findall(state.message or "")
    if told:
        whose, what = told[-1]
        return ("user" if whose == "user" else "system"), what
    if reason:
        return "system", f"{reason}: {message}"
    if state.reason == "OOMKilled" or state.exit_code == 137:
        more = "set train.resources.memory higher" if state.reason == "OOMKilled" else "out of memory?"
        return "system", f"{state.reason or 'Killed'}: the container was killed (exit code 137); {more}"
    if state.reason in ("StartError", "ContainerCannotRun") or state.exit_code in _COMMAND_MISSING:
        return (
            "user",
            f"train.image has no sh, tar or python3 to run: {state.reason}: {state.message or state.exit_code}",
        )
    last = (state.message or "").strip().splitlines()[-1:] or [state.reason or ""]
    fault: Fault = "user" if state.exit_code == EXIT_USER else "system"
    said = "" if state.exit_code in (EXIT_USER, EXIT_SYSTEM) else f"exit code {state.exit_code}: "
    return fault, f"{said}{last[0]}"


def _waiting_for(job: V1Job, pods: Sequence[V1Pod]) -> str:
    if job.spec.suspend:
        return "Suspended: a queue of the cluster holds it back"
    for pod in pods:
        for condition in pod.status.conditions or ():
            if condition.type == "PodScheduled" and condition.status == "False":
                return f"{condition.reason}: {condition.message or ''}"
        waiting = _waiting(pod)
        if waiting is not None:
            return f"{waiting.reason}: {waiting.message or ''}".rstrip(": ")
    return "" if pods else f"no pod yet; kubectl describe job {job.metadata.name} tells why"


def _condition(job: V1Job, kind: str) -> bool:
    return any(c.type == kind and c.status == "True" for c in job.status.conditions or ())


def _container(pod: V1Pod) -> Any:
    return next((c for c in pod.status.container_statuses or () if c.name == CONTAINER), None)


def _waiting(pod: V1Pod) -> Any:
    container = _container(pod)
    return None if container is None or container.state is None else container.state.waiting


def _terminated(pod: V1Pod) -> Any:
    container = _container(pod)
    return None if container is None or container.state is None else container.state.terminated


def _ended(pod: V1Pod) -> datetime | None:
    state = _terminated(pod)
    return None if state is None else state.finished_at


def _disrupted(pod: V1Pod) -> bool:
    """Whether the pod was taken away from outside: preempted, drained, its node gone."""
    return any(c.type == "DisruptionTarget" and c.status == "True" for c in pod.status.conditions or ())


def _seconds(pods: Sequence[V1Pod]) -> float | None:
    """How long containers ran, added up: each of them held a machine."""
    spans = [_terminated(pod) for pod in pods]
    known = [(s.started_at, s.finished_at) for s in spans if s is not None and s.started_at and s.finished_at]
    return sum((end - begin).total_seconds() for begin, end in known) if known else None
