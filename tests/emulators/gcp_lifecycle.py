"""The lifecycle rules of Cloud Storage's buckets and their metageneration, which fake-gcs-server does not keep.

Rules of the service that are kept to, from its JSON API's reference ("Buckets: patch", ``ifMetagenerationMatch``) and
"Object Lifecycle Management": a precondition that fails is 412, each change makes the next metageneration, at most 100
rules, each with an action that there is and with at least one condition.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from werkzeug.wrappers import Request, Response

_BUCKET = re.compile(r"/storage/v1/b/([^/]+)")
_ACTIONS = {"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"}
_MOST = 100
Call = Callable[[str, str], tuple[int, bytes]]


@dataclass
class _Kept:
    rules: list[dict[str, Any]] = field(default_factory=list)
    metageneration: int = 1


class Lifecycles:
    """What is kept of each bucket beside the server. Threads may share it."""

    def __init__(self, call: Call) -> None:
        """``call`` asks the server itself: method and target."""
        self._call = call
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def changed(self, request: Request) -> Response | None:
        """The answer to a change of a bucket that the service refuses, or that is of nothing but what is kept here;
        ``None`` for one that is the server's."""
        found = _BUCKET.fullmatch(request.path)
        if found is None or request.method not in ("PATCH", "PUT"):
            return None
        body = json.loads(request.get_data() or b"{}")
        with self._lock:
            kept = self._kept.setdefault(found[1], _Kept())
            match = request.args.get("ifMetagenerationMatch")
            if match is not None and int(match) != kept.metageneration:
                message = "At least one of the pre-conditions you specified did not hold."
                return _error(412, "conditionNotMet", message)
            if "lifecycle" in body:
                rules = (body["lifecycle"] or {}).get("rule") or []
                why = _wrong(rules)
                if why:
                    return _error(400, "invalid", why)
                kept.rules = rules
            kept.metageneration += 1
        if body.keys() != {"lifecycle"}:
            return None
        # The server would take what is not named for switched off.
        status, answer = self._call("GET", request.path)
        return self.told(found[1], Response(answer, status, content_type="application/json; charset=UTF-8"))

    def completed(self, request: Request, response: Response) -> Response:
        """The server's answer about a bucket, with what is kept here."""
        found = _BUCKET.fullmatch(request.path)
        if found is None or response.status_code != 200 or request.method == "DELETE":
            return response
        return self.told(found[1], response)

    def told(self, bucket: str, response: Response) -> Response:
        """A bucket's resource as the service would tell it."""
        told = json.loads(response.get_data())
        with self._lock:
            kept = self._kept.setdefault(bucket, _Kept())
            told["metageneration"] = str(kept.metageneration)
            if kept.rules:
                told["lifecycle"] = {"rule": kept.rules}
        response.set_data(json.dumps(told))
        return response


def _wrong(rules: list[dict[str, Any]]) -> str:
    if len(rules) > _MOST:
        return f"The maximum number of lifecycle rules is {_MOST}."
    for rule in rules:
        if (rule.get("action") or {}).get("type") not in _ACTIONS:
            return "The action type of a lifecycle rule is not valid."
        if not rule.get("condition"):
            return "A lifecycle rule must have at least one condition."
    return ""


def _error(code: int, reason: str, message: str) -> Response:
    error = {"code": code, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}
    return Response(json.dumps({"error": error}), code, content_type="application/json; charset=UTF-8")
