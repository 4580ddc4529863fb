"""The HTTP server of an emulator: faults around every call, the control routes, and a process of its own.

``GET /_emulator`` reports, ``POST /_emulator/faults`` tells it to misbehave. An emulator is a module with a class
derived from ``Emulator`` that ends with ``if __name__ == "__main__": serve(ItsClass)``, and with a ``start`` that calls
``launch("tests.emulators.its_name", …)``.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.emulators.faults import Misbehaviour
from tests.emulators.processes import end_all

Refusal = Literal["throttle", "fail", "denied"]
_ROOT = Path(__file__).parents[2]
_START_SECONDS = 120.0  # on a busy machine the SDKs alone take half a minute to import


class Emulator(ABC):
    """A WSGI application. Its calls are served by threads, several at once.

    ``folder`` is the emulator's own; ``platform`` the spec's section as plain values; ``url`` its address, set before
    the first call.
    """

    def __init__(self, folder: Path, platform: Mapping[str, Any]) -> None:
        self.folder = folder
        self.platform = platform
        self.misbehaviour = Misbehaviour()
        self.url = ""

    @abstractmethod
    def operation(self, request: Request) -> str:
        """The SDK's own name of the operation that is asked for, e.g. ``CreateTrainingJob``."""

    @abstractmethod
    def perform(self, operation: str, request: Request) -> Response:
        """Do it, and answer as the service does."""

    @abstractmethod
    def refuse(self, kind: Refusal, operation: str, request: Request) -> Response:
        """The service's own answer when it throttles, fails inside, or does not allow a call."""

    def ready(self) -> None:  # noqa: B027  (most have nothing to do)
        """Called once the address is known, before the first call: make what ``platform`` names."""

    def describe(self) -> dict[str, Any]:
        """What it holds, for the report."""
        return {}

    def close(self) -> None:  # noqa: B027
        """End every process that it started, but for containers: those are ended afterwards, whatever it does."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one call."""
        request = Request(environ)
        if request.path == "/_emulator" or request.path.startswith("/_emulator/"):
            return self._control(request)(environ, start_response)
        return self._answer(request)(environ, start_response)

    def _control(self, request: Request) -> Response:
        if request.method == "POST" and request.path == "/_emulator/faults":
            try:
                self.misbehaviour.set(request.get_json(force=True))
            except (ValueError, TypeError) as e:
                return Response(str(e), 400)
            return Response("{}", 200, content_type="application/json")
        report = {**self.misbehaviour.report(), **self.describe()}
        return Response(json.dumps(report, default=str), 200, content_type="application/json")

    def _answer(self, request: Request) -> Response:
        operation = self.operation(request)
        misbehaviour = self.misbehaviour
        misbehaviour.seen(operation)
        if operation in misbehaviour.faults.denied:
            return self.refuse("denied", operation, request)
        for kind in ("throttle", "fail"):
            if misbehaviour.takes(kind, operation):
                return self.refuse(kind, operation, request)
        response = self.perform(operation, request)
        if misbehaviour.takes("lose", operation):
            hang_up(request)
        elif misbehaviour.takes("half", operation):
            body = response.get_data()
            half = Response(body[: len(body) // 2], response.status, response.headers)
            half.automatically_set_content_length = False
            # An empty body cannot be cut: the length promises one byte that never comes.
            half.headers["Content-Length"] = str(len(body) or 1)
            return half
        return response


def hang_up(request: Request) -> None:
    """Break the connection, so that the caller never gets an answer."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)


def serve(application: type[Emulator]) -> None:
    """The main function of an emulator's process: serve on a free port, print the address, end with the parent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--platform", type=json.loads, required=True)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    emulator = application(given.folder, given.platform)
    server = make_server("127.0.0.1", 0, emulator, threaded=True, request_handler=_Quiet)
    # A reply is written in two pieces, headers and body; Nagle's algorithm would hold the second one back for 40 ms.
    server.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    emulator.url = f"http://127.0.0.1:{server.server_port}"
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        emulator.ready()
        print(emulator.url, flush=True)
        while os.getppid() == given.parent and not ended.wait(0.5):
            pass
    finally:
        emulator.close()
        end_all()
    # Threads may still be answering; nobody waits for them.
    os._exit(0)


class _Quiet(WSGIRequestHandler):
    """No line for every call."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Only what went wrong."""
        if type == "error":
            print(message % args, file=sys.stderr, flush=True)


def launch(module: str, folder: Path, platform: Mapping[str, Any]) -> tuple[str, subprocess.Popen[str]]:
    """Start an emulator's process: its address and the process.

    Raises:
        RuntimeError: it did not come up; the message ends with its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "emulator.log"
    with open(log, "ab") as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", module, "--folder", str(folder.resolve())),
                *("--platform", json.dumps(dict(platform), default=str), "--parent", str(os.getpid())),
            ],
            cwd=_ROOT,
            env={**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{_ROOT / 'plugins'}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # A Ctrl-C in the terminal is for the parent, which ends the emulator in its own time.
            start_new_session=True,
        )
    line = _first_line(process, time.monotonic() + _START_SECONDS)
    if not line.startswith("http"):
        process.kill()
        process.wait()
        raise RuntimeError(f"{module} did not come up: {log.read_text(errors='replace')[-4000:]}")
    return line, process


def _first_line(process: subprocess.Popen[str], end: float) -> str:
    assert process.stdout is not None
    while time.monotonic() < end and process.poll() is None:
        if select.select([process.stdout], [], [], 0.5)[0]:
            return process.stdout.readline().strip()
    return ""
