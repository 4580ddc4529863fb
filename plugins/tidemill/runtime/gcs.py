"""Cloud Storage with nothing but Python: objects of one bucket, by its JSON API."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

from .web import StoreError, ask, encode, kept, quote, send


class Store:
    """A bucket, by Cloud Storage's JSON API."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self.emulated = bool(emulator)
        self.base = (emulator or "https://storage.googleapis.com").rstrip("/")

    def get(self, key: str, path: str) -> None:
        """Fetch an object into a file. Raises StoreError."""
        self.send("GET", f"storage/v1/b/{self.bucket}/o/{quote(key)}", {"alt": "media"}, path=path)

    def put(self, path: str, key: str) -> None:
        """Store a file, whole or not at all. Raises StoreError."""
        # Streamed in one request, which Cloud Storage takes up to 5 TiB.
        to = f"upload/storage/v1/b/{self.bucket}/o"
        self.send("POST", to, {"uploadType": "media", "name": key}, upload=path)

    def delete(self, key: str) -> None:
        """Remove an object; none is fine. Raises StoreError."""
        try:
            self.send("DELETE", f"storage/v1/b/{self.bucket}/o/{quote(key)}", {})
        except StoreError as e:
            if e.code != 404:
                raise

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The keys that begin with a prefix, and sizes in bytes. Raises StoreError."""
        query = {"prefix": prefix, "fields": "items(name,size),nextPageToken"}
        while True:
            page = json.loads(self.send("GET", f"storage/v1/b/{self.bucket}/o", query))
            for item in page.get("items", ()):
                yield item["name"], int(item["size"])
            if not page.get("nextPageToken"):
                return
            query["pageToken"] = page["nextPageToken"]

    def send(self, method: str, to: str, query: dict[str, str], path: str | None = None, upload: str = "") -> Any:
        """Send a request until it is answered: the answer's body. Raises StoreError."""

        with open(upload or os.devnull, "rb") as data:

            def make() -> urllib.request.Request:
                headers = {} if self.emulated else {"Authorization": f"Bearer {kept('gcp', _gcp_token)}"}
                if upload:
                    data.seek(0)
                    headers["Content-Type"] = "application/octet-stream"
                    headers["Content-Length"] = str(os.path.getsize(upload))
                body = data if upload else None
                return urllib.request.Request(f"{self.base}/{to}?{encode(query)}", body, headers, method=method)

            return send(make, f"gs://{self.bucket} ({method} {to})", path)[0]


def _gcp_token() -> tuple[float, str]:
    """The token of the service account that the job runs as, from the metadata server."""
    host = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
    url = f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token"
    found = json.loads(ask(url, {"Metadata-Flavor": "Google"}))
    return time.time() + float(found["expires_in"]), found["access_token"]
