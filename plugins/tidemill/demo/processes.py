"""Starting server processes that outlive their starter, and ending exactly those again.

A process is known by its id and its birth: ids are given anew, births are not. Its family is what it started and
what still belongs to its session, so that children whose parent died first are found too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tidemill.cli import local_stack


@dataclass(frozen=True)
class Server:
    """A server process that was started: the leader of a session of its own."""

    name: str
    pid: int
    birth: str

    def is_alive(self) -> bool:
        """Whether this very process is running."""
        return birth_of(self.pid) == self.birth

    def family(self) -> set[tuple[int, str]]:
        """Id and birth of the process and of all that belongs to it."""
        import psutil

        now = birth_of(self.pid)
        if now not in {self.birth, None} or not _same_boot(self.birth):
            return set()  # the number belongs to another process by now, and so does its session
        found: set[int] = set()
        if now is not None:
            try:
                leader = psutil.Process(self.pid)
                found |= {self.pid, *(child.pid for child in leader.children(recursive=True))}
            except psutil.NoSuchProcess:
                pass
        found |= {pid for pid in psutil.pids() if _session_of(pid) == self.pid}
        return {(pid, birth) for pid in found if (birth := birth_of(pid)) is not None}


def start(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> Server:
    """Start a server in a session of its own, its output appended to ``log``.

    Raises:
        OSError: the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _CHILDREN[child.pid] = child
    return Server(name, child.pid, birth_of(child.pid) or f"ended at once {child.pid}")


_CHILDREN: dict[int, subprocess.Popen[bytes]] = {}
"""Our own children, so that one that ended is buried; one that is not would pass for alive."""


def stop(servers: Iterable[Server], *, grace: float = 12.0, poll: Callable[[], None] | None = None) -> set[int]:
    """End servers with their families: asked first, after ``grace`` seconds killed. Returns who was killed.

    At first only the leaders are asked, since a leader that ends in order tells its children what to do; what is
    left after a third of the time, as a task under way, is asked itself.
    """
    servers = list(servers)
    families: set[tuple[int, str]] = set()
    for server in servers:
        families |= server.family()
        if server.is_alive():
            _signal(server.pid, server.birth, signal.SIGTERM)
    leaders = {(s.pid, s.birth) for s in servers}
    end, asked_all = time.monotonic() + grace, False
    while True:
        for server in servers:
            families |= server.family()
        left = {(pid, birth) for pid, birth in families if birth_of(pid) == birth}
        if not left:
            return set()
        if not asked_all and (not left & leaders or time.monotonic() > end - grace * 2 / 3):
            asked_all = True
            for pid, birth in left - leaders:
                _signal(pid, birth, signal.SIGTERM)
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    for pid, birth in left:
        _signal(pid, birth, signal.SIGKILL)
    for _ in range(50):
        if all(birth_of(pid) != birth for pid, birth in left):
            break
        time.sleep(0.1)
    return {pid for pid, _ in left}


def birth_of(pid: int) -> str | None:
    """What tells a process from a later one of the same id; ``None`` if it does not run (any more)."""
    child = _CHILDREN.get(pid)
    if child is not None and child.poll() is not None:
        return None
    return local_stack.birth_of(pid)


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, indented, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 16384))
            lines = _decode(file)
    except OSError:
        return f"    (no log: {log})"
    return "\n".join(f"    {line}" for line in lines[-count:])


def _decode(file: IO[bytes]) -> list[str]:
    return [line for line in file.read().decode("utf-8", errors="replace").splitlines() if line.strip()]


def _same_boot(birth: str) -> bool:
    return birth.rpartition("/")[0] == local_stack.boot()


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _signal(pid: int, birth: str, number: signal.Signals) -> None:
    if birth_of(pid) == birth:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return
