"""Stand-ins for the clouds on loopback: they speak the services' wire protocols and really run what they are given.

``start(provider, …)`` starts one in a process of its own; what it gives back are the environment variables with the
Airflow connections that lead to it. Nothing in the product knows of them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_STOP_SECONDS = 15.0


@dataclass(frozen=True, eq=False)
class Emulation:
    """A running emulator. ``environment`` holds ``AIRFLOW_CONN_…`` and what else its callers need; ``stop`` ends it,
    and so does the end of the process that started it."""

    url: str
    environment: Mapping[str, str]
    process: subprocess.Popen[str]

    def set_faults(self, **faults: Any) -> None:
        """Replace all faults by these; none given: nothing goes wrong any more. Names: ``faults.Faults``.

        Raises:
            ValueError: there is no such fault.
        """
        body = json.dumps(faults).encode()
        request = Request(f"{self.url}/_emulator/faults", body, {"Content-Type": "application/json"}, method="POST")
        try:
            urlopen(request, timeout=30).close()
        except HTTPError as e:
            raise ValueError(e.read().decode()) from None

    def report(self) -> dict[str, Any]:
        """What it was asked (``calls``), the faults still to come (``faults``), and what it holds (the emulator's
        own keys)."""
        # A busy server may drop a connection that it has not accepted yet.
        for attempt in (1, 2, 3):
            try:
                with urlopen(f"{self.url}/_emulator", timeout=30) as answer:
                    report: dict[str, Any] = json.load(answer)
                    return report
            except (ConnectionError, http.client.HTTPException):
                if attempt == 3:
                    raise
        raise AssertionError

    def stop(self) -> None:
        """End the emulator and every container that it runs. Repeatable."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> Emulation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def start(provider: str, folder: Path, platform: Mapping[str, Any]) -> Emulation:
    """Start the emulator of ``aws``, ``gcp``, ``azure`` or ``kubernetes``; returns when it answers.

    ``folder`` is for its files (its log is ``folder/emulator.log``). ``platform`` is a spec's ``platform:`` section as
    plain values: what it names (bucket, workspace, queue …) exists from the start.

    Raises:
        RuntimeError: it did not come up; the message ends with its log.
    """
    emulation: Emulation = import_module(f"tests.emulators.{provider}").start(folder, platform)
    return emulation


def connection_variable(connection_id: str, connection: Mapping[str, Any]) -> dict[str, str]:
    """An Airflow connection as the environment variable that Airflow reads it from."""
    return {f"AIRFLOW_CONN_{connection_id.upper()}": json.dumps(connection)}
