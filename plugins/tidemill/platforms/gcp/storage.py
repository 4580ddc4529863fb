"""Cloud Storage: files by ``gs://`` address, whose generations are their versions."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tidemill.platforms.gcp.account import RETRY_SECONDS, SECONDS, Account, open_account
from tidemill.platforms.gcp.errors import Call, told
from tidemill.platforms.ports import Connections, PlatformError, Stored
from tidemill.spec.platform import Platform

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket, Client

_SHA256: Final = "tidemill-sha256"
_ROLE: Final = "roles/storage.objectUser on the bucket"
_RACES: Final = 10
_BLOCK: Final = 1 << 20


def open_storage(platform: Platform, connections: Connections) -> CloudStorage:
    """Cloud Storage, as the platform's connection reaches it.

    Raises:
        PlatformError: no connection or project.
    """
    return CloudStorage(open_account(platform, connections))


class CloudStorage:
    """The ``Storage`` of ``gs://`` addresses. Threads may share it."""

    def __init__(self, account: Account) -> None:
        self.account = account

    @cached_property
    def client(self) -> Client:
        """The SDK's own client."""
        from google.cloud.storage import Client

        options = {"api_endpoint": self.account.storage_endpoint} if self.account.storage_endpoint else None
        return Client(project=self.account.project, credentials=self.account.credentials, client_options=options)

    def put(self, file: Path, uri: str) -> None:
        """Store a file; an object with its content is left alone."""
        self.put_generation(file, uri)

    def put_generation(self, file: Path, uri: str) -> int:
        """Store a file; the generation that has its content. The write is refused by the service if the object has
        changed since it was looked at, so two writers do not mix, and a repeated write whose answer was lost is seen to
        have happened."""
        from google.api_core.exceptions import PreconditionFailed

        name = split(uri)[1]
        if not name:
            raise PlatformError(f"{uri} names no object", fault="user")
        size, md5, sha256 = _digests(file)
        with self.told(uri, "store", "storage.objects.create"):
            for race in range(_RACES):
                # Those who lost a race would otherwise meet in the next one.
                time.sleep(random.uniform(0, 0.2 * race))
                held = self._bucket(uri).get_blob(name, timeout=SECONDS, retry=self.retry)
                if held is not None and _same(held, size, md5, sha256):
                    return int(held.generation)
                blob = self._blob(uri)
                blob.metadata = {_SHA256: sha256}
                with suppress(PreconditionFailed):
                    blob.upload_from_filename(
                        str(file),
                        content_type="application/octet-stream",
                        if_generation_match=held.generation if held is not None else 0,
                        checksum="crc32c",
                        timeout=SECONDS,
                        retry=self.retry,
                    )
                    return int(blob.generation)
        raise PlatformError(f"store {uri}: somebody else keeps writing it")

    def get(self, uri: str, file: Path, generation: int | None = None) -> None:
        """Fetch an object, or one generation of it; its checksum is compared with the store's."""
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, partly = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        try:
            with open(handle, "wb") as target, self.told(uri, "fetch", "storage.objects.get"):
                # From one generation, also if the object is replaced meanwhile.
                blob = self.look(uri, generation)
                blob.download_to_file(
                    target,
                    if_generation_match=blob.generation,
                    raw_download=True,
                    checksum="auto",
                    timeout=SECONDS,
                    retry=self.retry,
                )
                if target.tell() != blob.size:
                    raise PlatformError(f"fetch {uri}: {target.tell()} of {blob.size} bytes arrived")
            os.replace(partly, file)
        finally:
            Path(partly).unlink(missing_ok=True)

    def look(self, uri: str, generation: int | None = None) -> Blob:
        """What the service says of an object, or of one generation of it.

        Raises:
            google.api_core.exceptions.GoogleAPIError: there is none, not allowed, no answer.
        """
        bucket, name = split(uri)
        blob = self.client.bucket(bucket).blob(name, generation=generation)
        blob.reload(timeout=SECONDS, retry=self.retry)
        return blob

    def list(self, uri: str) -> Iterator[Stored]:
        """The objects below an address, by name; empty ones that stand for folders are left out."""
        bucket, name = split(uri)
        prefix = f"{name.rstrip('/')}/" if name.strip("/") else ""
        with self.told(uri, "list", "storage.objects.list"):
            for blob in self.client.list_blobs(bucket, prefix=prefix, timeout=SECONDS, retry=self.retry):
                if not blob.name.endswith("/"):
                    yield Stored(f"gs://{bucket}/{blob.name}", int(blob.size or 0))

    def delete(self, uri: str) -> None:
        """Remove an object."""
        from google.api_core.exceptions import NotFound

        with self.told(uri, "remove", "storage.objects.delete"), suppress(NotFound):
            self._blob(uri).delete(timeout=SECONDS, retry=self.retry)

    def versions(self, uri: str) -> Sequence[str]:
        """The object's generations, if its bucket keeps them (object versioning)."""
        bucket, name = split(uri)
        if not self.bucket(uri).versioning_enabled:
            return []
        with self.told(uri, "list the versions of", "storage.objects.list"):
            blobs = self.client.list_blobs(bucket, prefix=name, versions=True, timeout=SECONDS, retry=self.retry)
            found = [int(blob.generation) for blob in blobs if blob.name == name]
        return [str(generation) for generation in sorted(found, reverse=True)]

    def bucket(self, uri: str) -> Bucket:
        """What the service says of an address' bucket.

        Raises:
            PlatformError: there is none, not allowed, no answer.
        """
        with self.told(uri, "look at the bucket of", "storage.buckets.get", "roles/storage.bucketViewer"):
            return self.client.get_bucket(split(uri)[0], timeout=SECONDS, retry=self.retry)

    @cached_property
    def retry(self) -> Any:
        """How calls are repeated."""
        # Every call here is one that may be repeated: reads, and writes that name the generation they replace.
        from google.cloud.storage.retry import DEFAULT_RETRY

        return DEFAULT_RETRY.with_timeout(RETRY_SECONDS)

    def _bucket(self, uri: str) -> Bucket:
        return self.client.bucket(split(uri)[0])

    def _blob(self, uri: str) -> Blob:
        return self._bucket(uri).blob(split(uri)[1])

    def told(self, uri: str, action: str, permission: str, role: str = _ROLE) -> Any:
        """Have what goes wrong inside arrive as a PlatformError, in words about an address."""
        return told(self.account, Call(f"{action} {uri}", permission, role))


def split(uri: str) -> tuple[str, str]:
    """The bucket and the object's name."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not bucket:
        raise PlatformError(f"{uri!r} is no address in Cloud Storage (gs://BUCKET/NAME)", fault="user")
    return bucket, name


def _digests(file: Path) -> tuple[int, str, str]:
    """Size, MD5 as the service writes it, SHA-256 in hex."""
    md5, sha256, size = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
    with open(file, "rb") as source:
        while block := source.read(_BLOCK):
            md5.update(block)
            sha256.update(block)
            size += len(block)
    return size, base64.b64encode(md5.digest()).decode(), sha256.hexdigest()


def _same(held: Blob, size: int, md5: str, sha256: str) -> bool:
    """Whether an object has this content. An object that was composed of others has no MD5."""
    if held.size != size:
        return False
    if held.md5_hash:
        return bool(held.md5_hash == md5)
    return (held.metadata or {}).get(_SHA256) == sha256
