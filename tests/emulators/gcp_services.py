"""Vertex ML Metadata, Cloud Monitoring and Google's sign-in, as far as Tidemill uses them.

Sources: [sdk] the types and comments of google-cloud-aiplatform and google-cloud-monitoring; [quotas] the public page
"Cloud Monitoring quotas and limits"; [oauth] "Using OAuth 2.0 for Server to Server Applications"; [seen] messages in
public issues.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.aiplatform_v1.types import Context, MetadataStore
from google.cloud.monitoring_v3.types import CreateTimeSeriesRequest
from google.protobuf import json_format

from tests.emulators.gcp_vertex import Refused

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
_METRIC_LABEL = re.compile(r"[a-z][a-zA-Z0-9_]{0,99}")
_SKEW = 300.0


class Metadata:
    """Metadata stores and their contexts, by resource name."""

    def __init__(self) -> None:
        self._stores: dict[str, MetadataStore] = {}
        self._contexts: dict[str, Context] = {}
        self._children: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def store(self, name: str) -> MetadataStore:
        """GetMetadataStore."""
        return self._known(self._stores, name, "MetadataStore")

    def create_store(self, parent: str, identity: str) -> tuple[str, MetadataStore]:
        """CreateMetadataStore: the operation's name, and the store."""
        name = f"{parent}/metadataStores/{identity}"
        with self._lock:
            if name in self._stores:
                raise Refused(409, "ALREADY_EXISTS", f"MetadataStore {name} already exists.")
            self._stores[name] = MetadataStore(name=name, create_time=datetime.now(UTC))
        return f"{name}/operations/1", self._stores[name]

    def create(self, parent: str, identity: str, body: bytes) -> Context:
        """CreateContext. [sdk] context_id: 4 to 128 characters of /[a-z][0-9]-/, unique in the store."""
        self.store(parent)
        if not _ID.fullmatch(identity):
            raise Refused(400, "INVALID_ARGUMENT", f"Context ID {identity!r} does not match {_ID.pattern}.")
        context = _parsed(Context, body)
        context.name = f"{parent}/contexts/{identity}"
        context.create_time = context.update_time = datetime.now(UTC)
        context.etag = "1"
        with self._lock:
            if context.name in self._contexts:
                raise Refused(409, "ALREADY_EXISTS", f"Context with name {context.name} already exists")
            self._contexts[context.name] = context
        return context

    def context(self, name: str) -> Context:
        """GetContext."""
        return self._known(self._contexts, name, "Context")

    def update(self, name: str, mask: str, body: bytes) -> Context:
        """UpdateContext: the mask's fields; without one, every field that is set."""
        given, context = _parsed(Context, body), self.context(name)
        fields = mask.split(",") if mask else ["displayName", "labels", "metadata", "description"]
        with self._lock:
            for field in fields:
                attribute = re.sub(r"([A-Z])", lambda m: f"_{m[1].lower()}", field)
                if attribute not in {"display_name", "labels", "metadata", "description"}:
                    raise Refused(400, "INVALID_ARGUMENT", f"Invalid field mask: {field}")
                setattr(context, attribute, getattr(given, attribute))
            context.update_time = datetime.now(UTC)
            context.etag = str(int(context.etag) + 1)
        return context

    def add_children(self, name: str, body: bytes) -> None:
        """AddContextChildren. [sdk] Children that are already there stay; an unknown one is refused."""
        self.context(name)
        children = json.loads(body or b"{}").get("childContexts", [])
        for child in children:
            self.context(child)
        with self._lock:
            self._children.setdefault(name, set()).update(children)

    def describe(self) -> dict[str, Any]:
        """Every context as JSON, with its children."""
        with self._lock:
            return {
                name: {
                    **json_format.MessageToDict(Context.pb(context)),
                    "children": sorted(self._children.get(name, ())),
                }
                for name, context in self._contexts.items()
            }

    def _known(self, held: Mapping[str, Any], name: str, what: str) -> Any:
        with self._lock:
            if name not in held:
                raise Refused(404, "NOT_FOUND", f"{what} not found: {name}")
            return held[name]


class Monitoring:
    """Custom metrics: points by series."""

    def __init__(self) -> None:
        self._points: dict[str, list[tuple[float, float]]] = {}
        self._lock = threading.Lock()

    def create(self, project: str, body: bytes) -> None:
        """CreateTimeSeries. What it refuses: [sdk] TimeSeries.points, exactly one each; [quotas] 200 series a call,
        30 labels, a point each 5 s and series, at most 25 hours old and 5 minutes ahead; [seen] the words."""
        request = _parsed(CreateTimeSeriesRequest, body)
        if not 1 <= len(request.time_series) <= 200:
            raise _bad("Field timeSeries had an invalid value: at most 200 TimeSeries objects per request.")
        now, points = datetime.now(UTC), {}
        for series in request.time_series:
            labels = dict(series.metric.labels)
            if not series.metric.type.startswith(("custom.googleapis.com/", "external.googleapis.com/")):
                raise _bad(f"Field timeSeries.metric.type had an invalid value of {series.metric.type!r}.")
            if len(labels) > 30 or not all(_METRIC_LABEL.fullmatch(key) for key in labels):
                raise _bad("Field timeSeries.metric.labels had an invalid value.")
            if any(len(value) > 1024 for value in labels.values()):
                raise _bad("Field timeSeries.metric.labels had an invalid value: longer than 1024 characters.")
            if series.resource.type != "global" or dict(series.resource.labels) != {"project_id": project}:
                raise _bad("Field timeSeries.resource had an invalid value.")
            if len(series.points) != 1:
                raise _bad("Field timeSeries.points had an invalid value: exactly one point is expected.")
            at = series.points[0].interval.end_time
            if at < now - timedelta(hours=25) or at > now + timedelta(minutes=5):
                raise _bad(
                    "Field timeSeries[0].points[0].interval.end_time had an invalid value: Data points cannot be "
                    "written more than 25h4m in the past or 5m in the future."
                )
            key = json.dumps([series.metric.type, sorted(labels.items())])
            points[key] = (at.timestamp(), series.points[0].value.double_value)
        self._add(points)

    def _add(self, points: Mapping[str, tuple[float, float]]) -> None:
        with self._lock:
            for key, (at, value) in points.items():
                held = self._points.setdefault(key, [])
                if held and at <= held[-1][0]:
                    raise _bad("One or more TimeSeries could not be written: Points must be written in order.")
                if held and at < held[-1][0] + 5:
                    raise _bad(
                        "One or more TimeSeries could not be written: One or more points were written more frequently "
                        "than the maximum sampling period configured for the metric."
                    )
                held.append((at, value))

    def describe(self) -> list[dict[str, Any]]:
        """Every series with its points."""
        with self._lock:
            return [
                {"type": kind, "labels": dict(labels), "points": points}
                for key, points in self._points.items()
                for kind, labels in [json.loads(key)]
            ]


class SignIn:
    """Google's token endpoint for service accounts' keys: [oauth] a signed claim for an hour's token."""

    def __init__(self) -> None:
        self._tokens: set[str] = set()

    def token(self, form: Mapping[str, str]) -> dict[str, Any]:
        """A token for a claim whose times fit this machine's clock.

        Raises:
            Refused: they do not, or the account is gone (its name begins with ``deleted``).
        """
        values = _claim(form.get("assertion", ".."))
        if abs(values.get("iat", 0) - time.time()) > _SKEW:
            raise Refused(
                400,
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your "
                "iat and exp values in the JWT claim.",
            )
        if str(values.get("iss", "")).startswith("deleted"):
            raise Refused(400, "invalid_grant", "Invalid grant: account not found")
        token = secrets.token_urlsafe(24)
        self._tokens.add(token)
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def knows(self, authorization: str) -> bool:
        """Whether a call may pass: it is not signed at all, or by a token given here, or by a claim that an account's
        own key signed ("Service account authorization without OAuth" in [oauth])."""
        token = authorization.removeprefix("Bearer ")
        if not token or token in self._tokens:
            return True
        if token.count(".") != 2:
            return False
        values = _claim(token)
        return abs(values.get("iat", 0) - time.time()) <= _SKEW and not str(values.get("iss")).startswith("deleted")


def _claim(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    values: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) or b"{}")
    return values


def _parsed(kind: Any, body: bytes) -> Any:
    try:
        return kind(json_format.Parse(body, kind.pb(kind())))
    except json_format.ParseError as e:
        raise Refused(400, "INVALID_ARGUMENT", f"Invalid JSON payload received. {e}") from None


def _bad(message: str) -> Refused:
    return Refused(400, "INVALID_ARGUMENT", message)
