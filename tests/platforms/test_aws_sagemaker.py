"""SageMaker training jobs, over the wire, through the emulator that really runs them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation, start
from tests.platforms import clouds
from tidemill.platforms.aws.jobs import open_jobs
from tidemill.platforms.aws.sagemaker import SageMakerJobs
from tidemill.platforms.aws.storage import S3Storage, open_storage

PLATFORM: dict[str, Any] = {
    "provider": "aws",
    "region": "eu-west-1",
    "bucket": "s3://acme-ml",
    "role": "arn:aws:iam::123456789012:role/ml-training",
}


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    with start("aws", tmp_path_factory.mktemp("aws"), PLATFORM) as running:
        yield running


@pytest.fixture
def jobs(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Iterator[SageMakerJobs]:
    opened = open_jobs(clouds.platform_of(PLATFORM), "sagemaker", clouds.connections(monkeypatch, emulation))
    assert isinstance(opened, SageMakerJobs)
    yield opened
    emulation.set_faults()


@pytest.fixture
def storage(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> S3Storage:
    return open_storage(clouds.platform_of(PLATFORM), clouds.connections(monkeypatch, emulation))


def test_a_job_runs_to_its_end(emulation: Emulation, jobs: SageMakerJobs, storage: S3Storage, tmp_path: Path) -> None:
    job = clouds.remote_job(clouds.platform_of(PLATFORM), "sagemaker", "first", machine="ml.m5.large")
    clouds.upload(storage, job, tmp_path)
    ref = jobs.submit(job)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.state == "succeeded", emulation.report()["sagemaker"]
    jobs.collect(job, ref, tmp_path / "out")
    print(list((tmp_path / "out").rglob("*")), emulation.report())
