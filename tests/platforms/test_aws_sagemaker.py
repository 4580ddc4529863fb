"""SageMaker training jobs, over the wire, through the emulator that really runs them."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms import clouds
from tests.platforms.aws_emulated import MACHINE, client, opened
from tidemill.platforms.aws.shapes import problems
from tidemill.platforms.aws.training_poll import fault_of
from tidemill.platforms.aws.training_request import metric_definitions, training_request
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import JobRef, PlatformError, RemoteJob
from tidemill.spec.platform import Resources

SERVICE = "sagemaker"


def job_of(cloud: Cloud, name: str, **changes: Any) -> RemoteJob:
    return clouds.remote_job(cloud.platform, "sagemaker", name, **{"machine": MACHINE, **changes})


def calls(emulation: Emulation, *operations: str) -> int:
    made = emulation.report()["calls"]
    return sum(made.get(operation, 0) for operation in operations)


def test_a_job_runs_in_an_empty_container_and_its_output_is_collected(
    emulation: Emulation, cloud: Cloud, tmp_path: Path
) -> None:
    job = job_of(cloud, "whole", environment={"COLOUR": "blue"})
    # The neighbour's name begins alike: a channel must not hold its files.
    clouds.upload(cloud.storage, job_of(cloud, "whole-2"), tmp_path)
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert status.state == "succeeded", emulation.report()["sagemaker"]
    assert (status.seconds, status.billable) == (1.0, 1.0)
    cloud.jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert seen["train"] == "rows of whole"
    assert "COLOUR" in seen["environment"]
    assert "AIRFLOW_CONN_AWS_DEFAULT" not in seen["environment"]
    assert (tmp_path / "left" / "output.result.json").is_file()
    assert not (tmp_path / "left" / "output" / ".tidemill").exists()
    assert "sagemaker" in cloud.jobs.links(ref).console
    assert "TrainingJobs" in cloud.jobs.links(ref).log


def test_what_is_submitted_holds_every_setting(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd"
    network = {"subnets": ["subnet-0a1b"], "security_groups": ["sg-0a1b"], "isolated": True}
    cloud = opened(monkeypatch, emulation, "sagemaker", encryption_key=key, network=network)
    emulation.set_faults(hold=True)
    resources = Resources.model_validate(
        {"machine": MACHINE, "count": 2, "disk": "50 GiB", "spot": {"checkpoint": "s3://acme-ml/c", "wait": "2 h"}}
    )
    job = job_of(
        cloud,
        "settings",
        resources=resources,
        spot=True,
        checkpoint="s3://acme-ml/c/settings",
        timeout=timedelta(hours=1),
    )
    ref = cloud.jobs.submit(job)
    sagemaker = client(emulation, "sagemaker")
    made = sagemaker.describe_training_job(TrainingJobName="settings")
    assert made["EnableManagedSpotTraining"] is True
    assert made["StoppingCondition"] == {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 3 * 3600}
    assert made["CheckpointConfig"] == {"S3Uri": "s3://acme-ml/c/settings/", "LocalPath": "/opt/ml/checkpoints"}
    assert made["ResourceConfig"] == {
        "InstanceType": MACHINE,
        "InstanceCount": 2,
        "VolumeSizeInGB": 50,
        "VolumeKmsKeyId": key,
    }
    assert made["VpcConfig"] == {"Subnets": ["subnet-0a1b"], "SecurityGroupIds": ["sg-0a1b"]}
    assert made["EnableNetworkIsolation"] is True
    assert made["OutputDataConfig"]["KmsKeyId"] == key
    channels = {
        channel["ChannelName"]: channel["DataSource"]["S3DataSource"]["S3Uri"] for channel in made["InputDataConfig"]
    }
    assert channels == {"code": f"{job.code}/", "data": f"{job.data}/", "job": f"{job.job}/"}
    tags = {tag["Key"]: tag["Value"] for tag in sagemaker.list_tags(ResourceArn=ref.id)["Tags"]}
    assert tags == {"team": "ml", **job.tags}
    cloud.jobs.stop(ref)
    assert cloud.jobs.poll([ref])[ref.id].state == "stopped"


def test_metrics_are_read_from_what_the_job_prints() -> None:
    import re

    definition = next(d for d in metric_definitions(["roc_auc", "loss"]) if d["Name"] == "loss")
    found = re.search(definition["Regex"], "x\n[tidemill] metric loss=1.5e-07 step=3\n")
    assert found is not None
    assert float(found[1]) == 1.5e-07
    assert re.search(definition["Regex"], "[tidemill] metric log_loss=0.5 step=0") is None


@pytest.mark.parametrize(
    ("params", "state", "fault", "says"),
    [
        ({"fail": "no such column"}, "failed", "user", "no such column"),
        ({"exit": 137}, "failed", None, ""),
    ],
)
def test_a_failure_tells_whose_it_is(
    cloud: Cloud, tmp_path: Path, params: dict[str, Any], state: str, fault: str | None, says: str
) -> None:
    job = job_of(cloud, f"fails-{next(iter(params))}")
    clouds.upload(cloud.storage, job, tmp_path, **params)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert status.state == state
    assert status.fault is not None
    assert fault in (None, status.fault)
    assert says in status.reason
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert list((tmp_path / "left" / "output").iterdir()) == []


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        ("AlgorithmError: tidemill:user: KeyError: 'late', exit code: 10", "user"),
        ("AlgorithmError: tidemill:system: the store does not answer, exit code: 20", "system"),
        ("AlgorithmError: See job logs, exit code: 137", "system"),
        ("AlgorithmError: See job logs, exit code: 127", "user"),
        ("AlgorithmError: See job logs, exit code: 1", "system"),
        ("CapacityError: Unable to provision requested ML compute capacity. Please retry.", "capacity"),
        ("InternalServerError: We encountered an internal error. Please try again.", "system"),
        ("ClientError: Data download failed:NoSuchKey (404)", "user"),
    ],
)
def test_fault_by_the_services_words(reason: str, fault: str) -> None:
    assert fault_of(reason) == fault


def test_a_taken_spot_machine_goes_on_from_the_checkpoint(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cloud = opened(monkeypatch, emulation, "sagemaker")
    emulation.set_faults(preempt=1, preempt_after=1.0)
    spot = {"checkpoint": "s3://acme-ml/c", "wait": "1 h"}
    job = job_of(
        cloud,
        "spotted",
        resources=Resources.model_validate({"spot": spot}),
        spot=True,
        checkpoint="s3://acme-ml/c/spotted",
    )
    clouds.upload(cloud.storage, job, tmp_path, sleep=60)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.interruptions) == ("succeeded", 1), emulation.report()["sagemaker"]
    assert status.billable is not None
    assert status.seconds is not None
    assert status.billable <= status.seconds
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert clouds.seen(tmp_path / "left")["attempts"] == 2


def test_two_machines_know_their_ranks(cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "two", resources=Resources.model_validate({"count": 2}))
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "succeeded"
    cloud.jobs.collect(job, ref, tmp_path / "left")
    seen = clouds.seen(tmp_path / "left")
    assert (seen["rank"], seen["world"]) == (0, 2)


def test_a_lost_answer_makes_no_second_job(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True, lose={"CreateTrainingJob": 1}, throttle={"CreateTrainingJob": 1})
    before = len(emulation.report()["sagemaker"])
    job = job_of(cloud, "lost")
    ref = cloud.jobs.submit(job)
    assert cloud.jobs.submit(job) == ref
    assert cloud.jobs.find(job) == ref
    assert len(emulation.report()["sagemaker"]) == before + 1


def test_half_an_answer_is_no_answer_and_the_job_is_adopted(emulation: Emulation, cloud: Cloud) -> None:
    job = job_of(cloud, "halved")
    emulation.set_faults(hold=True, half={"CreateTrainingJob": 1, "DescribeTrainingJob": 1})
    with contextlib.suppress(PlatformError):
        cloud.jobs.submit(job)
    ref = cloud.jobs.submit(job)
    assert cloud.jobs.find(job) == ref
    for operation in ("DescribeTrainingJob", "ListTags"):
        emulation.set_faults(hold=True, half={operation: 1})
        with pytest.raises(PlatformError) as caught:
            cloud.jobs.find(job)
        assert caught.value.fault == "system"
    assert [one["name"] for one in emulation.report()["sagemaker"]].count("halved") == 1


def test_a_strangers_job_of_the_name_is_not_taken_over(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    ours = job_of(cloud, "common")
    theirs = training_request(job_of(cloud, "common"))
    theirs["Tags"] = [{"Key": "tidemill-installation", "Value": "another"}]
    client(emulation, "sagemaker").create_training_job(**theirs)
    with pytest.raises(PlatformError, match="taken by a stranger's job") as caught:
        cloud.jobs.submit(ours)
    assert caught.value.fault == "user"
    with pytest.raises(PlatformError, match="stranger"):
        cloud.jobs.find(ours)


def test_what_is_not_there_is_none_missing_and_left_alone(cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "never")
    ref = JobRef("sagemaker", "never", "arn:aws:sagemaker:eu-west-1:123456789012:training-job/never", "eu-west-1")
    assert cloud.jobs.find(job) is None
    assert cloud.jobs.poll([ref]) == {}
    cloud.jobs.stop(ref)
    cloud.jobs.collect(job, ref, tmp_path)
    assert not (tmp_path / "output.result.json").exists()


def test_a_stopped_job_is_stopped_once(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "stopped")
    clouds.upload(cloud.storage, job, tmp_path, sleep=60)
    ref = cloud.jobs.submit(job)
    cloud.jobs.stop(ref)
    cloud.jobs.stop(ref)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "stopped"
    cloud.jobs.stop(ref)


@pytest.mark.parametrize(
    ("faults", "changes", "fault", "says"),
    [
        ({"no_capacity": [MACHINE]}, {}, "capacity", "CapacityError"),
        (
            {"no_image": ["registry.example/none:1"]},
            {"image": "registry.example/none:1"},
            "user",
            "image does not exist",
        ),
    ],
)
def test_no_machine_and_no_image(
    emulation: Emulation,
    cloud: Cloud,
    tmp_path: Path,
    faults: dict[str, Any],
    changes: dict[str, Any],
    fault: str,
    says: str,
) -> None:
    emulation.set_faults(**faults)
    job = job_of(cloud, f"without-{next(iter(faults)).replace('_', '-')}", **changes)
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", fault)
    assert says in status.reason


@pytest.mark.slow
def test_a_job_that_finds_no_spot_machine_is_queued_and_ends_with_its_wait(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cloud = opened(monkeypatch, emulation, "sagemaker")
    emulation.set_faults(no_capacity=["spot"])
    spot = {"checkpoint": "s3://acme-ml/c", "wait": "1 s"}
    job = job_of(
        cloud,
        "waits",
        resources=Resources.model_validate({"spot": spot}),
        spot=True,
        timeout=timedelta(seconds=1),
        checkpoint="s3://acme-ml/c/waits",
    )
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert cloud.jobs.poll([ref])[ref.id].state == "queued"
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "capacity")


@pytest.mark.slow
def test_a_job_that_runs_too_long_is_the_users(cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "long", timeout=timedelta(seconds=1))
    clouds.upload(cloud.storage, job, tmp_path, sleep=60)
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "train.timeout" in status.reason


@pytest.mark.slow
def test_no_data_at_the_address_is_told(cloud: Cloud) -> None:
    ref = cloud.jobs.submit(job_of(cloud, "no-data"))
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "No S3 objects found" in status.reason


def test_artifacts_missing_after_success_leave_nothing(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    emulation.set_faults(missing_output=True)
    job = job_of(cloud, "hollow")
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "succeeded"
    cloud.jobs.collect(job, ref, tmp_path / "left")
    assert not (tmp_path / "left" / "output.result.json").exists()


def test_half_an_output_is_an_error(emulation: Emulation, cloud: Cloud, tmp_path: Path) -> None:
    job = job_of(cloud, "torn")
    clouds.upload(cloud.storage, job, tmp_path)
    ref = cloud.jobs.submit(job)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].state == "succeeded"
    s3 = client(emulation, "s3")
    key = f"{job.output.removeprefix('s3://acme-ml/')}/torn/output/model.tar.gz"
    whole = s3.get_object(Bucket="acme-ml", Key=key)["Body"].read()
    s3.put_object(Bucket="acme-ml", Key=key, Body=whole[: len(whole) // 2])
    with pytest.raises(PlatformError, match="half an output"):
        cloud.jobs.collect(job, ref, tmp_path / "left")


@pytest.mark.parametrize(
    ("changes", "platform", "says"),
    [
        ({"machine": None}, {}, "train.resources.machine"),
        ({"machine": "m5.large"}, {}, "ResourceConfig.InstanceType 'm5.large'"),
        ({}, {"role": None}, "platform.role"),
        ({}, {"role": "ml-training"}, "RoleArn 'ml-training'"),
        ({"timeout": timedelta(days=29)}, {}, "28 days"),
        ({}, {"tags": {f"t{n}": "x" for n in range(50)}}, "Tags has 53 entries, at most 50"),
        ({}, {"role": "arn:aws:iam::123456789012:role/other"}, "has to exist and to trust sagemaker"),
        ({"name": "a" * 64}, {}, "TrainingJobName has 64 characters"),
        ({}, {"network": {"subnets": ["subnet-1"]}}, "SecurityGroupIds|security"),
    ],
)
def test_bad_settings_are_told_before_or_by_the_service(
    emulation: Emulation,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    platform: dict[str, Any],
    says: str,
) -> None:
    cloud = opened(monkeypatch, emulation, "sagemaker", **platform)
    name = str(changes.pop("name", "bad-settings"))
    with pytest.raises(PlatformError, match=says) as caught:
        cloud.jobs.submit(job_of(cloud, name, **changes))
    assert caught.value.fault == "user"


def test_several_machine_types_are_one_job_which_tells_what_it_took(
    emulation: Emulation, cloud: Cloud, tmp_path: Path
) -> None:
    types = ["ml.m5.4xlarge", "ml.m5.2xlarge", "ml.m5.xlarge"]
    resources = Resources.model_validate({"machine": types, "count": 1})
    job = job_of(cloud, "preferred", machine=None, resources=resources)
    clouds.upload(cloud.storage, job, tmp_path)
    emulation.set_faults(no_capacity=types[:1])
    ref = cloud.jobs.submit(job)
    status = clouds.until_ended(cloud.jobs, [ref])[ref.id]
    assert (status.state, status.machine) == ("succeeded", "ml.m5.2xlarge")
    emulation.set_faults(no_capacity=types)
    none = job_of(cloud, "none-of-them", machine=None, resources=resources)
    clouds.upload(cloud.storage, none, tmp_path / "none")
    ref = cloud.jobs.submit(none)
    assert clouds.until_ended(cloud.jobs, [ref])[ref.id].fault == "capacity"


def test_a_bucket_of_another_region_is_refused(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = opened(monkeypatch, emulation, "sagemaker", region="us-east-1")
    with pytest.raises(PlatformError, match="is in eu-west-1") as error:
        elsewhere.jobs.submit(job_of(elsewhere, "far-from-its-rows"))
    assert error.value.fault == "user"


def test_quota_is_a_want_of_machines(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(no_quota=[MACHINE])
    with pytest.raises(PlatformError, match=r"no quota for 1 × ml\.m5\.large") as caught:
        cloud.jobs.submit(job_of(cloud, "no-quota"))
    assert caught.value.fault == "capacity"


@pytest.mark.parametrize(
    ("faults", "fault", "throttled", "says"),
    [
        ({"denied": ["CreateTrainingJob"]}, "user", False, "may not do sagemaker:CreateTrainingJob"),
        ({"throttle": {"CreateTrainingJob": 9}}, "system", True, "fewer calls"),
        ({"fail": {"CreateTrainingJob": 9}}, "system", False, "try again"),
    ],
)
def test_refused_calls(
    emulation: Emulation,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, Any],
    fault: str,
    throttled: bool,
    says: str,
) -> None:
    # Between its attempts boto3 waits for up to twenty seconds; what it does after them is of interest here.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    emulation.set_faults(**faults)
    with pytest.raises(PlatformError, match=says) as caught:
        cloud.jobs.submit(job_of(cloud, "refused"))
    assert (caught.value.fault, caught.value.throttled) == (fault, throttled)


@pytest.mark.parametrize(
    ("connection", "says"),
    [
        ({"login": "ASIAEXPIRED1", "password": "x"}, "have expired; renew them"),
        ({"login": "AKIAUNKNOWN", "password": "x"}, "does not know the credentials of connection 'aws_default'"),
        ({"login": "test", "password": "wrong"}, "does not know the credentials of connection 'aws_default'"),
    ],
)
def test_wrong_credentials_are_named_by_their_connection(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, connection: dict[str, str], says: str
) -> None:
    made = json.loads(emulation.environment["AIRFLOW_CONN_AWS_DEFAULT"])
    cloud = opened(monkeypatch, emulation, "sagemaker", tags={})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({**made, **connection}))
    for call in (lambda: cloud.jobs.find(job_of(cloud, "x")), lambda: list(cloud.storage.list("s3://acme-ml/x"))):
        with pytest.raises(PlatformError, match=says) as caught:
            call()
        assert caught.value.fault == "user"


def test_a_wrong_clock_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    monkeypatch.setattr(
        "botocore.auth.get_current_datetime", lambda remove_tzinfo=True: datetime(2020, 1, 1, tzinfo=UTC)
    )
    with pytest.raises(PlatformError, match="clock is wrong"):
        cloud.jobs.find(job_of(cloud, "x"))


def test_hundreds_of_jobs_cost_two_calls_a_hundred(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    from concurrent.futures import ThreadPoolExecutor

    body = training_request(job_of(cloud, "many"))
    sagemaker = client(emulation, "sagemaker")

    def make(n: int) -> JobRef:
        name = f"many-{n}"
        arn = sagemaker.create_training_job(**{**body, "TrainingJobName": name})["TrainingJobArn"]
        return JobRef("sagemaker", name, arn, "eu-west-1")

    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(make, range(300)))
    looks = ("ListTrainingJobs", "DescribeTrainingJob")
    before = calls(emulation, *looks)
    assert {status.state for status in cloud.jobs.poll(refs).values()} == {"running"}
    assert calls(emulation, *looks) - before <= 8
    for ref in refs[:30]:
        sagemaker.stop_training_job(TrainingJobName=ref.name)
    seen: list[int] = []
    for _ in range(20):
        before = calls(emulation, *looks)
        found = cloud.jobs.poll(refs)
        assert len(found) == 300
        seen.append(calls(emulation, *looks) - before)
        if sum(status.state == "stopped" for status in found.values()) == 30:
            break
    else:
        pytest.fail("the stopped jobs were not all told")
    assert max(seen) <= 8
    sagemaker.delete_training_job(TrainingJobName=refs[0].name)
    assert cloud.jobs.poll(refs)[refs[0].id].state == "stopped"


def test_one_of_many_that_was_deleted_is_missed(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True)
    refs = [cloud.jobs.submit(job_of(cloud, f"deleted-{n}")) for n in range(6)]
    assert len(cloud.jobs.poll(refs)) == 6
    sagemaker = client(emulation, "sagemaker")
    sagemaker.stop_training_job(TrainingJobName="deleted-3")
    sagemaker.delete_training_job(TrainingJobName="deleted-3")
    for _ in range(20):
        found = cloud.jobs.poll(refs)
        if refs[3].id not in found:
            break
    assert set(found) == {ref.id for n, ref in enumerate(refs) if n != 3}


def test_new_jobs_that_lists_do_not_show_yet_are_not_missing(emulation: Emulation, cloud: Cloud) -> None:
    emulation.set_faults(hold=True, listing_delay=60.0)
    refs = [cloud.jobs.submit(job_of(cloud, f"hidden-{n}")) for n in range(20)]
    found = cloud.jobs.poll(refs)
    assert len(found) == 20
    assert {status.state for status in found.values()} <= {"queued", "running"}


def test_the_model_of_the_sdk_is_asked_beyond_what_botocore_checks() -> None:
    import botocore.session

    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model("CreateTrainingJob").input_shape
    found = list(problems(shape, {"Tags": [{"Key": "a" * 129, "Value": "ü/é:1"}], "EnableManagedSpotTraining": True}))
    assert found == ["Tags[0].Key has 129 characters, at most 128 are allowed"]
