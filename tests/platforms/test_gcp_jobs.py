"""Vertex AI's custom jobs, over the wire, through the emulator that really runs them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.platforms import clouds, gcp
from tidemill.platforms.gcp.jobs import VertexJobs, open_jobs
from tidemill.platforms.gcp.storage import CloudStorage, open_storage
from tidemill.platforms.ports import JobRef, PlatformError
from tidemill.runtime.files import Result

CHECKPOINT = "gs://acme-models/team/checkpoints"
SPOT = {"spot": {"checkpoint": CHECKPOINT}}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexJobs]:
    running = gcp.emulation()
    yield open_jobs(clouds.platform_of(gcp.PLATFORM), "vertex", clouds.connections(monkeypatch, running))
    running.set_faults()


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> CloudStorage:
    connections = clouds.connections(monkeypatch, gcp.emulation())
    return open_storage(clouds.platform_of(gcp.PLATFORM), connections)


def calls(operation: str) -> int:
    found: int = gcp.emulation().report()["calls"].get(operation, 0)
    return found


def test_a_training_runs_in_its_container_and_its_output_is_collected(
    jobs: VertexJobs, storage: CloudStorage, tmp_path: Path
) -> None:
    job = gcp.job("trained")
    clouds.upload(storage, job, tmp_path)
    ref = jobs.submit(job)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.state == "succeeded", gcp.held("trained")
    assert status.seconds is not None
    assert status.seconds > 0
    assert status.fault is None
    jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert seen["train"] == "rows of trained"
    assert (seen["rank"], seen["world"]) == (0, 1)
    assert {"CLUSTER_SPEC", "AIP_MODEL_DIR", "CLOUD_ML_JOB_ID"} <= set(seen["environment"])
    result = Result.read(tmp_path / "left" / "output.result.json")
    assert result.model == "model.pkl"
    assert result.last() == {"loss": 0.5}
    assert not (tmp_path / "left" / "output" / ".tidemill").exists()


def test_several_machines_are_a_chief_and_workers(jobs: VertexJobs, storage: CloudStorage, tmp_path: Path) -> None:
    job = gcp.job("several", resources={"count": 3})
    clouds.upload(storage, job, tmp_path)
    ref = jobs.submit(job)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "succeeded", gcp.held("several")
    jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert (seen["rank"], seen["world"]) == (0, 3)


def test_a_taken_away_machine_goes_on_from_its_checkpoint(
    jobs: VertexJobs, storage: CloudStorage, tmp_path: Path
) -> None:
    job = gcp.job("spotted", resources=SPOT, spot=True, checkpoint=f"{CHECKPOINT}/spotted")
    clouds.upload(storage, job, tmp_path, sleep=20)
    gcp.emulation().set_faults(preempt=1, preempt_after=1.5)
    ref = jobs.submit(job)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "succeeded", gcp.held("spotted")
    jobs.collect(job, ref, tmp_path / "left")
    assert clouds.seen(tmp_path / "left")["attempts"] == 2
    assert gcp.held("spotted")[0]["restarts"] == 1


def test_a_mistake_in_the_users_code_is_told_as_one(jobs: VertexJobs, storage: CloudStorage, tmp_path: Path) -> None:
    job = gcp.job("failing")
    clouds.upload(storage, job, tmp_path, fail="no such column")
    ref = jobs.submit(job)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    jobs.collect(job, ref, tmp_path / "left")
    failure = Result.read(tmp_path / "left" / "output.result.json").failure
    assert failure is not None
    assert failure.user
    assert "no such column" in failure.message


def test_code_that_was_never_uploaded_is_told(jobs: VertexJobs) -> None:
    ref = jobs.submit(gcp.job("no-code", code="gs://acme-models/nothing"))
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.state == "failed"
    assert status.fault == "user"
    assert "could not be fetched" in gcp.held("no-code")[0]["log"]


def test_a_lost_answer_makes_no_second_job(jobs: VertexJobs) -> None:
    for n in range(10):
        gcp.emulation().set_faults(hold=True, lose={"CreateCustomJob": 1})
        ref = jobs.submit(gcp.job(f"lost-{n}"))
        assert [found["id"] for found in gcp.held(f"lost-{n}")] == [ref.id]
        jobs.stop(ref)


def test_half_an_answer_makes_no_second_job(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True, half={"CreateCustomJob": 1})
    ref = jobs.submit(gcp.job("half"))
    assert [found["id"] for found in gcp.held("half")] == [ref.id]


def test_with_late_lists_the_job_of_a_lost_answer_may_be_missed_and_the_first_one_wins(
    jobs: VertexJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The window that docs/platforms/gcp.md states: the service refuses no duplicate."""
    job = gcp.job("window")
    gcp.emulation().set_faults(noop=True, lose={"CreateCustomJob": 1}, listing_delay=2.0)
    monkeypatch.setattr("tidemill.platforms.gcp.jobs._SEARCHES", (0.0, 0.1))
    with pytest.raises(PlatformError) as error:
        jobs.submit(job)
    assert error.value.fault == "system"
    gcp.emulation().set_faults(noop=True)
    jobs.submit(job)
    time.sleep(2.0)
    first, second = (found["id"] for found in gcp.held("window"))
    found = jobs.find(job)
    assert found is not None
    assert found.id == first != second


def test_a_second_submit_returns_the_first_job(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True)
    first = jobs.submit(gcp.job("twice"))
    clouds.until_ended(jobs, [first])
    assert jobs.submit(gcp.job("twice")) == first
    assert JobRef(**json.loads(json.dumps(vars(first)))) == first


def test_another_installation_does_not_meet_it(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True)
    mine = gcp.job("shared")
    theirs = replace(mine, tags={**mine.tags, "tidemill-installation": "ffffffff"})
    ref = jobs.submit(theirs)
    assert jobs.find(mine) is None
    assert jobs.submit(mine).id != ref.id


def test_a_stopped_job_ends_and_stopping_it_again_is_fine(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(hold=True)
    ref = jobs.submit(gcp.job("stopped"))
    jobs.stop(ref)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "stopped"
    jobs.stop(ref)
    jobs.stop(replace(ref, id=ref.id[:-3] + "000"))


def test_a_deleted_job_is_missing(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(hold=True)
    refs = [jobs.submit(gcp.job(f"deleted-{n}")) for n in range(7)]
    gcp.remove(refs[3].id)
    assert jobs.poll(refs).keys() == {ref.id for ref in refs} - {refs[3].id}
    assert jobs.poll([refs[3]]) == {}
    for ref in refs:
        jobs.stop(ref)


def test_many_deleted_jobs_are_found_out_in_turns(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(hold=True)
    refs = [jobs.submit(gcp.job(f"swept-{n}")) for n in range(16)]
    for ref in refs[:14]:
        gcp.remove(ref.id)
    for _ in range(3):
        found = jobs.poll(refs)
    assert found.keys() == {ref.id for ref in refs[14:]}
    for ref in refs[14:]:
        jobs.stop(ref)


def test_what_no_list_shows_yet_is_asked_for_by_its_id(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True, listing_delay=30.0)
    ref = jobs.submit(gcp.job("late"))
    assert jobs.poll([ref])[ref.id].state == "succeeded"


@pytest.mark.parametrize("ended", [True, False])
def test_one_poll_for_many_jobs(jobs: VertexJobs, ended: bool) -> None:
    gcp.emulation().set_faults(noop=ended, hold=not ended)
    refs = [jobs.submit(gcp.job(f"many-{ended}-{n}".lower())) for n in range(120)]
    before = sum(gcp.emulation().report()["calls"].values())
    found = jobs.poll(refs)
    made = sum(gcp.emulation().report()["calls"].values()) - before
    assert {found[ref.id].state for ref in refs} <= ({"succeeded"} if ended else {"queued", "running"})
    assert made <= 4
    for ref in [] if ended else refs:
        jobs.stop(ref)


@pytest.mark.slow
def test_a_thousand_jobs_cost_two_in_a_hundred_of_a_call_each(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True, start_delay=60.0)
    refs = [jobs.submit(gcp.job(f"thousand-{n}")) for n in range(1000)]
    for _ in range(2):
        before = sum(gcp.emulation().report()["calls"].values())
        assert {status.state for status in jobs.poll(refs).values()} == {"queued"}
        assert sum(gcp.emulation().report()["calls"].values()) - before <= 20
    for ref in refs:
        jobs.stop(ref)
    # All of them ended at once, and nobody was told: the worst case.
    time.sleep(1.0)
    before = sum(gcp.emulation().report()["calls"].values())
    found = jobs.poll(refs)
    assert {found[ref.id].state for ref in refs} == {"stopped"}
    assert sum(gcp.emulation().report()["calls"].values()) - before <= 20


@pytest.mark.slow
def test_a_hundred_lost_answers_make_no_second_job(jobs: VertexJobs) -> None:
    for n in range(100):
        gcp.emulation().set_faults(noop=True, lose={"CreateCustomJob": 1})
        jobs.submit(gcp.job(f"lost-answer-{n}"))
    assert max(len(gcp.held(f"lost-answer-{n}")) for n in range(100)) == 1


def test_a_throttled_poll_is_left_to_the_caller_and_a_throttled_submit_is_tried_again(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True)
    ref = jobs.submit(gcp.job("throttled"))
    gcp.emulation().set_faults(throttle={"GetCustomJob": 1})
    with pytest.raises(PlatformError, match="too many calls") as error:
        jobs.poll([ref])
    assert error.value.throttled
    gcp.emulation().set_faults(noop=True, throttle={"CreateCustomJob": 1, "ListCustomJobs": 1})
    assert jobs.poll([jobs.submit(gcp.job("throttled-submit"))])
    assert len(gcp.held("throttled-submit")) == 1


def test_a_service_that_fails_inside_is_asked_again(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(noop=True)
    ref = jobs.submit(gcp.job("shaky"))
    gcp.emulation().set_faults(fail={"GetCustomJob": 1})
    assert jobs.poll([ref])[ref.id].state == "succeeded"
    gcp.emulation().set_faults(half={"GetCustomJob": 1})
    assert jobs.poll([ref])[ref.id].state == "succeeded"


def test_a_missing_permission_is_named_with_a_role_that_has_it(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(denied=["CreateCustomJob"])
    with pytest.raises(PlatformError, match=r"aiplatform\.customJobs\.create.*roles/aiplatform\.user") as error:
        jobs.submit(gcp.job("denied"))
    assert error.value.fault == "user"


def test_no_quota_no_machine_no_image(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(no_quota=[gcp.MACHINE])
    with pytest.raises(PlatformError, match="no quota left in europe-west4") as error:
        jobs.submit(gcp.job("no-quota"))
    assert error.value.fault == "capacity"
    assert not gcp.held("no-quota")

    gcp.emulation().set_faults(no_capacity=[gcp.MACHINE])
    ref = jobs.submit(gcp.job("no-machine"))
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.fault == "capacity"
    assert "insufficient" in status.reason

    gcp.emulation().set_faults(no_image=["registry.example/flights:1"])
    ref = jobs.submit(gcp.job("no-image"))
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.fault == "user"
    assert "train.image" in status.reason


def test_no_spot_machine_is_to_be_had_within_the_wait(jobs: VertexJobs) -> None:
    gcp.emulation().set_faults(no_capacity=["spot"])
    job = gcp.job("no-spot", resources={"spot": {"checkpoint": CHECKPOINT, "wait": "1 s"}}, spot=True)
    ref = jobs.submit(job)
    assert jobs.poll([ref])[ref.id].state == "queued"
    assert clouds.until_ended(jobs, [ref])[ref.id].fault == "capacity"


def test_a_job_that_runs_too_long_is_ended_by_the_service(
    jobs: VertexJobs, storage: CloudStorage, tmp_path: Path
) -> None:
    job = gcp.job("long", timeout=timedelta(seconds=2))
    clouds.upload(storage, job, tmp_path, sleep=30)
    ref = jobs.submit(job)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "train.timeout" in status.reason


def test_output_that_is_gone_or_cut_is_not_taken_for_an_output(
    jobs: VertexJobs, storage: CloudStorage, tmp_path: Path
) -> None:
    job = gcp.job("gone")
    clouds.upload(storage, job, tmp_path)
    ref = jobs.submit(job)
    clouds.until_ended(jobs, [ref])
    shorter = tmp_path / "shorter"
    shorter.write_text("a mod")
    storage.put(shorter, f"{job.output}/model.pkl")
    with pytest.raises(PlatformError, match=r"half an output: model\.pkl has 5 bytes"):
        jobs.collect(job, ref, tmp_path / "left")
    storage.delete(f"{job.output}/model.pkl")
    with pytest.raises(PlatformError, match=r"half an output: model\.pkl is missing"):
        jobs.collect(job, ref, tmp_path / "left")

    job = gcp.job("empty")
    clouds.upload(storage, job, tmp_path)
    gcp.emulation().set_faults(missing_output=True)
    ref = jobs.submit(job)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "succeeded"
    jobs.collect(job, ref, tmp_path / "none")
    assert not (tmp_path / "none" / "output.result.json").exists()


def test_links_lead_to_the_job(jobs: VertexJobs) -> None:
    ref = JobRef("vertex", "tm-x", "projects/acme-ml/locations/europe-west4/customJobs/42", "europe-west4")
    links = jobs.links(ref)
    assert "/europe-west4/training/42?project=acme-ml" in links.console
    assert "42" in links.log
    assert links.log.startswith("https://console.cloud.google.com/logs/query")
