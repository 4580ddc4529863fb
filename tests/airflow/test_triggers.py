"""Waiting for jobs: as Airflow's triggerer shares a stream between triggers, through the emulator of Google Cloud."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.platforms import clouds, gcp
from tidemill.airflow import triggers
from tidemill.airflow.triggers import JobTrigger, trigger_for
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import JobRef

HOUR = timedelta(hours=1)


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    running = gcp.emulation()
    running.set_faults()
    monkeypatch.setattr(triggers, "_SOON", 0.3)
    monkeypatch.setattr(triggers, "_EARLIEST", 0.3)
    yield Cloud(clouds.platform_of(gcp.PLATFORM), "vertex", clouds.connections(monkeypatch, running))
    running.set_faults()


def a_job(cloud: Cloud, name: str, folder: Path, **told: Any) -> JobRef:
    job = gcp.job(name)
    clouds.upload(cloud.storage, job, folder, **told)
    return cloud.jobs.submit(job)


def waiting(cloud: Cloud, ref: JobRef, *, until: timedelta = HOUR, queued: timedelta | None = None) -> JobTrigger:
    """The trigger as the triggerer makes it: of what the task has stored."""
    now = datetime.now(UTC)
    stored = trigger_for(cloud, ref, now + until, now + queued if queued is not None else None)
    path, arguments = stored.serialize()
    assert path == "tidemill.airflow.triggers.JobTrigger"
    return JobTrigger(**arguments)


def fired(found: list[JobTrigger], seconds: float = 60) -> list[Any]:
    """What triggers say that share a stream as in a triggerer, in their order."""
    from airflow.triggers.shared_stream import SharedStreamManager

    async def one(manager: Any, number: int, trigger: JobTrigger) -> Any:
        key = trigger.shared_stream_key()
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                return event.payload
        finally:
            await manager.unsubscribe(number, key)

    async def every() -> list[Any]:
        manager = _manager(SharedStreamManager)
        said = (one(manager, number, trigger) for number, trigger in enumerate(found))
        return await asyncio.wait_for(asyncio.gather(*said, return_exceptions=True), seconds)

    return asyncio.run(every())


def _manager(kind: Callable[..., Any]) -> Any:
    import structlog

    return kind(log=structlog.get_logger(), max_subscriber_queue=100, ack_timeout=60.0, cohort_grace_period=1.0)


def test_thirty_jobs_share_one_poll_and_each_is_told_of_its_own(cloud: Cloud, tmp_path: Path) -> None:
    gcp.emulation().set_faults(noop=True, start_delay=2)
    refs = [a_job(cloud, f"shared-{n}", tmp_path / str(n)) for n in range(30)]
    before = calls()
    events = fired([waiting(cloud, ref) for ref in refs])
    assert [event["job"] for event in events] == [ref.name for ref in refs]
    assert {event["state"] for event in events} == {"succeeded"}
    # Each cycle is one call or two; thirty triggers of their own would have made thirty.
    assert calls() - before < 30
    assert not any(JobTrigger.waiting.values())


def test_no_trigger_fires_before_its_tasks_process_is_gone(
    cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcp.emulation().set_faults(noop=True)
    refs = [a_job(cloud, f"over-{n}", tmp_path / str(n)) for n in range(2)]
    monkeypatch.setattr(triggers, "_EARLIEST", 2.0)
    began = time.monotonic()
    assert {event["state"] for event in fired([waiting(cloud, ref) for ref in refs])} == {"succeeded"}
    assert time.monotonic() - began >= 2.0


def calls() -> int:
    seen = gcp.emulation().report()["calls"]
    return int(seen.get("ListCustomJobs", 0) + seen.get("GetCustomJob", 0))


def test_jobs_of_two_regions_have_two_polls(cloud: Cloud) -> None:
    ref = JobRef("vertex", "a", "projects/acme-ml/locations/europe-west4/customJobs/1")
    here = waiting(cloud, ref)
    other = Cloud(clouds.platform_of({**gcp.PLATFORM, "region": "us-central1"}), "vertex", cloud.connections)
    assert here.shared_stream_key() != waiting(other, ref).shared_stream_key()
    assert here.shared_stream_key() == waiting(cloud, ref).shared_stream_key()


def test_a_task_is_woken_when_its_job_has_waited_long_enough_for_a_machine(cloud: Cloud, tmp_path: Path) -> None:
    gcp.emulation().set_faults(start_delay=60)
    ref = a_job(cloud, "queued", tmp_path)
    (event,) = fired([waiting(cloud, ref, queued=timedelta(seconds=0.5))])
    assert event["state"] == "queued"
    cloud.jobs.stop(ref)


def test_a_task_is_woken_in_any_case_at_the_end(cloud: Cloud, tmp_path: Path) -> None:
    gcp.emulation().set_faults(hold=True)
    ref = a_job(cloud, "endless", tmp_path)
    (event,) = fired([waiting(cloud, ref, until=timedelta(seconds=0.5))])
    assert event["state"] == "unknown"
    cloud.jobs.stop(ref)


def test_a_service_that_throttles_and_fails_for_a_while_is_asked_again(cloud: Cloud, tmp_path: Path) -> None:
    ref = a_job(cloud, "patient", tmp_path)
    gcp.emulation().set_faults(throttle={"GetCustomJob": 2}, half={"GetCustomJob": 2})
    (event,) = fired([waiting(cloud, ref)], 90)
    assert event["state"] == "succeeded"


def test_who_may_not_ask_is_told_so_at_once(cloud: Cloud, tmp_path: Path) -> None:
    ref = a_job(cloud, "forbidden", tmp_path)
    gcp.emulation().set_faults(denied=["GetCustomJob", "ListCustomJobs"])
    (error,) = fired([waiting(cloud, ref)])
    assert isinstance(error, Exception)
    assert "aiplatform.customJobs" in str(error)


def test_a_killed_task_ends_its_job(cloud: Cloud, tmp_path: Path) -> None:
    gcp.emulation().set_faults(hold=True)
    ref = a_job(cloud, "killed", tmp_path)
    asyncio.run(waiting(cloud, ref).on_kill())
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "stopped"


def test_in_process_each_trigger_asks_by_itself(cloud: Cloud, tmp_path: Path) -> None:
    ref = a_job(cloud, "alone", tmp_path)

    async def run() -> Any:
        async for event in waiting(cloud, ref).run():
            return event.payload
        return None

    assert asyncio.run(run())["state"] == "succeeded"
