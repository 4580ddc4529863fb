"""The process tree below a process, by Linux's ``/proc``: its members, its memory, its end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (``prctl(2)``, PR_SET_CHILD_SUBREAPER)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int, parent: int | None) -> None:
    """Be sent signal ``number`` when the parent ends, however it ends (``prctl(2)``, PR_SET_PDEATHSIG).

    ``parent`` is who the parent was meant to be: if it is gone already, the signal is sent at once.
    """
    _prctl(PR_SET_PDEATHSIG, number)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def descendants(pid: int) -> list[int]:
    """The processes below ``pid``, zombies left out, parents before children."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir(_PROC):
        if entry.isdigit() and (stat := _stat(int(entry))) is not None and stat[0] != "Z":
            children.setdefault(stat[1], []).append(int(entry))
    found: list[int] = []
    queue = [pid]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def memory(pids: list[int], limit: int) -> int:
    """The memory of the processes in bytes, pages that they share counted once where it matters.

    Resident sizes are cheap but count a page once for each process that holds it; only when their sum is over
    the limit are the proportional sizes read.
    """
    resident = sum(_resident(pid) for pid in pids)
    if resident <= limit or len(pids) == 1:
        return resident
    return sum(_proportional(pid) for pid in pids)


def kill_all(pid: int, seconds: float = 10.0) -> int:
    """Kill every process below ``pid``, and those that they start meanwhile.

    Returns:
        How many there were at first.
    """
    first: int | None = None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive = descendants(pid)
        first = len(alive) if first is None else first
        if not alive:
            break
        for p in alive:
            send(p, signal.SIGKILL)
        reap()
        time.sleep(0.01)
    reap()
    return first or 0


def reap() -> None:
    """Collect every child of this process that has ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def _stat(pid: int) -> tuple[str, int] | None:
    """State letter and parent. The command's name, in parentheses, may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, parent = text[text.rindex(")") + 2 :].split()[:2]
    return state, int(parent)


def _resident(pid: int) -> int:
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return _resident(pid)
