"""Lifecycle configurations of S3's buckets, as they were sent: moto keeps some of their elements only.

Rules of the service that are kept to, from its API reference (PutBucketLifecycleConfiguration, LifecycleRule) and its
guide ("Lifecycle configuration elements"): 1,000 rules at most, each with one name of its own, a positive number of
days, and either all of them with ``Prefix`` or all with ``Filter``, whose error message is quoted in public issues.
"""

from __future__ import annotations

import threading
from xml.etree import ElementTree

from werkzeug.wrappers import Request, Response

from tests.emulators.aws_errors import Refused

_SIZE = "x-amz-transition-default-minimum-object-size"
_MOST = 1000
OPERATIONS = ("GetBucketLifecycle", "PutBucketLifecycle", "DeleteBucketLifecycle")


class Lifecycles:
    """The configurations by bucket. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, str]] = {}
        self._lock = threading.Lock()

    def answer(self, operation: str, request: Request) -> Response:
        """One call.

        Raises:
            Refused: as the service would.
        """
        bucket = request.path.split("/")[1]
        with self._lock:
            if operation == "PutBucketLifecycle":
                body = request.get_data()
                _check(body)
                self._kept[bucket] = body, request.headers.get(_SIZE, "all_storage_classes_128K")
                return Response(status=200)
            if operation == "DeleteBucketLifecycle":
                self._kept.pop(bucket, None)
                return Response(status=204)
            if bucket not in self._kept:
                raise Refused("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist", 404)
            body, size = self._kept[bucket]
            return Response(body, 200, {_SIZE: size}, content_type="application/xml")


def _check(body: bytes) -> None:
    try:
        rules = [child for child in ElementTree.fromstring(body) if _name(child) == "Rule"]
    except ElementTree.ParseError:
        rules = []
    if not 0 < len(rules) <= _MOST:
        raise Refused("MalformedXML", "The XML you provided was not well-formed or did not validate", 400)
    held = [{_name(child): child for child in rule} for rule in rules]
    names = [rule["ID"].text for rule in held if "ID" in rule]
    if len(names) != len(set(names)):
        raise Refused("InvalidArgument", "Rule ID must be unique. Found same ID for more than one rule", 400)
    if any("Prefix" in rule for rule in held) and any("Filter" in rule for rule in held):
        raise Refused("InvalidRequest", "Filter element can only be used in Lifecycle V2.", 400)
    for rule in held:
        if "Prefix" not in rule and "Filter" not in rule:
            raise Refused("MalformedXML", "The XML you provided was not well-formed or did not validate", 400)
        for element in rule.get("NoncurrentVersionExpiration", ()):
            if _name(element) == "NoncurrentDays" and int(element.text or 0) <= 0:
                raise Refused("InvalidArgument", "'NoncurrentDays' must be a positive integer", 400)


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
