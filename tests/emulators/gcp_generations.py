"""Single generations of Cloud Storage's objects, as far as fake-gcs-server takes all of them for one.

From the service's JSON API's reference: ``mediaLink`` of an object's resource leads to this very generation;
"Objects: delete" with ``generation`` removes that one for good, and no other.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from urllib.parse import quote, unquote

from werkzeug.wrappers import Request, Response

_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
Call = Callable[[str, str], tuple[int, bytes]]


class Generations:
    """What was removed by generation. Threads may share it."""

    def __init__(self, call: Call) -> None:
        """``call`` asks the server itself: method and target."""
        self._call = call
        self._removed: set[tuple[str, str, str]] = set()
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Response | None:
        """The answer to a call that is about a generation; ``None`` if the server's own is right."""
        found, generation = _OBJECT.fullmatch(request.path), request.args.get("generation")
        if found is None or generation is None:
            return None
        bucket, name = found[1], unquote(found[2])
        with self._lock:
            if (bucket, name, generation) in self._removed:
                return _missing(bucket, name)
            if request.method != "DELETE":
                return None
            target = f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}"
            status, _ = self._call("GET", f"{target}?generation={generation}")
            if status != 200:
                return _missing(bucket, name)
            status, live = self._call("GET", target)
            if status == 200 and json.loads(live)["generation"] == generation:
                self._call("DELETE", target)
            self._removed.add((bucket, name, generation))
            return Response(status=204)

    def completed(self, request: Request, response: Response) -> Response:
        """The server's answer about one object or many, set right."""
        if response.status_code != 200 or not response.content_type.startswith("application/json"):
            return response
        try:
            told = json.loads(response.get_data())
        except ValueError:  # an object's content
            return response
        listed = _LIST.fullmatch(request.path)
        if listed and isinstance(told, dict) and "items" in told:
            told["items"] = [
                item for item in told["items"] if (listed[1], item["name"], item["generation"]) not in self._removed
            ]
            response.set_data(json.dumps(told))
        elif isinstance(told, dict) and "generation=" not in told.get("mediaLink", "generation="):
            link = told["mediaLink"]
            told["mediaLink"] = f"{link}{'&' if '?' in link else '?'}generation={told['generation']}"
            response.set_data(json.dumps(told))
        return response


def _missing(bucket: str, name: str) -> Response:
    error = {"error": {"code": 404, "message": f"No such object: {bucket}/{name}"}}
    return Response(json.dumps(error), 404, content_type="application/json; charset=UTF-8")
