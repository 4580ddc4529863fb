"""What Google's clients raise, as a ``PlatformError`` whose words say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tidemill.platforms.gcp.account import Account
from tidemill.platforms.ports import PlatformError

_LONGEST: Final = 600
_PERMISSION: Final = re.compile(r"[Pp]ermission '?([a-z]+\.[A-Za-z]+\.[A-Za-z]+)'?|does not have ([a-z.A-Z]+) access")


@dataclass(frozen=True)
class Call:
    """A call, in words for people, and what it takes to be allowed it."""

    action: str
    permission: str
    role: str


@contextmanager
def told(account: Account, call: Call) -> Iterator[None]:
    """Have what Google's clients raise inside arrive as a ``PlatformError``."""
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:  # five libraries have their own trees; what is none of theirs is raised again
        translated = translate(error, account, call)
        if translated is None:
            raise
        raise translated from error


def translate(error: BaseException, account: Account, call: Call) -> PlatformError | None:
    """What an error of Google's clients means; ``None`` if it is not one of theirs."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth
    from google.cloud.exceptions import GoogleCloudError
    from google.protobuf.json_format import ParseError
    from google.resumable_media import DataCorruption, InvalidResponse
    from requests import RequestException

    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        return translate(error.cause, account, call)
    if isinstance(error, auth.GoogleAuthError):
        return _not_signed(error, account, call)
    if isinstance(error, InvalidResponse):
        return _answered(error.response.status_code, str(error), account, call)
    if isinstance(error, GoogleCloudError):
        return _answered(int(error.code or 0), f"{_said(str(error.message))} {_reasons(error)}".strip(), account, call)
    # urllib3's and the sockets' own errors come through where an answer is read piece by piece.
    cut = (RequestException, ParseError, DataCorruption, ConnectionError, TimeoutError, EOFError, json.JSONDecodeError)
    if isinstance(error, cut) or type(error).__module__.startswith(("urllib3", "http.client")):
        return PlatformError(f"{call.action}: no whole answer from Google Cloud: {_short(str(error))}")
    return None


def _answered(code: int, message: str, account: Account, call: Call) -> PlatformError:
    words = _short(message)
    if code == 401:
        return PlatformError(
            f"{call.action}: Google Cloud refused the credentials of the connection {account.connection!r} (expired, "
            f"revoked, or is this machine's clock wrong?); renew them: {words}",
            fault="user",
        )
    if code == 429 or (code == 403 and "rateLimitExceeded" in message):
        return _too_much(words, account, call)
    if code == 403:
        return _not_allowed(words, account, call)
    if code == 404 and "bucket does not exist" in message:
        return PlatformError(
            f"{call.action}: there is no such bucket; make it, or name another one in platform.bucket", fault="user"
        )
    if code in {400, 404, 409, 412, 416}:
        return PlatformError(f"{call.action}: {words}", fault="user")
    return PlatformError(f"{call.action}: Google Cloud failed ({code}): {words}")


def _too_much(words: str, account: Account, call: Call) -> PlatformError:
    if "quota metrics exceed" in words:
        return PlatformError(
            f"{call.action}: no quota left in {account.region} of project {account.project}: {words}. Ask for more on "
            "the console's page IAM & Admin > Quotas, or name another machine in train.resources",
            fault="capacity",
        )
    return PlatformError(f"{call.action}: too many calls: {words}", throttled=True)


def _not_allowed(words: str, account: Account, call: Call) -> PlatformError:
    if "SERVICE_DISABLED" in words or "it is disabled" in words:
        return PlatformError(
            f"{call.action}: the service is not enabled in project {account.project}: {words}", fault="user"
        )
    found = _PERMISSION.search(words)
    permission = (found[1] or found[2]) if found else call.permission
    return PlatformError(
        f"{call.action}: the connection {account.connection!r} lacks the permission {permission} in project "
        f"{account.project}; grant it the role {call.role}: {words}",
        fault="user",
    )


def _not_signed(error: BaseException, account: Account, call: Call) -> PlatformError:
    from google.auth.exceptions import TransportError

    words = _short(str(error))
    if isinstance(error, TransportError) or getattr(error, "retryable", False):
        return PlatformError(f"{call.action}: no answer from Google's sign-in: {words}")
    if "iat" in words and "exp" in words:
        return PlatformError(
            f"{call.action}: Google's sign-in refused the time of this machine; set its clock (NTP): {words}",
            fault="user",
        )
    return PlatformError(
        f"{call.action}: the credentials of the connection {account.connection!r} are refused (expired or revoked?); "
        f"renew them: {words}",
        fault="user",
    )


def _said(message: str) -> str:
    """The service's own words, without the address that was called and the JSON around them."""
    message = re.sub(r"^(GET|POST|PUT|PATCH|DELETE) \S+: ", "", message)
    found = re.search(r'"message": ?("(?:[^"\\]|\\.)*")', message) if message.startswith("{") else None
    if found is None:
        return message
    words: str = json.loads(found[1])
    return words


def _reasons(error: object) -> str:
    reasons = {str(e.get("reason")) for e in getattr(error, "errors", ()) or () if isinstance(e, dict)}
    reason = getattr(error, "reason", None)
    return " ".join(sorted({*(r for r in reasons if r != "None"), *([str(reason)] if reason else ())}))


def _short(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
