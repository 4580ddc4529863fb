"""The emulated S3 from within: moto's objects, without a call over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ACCOUNT = "123456789012"


class NoSuchBucket(Exception):
    """There is none of that name."""


class Store:
    """Reads and writes objects by ``s3://`` address, as the services do on behalf of a job."""

    def __init__(self) -> None:
        from moto.s3.models import s3_backends

        self._backend = s3_backends[ACCOUNT]["aws"]

    def make(self, bucket: str, region: str) -> None:
        """Make a bucket that keeps versions."""
        if bucket not in self._backend.buckets:
            self._backend.create_bucket(bucket, region)
            self._backend.put_bucket_versioning(bucket, "Enabled")

    def region(self, bucket: str) -> str | None:
        """The region of a bucket, ``None`` if there is none."""
        found = self._backend.buckets.get(bucket)
        return None if found is None else str(found.region_name)

    def names(self, uri: str) -> Iterator[tuple[str, str]]:
        """The objects whose keys begin with an address: their keys, and what follows the address in them.

        Raises:
            NoSuchBucket: there is none.
        """
        bucket, prefix = split(uri)
        if bucket not in self._backend.buckets:
            raise NoSuchBucket(bucket)
        for key in sorted(self._backend.buckets[bucket].keys):
            if key.startswith(prefix) and self._backend.get_object(bucket, key) is not None:
                yield key, key[len(prefix) :].lstrip("/")

    def read(self, uri: str) -> bytes:
        """An object's content."""
        bucket, key = split(uri)
        found = self._backend.get_object(bucket, key)
        if found is None:
            raise FileNotFoundError(uri)
        content: bytes = found.value
        return content

    def write(self, uri: str, content: bytes) -> None:
        """Put an object.

        Raises:
            NoSuchBucket: there is none.
        """
        bucket, key = split(uri)
        if bucket not in self._backend.buckets:
            raise NoSuchBucket(bucket)
        self._backend.put_object(bucket, key, content)

    def remove(self, uri: str) -> None:
        """Remove an object."""
        self._backend.delete_object(*split(uri))

    def download(self, uri: str, folder: Path) -> int:
        """Every object below an address into a folder; returns how many there were."""
        count = 0
        bucket, _ = split(uri)
        for key, name in list(self.names(uri)):
            if name and not name.endswith("/"):
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.read(f"s3://{bucket}/{key}"))
                count += 1
        return count


def split(uri: str) -> tuple[str, str]:
    """Bucket and key of an address."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
