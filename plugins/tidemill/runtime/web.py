"""Requests to stores and to the services that give a container its credentials, tried again as long as that can help.

This and the modules of the stores are what a container that mounts nothing starts with (:mod:`.boot`): they import
nothing but Python's own library and this module.
"""

from __future__ import annotations

import calendar
import http.client
import random
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any, Callable

TRIES = 6
PART = 64 << 20
"""Bytes that are sent in one piece; larger files are sent in several."""
METADATA = "http://169.254.169.254"
"""Where a machine of AWS or Azure asks about itself."""
_TIMEOUT = 60
_EARLY = 300
_credentials: dict[str, tuple[float, Any]] = {}


class StoreError(Exception):
    """A store refused or did not answer. ``user``: a permission, a name, a setting; another try does not help.

    ``code`` is the answer's HTTP code, ``region`` where S3 says that the bucket is.
    """

    def __init__(self, message: str, user: bool = False, code: int = 0, region: str = "") -> None:
        super().__init__(message)
        self.user = user
        self.code = code
        self.region = region


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    # A signature is for one host; and a metadata service that sends us elsewhere is none.
    def redirect_request(self, *given: Any) -> None:
        return None


_open = urllib.request.build_opener(_NoRedirect).open
_open_directly = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({})).open


def send(make: Callable[[], urllib.request.Request], what: str, path: str | None = None, direct: bool = False) -> Any:
    """Send a request until it is answered: the answer's body, and its headers; with ``path`` the body goes there."""
    error = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(0.25 * 2**attempt, 20) * random.uniform(0.5, 1.0))
        try:
            with (_open_directly if direct else _open)(make(), timeout=_TIMEOUT) as answer:
                return _body(answer, path), answer.headers
        except urllib.error.HTTPError as e:
            text = e.read(1500).decode("utf-8", "replace")
            error = f"HTTP {e.code} {' '.join(text.split()) or e.reason}"
            if e.code < 500 and e.code not in (408, 429) and "RequestTimeout" not in text:
                hint = _hint(e.code)
                region = e.headers.get("x-amz-bucket-region", "")
                raise StoreError(f"{what}: {error}{hint}", bool(hint), e.code, region) from None
        except (OSError, http.client.HTTPException) as e:
            error = f"{type(e).__name__}: {e}"
    raise StoreError(f"{what}: no answer in {TRIES} tries: {error}")


def _hint(code: int) -> str:
    if code in (401, 403):
        return "; may what the job runs as (role, service account, identity) use this store?"
    return "; there is no such bucket or object" if code == 404 else ""


def _body(answer: Any, path: str | None) -> bytes:
    """Read an answer to its end. Raises OSError if it was cut."""
    length = answer.headers.get("Content-Length")
    if path is None:
        data: bytes = answer.read()
        done = len(data)
    else:
        data = b""
        with open(path, "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
            done = file.tell()
    if length is not None and done != int(length):
        raise OSError(f"the answer was cut after {done} of {length} bytes")
    return data


def kept(name: str, make: Callable[[], tuple[float, Any]]) -> Any:
    """A credential that is made anew when it is about to expire; ``make`` gives its end (Unix time) and itself."""
    if name not in _credentials or _credentials[name][0] - _EARLY < time.time():
        _credentials[name] = make()
    return _credentials[name][1]


def ask(url: str, headers: dict[str, str], data: bytes | None = None, method: str | None = None) -> bytes:
    """Ask one of the platform's own services for credentials."""
    direct = urllib.parse.urlsplit(url).scheme == "http"
    body: bytes = send(
        lambda: urllib.request.Request(url, data, headers, method=method), f"credentials from {url}", direct=direct
    )[0]
    return body


def quote(text: str, safe: str = "") -> str:
    """Percent-encoded text."""
    return urllib.parse.quote(text, safe=safe)


def encode(query: dict[str, str]) -> str:
    """A query as a signature wants it: sorted, spaces as %20."""
    return "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items()))


def slices(path: str) -> Iterator[bytes]:
    """A file in pieces of ``PART`` bytes."""
    with open(path, "rb") as file:
        while data := file.read(PART):
            yield data


def text_of(path: str) -> str:
    """A file's text without the spaces around it."""
    with open(path, encoding="utf-8") as file:
        return file.read().strip()


def texts(body: bytes, name: str) -> list[str]:
    """The texts of all elements of one name, whatever their namespace."""
    root = ET.fromstring(body)
    return [e.text or "" for e in root.iter() if e.tag.rpartition("}")[2] == name]


def unix_time(text: str) -> float:
    """A time as AWS writes it (``2026-01-31T10:00:00Z``, with or without fractions), as Unix time."""
    return float(calendar.timegm(time.strptime(text[:19], "%Y-%m-%dT%H:%M:%S")))
