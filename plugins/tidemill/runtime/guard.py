"""The process above the user's: it owns the whole tree, keeps time and memory, and leaves nothing behind.

It is the subreaper of everything below it, so that a child which forks twice or starts a session of its own
is still its child; and it dies with its caller, however the caller ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from . import tree
from .files import EXIT_OK, EXIT_SYSTEM, EXIT_USER, BadFile, Failure, JobFile, Result
from .worker import work

_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_WATCHED = (signal.SIGCHLD, *_STOP)
_MEMORY_INTERVAL = 0.1
_EXIT_GRACE = 10.0


def guard(job: JobFile) -> int:
    """Run the job in a child process and wait for its end, or for a reason to end it.

    Returns:
        The exit code; the result file tells the same in words.
    """
    started = time.monotonic()
    result = Path(job.result)
    result.unlink(missing_ok=True)
    # Blocked, then taken by sigtimedwait: no signal is lost between a check and a wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    tree.adopt_orphans()
    tree.die_with_parent(signal.SIGTERM, job.parent)
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    me = os.getpid()
    child = os.fork()
    if child == 0:
        _be_the_worker(job, me)
    failure = _watch(job, child, started)
    if failure is None:
        left = _wait_for_stragglers(me)
        if left:
            _say(f"tidemill: {left} process(es) that the training left running were stopped")
    tree.kill_all(me)
    if failure is not None:
        try:
            Result(round(time.monotonic() - started, 3), failure=failure).write(result)
        except OSError as e:
            _say(f"tidemill: the result could not be written: {e}")
            return EXIT_SYSTEM
    else:
        failure = Result.read(result).failure
    if failure is None:
        return EXIT_OK
    return EXIT_USER if failure.user else EXIT_SYSTEM


def main(path: Path) -> int:
    """Run the job in a job file; the exit code is :func:`guard`'s."""
    try:
        job = JobFile.read(path)
    except BadFile as e:
        _say(f"tidemill: {e}")
        return EXIT_SYSTEM
    return guard(job)


def _be_the_worker(job: JobFile, parent: int) -> NoReturn:
    tree.die_with_parent(signal.SIGKILL, parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    # When the machine runs out of memory, the kernel should take the training and not the scheduler.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
    sys.exit(work(job))


def _watch(job: JobFile, child: int, started: float) -> Failure | None:
    """Wait until the child has ended with a result. Returns why there will be none, if so."""
    result = Path(job.result)
    finished: float | None = None
    while True:
        ended, status = _collect(child)
        if result.exists():
            # What happens after the result (exit handlers, a crash of a native library) does not undo it.
            finished = finished or time.monotonic()
            if ended or time.monotonic() > finished + _EXIT_GRACE:
                return None
        elif ended:
            return _ended_early(job, status)
        elif (over := _over_limit(job, started)) is not None:
            return over
        taken = signal.sigtimedwait(_WATCHED, _pause(job, started))
        if taken is not None and taken.si_signo in _STOP and not result.exists():
            return Failure("Cancelled", "the training was cancelled", user=False)


def _over_limit(job: JobFile, started: float) -> Failure | None:
    doing = f"train.code {job.code}"
    if job.timeout is not None and time.monotonic() >= started + job.timeout:
        message = f"{doing} ran longer than train.timeout allows ({_duration(job.timeout)}); it was stopped"
        return Failure("Timeout", message, user=True)
    if job.memory is not None:
        used = tree.memory(tree.descendants(os.getpid()), job.memory)
        if used > job.memory:
            message = (
                f"{doing} used {_mib(used)} of memory, more than train.resources.memory allows "
                f"({_mib(job.memory)}); it was stopped"
            )
            return Failure("MemoryLimit", message, user=True)
    return None


def _pause(job: JobFile, started: float) -> float:
    """How long to sleep, in seconds, unless a signal comes."""
    pause = 1.0 if job.memory is None else _MEMORY_INTERVAL
    if job.timeout is not None:
        pause = min(pause, started + job.timeout - time.monotonic())
    return max(pause, 0.01)


def _wait_for_stragglers(me: int) -> int:
    """Give helpers that end by themselves (resource trackers) a moment; how many are still there after it."""
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        if not tree.descendants(me):
            return 0
        tree.reap()
        time.sleep(0.02)
    return len(tree.descendants(me))


def _collect(child: int) -> tuple[bool, int]:
    """Whether the child has ended, and its wait status; other children that ended are reaped on the way."""
    try:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return True, status
            if pid == 0:
                return False, 0
    except ChildProcessError:
        return True, 0


def _ended_early(job: JobFile, status: int) -> Failure:
    doing = f"train.code {job.code}"
    if os.WIFEXITED(status):
        message = (
            f"{doing}: the process ended with exit code {os.WEXITSTATUS(status)} before the function "
            "returned; does it call os._exit?"
        )
        return Failure("Exited", message, user=True)
    number = os.WTERMSIG(status)
    if number == signal.SIGKILL:
        message = (
            f"{doing}: the process was killed from outside (SIGKILL), most often because the machine ran "
            "out of memory; set train.resources.memory, or train on less"
        )
        return Failure("Killed", message, user=False)
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    return Failure("Crashed", f"{doing}: the process crashed in native code ({name})", user=True)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the reader may be gone
        print(line, flush=True)


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _mib(value: int) -> str:
    return f"{value / 2**20:,.0f} MiB"
