"""Google Cloud on loopback: Vertex AI's custom jobs and metadata, Cloud Monitoring and Cloud Storage, over REST.

``POST /_emulator/delete`` with ``{"id": …}`` removes a job as somebody may do behind our back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from werkzeug.wrappers import Request, Response

from tests.emulators import Emulation, connection_variable
from tests.emulators.aws_permissions import Permissions
from tests.emulators.gcp_permissions import PERMISSIONS, of_call, of_storage
from tests.emulators.gcp_services import Metadata, Monitoring, SignIn
from tests.emulators.gcp_storage import PATHS, CloudStorage
from tests.emulators.gcp_storage import operation as storage_operation
from tests.emulators.gcp_vertex import Refused, Vertex
from tests.emulators.server import Emulator, Refusal, launch, serve

_REGION = r"projects/[^/]+/locations/[^/]+"
_STORE = rf"{_REGION}/metadataStores/[^/]+"
_ROUTES = [
    (method, re.compile(pattern), operation)
    for method, pattern, operation in [
        ("POST", rf"/v1/({_REGION})/customJobs", "CreateCustomJob"),
        ("GET", rf"/v1/({_REGION})/customJobs", "ListCustomJobs"),
        ("GET", rf"/v1/({_REGION}/customJobs/[^/:]+)", "GetCustomJob"),
        ("POST", rf"/v1/({_REGION}/customJobs/[^/:]+):cancel", "CancelCustomJob"),
        ("GET", rf"/v1/({_STORE})", "GetMetadataStore"),
        ("POST", rf"/v1/({_REGION})/metadataStores", "CreateMetadataStore"),
        ("POST", rf"/v1/({_STORE})/contexts", "CreateContext"),
        ("GET", rf"/v1/({_STORE}/contexts/[^/:]+)", "GetContext"),
        ("PATCH", rf"/v1/({_STORE}/contexts/[^/:]+)", "UpdateContext"),
        ("POST", rf"/v1/({_STORE}/contexts/[^/:]+):addContextChildren", "AddContextChildren"),
        ("POST", r"/v3/projects/([^/]+)/timeSeries", "CreateTimeSeries"),
        ("POST", r"/(token)", "SignIn"),
    ]
]


class GoogleCloud(Emulator):
    """All of it at one address."""

    def __init__(self, folder: Path, platform: Mapping[str, Any]) -> None:
        super().__init__(folder, platform)
        self.vertex = Vertex(self.misbehaviour, self._environment, lambda address: self.storage.forget(address))
        self.metadata = Metadata()
        self.monitoring = Monitoring()
        self.sign_in = SignIn()
        self._permissions = Permissions()

    def ready(self) -> None:
        """Start Cloud Storage, and make the buckets of the platform and its fallbacks."""
        self.storage = CloudStorage(self.folder, self.url)
        for place in (self.platform, *({**self.platform, **other} for other in self.platform.get("fallback", []))):
            bucket = str(place.get("bucket") or "").removeprefix("gs://").partition("/")[0]
            if bucket:
                region = str(place.get("region") or "us-central1")
                self.storage.make_bucket(bucket, str(place.get("project") or "project"), region)

    def operation(self, request: Request) -> str:
        """The method's name; Cloud Storage's are its permissions."""
        if request.path.startswith(PATHS):
            return storage_operation(request)
        return _route(request)[0]

    def perform(self, operation: str, request: Request) -> Response:
        """Do it, and answer in Google's JSON."""
        if not self.sign_in.knows(request.headers.get("Authorization", "")):
            return _error(
                401, "UNAUTHENTICATED", "Request had invalid authentication credentials. Expected OAuth 2 access token."
            )
        if request.path.startswith(PATHS):
            self._permissions.see(of_storage(operation, request, self.storage.has))
            return self.storage.answer(request)
        _, name = _route(request)
        self._permissions.see(of_call(operation, name, request))
        try:
            return self._do(operation, name, request)
        except Refused as e:
            if operation == "SignIn":
                return _json({"error": e.status, "error_description": str(e)}, e.code)
            return _error(e.code, e.status, str(e))

    def refuse(self, kind: Refusal, operation: str, request: Request) -> Response:
        """Google's own answers; the words are those seen in public issues."""
        if kind == "throttle":
            if operation.startswith("storage."):
                return _error(429, "RESOURCE_EXHAUSTED", "The request rate is too high. Please reduce it.")
            return _error(
                429,
                "RESOURCE_EXHAUSTED",
                "Quota exceeded for quota metric 'Resource management (CRUD) requests' and limit 'Resource management "
                "(CRUD) requests per minute per region' of service 'aiplatform.googleapis.com'.",
            )
        if kind == "fail":
            return _error(500, "INTERNAL", "Internal error encountered.")
        permission = PERMISSIONS.get(operation, operation)
        if operation.startswith("storage."):
            return _error(
                403,
                "PERMISSION_DENIED",
                f"training@example.iam.gserviceaccount.com does not have {permission} access to the Google Cloud "
                f"Storage object. Permission '{permission}' denied on resource (or it may not exist).",
            )
        return _error(
            403,
            "PERMISSION_DENIED",
            f"Permission '{permission}' denied on resource '//aiplatform.googleapis.com{request.path}' (or it may not "
            "exist).",
        )

    def describe(self) -> dict[str, Any]:
        """What it holds."""
        return {
            "jobs": self.vertex.describe(),
            "contexts": self.metadata.describe(),
            "series": self.monitoring.describe(),
            "permissions": self._permissions.report(),
        }

    def close(self) -> None:
        """End the jobs and Cloud Storage."""
        self.vertex.close()
        self.storage.close()

    def _environment(self) -> dict[str, str]:
        # In the service a container reaches Cloud Storage as its service account does, through the metadata server.
        return {"STORAGE_EMULATOR_HOST": self.url}

    def _do(self, operation: str, name: str, request: Request) -> Response:
        body, given = request.get_data(), request.args
        steps: dict[str, Callable[[], Any]] = {
            "CreateCustomJob": lambda: self.vertex.create(name, body),
            "ListCustomJobs": lambda: self.vertex.list(name, given),
            "GetCustomJob": lambda: self.vertex.get(name),
            "CancelCustomJob": lambda: self.vertex.cancel(name),
            "GetMetadataStore": lambda: self.metadata.store(name),
            "CreateContext": lambda: self.metadata.create(name, given.get("contextId", ""), body),
            "GetContext": lambda: self.metadata.context(name),
            "UpdateContext": lambda: self.metadata.update(name, given.get("updateMask", ""), body),
            "AddContextChildren": lambda: self.metadata.add_children(name, body),
            "CreateTimeSeries": lambda: self.monitoring.create(name, body),
        }
        if operation == "SignIn":
            return _json(self.sign_in.token(request.form))
        if operation == "CreateMetadataStore":
            running, store = self.metadata.create_store(name, given.get("metadataStoreId", ""))
            held = json_format.MessageToDict(type(store).pb(store))
            kind = "type.googleapis.com/google.cloud.aiplatform.v1.MetadataStore"
            return _json({"name": running, "done": True, "response": {"@type": kind, **held}})
        if operation not in steps:
            raise Refused(404, "NOT_FOUND", f"The requested URL {request.path} was not found on this server.")
        message = steps[operation]()
        return _json({} if message is None else json_format.MessageToDict(type(message).pb(message)))

    def _control(self, request: Request) -> Response:
        if request.method == "POST" and request.path == "/_emulator/delete":
            self.vertex.delete(request.get_json(force=True)["id"])
            return _json({})
        return super()._control(request)


def start(folder: Path, platform: Mapping[str, Any]) -> Emulation:
    """Start it in a process of its own; its connections have no credentials."""
    url, process = launch("tests.emulators.gcp", folder, platform)
    connection = {
        "conn_type": "google_cloud_platform",
        "extra": {
            "is_anonymous": True,
            "project": platform.get("project") or "project",
            "api_endpoint": url,
            "storage_endpoint": url,
        },
    }
    name = str(platform.get("connection") or "google_cloud_default")
    return Emulation(url, connection_variable(name, connection), process)


def _route(request: Request) -> tuple[str, str]:
    """The operation that is asked for, and the resource that it is about."""
    for method, pattern, operation in _ROUTES:
        found = pattern.fullmatch(request.path)
        if found and method == request.method:
            return operation, found[1]
    return f"{request.method} {request.path}", ""


def _json(value: Any, code: int = 200) -> Response:
    return Response(json.dumps(value), code, content_type="application/json; charset=UTF-8")


def _error(code: int, status: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message, "status": status}}, code)


if __name__ == "__main__":
    serve(GoogleCloud)
