"""S3 with nothing but Python: objects of one bucket, requests signed by AWS Signature Version 4."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

from .web import METADATA, PART, StoreError, ask, encode, kept, quote, send, slices, text_of, texts, unix_time


class Store:
    """A bucket. Signature: AWS Signature Version 4 ("Signing and authenticating REST requests")."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket
        self.region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"

    def get(self, key: str, path: str) -> None:
        """Fetch an object into a file. Raises StoreError."""
        self.send("GET", key, path=path)

    def delete(self, key: str) -> None:
        """Remove an object; none is fine. Raises StoreError."""
        self.send("DELETE", key)

    def put(self, path: str, key: str) -> None:
        """Store a file, whole or not at all. Raises StoreError."""
        if os.path.getsize(path) <= PART:
            with open(path, "rb") as file:
                self.send("PUT", key, body=file.read())
            return
        upload = texts(self.send("POST", key, {"uploads": ""})[0], "UploadId")[0]
        parts = ""
        try:
            for n, data in enumerate(slices(path), 1):
                etag = self.send("PUT", key, {"partNumber": str(n), "uploadId": upload}, data)[1]["ETag"]
                parts += f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
            body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
            answer = self.send("POST", key, {"uploadId": upload}, body)[0]
            # S3 may begin an answer with 200 and fail afterwards (CompleteMultipartUpload).
            if b"<Error>" in answer:
                raise StoreError(f"s3://{self.bucket}/{key}: {answer.decode('utf-8', 'replace')}")
        except BaseException:
            with contextlib.suppress(StoreError):  # the first error is the one to tell
                self.send("DELETE", key, {"uploadId": upload})
            raise

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """The keys that begin with a prefix, and sizes in bytes. Raises StoreError."""
        query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
        while True:
            body = self.send("GET", "", query)[0]
            keys, sizes = texts(body, "Key"), texts(body, "Size")
            yield from zip(map(urllib.parse.unquote_plus, keys), map(int, sizes))
            following = texts(body, "NextContinuationToken")
            if not following:
                return
            query["continuation-token"] = following[0]

    def send(
        self, method: str, key: str, query: dict[str, str] | None = None, body: bytes = b"", path: str | None = None
    ) -> Any:
        """Sign and send; a bucket that says it is in another region is asked there."""
        what = f"s3://{self.bucket}/{key}"
        try:
            return send(lambda: self.request(method, key, query or {}, body), what, path)
        except StoreError as e:
            if e.region in ("", self.region):
                raise
            self.region = e.region
            return send(lambda: self.request(method, key, query or {}, body), what, path)

    def request(self, method: str, key: str, query: dict[str, str], body: bytes) -> urllib.request.Request:
        """A signed request."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        host = f"s3.{self.region}.amazonaws.com{'.cn' if self.region.startswith('cn-') else ''}"
        if endpoint or "." in self.bucket:
            base = f"{(endpoint or 'https://' + host).rstrip('/')}/{self.bucket}"
        else:
            base = f"https://{self.bucket}.{host}"
        url = f"{base}/{quote(key, '/')}"
        headers = {"Content-Type": "application/octet-stream"} if body else {}
        headers.update(sign(method, url, query, body, self.region, kept("aws", _aws_keys)))
        full = f"{url}?{encode(query)}" if query else url
        return urllib.request.Request(full, body or (b"" if method == "PUT" else None), headers, method=method)


def sign(
    method: str, url: str, query: dict[str, str], body: bytes, region: str, keys: tuple[str, str, str]
) -> dict[str, str]:
    """The headers that sign a request to S3; ``keys`` are the access key, its secret and the session's token."""
    access, secret, session = keys
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    address = urllib.parse.urlsplit(url)
    digest = hashlib.sha256(body).hexdigest() if body else hashlib.sha256(b"").hexdigest()
    headers = {"host": address.netloc, "x-amz-content-sha256": digest, "x-amz-date": now}
    if session:
        headers["x-amz-security-token"] = session
    signed = ";".join(sorted(headers))
    lines = "".join(f"{k}:{headers[k]}\n" for k in sorted(headers))
    canonical = "\n".join((method, address.path, encode(query), lines, signed, digest))
    scope = f"{now[:8]}/{region}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={signed}, Signature={key.hex()}"
    )
    del headers["host"]
    return headers


def _aws_keys() -> tuple[float, tuple[str, str, str]]:
    """A container's AWS credentials: its environment, else a web identity (EKS), the container's endpoint (ECS,
    Batch, EKS Pod Identity), or the instance's (IMDSv2)."""
    env = os.environ.get
    if env("AWS_ACCESS_KEY_ID"):
        keys = env("AWS_ACCESS_KEY_ID", ""), env("AWS_SECRET_ACCESS_KEY", ""), env("AWS_SESSION_TOKEN", "")
        return time.time() + 1e9, keys
    if env("AWS_WEB_IDENTITY_TOKEN_FILE"):
        return _web_identity()
    relative, full = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"), env("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if relative or full:
        token = env("AWS_CONTAINER_AUTHORIZATION_TOKEN", "")
        if env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            token = text_of(env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", ""))
        url = f"http://169.254.170.2{relative}" if relative else full or ""
        found = json.loads(ask(url, {"Authorization": token} if token else {}))
    else:
        base = env("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/") + "/latest"
        token = ask(f"{base}/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}, b"", "PUT").decode()
        said = {"X-aws-ec2-metadata-token": token}
        roles = f"{base}/meta-data/iam/security-credentials/"
        role = ask(roles, said).decode().split()[0]
        found = json.loads(ask(roles + role, said))
    return unix_time(found["Expiration"]), (found["AccessKeyId"], found["SecretAccessKey"], found["Token"])


def _web_identity() -> tuple[float, tuple[str, str, str]]:
    env = os.environ.get
    region = env("AWS_REGION") or env("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = env("AWS_ENDPOINT_URL_STS") or env("AWS_ENDPOINT_URL") or f"https://sts.{region}.amazonaws.com"
    form = {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": env("AWS_ROLE_ARN", ""),
        "RoleSessionName": env("AWS_ROLE_SESSION_NAME", "tidemill"),
        "WebIdentityToken": text_of(env("AWS_WEB_IDENTITY_TOKEN_FILE", "")),
    }
    body = ask(endpoint, {}, urllib.parse.urlencode(form).encode())
    key, secret, token, end = (
        texts(body, name)[0] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration")
    )
    return unix_time(end), (key, secret, token)
