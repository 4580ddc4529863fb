"""What Azure's libraries raise, as errors that say what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tidemill.platforms.ports import PlatformError

_ROLES: Final = {
    "azureml": "AzureML Data Scientist on the workspace",
    "storage": "Storage Blob Data Contributor on the storage account",
    "accounts": "Storage Account Contributor on the storage account",
}
_CAPACITY: Final = re.compile(
    r"quota|capacity|allocation ?fail|sku ?not ?available|overconstrained|skunotavailable", re.I
)
_CLOCK: Final = re.compile(r"date header|clock|not yet valid|token.*not before|AADSTS700024", re.I)


@contextmanager
def translated(doing: str, connection: str, service: str) -> Iterator[None]:
    """Turn what Azure's libraries raise into ``PlatformError``; ``doing`` is what failed, for the message.

    Raises:
        PlatformError: instead of ``azure.core.exceptions.AzureError``, and of an answer that cannot be read.
    """
    from azure.core.exceptions import AzureError, DeserializationError

    try:
        yield
    except DeserializationError as error:
        raise PlatformError(f"{doing}: Azure's answer cannot be read: {error}") from error
    except AzureError as error:
        raise told(error, doing, connection, service) from error


def told(error: Any, doing: str, connection: str, service: str) -> PlatformError:
    """The error that says what Azure refused, and whose turn it is."""
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError

    code, message = code_of(error), _said(error)
    status = getattr(error, "status_code", None)
    if _CLOCK.search(message) and (status in (401, 403) or isinstance(error, ClientAuthenticationError)):
        return PlatformError(
            f"{doing}: Azure does not accept the time of this machine's calls; set its clock: {message}", fault="user"
        )
    # Of a wrong secret, Microsoft Entra says 400 or 401.
    if status == 401 or (status != 403 and isinstance(error, ClientAuthenticationError)) or code in _UNSIGNED:
        return PlatformError(
            f"{doing}: the credentials of connection {connection!r} are wrong or have expired; renew its secret or "
            f"token: {message}",
            fault="user",
        )
    if status == 403:
        return PlatformError(
            f"{doing}: not allowed; give the identity of connection {connection!r} the role {_ROLES[service]}: "
            f"{message}",
            fault="user",
        )
    if status == 429 or code in {"ServerBusy", "TooManyRequests"}:
        return PlatformError(f"{doing}: Azure asks for fewer calls: {message}", throttled=True)
    if code == "BlobNotFound":
        return PlatformError(f"{doing}: there is no such object")
    if isinstance(error, HttpResponseError) and status is not None and 400 <= status < 500 and status != 408:
        fault: Any = "capacity" if is_capacity(f"{code} {message}") else "user"
        return PlatformError(f"{doing}: {message}", fault=fault)
    if isinstance(error, HttpResponseError) and status is not None and status >= 500:
        return PlatformError(f"{doing}: Azure failed ({status}): {message}")
    return PlatformError(f"{doing}: no answer from Azure: {message}")


_NOISE: Final = ("RequestId:", "Time:", "ErrorCode:", "Content:", "<")
_UNSIGNED: Final = frozenset({"AuthenticationFailed", "InvalidAuthenticationInfo", "InvalidAuthenticationToken"})


def is_capacity(text: str) -> bool:
    """Whether Azure's words tell of a lack of machines or quota."""
    return _CAPACITY.search(text) is not None


def code_of(error: Any) -> str:
    """Azure's own code of an error, e.g. ``AuthorizationFailed``; empty if it has none."""
    code = getattr(error, "error_code", None) or getattr(getattr(error, "error", None), "code", None) or ""
    return str(getattr(code, "value", code))


def _said(error: Any) -> str:
    detail = getattr(error, "error", None)
    message = str(getattr(detail, "message", "") or getattr(error, "message", "") or error)
    # Storage adds the request's id and time in lines of their own.
    first = " ".join(line.strip() for line in message.splitlines() if not line.startswith(_NOISE))
    code = code_of(error)
    return f"{code}: {first}"[:600] if code and code not in first else first[:600]
