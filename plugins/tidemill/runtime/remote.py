"""A training job in a container: fetch what the job needs, run it as on any machine, deliver what it left.

``python3 -m tidemill.runtime.remote --platform SERVICE --code DIR --data PLACE --job PLACE --output PLACE
[--checkpoint PLACE]``. A place is a folder that the platform mounts, or an address in a store (:mod:`.stores`).

What is delivered: the files that the function left, then ``.tidemill/files.json`` with their sizes, and as the last
``.tidemill/result.json`` (:class:`.files.Result`). Exit codes are those of :mod:`.files`, and 143 (128 + SIGTERM) when
the machine was taken away: then nothing but the checkpoints is delivered, since the job will be started again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import stores
from .files import EXIT_SYSTEM, EXIT_USER, BadFile, Failure, JobFile, Result, result_of
from .machines import SERVICES, THREADS, base_folder, rank_of
from .web import StoreError

EXIT_INTERRUPTED = 143
SPECIAL = ".tidemill"
"""The folder, beside the files that the function left, for what only Tidemill reads."""
CHECKPOINT_SECONDS = 30.0
_SETTLED_SECONDS = 2.0
_MAX_NOTE = 1024
_BY_SIGNAL = ("Cancelled", "Crashed", "Killed")
"""Failures that SIGTERM, which a platform may send to every process of a container, can look like."""


class Remote:
    """One job in one container. ``folder`` is an empty folder for everything that it needs."""

    def __init__(self, given: argparse.Namespace, folder: Path) -> None:
        self.given = given
        self.folder = folder
        self.code = Path(given.code).resolve()
        self.output = folder / "output"
        self.output.mkdir()
        self.rank, self.size = 0, 1
        self.checkpoints = Checkpoints(given.checkpoint, folder / "checkpoint")
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False
        self._delivering = False

    def run(self) -> int:
        """Run the job; the exit code."""
        signal.signal(signal.SIGTERM, self._stop)
        try:
            self.rank, self.size = rank_of(self.given.platform)
            job, environment = self._prepare()
            result = self._train(job, environment)
            self._delivering = True
            self.checkpoints.push(last=True)
            if self._stopped and result.failure is not None and result.failure.type in _BY_SIGNAL:
                print("tidemill: the machine was taken away; the job goes on from its checkpoint", flush=True)
                return EXIT_INTERRUPTED
            if self.rank == 0:
                self._deliver(result)
        except _Stopped:
            return EXIT_INTERRUPTED
        except (StoreError, BadFile) as e:
            return self._failed(Failure(type(e).__name__, str(e), user=getattr(e, "user", False)))
        except (OSError, ValueError) as e:
            return self._failed(Failure(type(e).__name__, f"the job could not be run: {e}", user=False))
        return 0 if result.failure is None else self._failed(result.failure)

    def _prepare(self) -> tuple[JobFile, dict[str, str]]:
        """Fetch the job and its data. Raises StoreError, BadFile, OSError."""
        told = self._job()
        data = self._fetch(self.given.data, "data", ("train.parquet", "holdout.parquet"))
        job = JobFile(
            code=told["code"],
            root=str(self.code),
            train=str(data / "train.parquet"),
            holdout=str(data / "holdout.parquet"),
            output=str(self.output),
            checkpoint=str(self.checkpoints.fetch()),
            result=str(result_of(self.output)),
            params=told["params"],
            seed=told["seed"],
            rank=self.rank,
            world_size=self.size,
            memory=told.get("memory"),
            timeout=told.get("timeout"),
            parent=os.getpid(),
            stream=self.rank == 0,
        )
        return job, _environment(self.code, job.seed, told.get("cpu"))

    def _job(self) -> dict[str, Any]:
        file = self._fetch(self.given.job, "job", ("job.json",)) / "job.json"
        try:
            told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if (
                not isinstance(told["code"], str)
                or not isinstance(told["params"], dict)
                or type(told["seed"]) is not int
            ):
                raise ValueError("code, params or seed is not what it should be")
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise BadFile(f"{self.given.job}/job.json is not a job: {type(e).__name__}: {e}") from None
        return told

    def _fetch(self, place: str, name: str, files: Sequence[str]) -> Path:
        """The folder that holds files of a place: the place itself, or a copy of what is at the address."""
        if stores.module_of(place) is None:
            missing = [file for file in files if not Path(place, file).is_file()]
            if missing:
                raise BadFile(f"{place} holds no {missing[0]}")
            return Path(place).resolve()
        for file in files:
            stores.get(f"{place.rstrip('/')}/{file}", str(self.folder / name / file))
        return self.folder / name

    def _train(self, job: JobFile, environment: dict[str, str]) -> Result:
        """Run the user's function under its guard, and keep its checkpoints meanwhile."""
        file = self.folder / "job.json"
        job.write(file)
        started = time.monotonic()
        command = [sys.executable, "-m", "tidemill.runtime", "--job", str(file)]
        self._process = subprocess.Popen(command, cwd=self.code, env=environment, stdin=subprocess.DEVNULL)
        if self._stopped:  # between the start and our knowing it
            self._process.terminate()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CHECKPOINT_SECONDS)
                break
            self.checkpoints.push()
        try:
            return Result.read(Path(job.result))
        except BadFile:
            message = f"train.code {job.code}: the training process ended without a result; it may have been killed"
            seconds = round(time.monotonic() - started, 3)
            return Result(seconds, failure=Failure("Killed", message, user=False))

    def _deliver(self, result: Result) -> None:
        """Deliver the output, if there is a model, and the result as the last. Raises StoreError, OSError."""
        target = self.given.output.rstrip("/")
        sizes = {}
        if result.failure is None:
            for file in sorted(p for p in self.output.rglob("*") if p.is_file()):
                name = file.relative_to(self.output).as_posix()
                sizes[name] = file.stat().st_size
                stores.put(str(file), f"{target}/{name}")
        listing = self.folder / "files.json"
        listing.write_text(json.dumps(sizes, sort_keys=True), encoding="utf-8")
        stores.put(str(listing), f"{target}/{SPECIAL}/files.json")
        told = result_of(self.output)
        if not told.exists():
            result.write(told)
        stores.put(str(told), f"{target}/{SPECIAL}/result.json")

    def _failed(self, failure: Failure) -> int:
        """Say why, in the log and where the platform looks for it."""
        whose = "user" if failure.user else "system"
        if failure.traceback:
            print(failure.traceback, flush=True)
        # Kubernetes shows the end of the log as the container's last words, so this line comes last.
        print(f"tidemill:{whose}: {failure.message}", flush=True)
        if self.given.platform == "sagemaker":
            note = base_folder() / "output" / "failure"
            with contextlib.suppress(OSError):
                note.parent.mkdir(parents=True, exist_ok=True)
                note.write_text(f"tidemill:{whose}: {failure.message}"[:_MAX_NOTE], encoding="utf-8")
        return EXIT_USER if failure.user else EXIT_SYSTEM

    def _stop(self, number: int, frame: Any) -> None:
        self._stopped = True
        if self._delivering:
            return  # what is done is delivered: the platform leaves some seconds for it
        if self._process is None:
            raise _Stopped
        self._process.terminate()


class Checkpoints:
    """The folder of checkpoints: the platform's own, or one that is kept in a store at an address."""

    def __init__(self, place: str | None, folder: Path) -> None:
        self.uri = None
        self.folder = folder
        if place is not None and stores.module_of(place) is None:
            self.folder = Path(place).resolve()
        elif place is not None:
            self.uri = place.rstrip("/")
        self._kept: dict[str, tuple[int, int]] = {}

    def fetch(self) -> Path:
        """The folder, with what earlier attempts left. Raises StoreError, OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.uri is not None:
            for name, _ in stores.objects(self.uri):
                if ".." in name.split("/"):
                    raise StoreError(f"{self.uri}/{name} is not a checkpoint", user=True)
                stores.get(f"{self.uri}/{name}", str(self.folder / name))
            self._kept = self._now()
        return self.folder

    def push(self, last: bool = False) -> None:
        """Store what has changed, and remove what is gone. A store that does not answer is asked again next time."""
        if self.uri is None:
            return
        now = self._now()
        # A file that was just written to may be half a file; at the end nobody writes any more.
        newest = time.time_ns() if last else time.time_ns() - int(_SETTLED_SECONDS * 1e9)
        try:
            for name, state in now.items():
                if self._kept.get(name) != state and (last or state[0] <= newest):
                    stores.put(str(self.folder / name), f"{self.uri}/{name}")
                    self._kept[name] = state
            for name in self._kept.keys() - now.keys():
                stores.delete(f"{self.uri}/{name}")
                del self._kept[name]
        except (StoreError, OSError) as e:
            print(f"tidemill: checkpoints could not be stored: {e}", flush=True)

    def _now(self) -> dict[str, tuple[int, int]]:
        found = {}
        for file in self.folder.rglob("*"):
            with contextlib.suppress(OSError):  # it may be gone by now
                if file.is_file():
                    stat = file.stat()
                    found[file.relative_to(self.folder).as_posix()] = (stat.st_mtime_ns, stat.st_size)
        return found


class _Stopped(Exception):
    """SIGTERM arrived before the training began."""


def _environment(code: Path, seed: int, cpu: int | None) -> dict[str, str]:
    """The environment of the training, equal on every platform where it can decide about a model."""
    paths = [str(code), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONHASHSEED": str(seed),
    }
    if cpu is not None:
        environment.update(dict.fromkeys(THREADS, str(cpu)))
    return environment


def main(arguments: Sequence[str]) -> int:
    """Run the job that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="tidemill.runtime.remote", description="Run a training job in a container.")
    parser.add_argument("--platform", choices=SERVICES, required=True, help="the service that started the container")
    parser.add_argument("--code", required=True, help="the folder of the unpacked code")
    for name in ("data", "job", "output"):
        parser.add_argument(f"--{name}", required=True, help="a folder or an address")
    parser.add_argument("--checkpoint", help="a folder or an address that survives attempts")
    folder = Path(tempfile.mkdtemp(prefix="tidemill-job-"))
    try:
        return Remote(parser.parse_args(arguments), folder).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
