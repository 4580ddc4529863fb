"""One training job of the emulated SageMaker: what runs, in what folders, and how it ends."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.emulators.aws_jobs import ENDED, NO_CAPACITY, NO_IMAGE, RUNNING, Job, machines
from tests.emulators.aws_store import Store
from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import Container

BASE = "/opt/ml"
_SYNC_SECONDS = 0.3


class Training(Job):
    """A training job."""

    kind = "Training"

    def __init__(
        self, body: Mapping[str, Any], region: str, store: Store, misbehaviour: Misbehaviour, folder: Path
    ) -> None:
        super().__init__(body, region, store, misbehaviour, folder)
        self.deleted = False
        self.spot = bool(body.get("EnableManagedSpotTraining"))
        self._machine = ""
        self._trained = 0.0
        began = {
            "Status": "Starting",
            "StartTime": self.described["CreationTime"],
            "StatusMessage": "Starting the training job",
        }
        self.described |= {
            "SecondaryStatus": "Starting",
            "ModelArtifacts": {"S3ModelArtifacts": ""},
            "SecondaryStatusTransitions": [began],
        }

    @property
    def _count(self) -> int:
        asked = self.body["ResourceConfig"]
        first = asked.get("InstancePreferences", [{}])[0]
        return int(asked.get("InstanceCount") or first.get("InstanceCount") or 1)

    def become(self, secondary: str, status: str = "InProgress", reason: str = "", message: str = "") -> None:
        """Go over into another state, now; a terminal one is not left."""
        with self.lock:
            if self.ended:
                return
            now = time.time()
            known = self.described
            known["TrainingJobStatus"], known["SecondaryStatus"], known["LastModifiedTime"] = status, secondary, now
            steps = known["SecondaryStatusTransitions"]
            steps[-1].setdefault("EndTime", now)
            steps.append({"Status": secondary, "StartTime": now, "StatusMessage": message or reason or secondary})
            if status in ENDED:
                steps[-1]["EndTime"] = now
                known["TrainingEndTime"] = now
                if reason:
                    known["FailureReason"] = reason[:1024]
                if self._trained:
                    seconds = max(1, round(self._trained))
                    known["TrainingTimeInSeconds"] = seconds
                    # A discount as the console shows it; what a second of a spot machine costs is nowhere promised.
                    known["BillableTimeInSeconds"] = max(1, round(seconds * (0.3 if self.spot else 1.0)))

    def fail(self, reason: str) -> None:
        """It has failed, now."""
        self.become("Failed", "Failed", reason)

    def complete_at_once(self) -> None:
        """A job that runs nothing has succeeded."""
        if self.stop.is_set():
            self.become("Stopped", "Stopped")
            return
        self._trained = 1.0
        self.become("Training")
        self.become("Completed", "Completed")

    def _run(self) -> None:
        body, faults = self.body, self._misbehaviour.faults
        end = time.monotonic() + body["StoppingCondition"].get("MaxWaitTimeInSeconds", float("inf"))
        if not self._launched(end):
            return
        image = body["AlgorithmSpecification"].get("TrainingImage", "")
        if image in faults.no_image:
            self.fail(NO_IMAGE)
            return
        while self._attempt(end):
            self.become("Interrupted", message="Spot capacity was taken away")
            self.become("Starting", message="Waiting for Spot capacity")
            time.sleep(0.2)
            if not self._launched(end):
                return

    def _launched(self, end: float) -> bool:
        """Wait for a machine; ``False`` if there is none, and the job has ended."""
        asked = machines(self.body["ResourceConfig"])
        while True:
            faults = self._misbehaviour.faults
            if self.stop.is_set():
                self.become("Stopped", "Stopped")
                return False
            there = [name for name in asked if not faults.lacks(name, self.region)]
            if there and not (self.spot and faults.lacks("spot", self.region)):
                self._machine = there[0]
                if "InstancePreferences" in self.body["ResourceConfig"]:
                    # "Returned by DescribeTrainingJob after an instance type is selected": ResourceConfig, SDK model
                    with self.lock:
                        chosen = {"SelectedInstanceType": there[0], "SelectedInstanceCount": self._count}
                        self.described["ResourceConfig"] = {**self.body["ResourceConfig"], **chosen}
                return True
            if not self.spot:
                self.fail(NO_CAPACITY)
                return False
            if time.monotonic() > end:
                self.become("MaxWaitTimeExceeded", "Stopped")
                return False
            self.stop.wait(0.1)

    def _attempt(self, end: float) -> bool:
        """Run once on a machine; whether it was interrupted, and has to be run again."""
        self.become("Downloading", message="Downloading input data")
        count = self._count
        bases = [self._folder / f"algo-{n}" for n in range(1, count + 1)]
        try:
            for n, base in enumerate(bases, 1):
                if not self._lay_out(base, n, count):
                    return False
            with RUNNING:
                return self._train(bases, end)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _lay_out(self, base: Path, index: int, count: int) -> bool:
        """The folders and files of the developer guide's page "How Amazon SageMaker Provides Training Information"."""
        config = base / "input" / "config"
        for folder in (config, base / "model", base / "output" / "data", base / "input" / "data"):
            folder.mkdir(parents=True, exist_ok=True)
        channels = {}
        for channel in self.body.get("InputDataConfig", []):
            name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
            folder = base / "input" / "data" / name
            folder.mkdir()
            channels[name] = {
                "TrainingInputMode": "File",
                "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
                "RecordWrapperType": "None",
            }
            if not self._store.download(source["S3Uri"], folder):
                self.fail(
                    f'ClientError: Data download failed:No S3 objects found under S3 URL "{source["S3Uri"]}" given in '
                    "input data source. Please ensure that the bucket exists in the selected region, that objects "
                    f'exist under that S3 prefix, and that the role "{self.body["RoleArn"]}" has "s3:ListBucket" '
                    "permissions on the bucket.",
                )
                return False
        hosts = [f"algo-{n}" for n in range(1, count + 1)]
        machine = self._machine
        files = {
            "hyperparameters": self.body.get("HyperParameters", {}),
            "inputdataconfig": channels,
            "resourceconfig": {
                "current_host": hosts[index - 1],
                "hosts": hosts,
                "current_instance_type": machine,
                "current_group_name": "homogeneousCluster",
                "instance_groups": [
                    {"instance_group_name": "homogeneousCluster", "instance_type": machine, "hosts": hosts}
                ],
                "network_interface_name": "eth0",
            },
        }
        for name, value in files.items():
            (config / f"{name}.json").write_text(json.dumps(value))
        checkpoints = self.body.get("CheckpointConfig")
        if checkpoints:
            local = _inside(base, checkpoints.get("LocalPath", f"{BASE}/checkpoints"))
            local.mkdir(parents=True, exist_ok=True)
            self._store.download(checkpoints["S3Uri"], local)
        return True

    def _train(self, bases: list[Path], end: float) -> bool:
        limit = self.body["StoppingCondition"].get("MaxRuntimeInSeconds", 86_400) - self._trained
        interrupted = threading.Event()
        over = threading.Event()
        self.become("Training", message="Training image download completed. Training in progress.")
        self.described.setdefault("TrainingStartTime", time.time())
        started = time.monotonic()
        containers = [self._container(base) for base in bases]
        watcher = threading.Thread(target=self._watch, args=(bases, over, interrupted), daemon=True)
        watcher.start()
        halt = _Any(self.stop, interrupted)
        codes = [container.wait(halt, min(limit, end - started)) for container in containers]
        over.set()
        watcher.join()
        seconds = time.monotonic() - started
        self._trained += seconds
        for base in bases:
            self._upload_checkpoints(base)
        self.log = "".join(container.text() for container in containers)[-20_000:]
        if self.stop.is_set():
            self._upload(bases)
            self.become("Stopped", "Stopped")
        elif interrupted.is_set() and None in codes:
            return True
        elif None in codes:
            exceeded = "MaxWaitTimeExceeded" if started + seconds >= end else "MaxRuntimeExceeded"
            self.become(exceeded, "Stopped")
        elif any(codes):
            self._fail(bases, codes)
        else:
            self.become("Uploading", message="Uploading generated training model")
            self._upload(bases)
            self.become("Completed", "Completed", message="Training job completed")
        return False

    def _container(self, base: Path) -> Container:
        algorithm = self.body["AlgorithmSpecification"]
        # The container sees its base folder as /opt/ml; here that is a folder like any other.
        command = [
            part.replace(BASE, str(base))
            for part in (*algorithm.get("ContainerEntrypoint", []), *algorithm.get("ContainerArguments", []))
        ]
        environment = {
            "SAGEMAKER_BASE_DIR": str(base),
            "TRAINING_JOB_NAME": self.name,
            "TRAINING_JOB_ARN": self.arn,
            "AWS_REGION": self.region,
            **self.body.get("Environment", {}),
        }
        return Container(command or ["train"], environment, base / "container")

    def _watch(self, bases: list[Path], over: threading.Event, interrupted: threading.Event) -> None:
        """Checkpoints go to the store while the job runs; a spot machine may be taken away."""
        taken = None
        if self.spot and self._misbehaviour.preempts():
            taken = time.monotonic() + self._misbehaviour.faults.preempt_after
        while not over.wait(_SYNC_SECONDS if taken is None else 0.05):
            for base in bases:
                self._upload_checkpoints(base)
            if taken is not None and time.monotonic() > taken:
                interrupted.set()
                return

    def _upload_checkpoints(self, base: Path) -> None:
        config = self.body.get("CheckpointConfig")
        if not config:
            return
        local = _inside(base, config.get("LocalPath", f"{BASE}/checkpoints"))
        for file in sorted(path for path in local.rglob("*") if path.is_file()):
            uri = f"{config['S3Uri'].rstrip('/')}/{file.relative_to(local).as_posix()}"
            try:
                content = file.read_bytes()
            except FileNotFoundError:
                continue  # Replaced or removed by the job at this moment.
            try:
                known = self._store.read(uri)
            except FileNotFoundError:
                known = None
            if known != content:
                self._store.write(uri, content)

    def _fail(self, bases: list[Path], codes: list[int | None]) -> None:
        code = next(code for code in codes if code)
        code = 128 - code if code < 0 else code
        text = ""
        for base in bases:
            failure = base / "output" / "failure"
            if failure.is_file():
                text = text or failure.read_text(errors="replace")[:1024]
        self.fail(f"AlgorithmError: {text or 'See job logs for more information'}, exit code: {code}")

    def _upload(self, bases: list[Path]) -> None:
        at = f"{self.body['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{self.name}/output"
        self.described["ModelArtifacts"] = {"S3ModelArtifacts": f"{at}/model.tar.gz"}
        if self._misbehaviour.faults.missing_output:
            return
        for name, folder in (("model", "model"), ("output", "output/data")):
            packed = _packed([base / folder for base in bases])
            if packed is not None:
                self._store.write(f"{at}/{name}.tar.gz", packed)


class _Any(threading.Event):
    """Set when one of several is."""

    def __init__(self, *events: threading.Event) -> None:
        super().__init__()
        self._events = events

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the first of them; the others are looked at when its time is over."""
        return self._events[0].wait(timeout) or any(event.is_set() for event in self._events)


def _packed(folders: list[Path]) -> bytes | None:
    files = {
        path.relative_to(folder).as_posix(): path
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    if not files:
        return None
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, path in files.items():
            tar.add(path, name)
    return packed.getvalue()


def _inside(base: Path, path: str) -> Path:
    """A folder of the container, where the emulator keeps it."""
    return base / path.removeprefix(BASE).lstrip("/")
