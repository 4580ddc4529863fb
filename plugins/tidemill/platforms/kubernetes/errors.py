"""Calls to a cluster: time limits, another try where it can help, and what an error means for whoever reads it."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tidemill.platforms.ports import PlatformError

T = TypeVar("T")

TIMEOUT: Final = (10, 60)
"""Seconds to connect, and to wait for an answer."""
_TRIES: Final = 4
_NO_ACCESS: Final = "; a role with create, get, list, patch on jobs.batch and list on pods is needed"


class Refused(Exception):
    """The API server's answer to a call that it did not carry out: an HTTP code, its reason and its message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message


def asked(doing: str, call: Callable[..., T], *given: Any, **named: Any) -> T:
    """Make a call of the client. Every call of ours may be repeated: what was done already is found by its name.

    Raises:
        Refused: the API server refused it, and would again.
        PlatformError: it did not answer, fails, or asks for fewer calls.
    """
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    last: Exception | None = None
    throttled = False
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(min(0.3 * 2**attempt, 5) * random.uniform(0.5, 1.0))
        try:
            answer = call(*given, **named, _request_timeout=TIMEOUT)
            # The client hands over as text what it could not read.
            if isinstance(answer, str | bytes):
                raise ValueError("the answer is not what it should be")
            return answer
        except ApiException as e:
            code = e.status or 0
            throttled = code == 429
            if 0 < code < 500 and not throttled:
                raise Refused(code, *_words(e)) from None
            last = e
        except (HTTPError, ValueError, OSError) as e:
            throttled, last = False, e
    said = _words(last)[1] if isinstance(last, ApiException) else f"{type(last).__name__}: {last}"
    raise PlatformError(f"{doing}: the cluster's API does not answer: {said}", throttled=throttled) from last


def refusal(doing: str, error: Refused) -> PlatformError:
    """What a refused call means for a person, and whose fault it is."""
    said = error.message
    if error.code == 401:
        return PlatformError(
            f"{doing}: the cluster does not know the connection's credentials; they may have expired ({said})",
            fault="user",
        )
    if error.code == 403 and "exceeded quota" in said:
        return PlatformError(f"{doing}: the namespace's quota is used up: {said}", fault="capacity")
    if error.code == 403:
        return PlatformError(f"{doing}: not allowed: {said}{_NO_ACCESS}", fault="user")
    if error.code == 404:
        return PlatformError(f"{doing}: {said}; platform.namespace has to exist", fault="user")
    return PlatformError(f"{doing}: the cluster refuses it: {said}", fault="user")


def _words(error: Any) -> tuple[str, str]:
    """Reason and message of a ``Status``, which the API server answers a refused call with."""
    try:
        status = json.loads(error.body)
        return str(status.get("reason") or ""), str(status["message"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return "", f"HTTP {error.status} {error.reason}"
