"""A container, as far as an emulator has one: a process with an empty folder, the environment it was given, no more."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ALIVE: set[Container] = set()


class Container:
    """One command in a process group of its own. Its folder is gone after ``close``.

    ``python3`` and ``python`` are the interpreter that runs the emulator: its installed libraries stand for the image.
    The folder is the working folder, ``HOME`` and ``TMPDIR``; nothing of the caller's environment is passed on.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tidemill-container-"))
        self.home = self.folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / "log"
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        for name in ("python", "python3"):
            link = programs / name
            if not link.exists():
                # A script and not a link: an interpreter finds its libraries by the path that it was started by.
                link.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
                link.chmod(0o755)
        self.started = time.monotonic()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                list(command),
                cwd=self.home,
                env={
                    "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
                    "HOME": str(self.home),
                    "TMPDIR": str(self.home),
                    "LANG": "C.UTF-8",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

        _ALIVE.add(self)

    def wait(self, stop: threading.Event, seconds: float | None = None, grace: float = 5.0) -> int | None:
        """Wait for the end of the command: its exit code, or ``None`` if it was ended because ``stop`` was set or the
        time was over (SIGTERM, and after ``grace`` seconds SIGKILL, to the whole group)."""
        end = None if seconds is None else self.started + seconds
        while (code := self.process.poll()) is None:
            if stop.wait(0.05) or (end is not None and time.monotonic() > end):
                self.end(grace)
                return None
        return code

    def end(self, grace: float = 5.0) -> int:
        """End the whole process group, and return the exit code."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(grace)
        self._signal(signal.SIGKILL)
        return self.process.wait()

    def text(self) -> str:
        """What the command has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """Take the folder away, once the command has ended."""
        _ALIVE.discard(self)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


def end_all(grace: float = 3.0) -> None:
    """End every container of this process that still runs, together."""
    running = [container for container in list(_ALIVE) if container.process.poll() is None]
    for container in running:
        container._signal(signal.SIGTERM)
    end = time.monotonic() + grace
    for container in running:
        container.end(max(0.0, end - time.monotonic()))
