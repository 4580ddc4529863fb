"""Azure Blob Storage with nothing but Python: objects of one container, block blobs."""

from __future__ import annotations

import base64
import datetime
import json
import os
import time
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from .web import METADATA, PART, StoreError, ask, encode, kept, quote, send, slices, text_of


class Store:
    """A container of Azure Blob Storage; ``place`` is ``container@account.dfs.core.windows.net``."""

    def __init__(self, place: str) -> None:
        self.container, _, host = place.partition("@")
        own = f"https://{host.replace('.dfs.', '.blob.', 1)}"
        self.base = os.environ.get("AZURE_STORAGE_BLOB_ENDPOINT", own).rstrip("/")
        self.sas = os.environ.get("AZURE_STORAGE_SAS_TOKEN", "").lstrip("?")

    def get(self, key: str, path: str) -> None:
        """Fetch an object into a file. Raises StoreError."""
        self.send("GET", key, {}, path=path)

    def put(self, path: str, key: str) -> None:
        """Store a file, whole or not at all. Raises StoreError."""
        blob = {"x-ms-blob-type": "BlockBlob"}
        if os.path.getsize(path) <= PART:
            with open(path, "rb") as file:
                self.send("PUT", key, {}, file.read(), blob)
            return
        blocks = []
        for n, data in enumerate(slices(path)):
            blocks.append(base64.b64encode(b"%08d" % n).decode())
            self.send("PUT", key, {"comp": "block", "blockid": blocks[-1]}, data)
        named = "".join(f"<Latest>{block}</Latest>" for block in blocks)
        self.send("PUT", key, {"comp": "blocklist"}, f"<BlockList>{named}</BlockList>".encode())

    def delete(self, key: str) -> None:
        """Remove an object; none is fine. Raises StoreError."""
        try:
            self.send("DELETE", key, {})
        except StoreError as e:
            if e.code != 404:
                raise

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The keys that begin with a prefix, and sizes in bytes. Raises StoreError."""
        query = {"restype": "container", "comp": "list", "prefix": prefix, "include": "metadata"}
        while True:
            page = ET.fromstring(self.send("GET", "", query))
            for blob in page.iter("Blob"):
                # Accounts with folders list these too.
                if (blob.findtext("Metadata/hdi_isfolder") or "").lower() != "true":
                    yield blob.findtext("Name") or "", int(blob.findtext("Properties/Content-Length") or 0)
            following = page.findtext("NextMarker")
            if not following:
                return
            query["marker"] = following

    def send(
        self,
        method: str,
        key: str,
        query: dict[str, str],
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        path: str | None = None,
    ) -> Any:
        """Send a request until it is answered: the answer's body. Raises StoreError."""

        def make() -> urllib.request.Request:
            now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
            said = {"x-ms-version": "2021-08-06", "x-ms-date": now, **(headers or {})}
            if body is not None:
                said["Content-Type"] = "application/octet-stream"
            if not self.sas:
                said["Authorization"] = f"Bearer {kept('azure', _azure_token)}"
            asked = "&".join(filter(None, (encode(query), self.sas)))
            name = f"{self.container}/{quote(key, '/')}" if key else self.container
            return urllib.request.Request(f"{self.base}/{name}?{asked}", body, said, method=method)

        return send(make, f"abfss://{self.container}/{key}", path)[0]


def _azure_token() -> tuple[float, str]:
    """A token for Azure Storage: of a workload identity (AKS), else of the managed identity."""
    env = os.environ.get
    scope = "https://storage.azure.com/"
    if env("AZURE_FEDERATED_TOKEN_FILE"):
        form = {
            "grant_type": "client_credentials",
            "client_id": env("AZURE_CLIENT_ID", ""),
            "scope": f"{scope}.default",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": text_of(env("AZURE_FEDERATED_TOKEN_FILE", "")),
        }
        authority = env("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com").rstrip("/")
        url = f"{authority}/{env('AZURE_TENANT_ID', '')}/oauth2/v2.0/token"
        found = json.loads(ask(url, {}, urllib.parse.urlencode(form).encode()))
    else:
        query = {"api-version": "2018-02-01", "resource": scope}
        if env("AZURE_CLIENT_ID"):
            query["client_id"] = env("AZURE_CLIENT_ID", "")
        base = env("AZURE_POD_IDENTITY_AUTHORITY_HOST", METADATA).rstrip("/")
        found = json.loads(ask(f"{base}/metadata/identity/oauth2/token?{encode(query)}", {"Metadata": "true"}))
    return time.time() + float(found["expires_in"]), found["access_token"]
