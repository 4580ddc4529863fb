"""Training jobs as process trees on this machine.

A job is a guard process (:mod:`tidemill.runtime.guard`) with the user's process below it. The guard keeps
time and memory and ends the whole tree; this side starts it, passes its output on, and ends it when the caller
is interrupted.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import tidemill
from tidemill.platforms.local.environments import environment_of
from tidemill.platforms.local.output import LineLog
from tidemill.platforms.ports import Job, JobError, JobResult
from tidemill.runtime.files import BadFile, JobFile, Result, result_of
from tidemill.runtime.machines import THREADS

_TOKEN = "TIDEMILL_JOB_TOKEN"
# Airflow's settings hold the metadata database's password, the Fernet key and connections; MLflow's the
# tracking server's login. A training needs none of them.
_SECRET = re.compile(r"^_*AIRFLOW|^MLFLOW_TRACKING_(USERNAME|PASSWORD|TOKEN)$")
_STOP_SECONDS = 10.0
_LAST_WORDS = 1.0
_OVERTIME = 20.0


class LocalJobs:
    """Runs jobs on this machine, each as a process tree of its own. Implements the port ``Jobs``.

    ``state`` is the project's state folder, for environments that jobs ask for; by default as :class:`Project` has it.
    """

    def __init__(self, state: Path | None = None) -> None:
        self._state = state

    def run(self, job: Job, log: Callable[[str], None]) -> JobResult:
        """Run the job to its end, as the port says. SIGTERM in the caller ends the job before it does its own
        work; so does any exception out of ``log``, and the caller's death.

        Raises:
            JobError: the function failed, was not found, ran out of time or memory, or left no model.
        """
        result = result_of(job.output)
        cpus = _processors(job, log)
        file = job.output.with_name(f"{job.output.name}.job.json")
        try:
            for folder in (job.output, job.checkpoint):
                folder.mkdir(parents=True, exist_ok=True)
            result.unlink(missing_ok=True)
            _job_file(job, result, cpus).write(file)
        except (TypeError, ValueError) as e:
            raise JobError(f"train.params must be plain values: {e}", user=True) from None
        except OSError as e:
            raise JobError(f"the job could not be prepared: {e}", user=False) from None
        token = secrets.token_hex(16)
        environment, python = _environment(job, cpus, token), sys.executable
        if job.requirements is not None:
            with _terminate_as_exception():
                environment = environment_of(job.requirements, self._state_of(job), environment, log)
            python = str(Path(environment["VIRTUAL_ENV"]) / "bin" / "python")
        _run_guard(file, job, python, environment, token, log)
        return _read(job, result)

    def _state_of(self, job: Job) -> Path:
        named = os.environ.get("TIDEMILL_STATE")
        return self._state or (Path(named).resolve() if named else job.root / ".tidemill")


def _run_guard(
    file: Path, job: Job, python: str, environment: Mapping[str, str], token: str, log: Callable[[str], None]
) -> None:
    """Start the guard, pass its output on until it ends; whatever happens, nothing of the tree is left."""
    with _terminate_as_exception():
        try:
            guard = _start(python, file, job.root, environment)
        except OSError as e:
            raise JobError(f"the training process could not be started: {e}", user=False) from None
        try:
            limit = None if job.timeout is None else job.timeout.total_seconds() + _OVERTIME
            _follow(guard, log, limit)
        finally:
            _end(guard, token)


def _start(python: str, file: Path, root: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # No signal may come between the start of the process and our holding it: it would run on, unknown.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        return subprocess.Popen(
            [python, "-m", "tidemill.runtime", "--job", str(file)],
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _follow(guard: subprocess.Popen[bytes], log: Callable[[str], None], limit: float | None) -> None:
    """Pass lines on until the pipe is closed, or the guard has ended, or is far beyond its time."""
    assert guard.stdout is not None
    lines = LineLog(log)
    end = None if limit is None else time.monotonic() + limit
    descriptor = guard.stdout.fileno()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN | select.POLLHUP)
    gone = False
    while end is None or time.monotonic() < end:
        if poll.poll(500):
            data = os.read(descriptor, 1 << 16)
            if not data:
                break
            lines.feed(data)
        if not gone and guard.poll() is not None:
            # Killed by somebody: orphans may hold the pipe, and print, for ever.
            gone, end = True, time.monotonic() + _LAST_WORDS
    lines.close()


def _end(guard: subprocess.Popen[bytes], token: str) -> None:
    """Have the guard end its tree, and end it ourselves where the guard could not."""
    try:
        # The pipe closes a moment before the guard is gone; a guard with nothing left to do needs no signal.
        guard.wait(0.5)
    except subprocess.TimeoutExpired:
        guard.terminate()
        try:
            guard.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
    if guard.stdout is not None:
        guard.stdout.close()
    for _ in range(5):
        if not _sweep(token):
            break


def _sweep(token: str) -> int:
    """Kill what still carries the job's token in its environment: the orphans of a guard that was killed."""
    needle = f"{_TOKEN}={token}".encode()
    found = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if needle in (entry / "environ").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found


class _Terminated(BaseException):
    """SIGTERM arrived while a job ran."""


@contextlib.contextmanager
def _terminate_as_exception() -> Iterator[None]:
    """Turn SIGTERM into an exception for as long as a job runs, then let it do what it did before.

    Airflow ends a task by SIGTERM, whose handler calls the operator's ``on_kill`` and returns: without this
    the job would run on until the supervisor's SIGKILL.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals arrive in the main thread only; a guard dies with its caller all the same
        return

    def handler(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before: Any = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, before)
        os.kill(os.getpid(), signal.SIGTERM)
        raise JobError("the training was cancelled", user=False) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _job_file(job: Job, result: Path, cpus: list[int] | None) -> JobFile:
    return JobFile(
        code=job.code,
        root=str(job.root.resolve()),
        train=str(job.train.resolve()),
        holdout=str(job.holdout.resolve()),
        output=str(job.output.resolve()),
        checkpoint=str(job.checkpoint.resolve()),
        result=str(result.resolve()),
        params=dict(job.params),
        seed=job.seed,
        memory=None if job.resources.memory is None else int(job.resources.memory),
        timeout=None if job.timeout is None else job.timeout.total_seconds(),
        cpus=cpus,
        parent=os.getpid(),
    )


def _processors(job: Job, log: Callable[[str], None]) -> list[int] | None:
    """The processors to run on: as many as asked for, chosen by the job's name so that jobs spread out."""
    wanted = job.resources.cpu
    allowed = sorted(os.sched_getaffinity(0))
    if wanted is None or wanted == len(allowed):
        return None
    if wanted > len(allowed):
        log(f"tidemill: train.resources.cpu asks for {wanted}; this machine has {len(allowed)}")
        return None
    return sorted(random.Random(job.name).sample(allowed, wanted))


def _environment(job: Job, cpus: list[int] | None, token: str) -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not _SECRET.match(k)}
    package = str(Path(tidemill.__file__).resolve().parents[1])
    paths = [package, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    environment["PYTHONHASHSEED"] = str(job.seed)
    environment[_TOKEN] = token
    # OpenMP's threads otherwise spin while they wait: beside another busy process a fit of 2 s took 40 s.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if job.resources.cpu is not None:
        threads = str(len(cpus) if cpus else len(os.sched_getaffinity(0)))
        environment.update(dict.fromkeys(THREADS, threads))
    return {**environment, **job.environment}


def _read(job: Job, path: Path) -> JobResult:
    try:
        result = Result.read(path)
    except BadFile:
        raise JobError(
            f"train.code {job.code}: the training process ended without a result; it may have been killed",
            user=False,
        ) from None
    if result.failure is not None or result.model is None:
        failure = result.failure
        message, detail = (failure.message, failure.traceback) if failure else ("no model was left", "")
        raise JobError(message, user=failure is None or failure.user, detail=detail)
    return JobResult(job.output / result.model, result.last(), result.seconds)
