"""Who calls: Signature Version 4 is computed again and compared (IAM's guide, "Create a signed AWS API request").

``test`` with the secret ``test`` is the connection's user, ``stranger`` likewise is somebody else. A key that begins
with ``ASIAEXPIRED`` has expired. The keys that the emulator gives to containers are known while it lives.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Request

from tests.emulators.aws_errors import Refused


class Keys:
    """The access keys that are known, and the check of a call's signature."""

    def __init__(self) -> None:
        self._secrets = {"test": ("test", ""), "stranger": ("stranger", "")}

    def container(self) -> dict[str, str]:
        """New keys for a container, in the form that ECS gives them at its credentials endpoint."""
        key, secret, token = "ASIA" + secrets.token_hex(8).upper(), secrets.token_hex(20), secrets.token_hex(30)
        self._secrets[key] = (secret, token)
        expires = datetime.now(UTC) + timedelta(hours=6)
        return {
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    def check(self, request: Request, service: str) -> None:
        """Refuse a call that is not signed by a known key, now.

        Raises:
            Refused: in the words of the service.
        """
        given = request.headers.get("Authorization", "")
        parts = dict(part.strip().split("=", 1) for part in given.partition(" ")[2].split(",") if "=" in part)
        is_s3 = service == "s3"
        if not given.startswith("AWS4-HMAC-SHA256") or not {"Credential", "SignedHeaders", "Signature"} <= parts.keys():
            raise Refused("AccessDenied" if is_s3 else "MissingAuthenticationTokenException", "Access Denied", 403)
        key, day, region, _, _ = parts["Credential"].split("/")
        if key.startswith("ASIAEXPIRED"):
            raise Refused(
                "ExpiredToken" if is_s3 else "ExpiredTokenException",
                "The provided token has expired." if is_s3 else "The security token included in the request is expired",
            )
        if key not in self._secrets:
            if is_s3:
                raise Refused(
                    "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.", 403
                )
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.")
        secret, token = self._secrets[key]
        _check_time(request.headers.get("X-Amz-Date", ""), is_s3)
        if request.headers.get("X-Amz-Security-Token", "") != token:
            raise Refused("InvalidToken" if is_s3 else "UnrecognizedClientException", "The token is invalid.")
        expected = _signature(request, parts["SignedHeaders"].split(";"), secret, (day, region, service), is_s3)
        if not hmac.compare_digest(expected, parts["Signature"]):
            raise Refused(
                "SignatureDoesNotMatch" if is_s3 else "InvalidSignatureException",
                "The request signature we calculated does not match the signature you provided.",
                403,
            )


def _check_time(at: str, is_s3: bool) -> None:
    # S3 allows a quarter of an hour ("RequestTimeTooSkewed", S3's list of error codes), the others five minutes.
    try:
        signed = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused("IncompleteSignature", "no X-Amz-Date", 400) from None
    now = datetime.now(UTC)
    if abs(now - signed) > (timedelta(minutes=15) if is_s3 else timedelta(minutes=5)):
        if is_s3:
            raise Refused(
                "RequestTimeTooSkewed",
                "The difference between the request time and the current time is too large.",
                403,
            )
        raise Refused(
            "InvalidSignatureException",
            f"Signature expired: {at} is now earlier than {now:%Y%m%dT%H%M%SZ} (now - 5 min.)",
            403,
        )


def _signature(request: Request, signed: list[str], secret: str, scope: tuple[str, str, str], is_s3: bool) -> str:
    environ: dict[str, Any] = request.environ
    raw, _, query = str(environ["REQUEST_URI"]).partition("?")
    path = raw if is_s3 else quote(raw, safe="/~")
    body = request.get_data(cache=True)
    payload = request.headers.get("X-Amz-Content-Sha256")
    actual = hashlib.sha256(body).hexdigest()
    if payload is None:
        payload = actual
    elif not payload.startswith(("UNSIGNED-", "STREAMING-")) and payload != actual:
        raise Refused("XAmzContentSHA256Mismatch", "The provided 'x-amz-content-sha256' header does not match", 400)
    pairs = sorted(tuple(part.partition("=")[::2]) for part in query.split("&") if part)
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in signed)
    canonical = "\n".join(
        [
            request.method,
            path or "/",
            "&".join(f"{key}={value}" for key, value in pairs),
            headers,
            ";".join(signed),
            payload,
        ]
    )
    day, region, service = scope
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.headers["X-Amz-Date"],
            f"{day}/{region}/{service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
