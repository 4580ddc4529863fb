"""Azure ML's jobs, as its management API and its run history tell of them; command jobs and pipelines really run."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.emulators.azure_blob import BlobService
from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import Container

ENDED = frozenset({"Completed", "Failed", "Canceled"})
_ADDRESS = re.compile(r"abfss://([^@/]+)@([a-z0-9]+)\.dfs\.[^/]+/(.*)")
_PLACE = re.compile(r"\$\{\{\s*(inputs|outputs)\.([A-Za-z0-9_]+)\s*\}\}")
_STEP = 0.03


class Refused(Exception):
    """What the service answers instead: HTTP status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Run:
    """A job, and what became of it."""

    name: str
    body: dict[str, Any]
    created: float = field(default_factory=time.time)
    status: str = "NotStarted"
    started: float | None = None
    ended: float | None = None
    error: dict[str, Any] | None = None
    log: str = ""
    starts: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def properties(self) -> dict[str, Any]:
        """The job's own body."""
        found: dict[str, Any] = self.body["properties"]
        return found

    def state(self, scope: str) -> dict[str, Any]:
        """As the management API shows it (``JobBase`` of the SDK's models)."""
        properties = {**self.properties, "status": self.status, "services": {}}
        return {
            "id": f"{scope}/jobs/{self.name}",
            "name": self.name,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "systemData": {"createdAt": _time(self.created), "createdBy": "emulator"},
            "properties": properties,
        }

    def history(self) -> dict[str, Any]:
        """As run history shows it (``Run`` and ``RunDetails`` of the SDK's own client for it)."""
        return {
            "runId": self.name,
            "status": self.status,
            "createdUtc": _time(self.created),
            "startTimeUtc": _time(self.started),
            "endTimeUtc": _time(self.ended),
            "error": {"error": self.error} if self.error else None,
            "tags": self.properties.get("tags") or {},
            "target": str(self.properties.get("computeId") or "").rpartition("/")[2],
        }


class Runner:
    """Runs jobs in threads. ``image_of`` gives an environment's image; ``low_priority`` tells of a cluster's id;
    ``seen`` is told what a job itself asks for: the operation of the blob API and the container, or ``Pull`` and the
    image."""

    def __init__(
        self,
        blobs: BlobService,
        misbehaviour: Misbehaviour,
        image_of: Callable[[str], str],
        cluster: Callable[[str], Mapping[str, Any]],
        component: Callable[[str], Mapping[str, Any]],
        seen: Callable[[str, str], None],
    ) -> None:
        self.blobs = blobs
        self.misbehaviour = misbehaviour
        self.image_of = image_of
        self.cluster = cluster
        self.component = component
        self.seen = seen
        self.stopping = threading.Event()

    def start(self, run: Run) -> None:
        """Begin."""
        if self.misbehaviour.faults.noop:
            run.started = run.ended = time.time()
            run.status = "Completed"
            return
        threading.Thread(target=self._run, args=(run,), daemon=True).start()

    def _run(self, run: Run) -> None:
        try:
            for state in ("Starting", "Provisioning"):
                run.status = state
                if self._wait(run, _STEP):
                    return self._end(run, "Canceled")
            if run.properties["jobType"] == "Pipeline":
                return self._pipeline(run)
            self._command(run)
        except Exception as e:  # noqa: BLE001  the emulator's own mistake: the test should see it
            self._end(run, "Failed", "ServiceError", f"emulator: {type(e).__name__}: {e}")
        return None

    def _command(self, run: Run) -> None:
        """Queue, run, run again after a preemption, as a low-priority cluster does by itself ("Low priority nodes:
        a job that is preempted is queued again")."""
        while True:
            run.status = "Queued"
            if self._queued(run):
                return self._end(run, "Canceled")
            image = self.image_of(run.properties["environmentId"])
            if image in self.misbehaviour.faults.no_image:
                words = f"Failed to pull Docker image {image}: manifest unknown"
                return self._end(run, "Failed", "UserError", words)
            self.seen("Pull", image)
            run.status, run.started = "Running", time.time()
            run.starts += 1
            if self.misbehaviour.faults.hold:
                run.cancelled.wait()
                return self._end(run, "Canceled")
            code = self._execute(run)
            if code == "preempted":
                continue
            if code == "cancelled":
                return self._end(run, "Canceled")
            if code == "missing":
                return None
            run.status = "Finalizing"
            self._wait(run, _STEP)
            if code != 0:
                # As a job's page shows it.
                words = (
                    f"Execution failed. User process 'sh' exited with status code {code}. Please check log file "
                    f"'user_logs/std_log.txt' for error details. Error: {run.log[-300:]}"
                )
                return self._end(run, "Failed", "UserError", words)
            return self._end(run, "Completed")

    def _queued(self, run: Run) -> bool:
        """Wait for machines: whether the job was cancelled meanwhile. A cluster without any keeps its jobs queued."""
        faults = self.misbehaviour.faults
        end = time.monotonic() + faults.start_delay
        cluster = self.cluster(run.properties["computeId"])
        while True:
            lacking = self.misbehaviour.faults.no_capacity
            spot = cluster["vmPriority"] == "LowPriority"
            without = cluster["vmSize"] in lacking or (spot and "spot" in lacking)
            if time.monotonic() >= end and not without:
                return self._wait(run, _STEP)
            if self._wait(run, 0.05):
                return True

    def _execute(self, run: Run) -> int | str:
        """One start of the job on its machines: the exit code of the first, or what ended it."""
        folder = Path(tempfile.mkdtemp(prefix="tidemill-azureml-"))
        containers: list[Container] = []
        try:
            try:
                places = self._mount(run, folder)
            except FileNotFoundError as e:
                self._end(run, "Failed", "UserError", str(e))
                return "missing"
            count = int((run.properties.get("resources") or {}).get("instanceCount") or 1)
            command = _PLACE.sub(lambda m: places[m[1], m[2]], run.properties["command"])
            for rank in range(count):
                environment = self._environment(run, places, rank, count)
                containers.append(Container(["bash", "-c", command], environment, folder / f"node-{rank}"))
            return self._watch(run, containers)
        finally:
            for container in containers:
                container.end()
            if containers:
                run.log = containers[0].text()
            for container in containers:
                container.close()
            self._unmount(run, folder)
            shutil.rmtree(folder, ignore_errors=True)

    def _watch(self, run: Run, containers: list[Container]) -> int | str:
        spot = self.cluster(run.properties["computeId"])["vmPriority"] == "LowPriority"
        preempt = spot and self.misbehaviour.preempts()
        end = time.monotonic() + self.misbehaviour.faults.preempt_after
        limit = _seconds((run.properties.get("limits") or {}).get("timeout"))
        over = None if limit is None else time.monotonic() + limit
        while True:
            codes = [container.process.poll() for container in containers]
            if all(code is not None for code in codes) or any(codes):
                worst = next((code for code in codes if code), 0)
                # A process that a signal ended has exited with 128 more, as a shell tells it.
                return 128 - worst if worst < 0 else worst
            if preempt and time.monotonic() > end:
                return "preempted"
            # "limits.timeout: when this limit is reached, the system cancels the job" (command job YAML schema).
            if run.cancelled.is_set() or self.stopping.is_set() or (over is not None and time.monotonic() > over):
                return "cancelled"
            time.sleep(0.03)

    def _environment(self, run: Run, places: Mapping[tuple[str, str], str], rank: int, count: int) -> dict[str, str]:
        own = {
            "AZUREML_RUN_ID": run.name,
            # "Read and write data in jobs": a folder's path is in the environment as well.
            **{f"AZURE_ML_{kind[:-1].upper()}_{name}": path for (kind, name), path in places.items()},
        }
        if (run.properties.get("distribution") or {}).get("distributionType") == "PyTorch":
            # "Distributed training: PyTorch": what the service sets for each process.
            own |= {
                "RANK": str(rank),
                "NODE_RANK": str(rank),
                "LOCAL_RANK": "0",
                "WORLD_SIZE": str(count),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": "6105",
            }
        return {**own, **(run.properties.get("environmentVariables") or {})}

    def _mount(self, run: Run, folder: Path) -> dict[tuple[str, str], str]:
        places: dict[tuple[str, str], str] = {}
        for name, given in (run.properties.get("inputs") or {}).items():
            if given["jobInputType"] in ("literal",):
                places["inputs", name] = str(given["value"])
                continue
            place = folder / "inputs" / name
            place.mkdir(parents=True)
            container, prefix = _place(given["uri"])
            self._read(container)
            if not self.blobs.download(container, prefix, place):
                raise FileNotFoundError(f"DataAccessError(NotFound): the input {name} ({given['uri']}) does not exist")
            places["inputs", name] = str(place)
        for name, given in (run.properties.get("outputs") or {}).items():
            place = folder / "outputs" / name
            place.mkdir(parents=True)
            # What is at an output's address already is seen through a mount.
            if given.get("mode") != "Upload":
                self._read(_place(given["uri"])[0])
                self.blobs.download(*_place(given["uri"]), place)
            places["outputs", name] = str(place)
        return places

    def _unmount(self, run: Run, folder: Path) -> None:
        for name, given in (run.properties.get("outputs") or {}).items():
            place = folder / "outputs" / name
            if place.is_dir() and not (self.misbehaviour.faults.missing_output and name == "output"):
                for operation in ("PutBlob", "ListBlobs", "DeleteBlob"):
                    self.seen(operation, _place(given["uri"])[0])
                self.blobs.upload(place, *_place(given["uri"]))

    def _read(self, container: str) -> None:
        for operation in ("ListBlobs", "GetBlob"):
            self.seen(operation, container)

    def _pipeline(self, run: Run) -> None:
        """The steps of a pipeline one after the other, each a child run."""
        run.status, run.started = "Running", time.time()
        given = {
            name: value.get("value", value.get("uri")) for name, value in (run.properties.get("inputs") or {}).items()
        }
        try:
            jobs = self._steps(run)
            for name, step in jobs.items():
                if self._wait(run, _STEP):
                    return self._end(run, "Canceled")
                words = self._step(run, name, step, given)
                if words:
                    return self._end(run, "Failed", "UserError", f"Step {name} failed: {words}")
        except Refused as e:
            return self._end(run, "Failed", e.code, e.message)
        return self._end(run, "Completed")

    def _steps(self, run: Run) -> dict[str, Any]:
        if run.properties.get("componentId"):
            spec = self.component(run.properties["componentId"])
            return dict(spec.get("jobs") or {}) if spec.get("type") == "pipeline" else {"step": {"spec": spec}}
        return dict(run.properties.get("jobs") or {})

    def _step(self, run: Run, name: str, step: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        spec = step.get("spec") or self.component(step["componentId"])
        own = dict(given) if "spec" in step else {}
        for key, value in (step.get("inputs") or {}).items():
            text = str(value.get("value", value.get("uri", "")))
            bound = re.fullmatch(r"\$\{\{parent\.inputs\.(\w+)\}\}", text)
            own[key] = given.get(bound[1]) if bound else text
        defaults = {key: value.get("default") for key, value in (spec.get("inputs") or {}).items()}
        values = {**defaults, **{key: value for key, value in own.items() if value is not None}}
        absent = [key for key, value in values.items() if value is None]
        if absent:
            return f"the input {absent[0]} has no value"
        command = _PLACE.sub(lambda m: str(values.get(m[2], "")), spec["command"])
        container = Container(["bash", "-c", command], {"AZUREML_RUN_ID": f"{run.name}-{name}"})
        try:
            code = container.wait(run.cancelled, 60)
            run.log += container.text()
            return "" if code == 0 else f"exited with status code {code}"
        finally:
            container.close()

    def _wait(self, run: Run, seconds: float) -> bool:
        return run.cancelled.wait(seconds) or self.stopping.is_set()

    def _end(self, run: Run, status: str, code: str = "", message: str = "") -> None:
        run.ended = time.time()
        run.error = {"code": code, "message": message} if code else None
        run.status = status


def create(
    runs: dict[str, Run], name: str, body: dict[str, Any], check: Callable[[dict[str, Any]], None]
) -> tuple[Run, bool]:
    """Take a job, or the change of one: the job, and whether it is new.

    Raises:
        Refused: as the service refuses it.
    """
    # "name" in the command job YAML schema.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}", name):
        raise Refused(400, "UserError", f"Job name {name} is not valid")
    properties = body.get("properties") or {}
    tags = properties.get("tags") or {}
    # "Service limits in Azure Machine Learning": runs.
    if len(tags) > 50 or any(len(k) > 100 or len(str(v)) > 1000 for k, v in tags.items()):
        raise Refused(400, "UserError", "The number of tags is over 50, or a tag is too long")
    existing = runs.get(name)
    if existing is not None:
        changed = [
            key
            for key in ("command", "inputs", "outputs", "computeId", "environmentId", "jobs", "limits")
            if existing.properties.get(key) != properties.get(key)
        ]
        if changed:
            raise Refused(
                400,
                "UserError",
                "A job with this name already exists. If you are trying to create a new job, use a different name. If "
                f"you are trying to update an existing job, the existing job's {', '.join(changed)} cannot be changed. "
                "Only description, tags, displayName, properties, and isArchived can be updated.",
            )
        existing.properties["tags"] = {**(existing.properties.get("tags") or {}), **tags}
        return existing, False
    check(properties)
    runs[name] = run = Run(name, copy.deepcopy(body))
    return run, True


def check_command(properties: Mapping[str, Any]) -> None:
    """What ``CommandJob`` of the SDK's models requires, and what its command refers to.

    Raises:
        Refused: something is missing.
    """
    for key in ("command", "environmentId"):
        if not properties.get(key):
            raise Refused(400, "ValidationError", f"The field {key} is required")
    for kind, name in _PLACE.findall(properties["command"]):
        if name not in (properties.get(kind) or {}):
            raise Refused(400, "UserError", f"The command refers to {kind}.{name}, which the job does not have")
    for given in (properties.get("inputs") or {}).values():
        if given["jobInputType"] == "uri_folder" and not given.get("uri"):
            raise Refused(400, "ValidationError", "The field uri is required")


def _place(uri: str) -> tuple[str, str]:
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise FileNotFoundError(f"DataAccessError: {uri} is not an address that this emulator knows")
    return found[1], f"{found[3].rstrip('/')}/"


def _seconds(duration: str | None) -> float | None:
    """Of an ISO 8601 duration of hours, minutes and seconds (days too)."""
    if not duration:
        return None
    found = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?", duration)
    if found is None:
        raise Refused(400, "ValidationError", f"{duration} is no duration")
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _time(value: float | None) -> str | None:
    return None if value is None else datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0+00:00")
