"""What Vertex AI is sent for a job, what is refused before, and what its errors mean."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.cloud.aiplatform_v1.types import CustomJob, Scheduling

from tests.platforms import gcp
from tidemill.platforms.gcp.body import custom_job
from tidemill.platforms.gcp.status import whose
from tidemill.platforms.ports import PlatformError

NETWORK = "projects/123456789012/global/networks/ml"
KEY = "projects/acme-ml/locations/europe-west4/keyRings/ml/cryptoKeys/training"
SPOT = {"checkpoint": "gs://acme-models/checkpoints", "wait": "2 h"}


def body(**changes: Any) -> CustomJob:
    return custom_job(gcp.job("tm-flights", **changes), ["python3", "-c", "pass"])


def test_everything_that_a_spec_can_ask_for_is_in_the_request() -> None:
    made = body(
        platform={"network": {"name": NETWORK}, "encryption_key": KEY, "tags": {"team": "ml"}},
        resources={"count": 3, "gpu": 2, "accelerator": "NVIDIA_TESLA_T4", "disk": "250 GB", "spot": SPOT},
        spot=True,
        timeout=timedelta(minutes=90),
        environment={"LEVEL": "debug"},
    )
    spec = made.job_spec
    assert [pool.replica_count for pool in spec.worker_pool_specs] == [1, 2]
    for pool in spec.worker_pool_specs:
        machine = pool.machine_spec
        assert (machine.machine_type, machine.accelerator_type.name) == (gcp.MACHINE, "NVIDIA_TESLA_T4")
        assert (machine.accelerator_count, pool.disk_spec.boot_disk_size_gb) == (2, 250)
        assert list(pool.container_spec.command) == ["python3", "-c", "pass"]
        assert [(env.name, env.value) for env in pool.container_spec.env] == [("LEVEL", "debug")]
    assert spec.scheduling.strategy == Scheduling.Strategy.SPOT
    assert spec.scheduling.restart_job_on_worker_restart
    assert spec.scheduling.timeout == timedelta(minutes=90)
    assert spec.scheduling.max_wait_duration == timedelta(hours=2)
    assert (spec.network, made.encryption_spec.kms_key_name) == (NETWORK, KEY)
    assert spec.service_account == gcp.PLATFORM["service_account"]
    assert spec.base_output_directory.output_uri_prefix == gcp.job("tm-flights").output
    assert dict(made.labels) == {"team": "ml", **gcp.job("tm-flights").tags}


def test_a_job_that_fails_is_not_paid_for_again_by_the_service() -> None:
    scheduling = body().job_spec.scheduling
    assert scheduling.disable_retries
    assert scheduling.strategy == Scheduling.Strategy.STANDARD
    assert not body(resources={"spot": SPOT}, spot=True).job_spec.scheduling.disable_retries


def test_the_spot_setting_does_nothing_to_an_attempt_on_demand() -> None:
    scheduling = body(resources={"spot": SPOT}, spot=False).job_spec.scheduling
    assert scheduling.strategy == Scheduling.Strategy.STANDARD
    assert not scheduling.max_wait_duration


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machine": None}, "train.resources.machine is missing"),
        ({"image": ""}, "train.image is missing"),
        ({"resources": {"gpu": 1}}, "train.resources.gpu needs train.resources.accelerator"),
        ({"resources": {"accelerator": "T4"}}, "train.resources.accelerator: 'T4'"),
        ({"resources": {"accelerator": "ACCELERATOR_TYPE_UNSPECIFIED"}}, "train.resources.accelerator"),
        ({"resources": {"disk": "65 TB"}}, "train.resources.disk: '65000 GB'"),
        ({"platform": {"network": {"name": "ml"}}}, "platform.network.name: 'ml'"),
        ({"platform": {"encryption_key": "my-key"}}, "platform.encryption_key: 'my-key'"),
        ({"platform": {"tags": {"Team": "ml"}}}, "platform.tags.Team"),
        ({"platform": {"tags": {"team": "Fraud & Risk"}}}, "platform.tags.team"),
        ({"platform": {"tags": {f"t{n}": "x" for n in range(62)}}}, "62 tags; Vertex AI takes 64"),
    ],
)
def test_what_vertex_ai_would_refuse_is_refused_by_its_setting(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PlatformError) as error:
        body(**changes)
    assert error.value.fault == "user"
    assert said in str(error.value)


def exited(code: int) -> str:
    return f"The replica workerpool0-0 exited with a non-zero status of {code}. Termination reason: Error."


@pytest.mark.parametrize(
    ("code", "message", "fault", "hint"),
    [
        (3, exited(10), "user", ""),
        (3, exited(20), "system", ""),
        (3, exited(1), "system", ""),
        (3, exited(137), "system", "out of memory"),
        (3, exited(143), "system", "interrupted"),
        (3, exited(127), "user", "python3"),
        (3, exited(128).replace("Error", "StartError"), "user", "cannot be started"),
        (3, "Replicas low on memory: workerpool0. The replica ran out-of-memory.", "system", "out of memory"),
        (8, "Resources are insufficient in region: us-central1. Please try a different region.", "capacity", ""),
        (8, "The following quota metrics exceed quota limits: custom_model_training_nvidia_t4_gpus", "capacity", ""),
        (5, "Image europe-docker.pkg.dev/acme/ml/flights:9 not found.", "user", "train.image"),
        (7, "Permission denied on key.", "user", ""),
        (13, "Internal error occurred for the current attempt.", "system", ""),
        (0, "", "system", ""),
    ],
)
def test_whose_fault_a_failure_is(code: int, message: str, fault: str, hint: str) -> None:
    found, said = whose(code, message)
    assert found == fault
    assert hint in said
