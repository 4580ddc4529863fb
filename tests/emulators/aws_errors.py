"""Refusals, as each of AWS's protocols words them."""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

from werkzeug.wrappers import Response


class Refused(Exception):
    """A service's refusal: its code, its message, the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.headers = headers or {}


def worded(error: Refused, service: str) -> Response:
    """The refusal in the words of a service's protocol (JSON, REST-JSON, REST-XML, query)."""
    if service == "s3":
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
        )
        return Response(body, error.status, error.headers, content_type="application/xml")
    if service == "batch":
        headers = {"x-amzn-ErrorType": error.code, **error.headers}
        return Response(json.dumps({"message": error.message}), error.status, headers, content_type="application/json")
    body = json.dumps({"__type": error.code, "message": error.message, "Message": error.message})
    headers = {"x-amzn-query-error": f"{error.code};Sender", **error.headers}
    return Response(body, error.status, headers, content_type="application/x-amz-json-1.1")
