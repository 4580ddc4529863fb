"""Waiting for jobs on a cloud's service without a worker: one poll for all jobs of one account and region.

Airflow gives triggers of one kind a shared stream: one of them asks the service, all of them hear the answer. A cycle
costs a few list or batch calls, however many jobs there are.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Hashable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from tidemill.platforms.cloud import Cloud, connection_id
from tidemill.platforms.ports import JobRef, JobStatus, PlatformError

_SOON: Final = 2.0
"""Seconds to the first poll, and between polls while something changes."""
_EARLIEST: Final = 4.0
"""Seconds for which a trigger does not fire: Airflow 3.3.2 takes a task for failed that runs again before its executor
has told of the process that deferred it, which on a busy machine ends seconds after it has said so."""
_SLOWEST: Final = 30.0
_THROTTLED: Final = 120.0
_UNKNOWN: Final = timedelta(minutes=5)
"""How long a job may be missing from the service's lists, which are late, before its task looks for it."""
_PATIENCE: Final = timedelta(minutes=10)
"""How long a service may fail to answer before the tasks that wait for it say so."""
_LOG: Final = logging.getLogger(__name__)


class JobTrigger(BaseEventTrigger):
    """Fires when a job has ended, or when its task should look after it for another reason.

    ``platform``, ``service``: whose job it is, as the spec has it; ``ref``: the job. ``until``, ``queued_until``:
    instants (ISO 8601) at which it fires in any case, and if the job has not begun by then.
    """

    waiting: ClassVar[dict[Hashable, dict[str, JobRef]]] = {}
    """The jobs that this process waits for, by account and region."""

    def __init__(
        self,
        *,
        platform: dict[str, Any],
        service: str,
        ref: dict[str, str],
        until: str,
        queued_until: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # Airflow left it untyped, and mypy excludes no super()
        self.platform = platform
        self.service = service
        self.ref = ref
        self.until = until
        self.queued_until = queued_until

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments, as Airflow stores them."""
        names = ("platform", "service", "ref", "until", "queued_until")
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    def shared_stream_key(self) -> Hashable:
        """What has one poll: the jobs of one service, account and region."""
        return _key(self.serialize()[1])

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Mapping[str, JobStatus]]:
        """How the jobs of one account and region stand, again and again; for ever.

        The pause doubles up to half a minute while nothing changes, and further while the service asks for fewer
        calls; a tenth and a fifth of it are chance, so that triggerers do not ask in step.

        Raises:
            PlatformError: the service has not answered for ten minutes.
        """
        key, pause, before = _key(kwargs), _SOON, None
        failing: datetime | None = None
        cloud = _cloud(kwargs)
        while True:
            await asyncio.sleep(pause * random.uniform(0.8, 1.1))
            refs = list(cls.waiting.get(key, {}).values())
            if not refs:
                pause = _SOON
                continue
            try:
                found = dict(await _called(_poll, cloud, refs))
            except PlatformError as error:
                now = datetime.now(UTC)
                failing = failing or now
                if error.fault == "user" or now - failing > _PATIENCE:
                    raise
                _LOG.warning("%s does not tell how its jobs stand, it will be asked again: %s", cloud.service, error)
                pause = min(max(pause, _SOON) * 2, _THROTTLED)
                cloud = _cloud(kwargs)
                continue
            failing = None
            states = {name: status.state for name, status in found.items()}
            pause = _SOON if states != before else min(pause * 1.5, _SLOWEST)
            before = states
            yield found

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Mapping[str, JobStatus]]
    ) -> AsyncIterator[TriggerEvent]:
        """The one event of this trigger's job."""
        job, key = JobRef(**self.ref), self.shared_stream_key()
        jobs = self.waiting.setdefault(key, {})
        jobs[job.id] = job
        missing: datetime | None = None
        earliest = time.monotonic() + _EARLIEST
        try:
            async for found in shared_stream:
                now, status = datetime.now(UTC), found.get(job.id)
                missing = None if status is not None else missing or now
                if status is not None and status.ended:
                    await asyncio.sleep(max(0.0, earliest - time.monotonic()))
                    yield _event(job.name, status.state)
                    return
                queued = status is not None and status.state == "queued" and self.queued_until is not None
                if queued and now >= datetime.fromisoformat(str(self.queued_until)):
                    yield _event(job.name, "queued")
                    return
                if now >= datetime.fromisoformat(self.until) or (missing and now - missing > _UNKNOWN):
                    yield _event(job.name, "unknown")
                    return
        finally:
            jobs.pop(job.id, None)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """As above, for one job by itself: ``dag.test()`` runs a trigger so."""
        try:
            async for event in self.filter_shared_stream(self.open_shared_stream(self.serialize()[1])):
                yield event
                return
        except PlatformError as error:
            # The task asks the service again and says what is wrong, in its own log and not in the triggerer's.
            yield _event(self.ref["name"], "unknown", str(error))

    async def on_kill(self) -> None:
        """Somebody cleared the waiting task, or set its state: its job has nobody to work for."""
        await _called(_stop, _cloud(self.serialize()[1]), JobRef(**self.ref))


def trigger_for(cloud: Cloud, ref: JobRef, until: datetime, queued_until: datetime | None) -> JobTrigger:
    """The trigger that waits for a job."""
    return JobTrigger(
        platform=cloud.platform.model_dump(mode="json", exclude_none=True, by_alias=True),
        service=cloud.service,
        ref=asdict(ref),
        until=until.isoformat(),
        queued_until=queued_until.isoformat() if queued_until else None,
    )


def _event(job: str, state: str, error: str = "") -> TriggerEvent:
    return TriggerEvent({"job": job, "state": state, "error": error})


def _key(kwargs: Mapping[str, Any]) -> Hashable:
    platform = kwargs["platform"]
    names = ("provider", "region", "project", "subscription", "resource_group", "workspace", "namespace")
    return (kwargs["service"], connection_id(_platform(platform)), *(platform.get(name) for name in names))


def _platform(value: dict[str, Any]) -> Any:
    from tidemill.spec.platform import Platform

    return Platform.model_validate(value)


def _cloud(kwargs: Mapping[str, Any]) -> Cloud:
    from tidemill.airflow.connections import AirflowConnections

    return Cloud(_platform(kwargs["platform"]), kwargs["service"], AirflowConnections())


def _poll(cloud: Cloud, refs: list[JobRef]) -> Mapping[str, JobStatus]:
    return cloud.jobs.poll(refs)


def _stop(cloud: Cloud, ref: JobRef) -> None:
    cloud.jobs.stop(ref)


async def _called(function: Any, *arguments: Any) -> Any:
    """Call what blocks in a thread; asgiref's, since Airflow's connections are read through it in a triggerer."""
    from asgiref.sync import sync_to_async

    return await sync_to_async(function, thread_sensitive=False)(*arguments)
