"""What the tests of all clouds share: connections as Airflow has them, and a job to submit."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_home import import_airflow
from tests.emulators import Emulation
from tidemill.airflow.connections import AirflowConnections
from tidemill.platforms import packing
from tidemill.platforms.ports import JobRef, JobStatus, RemoteJob, RemoteJobs, Storage
from tidemill.spec.platform import Platform, Resources

INSTALLATION = "a1b2c3d4"


def connections(patch: pytest.MonkeyPatch, emulation: Emulation) -> AirflowConnections:
    """Airflow's own connections, which lead to the emulator."""
    import_airflow()
    for name, value in emulation.environment.items():
        patch.setenv(name, value)
    return AirflowConnections()


def platform_of(values: dict[str, Any]) -> Platform:
    """A spec's ``platform:`` section."""
    return Platform.model_validate(values)


def remote_job(platform: Platform, service: str, name: str, **changes: Any) -> RemoteJob:
    """A job with the tags that the product gives it; its addresses lie below the platform's bucket."""
    at = f"{platform.bucket}/tidemill/{INSTALLATION}"
    job = RemoteJob(
        name=name,
        service=service,
        platform=platform,
        resources=Resources(),
        image="registry.example/flights:1",
        code=f"{at}/code/0123456789abcdef",
        data=f"{at}/data/{name}",
        job=f"{at}/jobs/{name}",
        output=f"{at}/output/{name}",
        checkpoint=None,
        tags={"tidemill-job": name, "tidemill-installation": INSTALLATION, "tidemill-dag": "flight_delays"},
    )
    return replace(job, **changes)


def until_ended(jobs: RemoteJobs, refs: Sequence[JobRef], seconds: float = 60.0) -> dict[str, JobStatus]:
    """Poll until every job has ended; fails the test after ``seconds``."""
    end = time.monotonic() + seconds
    while True:
        found = dict(jobs.poll(refs))
        if all(ref.id in found and found[ref.id].ended for ref in refs):
            return found
        if time.monotonic() > end:
            pytest.fail(f"after {seconds} s: {found}")
        time.sleep(0.2)


CODE = '''
import json, os, sys, time
from pathlib import Path


def train(context):
    """Counts its attempts in the checkpoint; does what the params say."""
    counter = context.checkpoint / "attempts"
    attempts = int(counter.read_text()) + 1 if counter.exists() else 1
    counter.write_text(str(attempts))
    context.log_metric("loss", 0.5)
    params = context.params
    if params.get("sleep") and attempts <= params.get("sleepy", 1):
        time.sleep(params["sleep"])
    if params.get("fail"):
        raise ValueError(params["fail"])
    if params.get("exit"):
        os._exit(params["exit"])
    (context.output / "seen.json").write_text(json.dumps({
        "train": context.data.train.read_text(), "attempts": attempts, "rank": context.rank,
        "world": context.world_size, "environment": sorted(os.environ), "cwd": sorted(os.listdir("."))}))
    (context.output / "model.pkl").write_text("a model")
'''


def upload(storage: Storage, job: RemoteJob, folder: Path, **params: Any) -> None:
    """Put what a job needs into its store: packed code, two files of data, ``job.json`` with these params."""
    root = folder / "project"
    (root / "include").mkdir(parents=True, exist_ok=True)
    (root / "include" / "training.py").write_text(CODE)
    package = packing.pack(root, "include.training:train")
    told = {"code": "include.training:train", "params": params, "seed": 7}
    try:
        storage.put(package.file, f"{job.code}/{packing.FILE}")
    finally:
        package.file.unlink()
    for uri, content in (
        (f"{job.data}/train.parquet", f"rows of {job.name}"),
        (f"{job.data}/holdout.parquet", "holdout"),
        (f"{job.job}/job.json", json.dumps(told)),
    ):
        file = folder / uri.rpartition("/")[2]
        file.write_text(content)
        storage.put(file, uri)


def seen(folder: Path) -> dict[str, Any]:
    """What the function of ``CODE`` saw, once its output was collected into a folder."""
    told: dict[str, Any] = json.loads((folder / "output" / "seen.json").read_text())
    return told
