"""Jobs as a container runs them: packed code alone, started by the command that the services get."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import polars as pl
import pytest

from include.flights import prepare
from tests.emulators.processes import Container
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.platforms.packing import boot_command, folder_command, pack
from tidemill.platforms.ports import Job
from tidemill.runtime.files import Result
from tidemill.spec.platform import Resources

HERE = Path(__file__).parents[2]
FLIGHTS = "include.flights.train:train"
MODEL = """
    import pickle
    def train(context):
        (context.output / "model.pkl").write_bytes(pickle.dumps([context.rank, context.world_size, context.params]))
"""


class Places:
    """The four folders of a job that a platform with folders mounts."""

    def __init__(self, base: Path, root: Path, code: str, job: Mapping[str, Any]) -> None:
        self.base = base
        self.code, self.data, self.job, self.output = (base / name for name in ("code", "data", "job", "output"))
        for folder in (self.code, self.data, self.job, self.output):
            folder.mkdir(parents=True)
        pack(root, code).file.rename(self.code / "code.tar.gz")
        for name in ("train", "holdout"):
            pl.DataFrame({"x": [1.0, 2.0]}).write_parquet(self.data / f"{name}.parquet")
        (self.job / "job.json").write_text(json.dumps({"code": code, "params": {}, "seed": 7, **job}))

    def command(self, service: str, checkpoint: Path | None = None) -> list[str]:
        return folder_command(
            platform=service,
            code=str(self.code),
            data=str(self.data),
            job=str(self.job),
            output=str(self.output),
            checkpoint=None if checkpoint is None else str(checkpoint),
        )

    def result(self) -> Result:
        return Result.read(self.output / ".tidemill" / "result.json")


@pytest.fixture
def places(tmp_path: Path) -> Callable[..., Places]:
    def make(source: str, **job: Any) -> Places:
        root = tmp_path / "project"
        (root / "include").mkdir(parents=True)
        (root / "include" / "mine.py").write_text(textwrap.dedent(source))
        return Places(tmp_path / "mounts", root, "include.mine:train", job)

    return make


def run(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    container = Container(command, environment or {})
    try:
        code = container.process.wait(120)
        return code, container.text()
    finally:
        container.end()
        container.close()


def flights(folder: Path, rows: int = 6000) -> tuple[pl.DataFrame, dict[str, Any]]:
    prepare.DEPARTURES.prepare(folder / "departures.parquet")
    table = pl.read_parquet(folder / "departures.parquet").head(rows)
    return table, {"learning_rate": 0.1, "max_iter": 20}


def test_a_model_of_the_flights_is_the_one_that_is_trained_locally(tmp_path: Path) -> None:
    table, params = flights(tmp_path)
    places = Places(tmp_path / "mounts", HERE, FLIGHTS, {"params": params, "seed": 2013, "cpu": 1})
    for name in ("train", "holdout"):
        table.write_parquet(places.data / f"{name}.parquet")
    code, log = run(places.command("azureml"))
    assert code == 0, log
    remote = places.result()
    local = LocalJobs().run(
        Job(
            name="local",
            code=FLIGHTS,
            root=HERE,
            train=places.data / "train.parquet",
            holdout=places.data / "holdout.parquet",
            output=tmp_path / "local" / "output",
            checkpoint=tmp_path / "local" / "checkpoint",
            params=params,
            seed=2013,
            resources=Resources(),
        ),
        lambda line: None,
    )
    assert remote.last() == dict(local.metrics)
    here, there = (pickle.loads(p.read_bytes()) for p in (local.model, places.output / str(remote.model)))
    frame = table.to_pandas()
    assert np.array_equal(here.predict_proba(frame), there.predict_proba(frame))
    # The container saw the packed code, not the checkout.
    assert "[tidemill] metric train_log_loss=" in log
    assert json.loads((places.output / ".tidemill" / "files.json").read_text()) == {
        "model.pkl": (places.output / "model.pkl").stat().st_size
    }


def test_hashes_and_random_numbers_are_those_of_a_local_job(places: Callable[..., Places], tmp_path: Path) -> None:
    source = """
        import random, numpy
        def train(context):
            return [hash("a"), random.random(), numpy.random.random(), context.seed]
    """
    made = places(source)
    assert run(made.command("batch"))[0] == 0
    job = Job(
        name="local",
        code="include.mine:train",
        root=tmp_path / "project",
        train=made.data / "train.parquet",
        holdout=made.data / "holdout.parquet",
        output=tmp_path / "out",
        checkpoint=tmp_path / "kept",
        params={},
        seed=7,
        resources=Resources(),
    )
    local = LocalJobs().run(job, lambda line: None)
    assert pickle.loads(local.model.read_bytes()) == pickle.loads((made.output / "model.pkl").read_bytes())


def test_the_users_mistake_is_told_from_the_systems_fault(places: Callable[..., Places], tmp_path: Path) -> None:
    made = places("def train(context):\n    raise ValueError('no such column: late')\n")
    base = tmp_path / "ml"
    code, log = run(made.command("sagemaker"), {"SAGEMAKER_BASE_DIR": str(base)})
    failure = made.result().failure
    assert code == 10
    assert failure is not None
    assert failure.user
    note = (base / "output" / "failure").read_text()
    assert note.startswith("tidemill:user: train.code include.mine:train raised ValueError: no such column: late")
    assert note == log.rstrip().splitlines()[-1]


def test_a_killed_training_is_the_systems_fault_and_the_note_is_short(
    places: Callable[..., Places], tmp_path: Path
) -> None:
    made = places("import os, signal\ndef train(context):\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    code, log = run(made.command("sagemaker"), {"SAGEMAKER_BASE_DIR": str(tmp_path)})
    assert code == 20
    assert "tidemill:system: " in log
    assert (tmp_path / "output" / "failure").read_text().startswith("tidemill:system: ")
    made.output.joinpath(".tidemill", "result.json").unlink()
    (made.job / "job.json").write_text(json.dumps({"code": "include." + "x" * 3000, "params": {}, "seed": 1}))
    assert run(made.command("sagemaker"), {"SAGEMAKER_BASE_DIR": str(tmp_path)})[0] == 10
    assert len((tmp_path / "output" / "failure").read_text()) == 1024


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not a job"),
        ('{"params": {}, "seed": 1}', "KeyError: 'code'"),
        ('{"code": 1, "params": {}, "seed": 1}', ""),
    ],
)
def test_a_job_that_is_none_is_the_systems_fault(places: Callable[..., Places], text: str, said: str) -> None:
    made = places(MODEL)
    (made.job / "job.json").write_text(text)
    code, log = run(made.command("kubernetes"))
    assert code == 20
    assert said in log
    assert "Traceback" not in log


def test_data_that_is_not_there_is_named(places: Callable[..., Places]) -> None:
    made = places(MODEL)
    (made.data / "holdout.parquet").unlink()
    code, log = run(made.command("kubernetes"))
    assert (code, f"{made.data} holds no holdout.parquet" in log) == (20, True)


CLUSTER = {
    "cluster": {"workerpool0": ["a:1"], "workerpool1": ["b:1", "c:1"]},
    "task": {"type": "workerpool1", "index": 1},
}


@pytest.mark.parametrize(
    ("service", "environment", "machine"),
    [
        ("batch", {"AWS_BATCH_JOB_NODE_INDEX": "1", "AWS_BATCH_JOB_NUM_NODES": "3"}, (1, 3)),
        ("vertex", {"CLUSTER_SPEC": json.dumps(CLUSTER)}, (2, 3)),
        ("azureml", {"RANK": "1", "WORLD_SIZE": "2"}, (1, 2)),
        ("kubernetes", {"JOB_COMPLETION_INDEX": "2", "TIDEMILL_WORLD_SIZE": "4"}, (2, 4)),
        ("sagemaker", {}, (1, 2)),
    ],
)
def test_only_the_first_machine_delivers(
    places: Callable[..., Places], tmp_path: Path, service: str, environment: dict[str, str], machine: tuple[int, int]
) -> None:
    made = places("def train(context):\n    print('I am', context.rank, 'of', context.world_size)\n    return 1\n")
    config = tmp_path / "ml" / "input" / "config"
    config.mkdir(parents=True)
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-2", "hosts": ["algo-2", "algo-1"]}))
    code, log = run(made.command(service), {"SAGEMAKER_BASE_DIR": str(tmp_path / "ml"), **environment})
    assert code == 0, log
    assert "I am {} of {}".format(*machine) in log
    assert not list(made.output.iterdir())


def test_a_machine_that_cannot_be_one_of_the_job_is_refused(places: Callable[..., Places]) -> None:
    code, log = run(places(MODEL).command("batch"), {"AWS_BATCH_JOB_NODE_INDEX": "3", "AWS_BATCH_JOB_NUM_NODES": "3"})
    assert code == 20
    assert "batch does not say which machine this is" in log


def wait_for(check: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


RESUMES = """
    import time
    def train(context):
        mark = context.checkpoint / "epochs" / "last"
        if mark.exists():
            return "resumed from " + mark.read_text()
        mark.parent.mkdir()
        (context.checkpoint / "begun").write_text("")
        mark.write_text("4")
        print("saved", flush=True)
        time.sleep(120)
"""


@pytest.mark.parametrize("whom", ["first process", "all processes"])
def test_an_interrupted_training_goes_on_from_its_checkpoint(
    places: Callable[..., Places], tmp_path: Path, whom: str
) -> None:
    made = places(RESUMES)
    container = Container(made.command("sagemaker", tmp_path / "kept"), {"SAGEMAKER_BASE_DIR": str(tmp_path)})
    try:
        wait_for(lambda: "saved" in container.text())
        if whom == "first process":
            container.process.terminate()
        else:
            os.killpg(container.process.pid, signal.SIGTERM)
        assert container.process.wait(20) == 143, container.text()
    finally:
        container.end()
        container.close()
    assert not list(made.output.iterdir())
    assert not (tmp_path / "output" / "failure").exists()
    assert run(made.command("sagemaker", tmp_path / "kept"))[0] == 0
    assert pickle.loads((made.output / "model.pkl").read_bytes()) == "resumed from 4"


@pytest.fixture
def bucket(moto: str) -> Any:
    s3 = boto3.resource(
        "s3", endpoint_url=moto, aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-west-1"
    )
    bucket = s3.Bucket("acme-ml")
    with contextlib.suppress(s3.meta.client.exceptions.BucketAlreadyOwnedByYou):
        bucket.create(CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    bucket.objects.delete()
    bucket.environment = {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "eu-west-1",
    }
    return bucket


def stored(bucket: Any, made: Places) -> list[str]:
    """The job's places as addresses; returns the command."""
    for folder in (made.code, made.data, made.job):
        for file in folder.iterdir():
            bucket.upload_file(str(file), f"runs/1/{folder.name}/{file.name}")
    places = {name: f"s3://acme-ml/runs/1/{name}" for name in ("code", "data", "job", "output")}
    return boot_command(platform="batch", checkpoint="s3://acme-ml/kept/1", **places)


def keys(bucket: Any, prefix: str) -> list[str]:
    return sorted(item.key for item in bucket.objects.filter(Prefix=prefix))


def test_a_container_that_mounts_nothing_fetches_and_delivers(places: Callable[..., Places], bucket: Any) -> None:
    source = """
        def train(context):
            (context.output / "deep" / "er").mkdir(parents=True)
            (context.output / "deep" / "er" / "notes é+&.txt").write_text("x")
            (context.output / "model.joblib").write_bytes(b"m")
            (context.checkpoint / "last").write_text("9")
            context.log_metric("loss", 0.25, step=3)
    """
    command = stored(bucket, places(source))
    code, log = run(command, bucket.environment)
    assert code == 0, log
    assert "[tidemill] metric loss=0.25 step=3" in log.splitlines()
    assert keys(bucket, "runs/1/output/") == [
        "runs/1/output/.tidemill/files.json",
        "runs/1/output/.tidemill/result.json",
        "runs/1/output/deep/er/notes é+&.txt",
        "runs/1/output/model.joblib",
    ]
    assert keys(bucket, "kept/") == ["kept/1/last"]
    # What AWS Batch takes for a container's overrides in all is 8,192 characters.
    assert len(json.dumps(command)) < 7000


def test_checkpoints_in_a_store_survive_the_machine(places: Callable[..., Places], bucket: Any) -> None:
    command = stored(bucket, places(RESUMES))
    container = Container(command, bucket.environment)
    try:
        wait_for(lambda: "saved" in container.text())
        container.process.terminate()
        assert container.process.wait(30) == 143, container.text()
    finally:
        container.end()
        container.close()
    assert keys(bucket, "kept/") == ["kept/1/begun", "kept/1/epochs/last"]
    assert keys(bucket, "runs/1/output") == []
    assert run(command, bucket.environment)[0] == 0
    assert pickle.loads(bucket.Object("runs/1/output/model.pkl").get()["Body"].read()) == "resumed from 4"


def test_a_store_that_refuses_is_the_users_to_mend(places: Callable[..., Places], bucket: Any) -> None:
    command = [part.replace("runs/1/data", "runs/2/data") for part in stored(bucket, places(MODEL))]
    code, log = run(command, bucket.environment)
    assert code == 10
    assert "s3://acme-ml/runs/2/data/train.parquet: HTTP 404" in log.splitlines()[-1]
    assert "there is no such bucket or object" in log
    command = [part.replace("acme-ml/runs/1/code", "nobodys/code") for part in command]
    code, log = run(command, bucket.environment)
    assert code == 10
    assert "the code could not be fetched" in log
    assert "Traceback" not in log


def test_a_half_fetched_package_is_not_run(places: Callable[..., Places], bucket: Any) -> None:
    command = stored(bucket, places(MODEL))
    whole = bucket.Object("runs/1/code/code.tar.gz").get()["Body"].read()
    bucket.put_object(Key="runs/1/code/code.tar.gz", Body=whole[: len(whole) // 2])
    code, log = run(command, bucket.environment)
    assert code == 20
    assert "the code could not be fetched" in log


def test_the_package_needs_nothing_but_python(tmp_path: Path, places: Callable[..., Places]) -> None:
    """Run the runtime of the package with no installed library in sight, isolated from this checkout."""
    made = places(MODEL)
    with tarfile.open(made.code / "code.tar.gz") as tar:
        tar.extractall(tmp_path / "code")
    script = """
import sys
sys.path = [p for p in sys.path if "site-packages" not in p]
import tidemill.runtime.remote, tidemill.runtime.s3, tidemill.runtime.gcs, tidemill.runtime.blob
print(tidemill.runtime.remote.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-S", "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "code")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(tmp_path / "code"))


def test_the_runtime_keeps_to_what_python_3_9_can_read() -> None:
    for file in (HERE / "plugins" / "tidemill" / "runtime").glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 9))
