"""AWS Batch, over the wire, through the emulator that really runs its jobs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms import clouds
from tests.platforms.aws_emulated import PLATFORM, client, opened
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import JobRef, PlatformError, RemoteJob
from tidemill.spec.platform import Resources

SERVICE = "batch"


def job_of(cloud: Cloud, name: str, **changes: Any) -> RemoteJob:
    return clouds.remote_job(cloud.platform, "batch", name, **changes)


def named(emulation: Emulation, name: str) -> list[dict[str, Any]]:
    return [job for job in emulation.report()["batch"] if job["name"] == name]


def test_a_job_runs_and_its_output_is_collected(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    resources = Resources.model_validate({"cpu": 2, "memory": "4 GiB", "gpu": 1})
    job = job_of(cloud, "whole", resources=resources, environment={"COLOUR": "blue"}, timeout=timedelta(hours=1))
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert status.state == "succeeded", emulation.report()["batch"]
    cloud.jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert seen["train"] == "rows of whole"
    assert "COLOUR" in seen["environment"]
    assert (tmp_path / "left" / "output.result.json").is_file()
    described = client(emulation, "batch").describe_jobs(jobs=[ref.id])["jobs"][0]
    assert described["tags"] == {"team": "ml", **job.tags}
    needs = client(emulation, "batch").describe_job_definitions(jobDefinitions=[described["jobDefinition"]])
    made = needs["jobDefinitions"][0]
    assert {one["type"]: one["value"] for one in made["containerProperties"]["resourceRequirements"]} == {
        "VCPU": "2",
        "MEMORY": "4096",
        "GPU": "1",
    }
    assert made["containerProperties"]["jobRoleArn"] == PLATFORM["role"]
    assert made["timeout"] == {"attemptDurationSeconds": 3600}
    assert ref.id in cloud.jobs.links(ref).console


def test_jobs_of_equal_content_share_a_definition(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    batch = client(emulation, "batch")
    made = [cloud.jobs.submit(job_of(cloud, f"shares-{n}", image="shared:1")) for n in range(2)]
    made.append(cloud.jobs.submit(job_of(cloud, "shares-2", image="shared:2")))
    jobs = batch.describe_jobs(jobs=[ref.id for ref in made])["jobs"]
    used = {job["jobName"]: job["jobDefinition"] for job in jobs}
    assert used["shares-0"] == used["shares-1"] != used["shares-2"]


@pytest.mark.parametrize(
    ("params", "fault", "attempts", "says"),
    [({"fail": "no such column"}, "user", 1, "exit code 10"), ({"exit": 3}, None, 1, "exit code")],
)
def test_a_failure_is_not_run_again(
    emulation: Emulation,
    cloud: Cloud,
    tmp_path: Path,
    params: dict[str, Any],
    fault: str | None,
    attempts: int,
    says: str,
) -> None:
    job = job_of(cloud, f"fails-{next(iter(params))}")
    clouds.upload(cloud.storage, job, tmp_path, **params)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert status.state == "failed"
    assert fault in (None, status.fault)
    assert says in status.reason
    assert named(emulation, job.name)[0]["attempts"] == attempts
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert (tmp_path / "left" / "output.result.json").is_file()


def test_a_taken_spot_machine_goes_on_from_the_checkpoint(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    emulation.set_faults(preempt=1, preempt_after=1.5)
    job = job_of(cloud, "spotted", spot=True, checkpoint="s3://acme-ml/c/batch")
    clouds.upload(cloud.storage, job, tmp_path, sleep=60)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.interruptions) == ("succeeded", 1), emulation.report()["batch"]
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert clouds.seen(tmp_path / "left")["attempts"] == 2


def test_several_machines_are_one_multi_node_job(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "nodes", resources=Resources.model_validate({"count": 2}))
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "succeeded", emulation.report()["batch"]
    cloud.jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert (seen["rank"], seen["world"]) == (0, 2)


@pytest.mark.slow
def test_a_failed_multi_node_job_tells_its_main_nodes_exit(cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "nodes-fail", resources=Resources.model_validate({"count": 2}))
    clouds.upload(cloud.storage, job, tmp_path, fail="boom")
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")


def test_a_lost_answer_makes_no_second_job_where_lists_are_up_to_date(emulation: Emulation, cloud: Cloud) -> None:
    job = job_of(cloud, "lost")
    emulation.set_faults(hold=True, lose={"SubmitJob": 1})
    ref = cloud.jobs.submit(job)
    assert cloud.jobs.submit(job) == ref
    assert cloud.jobs.find(job) == ref
    assert len(named(emulation, "lost")) == 1


@pytest.mark.slow
def test_a_lost_answer_is_told_where_lists_are_late_and_never_sent_again(emulation: Emulation, cloud: Cloud) -> None:
    job = job_of(cloud, "late")
    emulation.set_faults(hold=True, lose={"SubmitJob": 1}, listing_delay=8.0)
    with pytest.raises(PlatformError, match="whether AWS Batch took the job late is not known") as caught:
        cloud.jobs.submit(job)
    assert caught.value.fault == "system"
    assert len(named(emulation, "late")) == 1
    import time

    end = time.monotonic() + 20
    while cloud.jobs.find(job) is None:
        assert time.monotonic() < end
        time.sleep(0.5)
    cloud.jobs.submit(job)
    assert len(named(emulation, "late")) == 1


@pytest.mark.parametrize("operation", ["SubmitJob", "ListJobs", "DescribeJobs"])
def test_half_an_answer_is_no_answer(emulation: Emulation, cloud: Cloud, operation: str) -> None:
    job = job_of(cloud, f"half-{operation.lower()}")
    emulation.set_faults(hold=True)
    other = cloud.jobs.submit(job_of(cloud, "other"))
    emulation.set_faults(hold=True, half={operation: 1})
    if operation == "SubmitJob":
        cloud.jobs.submit(job)
        assert len(named(emulation, job.name)) == 1
    elif operation == "ListJobs":
        with pytest.raises(PlatformError):
            cloud.jobs.submit(job)
        assert named(emulation, job.name) == []
    else:
        with pytest.raises(PlatformError):
            cloud.jobs.poll([other])


def test_a_throttled_submit_is_sent_again(emulation: Emulation, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    emulation.set_faults(hold=True, throttle={"SubmitJob": 3})
    cloud.jobs.submit(job_of(cloud, "throttled"))
    assert len(named(emulation, "throttled")) == 1
    emulation.set_faults(hold=True, throttle={"SubmitJob": 9})
    with pytest.raises(PlatformError, match="fewer calls") as caught:
        cloud.jobs.submit(job_of(cloud, "throttled-more"))
    assert caught.value.throttled


def test_the_service_takes_a_second_job_of_a_name_and_the_first_is_ours(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    job = job_of(cloud, "twice")
    first = cloud.jobs.submit(job)
    made = client(emulation, "batch").describe_jobs(jobs=[first.id])["jobs"][0]
    again = {"jobName": "twice", "jobQueue": PLATFORM["queue"], "jobDefinition": made["jobDefinition"]}
    client(emulation, "batch").submit_job(**again, tags=made["tags"])
    client(emulation, "batch").submit_job(**again, tags={"tidemill-installation": "another"})
    assert len(named(emulation, "twice")) == 3
    assert cloud.jobs.find(job) == first


def test_a_job_on_the_other_queue_is_found(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    spot = job_of(cloud, "moves", spot=True, checkpoint="s3://acme-ml/c/moves")
    ref = cloud.jobs.submit(spot)
    assert cloud.jobs.find(job_of(cloud, "moves")) == ref


def test_what_is_not_there_is_none_missing_and_left_alone(cloud: Cloud, tmp_path: Path) -> None:
    ref = JobRef("batch", "never", "00000000-0000-0000-0000-000000000000", "eu-west-1")
    assert cloud.jobs.find(job_of(cloud, "never")) is None
    assert cloud.jobs.poll([ref]) == {}
    cloud.jobs.stop(ref)
    cloud.jobs.collect(job_of(cloud, "never"), ref, tmp_path)
    assert not (tmp_path / "output.result.json").exists()


def test_a_stopped_job_is_stopped(cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "stopped")
    clouds.upload(cloud.storage, job, tmp_path, sleep=60)
    ref = cloud.jobs.submit(job)
    cloud.jobs.stop(ref)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "stopped"
    cloud.jobs.stop(ref)


def test_no_machine_is_a_queue_and_no_image_the_users(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    emulation.set_faults(no_capacity=[PLATFORM["queue"]], no_image=["none:1"])
    waiting = cloud.jobs.submit(job_of(cloud, "waits"))
    assert cloud.jobs.poll([waiting])[waiting.id].state == "queued"
    cloud.jobs.stop(waiting)
    assert clouds.until_ended(cloud.jobs, [waiting])[waiting.id].state == "stopped"
    emulation.set_faults(no_image=["none:1"])
    ref = cloud.jobs.submit(job_of(cloud, "no-image", image="none:1"))
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "CannotPullContainerError" in status.reason


@pytest.mark.slow
def test_artifacts_missing_after_success_leave_nothing(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    emulation.set_faults(missing_output=True)
    job = job_of(cloud, "hollow")
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "succeeded"
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert not (tmp_path / "left" / "output.result.json").exists()


@pytest.mark.parametrize(
    ("changes", "platform", "says"),
    [
        ({}, {"queue": None}, "platform.queue"),
        ({"spot": True}, {"spot_queue": None}, "platform.spot_queue"),
        ({}, {"queue": "nowhere"}, "nowhere does not exist"),
        ({"machine": "m5.large"}, {}, "name cpu, memory and gpu"),
        ({"resources": Resources.model_validate({"disk": "50 GiB"})}, {}, "train.resources.disk"),
        ({}, {"network": {"isolated": True}}, "platform.network"),
        ({"spot": True, "resources": Resources.model_validate({"count": 2})}, {}, "no spot machines"),
        ({}, {"tags": {f"t{n}": "x" for n in range(50)}}, "tags has 53 entries"),
    ],
)
def test_bad_settings_are_told(
    emulation: Emulation,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    platform: dict[str, Any],
    says: str,
) -> None:
    cloud = opened(monkeypatch, emulation, "batch", **platform)
    with pytest.raises(PlatformError, match=says) as caught:
        cloud.jobs.submit(job_of(cloud, "bad", **changes))
    assert caught.value.fault == "user"


def test_a_poll_takes_a_hundred_jobs_a_call(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(noop=True)
    refs = [cloud.jobs.submit(job_of(cloud, f"many-{n}")) for n in range(101)]
    before = emulation.report()["calls"]["DescribeJobs"]
    found = cloud.jobs.poll(refs)
    assert {status.state for status in found.values()} == {"succeeded"}
    assert len(found) == 101
    assert emulation.report()["calls"]["DescribeJobs"] - before == 2
