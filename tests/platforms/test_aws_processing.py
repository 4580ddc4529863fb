"""SageMaker processing jobs, over the wire, through the emulator that really runs them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms import clouds
from tests.platforms.aws_emulated import MACHINE, client, opened
from tidemill.platforms.aws.processing import status_of
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import JobRef, PlatformError, RemoteJob
from tidemill.spec.platform import Resources

SERVICE = "sagemaker-processing"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd"


def job_of(cloud: Cloud, name: str, machine: Any = MACHINE, **changes: Any) -> RemoteJob:
    return clouds.remote_job(cloud.platform, SERVICE, name, resources=Resources(machine=machine), data="", **changes)


def calls(emulation: Emulation, *operations: str) -> int:
    made = emulation.report()["calls"]
    return sum(made.get(operation, 0) for operation in operations)


@pytest.fixture
def idle(emulation: Emulation) -> Emulation:
    """Jobs run nothing, and succeed at once."""
    emulation.set_faults(noop=True)
    return emulation


def test_what_is_submitted_holds_every_setting(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> None:
    network = {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"], "isolated": True}
    cloud = opened(monkeypatch, emulation, SERVICE, encryption_key=KEY, network=network)
    emulation.set_faults(hold=True)
    resources = Resources.model_validate({"machine": [MACHINE, "ml.m5.xlarge"], "disk": "50 GiB"})
    job = clouds.remote_job(
        cloud.platform,
        SERVICE,
        "processing-settings",
        resources=resources,
        timeout=timedelta(hours=1),
        inputs={"model": "s3://acme-ml/model"},
        environment={"PYTHONHASHSEED": "7"},
    )
    ref = cloud.jobs.submit(job)
    sagemaker = client(emulation, "sagemaker")
    made = sagemaker.describe_processing_job(ProcessingJobName=job.name)
    assert made["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600}
    assert made["ProcessingResources"]["ClusterConfig"] == {
        "InstancePreferences": [{"InstanceType": name, "InstanceCount": 1} for name in (MACHINE, "ml.m5.xlarge")],
        "VolumeSizeInGB": 50,
        "VolumeKmsKeyId": KEY,
    }
    assert made["NetworkConfig"] == {
        "EnableNetworkIsolation": True,
        "VpcConfig": {"Subnets": ["subnet-0a1b"], "SecurityGroupIds": ["sg-0a1b"]},
    }
    assert made["ProcessingOutputConfig"]["KmsKeyId"] == KEY
    assert made["Environment"] == {"PYTHONHASHSEED": "7"}
    uris = {each["InputName"]: each["S3Input"]["S3Uri"] for each in made["ProcessingInputs"]}
    assert uris == {"code": f"{job.code}/", "job": f"{job.job}/", "model": "s3://acme-ml/model/"}
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=ref.id)["Tags"]}
    assert tags == {"team": "ml", **job.tags}
    assert cloud.jobs.poll([ref])[ref.id].state == "running"
    cloud.jobs.stop(ref)
    cloud.jobs.stop(ref)  # one that has ended is left alone
    assert cloud.jobs.poll([ref])[ref.id].state == "stopped"
    assert f"/processing-jobs/{job.name}" in cloud.jobs.links(ref).console


def test_a_name_is_refused_twice_and_ours_is_found(idle: Emulation, cloud: Cloud) -> None:
    job = job_of(cloud, "processing-twice")
    ref = cloud.jobs.submit(job)
    assert cloud.jobs.submit(job) == ref
    assert cloud.jobs.find(job) == ref
    assert cloud.jobs.find(job_of(cloud, "processing-none")) is None
    stranger = job_of(cloud, "processing-twice", tags={"tidemill-job": job.name, "tidemill-installation": "other"})
    with pytest.raises(PlatformError, match="taken by a stranger's job") as refused:
        cloud.jobs.submit(stranger)
    assert refused.value.fault == "user"


def test_an_answer_that_is_lost_makes_no_second_job(idle: Emulation, cloud: Cloud) -> None:
    before = len(idle.report()["processing"])
    idle.set_faults(noop=True, lose={"CreateProcessingJob": 1}, throttle={"CreateProcessingJob": 1})
    job = job_of(cloud, "processing-lost")
    ref = cloud.jobs.submit(job)
    assert ref == cloud.jobs.find(job)
    assert len(idle.report()["processing"]) == before + 1


def test_many_jobs_are_polled_in_a_few_lists(idle: Emulation, cloud: Cloud) -> None:
    refs = [cloud.jobs.submit(job_of(cloud, f"processing-many-{n}")) for n in range(8)]
    cloud.jobs.stop(refs[0])
    before = calls(idle, "DescribeProcessingJob", "ListProcessingJobs")
    found = clouds.until_ended(cloud.jobs, refs)
    assert {status.state for status in found.values()} == {"succeeded"}
    assert calls(idle, "ListProcessingJobs") > 0
    assert calls(idle, "DescribeProcessingJob", "ListProcessingJobs") - before <= 2 * len(refs)
    gone = JobRef(SERVICE, "processing-gone", refs[0].id.replace("many-0", "gone"), "eu-west-1")
    assert gone.id not in cloud.jobs.poll([gone])


def test_a_machine_that_is_not_to_be_had_is_followed_by_the_next(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(no_capacity=[MACHINE])
    job = job_of(cloud, "processing-next", [MACHINE, "ml.m5.xlarge"])
    ref = cloud.jobs.submit(job)
    clouds.until_ended(cloud.jobs, [ref])  # it has no inputs, and fails for that
    made = client(emulation, "sagemaker").describe_processing_job(ProcessingJobName=job.name)
    assert made["ProcessingResources"]["ClusterConfig"]["SelectedInstanceType"] == "ml.m5.xlarge"
    only = cloud.jobs.submit(job_of(cloud, "processing-full"))
    assert clouds.until_ended(cloud.jobs, [only])[only.id].fault == "capacity"
    emulation.set_faults(no_quota=[MACHINE])
    with pytest.raises(PlatformError, match=f"no quota for 1 × {MACHINE}") as refused:
        cloud.jobs.submit(job_of(cloud, "processing-quota"))
    assert refused.value.fault == "capacity"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"machine": None}, "platform.processing.machine"),
        ({"image": "x" * 300}, "AppSpecification.ImageUri has 300 characters"),
        ({"machine": "ml.nothing.large"}, "InstanceType 'ml.nothing.large' is none of those that AWS knows"),
    ],
)
def test_a_body_that_would_be_refused_is_not_sent(
    emulation: Emulation, cloud: Cloud, change: dict[str, Any], match: str
) -> None:
    before = calls(emulation, "CreateProcessingJob")
    with pytest.raises(PlatformError, match=match) as refused:
        cloud.jobs.submit(job_of(cloud, "processing-bad", **change))
    assert refused.value.fault == "user"
    assert calls(emulation, "CreateProcessingJob") == before


@pytest.mark.parametrize(
    ("described", "state", "fault", "reason"),
    [
        ({"ExitMessage": "tidemill:user: no such column"}, "failed", "user", "no such column"),
        ({"ExitMessage": "tidemill:system: x", "FailureReason": "exit code: 20"}, "failed", "system", "x"),
        ({"FailureReason": "AlgorithmError: , exit code: 137"}, "failed", "system", "AlgorithmError: , exit code: 137"),
        ({"FailureReason": "AlgorithmError: , exit code: 127"}, "failed", "user", "AlgorithmError: , exit code: 127"),
        ({"FailureReason": "InternalServerError: x"}, "failed", "system", "InternalServerError: x"),
    ],
)
def test_a_failure_tells_whose_it_is(described: dict[str, Any], state: str, fault: str, reason: str) -> None:
    found = status_of({"ProcessingJobStatus": "Failed", **described})
    assert (found.state, found.fault, found.reason) == (state, fault, reason)


@pytest.mark.parametrize(("ran", "state"), [(3600, "failed"), (3599, "stopped")])
def test_a_job_that_ran_for_too_long_has_failed(ran: int, state: str) -> None:
    began = datetime(2013, 7, 1, tzinfo=UTC)
    found = status_of(
        {
            "ProcessingJobStatus": "Stopped",
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            "ProcessingStartTime": began,
            "ProcessingEndTime": began + timedelta(seconds=ran),
        }
    )
    assert (found.state, found.seconds) == (state, ran)
    assert found.fault == ("user" if state == "failed" else None)
