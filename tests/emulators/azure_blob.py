"""Blob Storage: Azurite, Microsoft's own stand-in, behind this emulator's faults.

Azurite knows shared keys and signatures (SAS) and checks them; it takes no tokens over plain HTTP. It keeps no
versions of blobs, so their ids are kept here, as of an account with versioning; their contents are not.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
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


def installed() -> bool:
    """Whether Node.js and Azurite are there."""
    return _program() is not None


def _program() -> list[str] | None:
    own, script = _HOME.parents[2] / ".venv-node/bin/node", _HOME / "node_modules/azurite/dist/src/blob/main.js"
    node = str(own) if own.exists() else shutil.which("node")
    return [node, str(script)] if node and script.is_file() else None


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
        self.versions: dict[str, list[str]] = {}
        """A blob's path → its versions' ids, the oldest first."""
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
        """Answer a call as an account does that keeps versions ("Blob versioning": a write makes one, its id is an
        instant)."""
        response = self.forward(request)
        path = unquote(request.path).removeprefix(f"/{self.account}/")
        what = operation(request.method, request.args)
        if what in ("PutBlob", "PutBlockList") and response.status_code == 201:
            made = self.versions.setdefault(path, [])
            made.append(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f0Z"))
            response.headers["x-ms-version-id"] = made[-1]
        if what == "ListBlobs" and "versions" in request.args.get("include", "") and response.status_code == 200:
            response.set_data(self._with_versions(path.strip("/"), response.get_data()))
        return response

    def _with_versions(self, container: str, page: bytes) -> bytes:
        """A page of a listing, in which a blob is named once for each version."""
        root = ElementTree.fromstring(page)
        listed = root.find("Blobs")
        assert listed is not None
        for blob in list(listed):
            ids = self.versions.get(f"{container}/{blob.findtext('Name')}", [])
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
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'
    return Response(body, status, {"x-ms-error-code": code}, content_type="application/xml")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
