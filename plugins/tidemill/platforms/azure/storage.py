"""Blob Storage and Data Lake Storage Gen2, by ``abfss://`` addresses over the blob API, which both have."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tidemill.platforms.azure.account import TIMEOUTS, quiet
from tidemill.platforms.azure.errors import code_of, translated
from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connection, Connections, PlatformError, Stored
from tidemill.spec.platform import Platform

_ADDRESS: Final = re.compile(r"(?:abfss?|wasbs?)://([^@/]+)@([a-z0-9]+)\.(?:dfs|blob)\.([^/]+)(?:/(.*))?")
_SHA256: Final = "sha256"
_PIECE: Final = 4 << 20


class Address(NamedTuple):
    """``abfss://CONTAINER@ACCOUNT.dfs.SUFFIX/KEY``."""

    container: str
    account: str
    suffix: str
    key: str


def address_of(uri: str) -> Address:
    """The parts of an address.

    Raises:
        PlatformError: it is none of Azure's.
    """
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise PlatformError(
            f"{uri!r} is no address in Azure; e.g. abfss://models@acme.dfs.core.windows.net/folder", fault="user"
        )
    return Address(found[1], found[2], found[3], found[4] or "")


def open_storage(platform: Platform, connections: Connections) -> Blobs:
    """The stores that a platform's connection reaches.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    return open_blobs(connection_id(platform), connections)


def open_blobs(conn_id: str, connections: Connections) -> Blobs:
    """The stores that a connection reaches: with its identity, or with ``sas_token`` or ``shared_access_key`` of its
    extra, as the Microsoft provider's connection for Blob Storage has them.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    credential = connections.credentials("azure", conn_id)
    found = connections.get(conn_id) or Connection(conn_id, "azure")
    return Blobs(credential, found)


class Blobs:
    """The port ``Storage`` over Azure's blob API."""

    def __init__(self, credential: Any, connection: Connection) -> None:
        extra = connection.extra
        self.connection = connection.conn_id
        self.endpoint = str(extra.get("storage_endpoint") or "").rstrip("/")
        self._credential = credential
        self._key = extra.get("shared_access_key")
        self._sas = extra.get("sas_token")
        self._clients: dict[str, Any] = {}

    def put(self, file: Path, uri: str) -> None:
        """See the port. An object's content is told by the SHA-256 that is kept as its metadata."""
        self.put_version(file, uri)

    def put_version(self, file: Path, uri: str) -> str | None:
        """Store a file; the id of the blob version that has its content, ``None`` where the account keeps none."""
        digest, size = _sha256(file), file.stat().st_size
        with self._translated(uri):
            blob = self._blob(uri)
            found = self.look(uri)
            if found is not None and found.size == size and _kept(found) == digest:
                return _id(found.version_id)
            with open(file, "rb") as content:
                # Blocks are put together by one last call: a reader sees the old object or the new one.
                made = blob.upload_blob(content, length=size, overwrite=True, metadata={_SHA256: digest})
        return _id(made.get("version_id"))

    def look(self, uri: str, version: str | None = None) -> Any:
        """The properties of an object, or of one version of it; ``None`` if there is none.

        Raises:
            PlatformError: not allowed, no answer.
        """
        from azure.core.exceptions import ResourceNotFoundError

        with self._translated(uri):
            try:
                return self._blob(uri).get_blob_properties(version_id=version)
            except ResourceNotFoundError:
                return None

    def get(self, uri: str, file: Path, version: str | None = None) -> None:
        """See the port; or one version of an object."""
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with self._translated(uri), open(handle, "wb") as target:
                download = self._blob(uri).download_blob(version_id=version)
                digest, size = hashlib.sha256(), 0
                for piece in download.chunks():
                    digest.update(piece)
                    size += target.write(piece)
                expected = _kept(download.properties)
                if size != download.properties.size or (expected and digest.hexdigest() != expected):
                    raise PlatformError(f"{uri}: the answer was cut short, or altered on its way")
            os.replace(part, file)
        finally:
            Path(part).unlink(missing_ok=True)

    def list(self, uri: str) -> Iterator[Stored]:
        """See the port."""
        at = address_of(uri)
        with self._translated(uri):
            prefix = f"{at.key.rstrip('/')}/" if at.key else None
            for blob in self._container(at).list_blobs(name_starts_with=prefix, include=["metadata"]):
                # An account with folders lists these, too.
                if str((blob.metadata or {}).get("hdi_isfolder")).lower() != "true":
                    yield Stored(_uri(at, blob.name), int(blob.size))

    def delete(self, uri: str) -> None:
        """See the port. Where the account keeps versions, the object's last one stays among them."""
        from azure.core.exceptions import ResourceNotFoundError

        with self._translated(uri):
            try:
                self._blob(uri).delete_blob(delete_snapshots="include")
            except ResourceNotFoundError as error:
                if str(getattr(error, "error_code", "")) == "ContainerNotFound":
                    raise

    def versions(self, uri: str) -> Sequence[str]:
        """See the port."""
        from azure.core.exceptions import HttpResponseError

        at = address_of(uri)
        with self._translated(uri):
            found = self._container(at).list_blobs(name_starts_with=at.key, include=["versions"])
            try:
                ids = [str(blob.version_id) for blob in found if blob.name == at.key and blob.version_id]
            except HttpResponseError as error:
                if "HierarchicalNamespace" not in code_of(error):
                    raise
                return []  # an account with folders cannot keep versions
        return sorted(ids, reverse=True)  # they are instants

    def _blob(self, uri: str) -> Any:
        at = address_of(uri)
        return self._container(at).get_blob_client(at.key)

    def _container(self, at: Address) -> Any:
        return self._service(at).get_container_client(at.container)

    def _service(self, at: Address) -> Any:
        from azure.storage.blob import BlobServiceClient

        url = self.endpoint or f"https://{at.account}.blob.{at.suffix}"
        if url not in self._clients:
            quiet()
            credential = self._credential
            if self._key:
                credential = {"account_name": at.account, "account_key": str(self._key)}
            elif self._sas:
                from azure.core.credentials import AzureSasCredential

                credential = AzureSasCredential(str(self._sas).lstrip("?"))
            self._clients[url] = BlobServiceClient(
                url,
                credential=credential,
                connection_timeout=TIMEOUTS["connection_timeout"],
                read_timeout=TIMEOUTS["read_timeout"],
                retry_policy=_retries(),
                max_single_put_size=8 << 20,
                max_block_size=_PIECE,
                max_single_get_size=8 << 20,
                max_chunk_get_size=_PIECE,
            )
        return self._clients[url]

    def _translated(self, doing: str) -> Any:
        return translated(doing, self.connection, "storage")


def _retries() -> Any:
    from azure.storage.blob import ExponentialRetry

    # The default waits 15 s before the first repetition.
    return ExponentialRetry(initial_backoff=0, increment_base=2, retry_total=5, random_jitter_range=1)


def _id(version: Any) -> str | None:
    return str(version) if version else None


def _kept(properties: Any) -> str:
    """The SHA-256 that is kept with an object, if any. Names of metadata are the same in any case."""
    return next((str(value) for key, value in (properties.metadata or {}).items() if key.lower() == _SHA256), "")


def _uri(at: Address, key: str) -> str:
    return f"abfss://{at.container}@{at.account}.dfs.{at.suffix}/{key}"


def _sha256(file: Path) -> str:
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
