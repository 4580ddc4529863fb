"""Bodies against the SDK's own model, as the service would check them: botocore's validator for names, types and what
is required, and beside it what botocore leaves to the service (lengths, patterns, enumerations)."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any
from urllib.parse import unquote

from werkzeug.wrappers import Request

from tests.emulators.aws_errors import Refused
from tidemill.platforms.aws.shapes import problems


class Validator:
    """Finds operations and checks bodies of services that speak JSON."""

    def rest_operation(self, service: str, method: str, path: str) -> str:
        """The operation of a REST-JSON path."""
        for name, verb, pattern, _ in _routes(service):
            if verb == method and pattern.fullmatch(path):
                return name
        return path

    def parsed(self, service: str, operation: str, request: Request) -> dict[str, Any]:
        """A call's parameters, checked.

        Raises:
            Refused: they are not what the operation takes.
        """
        from botocore.validate import ParamValidator

        body: dict[str, Any] = json.loads(request.get_data(cache=True) or b"{}")
        for name, _, pattern, _ in _routes(service) if service == "batch" else ():
            found = pattern.fullmatch(request.path)
            if name == operation and found:
                body.update({key: unquote(value) for key, value in found.groupdict().items()})
        code = "ClientException" if service == "batch" else "ValidationException"
        try:
            shape = _model(service).operation_model(operation).input_shape
        except Exception:  # noqa: BLE001  (botocore's own class for an unknown operation)
            raise Refused("UnknownOperationException", operation, 404) from None
        report = ParamValidator().validate(_with_times(body), shape)
        if report.has_errors():
            raise Refused(code, report.generate_report())
        wrong = "; ".join(problems(shape, body))
        if wrong:
            raise Refused(code, f"1 validation error detected: {wrong}")
        return body


def _with_times(body: dict[str, Any]) -> dict[str, Any]:
    """On the wire an instant is a number, which the validator, made for Python's values, does not take."""
    from datetime import UTC, datetime

    return {
        key: datetime.fromtimestamp(value, UTC) if re.search("(?:After|Before)$", key) else value
        for key, value in body.items()
    }


@cache
def _model(service: str) -> Any:
    import botocore.session

    return botocore.session.get_session().get_service_model(service)


@cache
def _routes(service: str) -> list[tuple[str, str, re.Pattern[str], str]]:
    model = _model(service)
    found = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>.+)", http["requestUri"])
        found.append((name, http["method"], re.compile(pattern), http["requestUri"]))
    return found
