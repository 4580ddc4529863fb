"""Versions of objects in S3, and the rule for their end in the bucket's lifecycle configuration."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Final

from tidemill.platforms.aws.clients import Aws, answering, code_of, words_of
from tidemill.platforms.aws.storage import SUM, S3Storage, sum_of
from tidemill.platforms.ports import Connections, PlatformError, VersionGone
from tidemill.spec.platform import Platform

_PART: Final = 64 << 20
"""Bytes of one part of a large object; S3 takes 10,000 parts."""
_GONE: Final = frozenset({"404", "405", "NoSuchKey", "NoSuchVersion", "MethodNotAllowed"})
"""No such object, no such version, a deletion's own version."""


def open_versions(platform: Platform, connections: Connections) -> S3Versions:
    """The port ``ObjectVersions`` over S3."""
    return S3Versions(Aws(platform, connections))


class S3Versions:
    """The port ``ObjectVersions`` over S3, with the credentials of one platform."""

    def __init__(self, aws: Aws) -> None:
        self._aws = aws
        self._storage = S3Storage(aws)

    def put(self, file: Path, uri: str) -> str:
        """See the port. A call that was repeated since its answer was lost may leave a version that nobody names."""
        bucket, key = self._storage.place(uri)
        content = sum_of(file)
        there = self._holding(bucket, key, content)
        if there is not None:
            return there
        extra = {"Bucket": bucket, "Key": key, **self._storage.settings(content)}
        try:
            with answering(self._aws, "s3:PutObject"):
                answer = self._upload(file, extra)
        except PlatformError as error:
            # It may have been done, and only the answer be lost.
            there = self._holding(bucket, key, content) if error.fault == "system" else None
            if there is None:
                raise
            return there
        if self._is_kept(answer):
            return str(answer["VersionId"])
        self._storage.delete(uri)
        raise _not_kept(bucket)

    def get(self, uri: str, version: str, file: Path) -> None:
        """See the port."""
        bucket, key = self._storage.place(uri)
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        os.close(handle)
        try:
            size = self._head(uri, version)["ContentLength"]
            with answering(self._aws, "s3:GetObjectVersion"):
                self._client.download_file(bucket, key, scratch, ExtraArgs={"VersionId": version})
            if os.path.getsize(scratch) != size:
                raise PlatformError(f"{uri} came cut short; try again")
            os.replace(scratch, file)
        finally:
            Path(scratch).unlink(missing_ok=True)

    def has(self, uri: str, version: str, size: int) -> bool:
        """See the port."""
        try:
            return bool(self._head(uri, version)["ContentLength"] == size)
        except VersionGone:
            return False

    def newest(self, uri: str) -> str:
        """See the port."""
        bucket, key = self._storage.place(uri)
        head = self._storage.head(bucket, key)
        if not head:
            raise VersionGone(f"there is no {uri}")
        if not self._is_kept(head):
            raise _not_kept(bucket)
        return str(head["VersionId"])

    def expire(self, uri: str, name: str, days: int | None) -> None:
        """See the port. S3 replaces all rules at once and has no guard against another writer at that moment."""
        bucket, key = self._storage.place(f"{uri.rstrip('/')}/")
        client = self._client
        with answering(self._aws, "s3:GetLifecycleConfiguration"):
            try:
                found = client.get_bucket_lifecycle_configuration(Bucket=bucket)
            except client.exceptions.ClientError as e:
                if code_of(e) != "NoSuchLifecycleConfiguration":
                    raise
                found = {}
        rules: list[dict[str, Any]] = found.get("Rules", [])
        others = [rule for rule in rules if rule.get("ID") != name]
        wanted = (
            others if days is None else [*others, _rule(name, key, days, old_form=any("Prefix" in r for r in others))]
        )
        if _in_order(rules) == _in_order(wanted):
            return
        # What is not sent again is reset to its default.
        size = found.get("TransitionDefaultMinimumObjectSize")
        kept = {"TransitionDefaultMinimumObjectSize": size} if size else {}
        with answering(self._aws, "s3:PutLifecycleConfiguration"):
            if wanted:
                client.put_bucket_lifecycle_configuration(
                    Bucket=bucket, LifecycleConfiguration={"Rules": wanted}, **kept
                )
            else:
                client.delete_bucket_lifecycle(Bucket=bucket)

    @property
    def _client(self) -> Any:
        return self._aws.client("s3")

    def _head(self, uri: str, version: str) -> dict[str, Any]:
        bucket, key = self._storage.place(uri)
        client = self._client
        with answering(self._aws, "s3:GetObjectVersion"):
            try:
                head: dict[str, Any] = client.head_object(Bucket=bucket, Key=key, VersionId=version)
            except client.exceptions.ClientError as e:
                if code_of(e) in _GONE:
                    raise VersionGone(f"S3: {words_of(e)}") from None
                # An answer to HEAD has no words; this one is refused for the same reason, and says it.
                try:
                    client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].close()
                except client.exceptions.ClientError as worded:
                    if code_of(worded) == "InvalidArgument":  # an id that S3 would never give
                        raise VersionGone(f"S3: {words_of(worded)}") from None
                    raise
                raise
        return head

    def _holding(self, bucket: str, key: str, content: str) -> str | None:
        """The newest version, if it is one that has this content."""
        head = self._storage.head(bucket, key)
        return str(head["VersionId"]) if head.get("Metadata", {}).get(SUM) == content and self._is_kept(head) else None

    def _upload(self, file: Path, extra: dict[str, Any]) -> dict[str, Any]:
        """The answer to the call that made the object; boto3's own upload keeps it to itself."""
        client = self._client
        with open(file, "rb") as content:
            if os.fstat(content.fileno()).st_size <= _PART:
                answer: dict[str, Any] = client.put_object(Body=content, **extra)
                return answer
            upload = client.create_multipart_upload(**extra)
            at = {"Bucket": extra["Bucket"], "Key": extra["Key"], "UploadId": upload["UploadId"]}
            try:
                parts: list[dict[str, Any]] = []
                while piece := content.read(_PART):
                    number = len(parts) + 1
                    made = client.upload_part(Body=piece, PartNumber=number, **at)
                    sums = {
                        key: value
                        for key, value in made.items()
                        if key.startswith("Checksum") and key != "ChecksumType"
                    }
                    parts.append({"PartNumber": number, "ETag": made["ETag"], **sums})
                answer = client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **at)
            except BaseException:
                client.abort_multipart_upload(**at)
                raise
        return answer

    @staticmethod
    def _is_kept(answer: dict[str, Any]) -> bool:
        # "null" is the one version of an object in a bucket whose versioning is off or suspended.
        return answer.get("VersionId") not in (None, "null")


def _not_kept(bucket: str) -> PlatformError:
    return PlatformError(
        f"the bucket {bucket!r} keeps no versions of its objects; switch them on: aws s3api put-bucket-versioning "
        f"--bucket {bucket} --versioning-configuration Status=Enabled",
        fault="user",
    )


def _rule(name: str, prefix: str, days: int, *, old_form: bool) -> dict[str, Any]:
    """Our rule. S3 takes no mixture of rules with ``Prefix``, as it was once written, and with ``Filter``."""
    where = {"Prefix": prefix} if old_form else {"Filter": {"Prefix": prefix}}
    return {"ID": name, "Status": "Enabled", **where, "NoncurrentVersionExpiration": {"NoncurrentDays": days}}


def _in_order(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rules, key=lambda rule: str(rule.get("ID")))
