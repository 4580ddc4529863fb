"""Files in S3."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering, code_of
from tidemill.platforms.ports import Connections, PlatformError, Stored
from tidemill.spec.platform import Platform

SUM: Final = "sha256"
"""The metadata that keeps an object's SHA-256."""
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})


def open_storage(platform: Platform, connections: Connections) -> S3Storage:
    """The port ``Storage`` over S3."""
    return S3Storage(Aws(platform, connections))


class S3Storage:
    """The port ``Storage`` over S3, with the credentials of one platform. Threads may share it."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._buckets: set[str] = set()

    def put(self, file: Path, uri: str) -> None:
        """Store a file; an object with its content is left alone. See ``Storage``."""
        bucket, key = self.place(uri)
        content = sum_of(file)
        if self.head(bucket, key).get("Metadata", {}).get(SUM) == content:
            return
        with self._calling("s3:PutObject"):
            self._client.upload_file(str(file), bucket, key, ExtraArgs=self.settings(content))

    def settings(self, content: str) -> dict[str, Any]:
        """What goes with an object: the SHA-256 of its content, and the platform's encryption."""
        key = self._aws.platform.encryption_key
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
        return {"Metadata": {SUM: content}, **encryption}

    def get(self, uri: str, file: Path) -> None:
        """Fetch an object. See ``Storage``."""
        bucket, key = self.place(uri)
        head = self.head(bucket, key)
        if not head:
            raise PlatformError(f"there is no {uri}")
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        os.close(handle)
        try:
            with self._calling("s3:GetObject"):
                self._client.download_file(bucket, key, scratch)
            expected = head.get("Metadata", {}).get(SUM)
            if os.path.getsize(scratch) != head["ContentLength"] or expected not in (None, sum_of(Path(scratch))):
                raise PlatformError(f"{uri} came damaged, or was replaced while it was read; try again")
            os.replace(scratch, file)
        finally:
            Path(scratch).unlink(missing_ok=True)

    def list(self, uri: str) -> Iterator[Stored]:
        """The objects at or below an address, in the order of their names. See ``Storage``."""
        bucket, key = self.place(uri)
        folder = f"{key.rstrip('/')}/" if key else ""
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key.rstrip("/")))
        while True:
            with self._calling("s3:ListBucket"):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", []):
                if entry["Key"] == key or (entry["Key"].startswith(folder) and not entry["Key"].endswith("/")):
                    yield Stored(f"s3://{bucket}/{entry['Key']}", entry["Size"])

    def delete(self, uri: str) -> None:
        """Remove an object. See ``Storage``."""
        bucket, key = self.place(uri)
        with self._calling("s3:DeleteObject"):
            self._client.delete_object(Bucket=bucket, Key=key)

    def versions(self, uri: str) -> Sequence[str]:
        """The ids of an object's versions, the newest first; empty where the bucket keeps none. See ``Storage``."""
        bucket, key = self.place(uri)
        with self._calling("s3:ListBucketVersions"):
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
            found = [entry for page in pages for entry in page.get("Versions", []) if entry["Key"] == key]
        # An object from before versioning was switched on has the version "null".
        return [entry["VersionId"] for entry in found if entry["VersionId"] != "null"]

    @property
    def _client(self) -> Any:
        return self._aws.client("s3")

    def place(self, uri: str) -> tuple[str, str]:
        """Bucket and key of an address, of a bucket that is there and in the platform's region."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket:
            raise PlatformError(f"{uri!r} is no address in S3; it begins with s3://BUCKET", fault="user")
        if bucket not in self._buckets:
            self._check(bucket)
            self._buckets.add(bucket)
        return bucket, key

    def _check(self, bucket: str) -> None:
        client, region = self._client, self._aws.region
        with self._calling("s3:ListBucket"):
            try:
                actual = client.head_bucket(Bucket=bucket).get("BucketRegion")
            except client.exceptions.ClientError as e:
                if code_of(e) not in _MISSING:
                    # An answer to HEAD has no words; this one is refused for the same reason, and says it.
                    client.list_objects_v2(Bucket=bucket, MaxKeys=1)
                    raise
                raise PlatformError(
                    f"there is no bucket {bucket!r}; make it in {region}, or correct platform.bucket", fault="user"
                ) from None
        # boto3 follows a bucket into its region by itself; SageMaker and Batch do not, and traffic between regions is
        # paid for.
        if actual and actual != region:
            raise PlatformError(
                f"the bucket {bucket!r} is in {actual}, the platform in {region}; set platform.region to {actual}, or "
                f"name a bucket in {region}",
                fault="user",
            )

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        """An object's headers; empty if there is none."""
        client = self._client
        with self._calling("s3:GetObject"):
            try:
                head: dict[str, Any] = client.head_object(Bucket=bucket, Key=key)
                return head
            except client.exceptions.ClientError as e:
                if code_of(e) in _MISSING:
                    return {}
                raise

    def _calling(self, action: str) -> Any:
        return answering(self._aws, action)


def sum_of(file: Path) -> str:
    """A file's SHA-256, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
