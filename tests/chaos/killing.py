"""`kill -9`: of the processes of a task, or of a server, which is started again as a deployment would."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.plan import Kind
from tidemill.demo.stack import AIRFLOW, MLFLOW, Stack, StackError


@dataclass(frozen=True)
class Process:
    """One of the two processes of a task's try: the executor's worker that watches it, or the task itself."""

    pid: int
    watched: bool


def processes_of(instance: str) -> list[Process]:
    """The processes of a task instance, by the id that Airflow puts into their titles."""
    found: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, ValueError, IndexError):
            if instance.encode() in (folder / "cmdline").read_bytes():
                # Its name, in parentheses, may hold anything.
                found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return [Process(pid, parent in found) for pid, parent in found.items()]


def kill_task(kind: Kind, instance: str) -> bool:
    """Kill what a worker's kill is about; whether there was anything to kill."""
    chosen = [process for process in processes_of(instance) if kind == "both" or process.watched == (kind == "task")]
    hit = [_kill(process.pid) for process in chosen]
    return any(hit)


def _kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


class Mender(threading.Thread):
    """Starts again what was killed, as systemd or a cluster does; what a dead server left behind is ended first."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        super().__init__(name="mender", daemon=True)
        self._stack, self._say = stack, say
        self._broken, self._over = threading.Event(), threading.Event()
        self.starts = 0

    @property
    def busy(self) -> bool:
        """Whether a server is away."""
        return self._broken.is_set()

    def kill(self, kind: Kind) -> bool:
        """Kill a server; it will be back. Whether it ran."""
        name, _, children = kind.partition("+")
        server = self._stack.servers().get(name)
        if server is None:
            return False
        pids = {pid for pid, _ in server.family()} if children else set()
        hit = [_kill(pid) for pid in (server.pid, *(pids - {server.pid}))]
        # Not before: the mender would find that nothing is missing, and go to sleep again.
        self._broken.set()
        return any(hit)

    def run(self) -> None:
        """Until ``stop``."""
        while not self._over.is_set():
            if not self._broken.wait(2) and self._stack.servers().keys() >= {MLFLOW, *AIRFLOW}:
                continue
            self._broken.set()
            time.sleep(0.5)
            try:
                self.starts += len(self._stack.up(timeout=180).started)
                self._broken.clear()
            except StackError as error:
                self._say(f"a server did not come back at once: {error}")

    def stop(self) -> None:
        """Start nothing any more."""
        self._over.set()
        self.join(200)
