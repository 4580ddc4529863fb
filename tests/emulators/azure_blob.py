"""Blob Storage: Azurite, Microsoft's own stand-in, behind this emulator's faults.

Azurite knows shared keys and signatures (SAS) and checks them; it takes no tokens over plain HTTP. It keeps no
versions of blobs, so those are kept here, as of an account with versioning ("Blob versioning" in its documentation):
each write makes one, whose id is the instant; a read by ``versionid`` gives it, also when the blob is deleted; a
deletion by ``versionid`` ends it, unless it is the newest one of a blob that is there. A container whose name begins
with ``plain`` stands for one of an account that keeps none.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from werkzeug.wrappers import Request, Response

_HOME = Path(__file__).parent / "azurite"
_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}
_OWN = {"connection", "keep-alive", "transfer-encoding", "server", "date"}
_UP_SECONDS = 40.0
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def installed() -> bool:
    """Whether Node.js and Azurite are there."""
    return _program() is not None


def _program() -> list[str] | None:
    own, script = _HOME.parents[2] / ".venv-node/bin/node", _HOME / "node_modules/azurite/dist/src/blob/main.js"
    node = str(own) if own.exists() else shutil.which("node")
    return [node, str(script)] if node and script.is_file() else None


@dataclass(frozen=True)
class _Version:
    """What one write left."""

    content: bytes
    metadata: dict[str, str]

    def answer(self, request: Request, version: str) -> Response:
        """To a read of it, whole or a range."""
        whole, asked = self.content, request.headers.get("x-ms-range") or request.headers.get("Range", "")
        found = _RANGE.fullmatch(asked)
        headers = {
            "x-ms-version-id": version,
            "x-ms-blob-type": "BlockBlob",
            "ETag": f'"{hashlib.md5(whole, usedforsecurity=False).hexdigest()}"',
            "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT",
            "Content-Type": "application/octet-stream",
            **{f"x-ms-meta-{name}": value for name, value in self.metadata.items()},
        }
        if request.method == "HEAD":
            response = Response(status=200, headers={**headers, "Content-Length": str(len(whole))})
            response.automatically_set_content_length = False
            return response
        if found is None or not whole:
            if found is not None:
                return _error(416, "InvalidRange", "The range specified is invalid for the resource's current size.")
            return Response(whole, 200, headers)
        first, last = int(found[1]), min(int(found[2] or len(whole)), len(whole) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(whole)}"
        return Response(whole[first : last + 1], 206, headers)


class BlobService:
    """An Azurite process with one account."""

    def __init__(self, folder: Path, account: str) -> None:
        program = _program()
        if program is None:
            raise RuntimeError("Azurite is not installed: run scripts/setup-azurite.sh")
        self.account = account
        # Of the account's name, so that whoever knows that can sign: it guards nothing.
        self.key = base64.b64encode(hashlib.sha512(account.encode()).digest()).decode()
        self.port = _free_port()
        self.versions: dict[str, dict[str, _Version]] = {}
        """A blob's path → its versions by id, the oldest first."""
        self._lock = threading.Lock()
        with open(folder / "azurite.log", "wb") as log:
            self.process = subprocess.Popen(
                [
                    *program,
                    *("--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
                    *("--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"),
                ],
                cwd=folder,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{account}:{self.key}"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + _UP_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    said = (folder / "azurite.log").read_text(errors="replace")
                    raise RuntimeError(f"Azurite did not come up: {said[-2000:]}") from None
                time.sleep(0.05)

    def answer(self, request: Request) -> Response:
        """Answer a call as an account does that keeps versions."""
        path = unquote(request.path).removeprefix(f"/{self.account}/")
        if path.startswith("plain"):
            return self.forward(request)
        what = operation(request.method, request.args)
        if "versionid" in request.args:
            return self._of_version(path, request)
        # One after the other: the content that is read back is that of this write.
        with self._lock:
            response = self.forward(request)
            if what in ("PutBlob", "PutBlockList") and response.status_code == 201:
                response.headers["x-ms-version-id"] = self._keep(path)
        if what in ("GetBlob", "GetBlobProperties") and response.status_code < 300 and self.versions.get(path):
            response.headers["x-ms-version-id"] = [*self.versions[path]][-1]
            response.headers["x-ms-is-current-version"] = "true"
        if what == "ListBlobs" and "versions" in request.args.get("include", "") and response.status_code == 200:
            response.set_data(self._with_versions(path.strip("/"), response.get_data()))
        return response

    def _keep(self, path: str) -> str:
        container, _, name = path.partition("/")
        held = self.client().get_blob_client(container, name).download_blob()
        made = self.versions.setdefault(path, {})
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z")
        made[at] = _Version(held.readall(), dict(held.properties.metadata or {}))
        return at

    def _of_version(self, path: str, request: Request) -> Response:
        version = request.args["versionid"]
        if request.method != "DELETE":
            told = self.forward(request)  # the signature is checked, whatever the call is about
            if told.status_code == 403:
                return told
        if not _INSTANT.fullmatch(version):
            return _error(400, "InvalidQueryParameterValue", "Value for one of the query parameters is invalid.")
        held = self.versions.get(path, {})
        if version not in held:
            return _error(404, "BlobNotFound", "The specified blob does not exist.")
        if request.method == "DELETE":
            container, _, name = path.partition("/")
            if version == [*held][-1] and self.client().get_blob_client(container, name).exists():
                words = "This operation is not allowed on the root blob."
                return _error(403, "OperationNotAllowedOnRootBlob", words)
            del held[version]
            return Response(status=202)
        return held[version].answer(request, version)

    def _with_versions(self, container: str, page: bytes) -> bytes:
        """A page of a listing, in which a blob is named once for each version."""
        root = ElementTree.fromstring(page)
        listed = root.find("Blobs")
        assert listed is not None
        for blob in list(listed):
            ids = [*self.versions.get(f"{container}/{blob.findtext('Name')}", {})]
            listed.remove(blob)
            for version in ids:
                copy = ElementTree.fromstring(ElementTree.tostring(blob))
                ElementTree.SubElement(copy, "VersionId").text = version
                if version == ids[-1]:
                    ElementTree.SubElement(copy, "IsCurrentVersion").text = "true"
                listed.append(copy)
        return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)

    def client(self) -> Any:
        """A ``BlobServiceClient`` of the emulator's own, without faults."""
        from azure.storage.blob import BlobServiceClient

        credential = {"account_name": self.account, "account_key": self.key}
        return BlobServiceClient(f"http://127.0.0.1:{self.port}/{self.account}", credential=credential)

    def forward(self, request: Request) -> Response:
        """Hand a call on. The signature does not cover the host's name, so it stays good."""
        headers = {key.lower(): value for key, value in request.headers.items() if key.lower() not in _HOP}
        query = request.query_string.decode()
        # The path as it was sent: a signature is over its escapes.
        path = request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path
        target = path if "?" in path or not query else f"{path}?{query}"
        body = request.get_data()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            # A call without a body may not have a length of its own making: the length is signed.
            if body or request.headers.get("Content-Length") is not None:
                headers["content-length"] = str(len(body))
            connection.request(request.method, target, body or None, headers)
            answer = connection.getresponse()
            content = answer.read()
            response = Response(content, answer.status)
            response.headers.clear()
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    response.headers.add(name, value)
            if request.method == "HEAD":
                response.automatically_set_content_length = False
            return response
        finally:
            connection.close()

    def download(self, container: str, prefix: str, folder: Path) -> int:
        """Fetch the objects below a prefix into a folder; how many."""
        found = self.client().get_container_client(container)
        count = 0
        for blob in found.list_blobs(name_starts_with=prefix):
            target = folder / blob.name.removeprefix(prefix)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(found.download_blob(blob.name).readall())
            count += 1
        return count

    def upload(self, folder: Path, container: str, prefix: str) -> None:
        """Store the files of a folder below a prefix; objects that are not there any more are removed."""
        found = self.client().get_container_client(container)
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for name, path in files.items():
            with open(path, "rb") as content:
                found.upload_blob(f"{prefix}{name}", content, overwrite=True)
        for blob in list(found.list_blobs(name_starts_with=prefix)):
            if blob.name.removeprefix(prefix) not in files:
                found.delete_blob(blob.name)

    def close(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def operation(method: str, query: Mapping[str, str]) -> str:
    """The operation of the blob API, by its name in the reference without spaces: ``PutBlob``, ``ListBlobs`` …"""
    what = query.get("comp", "")
    if query.get("restype") == "container":
        return {"PUT": "CreateContainer", "GET": "ListBlobs", "DELETE": "DeleteContainer"}.get(method, "GetContainer")
    if method == "PUT":
        return {"block": "PutBlock", "blocklist": "PutBlockList", "metadata": "SetBlobMetadata"}.get(what, "PutBlob")
    return {"GET": "GetBlob", "HEAD": "GetBlobProperties", "DELETE": "DeleteBlob"}.get(method, method)


def refusal(kind: str) -> Response:
    """Storage's own answers: "Status and error codes" of its REST reference."""
    status, code = {
        "throttle": (503, "ServerBusy"),
        "fail": (500, "InternalError"),
        "denied": (403, "AuthorizationPermissionMismatch"),
    }[kind]
    words = {
        "ServerBusy": "The server is currently unable to receive requests. Please retry your request.",
        "InternalError": "The server encountered an internal error. Please retry the request.",
        "AuthorizationPermissionMismatch": "This request is not authorized to perform this operation using this "
        "permission.",
    }[code]
    return _error(status, code, words)


def _error(status: int, code: str, words: str) -> Response:
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return Response(body, status, {"x-ms-error-code": code}, content_type="application/xml")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
