"""Azure on loopback: Azure ML's management API and run history, its MLflow, Blob Storage, Application Insights.

Names of operations, for faults: ``Jobs_CreateOrUpdate``, ``Jobs_Get``, ``Jobs_List``, ``Jobs_Cancel``,
``Workspaces_Get``, ``EnvironmentVersions_CreateOrUpdate``, ``ComponentVersions_Get``, ``ManagementPolicies_Get``
(as the specifications of the management API have them), ``BatchGetRunData``, ``GetDetails``, ``PipelineSubmit``,
``Mlflow``, ``Track``, and the blob API's (``PutBlob``, ``GetBlob``, ``ListBlobs`` …).
"""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.emulators import Emulation
from tests.emulators.azure_accounts import GROUP, Accounts
from tests.emulators.azure_blob import BlobService, installed, refusal
from tests.emulators.azure_jobs import ENDED, Refused, Run, Runner, check_command, create
from tests.emulators.azure_names import INSTRUMENTATION_KEY, SCOPE, TOKEN, connection, name_of
from tests.emulators.azure_permissions import STORAGE, Permissions, of_account, of_blob, of_image, of_workspace
from tests.emulators.server import Emulator, Refusal, launch, serve

PAGE = 50
_ADDRESS = re.compile(r"abfss://([^@/]+)@([a-z0-9]+)\.")
__all__ = ["installed", "start"]


class Azure(Emulator):
    """One workspace, one storage account."""

    def __init__(self, folder: Path, platform: Mapping[str, Any]) -> None:
        super().__init__(folder, platform)
        found = _ADDRESS.match(str(platform.get("bucket") or "abfss://models@acmeml.dfs.core.windows.net"))
        assert found is not None
        self.container, self.account = found[1], found[2]
        self.blobs = BlobService(folder, self.account)
        self.accounts = Accounts(str(platform.get("subscription")), self.account)
        self.runs: dict[str, Run] = {}
        self.environments: dict[str, dict[str, Any]] = {}
        self.components: dict[str, dict[str, Any]] = {}
        self.published: dict[str, dict[str, Any]] = {}
        self.telemetry: list[dict[str, Any]] = []
        self.tracking: Any = None
        self._lock = threading.RLock()
        self.clusters: dict[str, dict[str, Any]] = {
            str(name): {"vmSize": "STANDARD_D2_V2", "vmPriority": priority}
            for name, priority in (
                (platform.get("compute"), "Dedicated"),
                (platform.get("spot_compute"), "LowPriority"),
            )
            if name
        }
        self.runner = Runner(self.blobs, self.misbehaviour, self._image, self._cluster, self._component, self._of_job)
        self._permissions = Permissions()

    @property
    def scope(self) -> str:
        """The workspace's id."""
        return (
            f"/subscriptions/{self.platform.get('subscription')}/resourceGroups/{self.platform.get('resource_group')}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.platform.get('workspace')}"
        )

    def ready(self) -> None:
        """The container is there."""
        self.blobs.client().create_container(self.container)

    def close(self) -> None:
        """Jobs and Azurite end."""
        self.runner.stopping.set()
        for run in list(self.runs.values()):
            run.cancelled.set()
        end = time.monotonic() + 3
        while time.monotonic() < end and any(r.status not in ENDED for r in list(self.runs.values())):
            time.sleep(0.05)
        self.blobs.close()

    def describe(self) -> dict[str, Any]:
        """Jobs by name with their states, environments, what Application Insights was sent; who asked for what."""
        return {
            "jobs": {
                run.name: {"status": run.status, "starts": run.starts, "body": run.body, "log": run.log[-4000:]}
                for run in list(self.runs.values())
            },
            "telemetry": self.telemetry,
            "environments": self.environments,
            "permissions": self._permissions.report(),
        }

    def operation(self, request: Request) -> str:
        """See above."""
        return name_of(request, self.account)

    def refuse(self, kind: Refusal, operation: str, request: Request) -> Response:
        """As Azure Resource Manager words it; storage has words of its own."""
        if request.path.startswith(f"/{self.account}/"):
            return refusal(kind)
        if kind == "throttle":
            answer = _error(429, "TooManyRequests", "The request is being throttled.")
            answer.headers["Retry-After"] = "0"
            return answer
        if kind == "fail":
            return _error(500, "InternalServerError", "An internal server error occurred.")
        kinds = {"Get": "read", "List": "read", "Cancel": "cancel/action"}
        action = kinds.get(operation.rpartition("_")[2], "write")
        noun = operation.partition("_")[0]
        noun = noun[:1].lower() + noun[1:]
        return _error(
            403,
            "AuthorizationFailed",
            "The client 'emulated' with object id 'e0' does not have authorization to perform action "
            f"'Microsoft.MachineLearningServices/workspaces/{noun}/{action}' over scope '{self.scope}' or the scope is "
            "invalid.",
        )

    def perform(self, operation: str, request: Request) -> Response:
        """Do it."""
        if request.path.startswith(f"/{self.account}/"):
            container = request.path.removeprefix(f"/{self.account}/").partition("/")[0]
            with suppress(KeyError):  # what is no operation is refused by Azurite
                self._permissions.see(of_blob("connection", operation, request.args, self._container(container)))
            return self.blobs.answer(request)
        if operation == "Track":
            return self._track(request)
        if operation == "Discovery":
            return _json(dict.fromkeys(("api", "history", "experimentation", "mlflow"), self.url))
        try:
            self._signed(request)
            if operation.startswith(("StorageAccounts_", "ManagementPolicies_")):
                self._permissions.see(of_account(operation, request.path, self._account))
                return self.accounts.perform(operation, request)
            return self._perform(operation, request)
        except Refused as e:
            return _error(e.status, e.code, e.message)

    @property
    def _account(self) -> str:
        return f"/subscriptions/{self.accounts.subscription}/resourceGroups/{GROUP}/providers/{STORAGE}/{self.account}"

    def _container(self, name: str) -> str:
        return f"{self._account}/blobServices/default/containers/{name}"

    def _of_job(self, operation: str, what: str) -> None:
        """What a job asks for."""
        if operation == "Pull":
            self._permissions.see(of_image(what, self.scope.partition("/providers/")[0]))
        else:
            self._permissions.see(of_blob("job", operation, {}, self._container(what)))

    def _signed(self, request: Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == TOKEN:
            return
        if token == "expired":
            # Azure Resource Manager's words.
            raise Refused(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than now.")
        if token == "early":
            raise Refused(401, "InvalidAuthenticationToken", "The access token is not yet valid: nbf is in the future.")
        raise Refused(401, "InvalidAuthenticationToken", "The access token is invalid.")

    def _perform(self, operation: str, request: Request) -> Response:
        found = SCOPE.search(request.path)
        if found is None:
            raise Refused(404, "InvalidResource", f"no such path: {request.path}")
        self._exists(found)
        rest = found[4]
        with suppress(KeyError):  # what is no operation is refused below
            self._permissions.see(of_workspace(operation, request.path, self.scope))
        if operation == "Mlflow":
            return self._mlflow(rest, request)
        if operation == "BatchGetRunData":
            return self._batch(request)
        if operation == "GetDetails":
            return _json(self._details(self._run(rest.split("/")[2])))
        if operation == "PipelineSubmit":
            return self._published(rest.rpartition("/")[2], request)
        if "api-version" not in request.args:
            raise Refused(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if operation == "Workspaces_Get":
            return _json(
                {
                    "id": self.scope,
                    "name": self.platform.get("workspace"),
                    "location": "westeurope",
                    "properties": {"discoveryUrl": f"{self.url}/discovery"},
                }
            )
        if operation.startswith("Jobs_"):
            return self._jobs(operation, rest, request)
        if operation.startswith("Environment"):
            return self._version(self.environments, rest, request)
        if operation.startswith("Component"):
            return self._version(self.components, rest, request)
        if operation == "Compute_Get":
            return _json({"id": f"{self.scope}{rest}", "properties": self._cluster(f"{self.scope}{rest}")})
        raise Refused(404, "InvalidResource", f"this emulator does not know {request.method} {request.path}")

    def _exists(self, found: re.Match[str]) -> None:
        if found[1] != self.platform.get("subscription"):
            raise Refused(404, "SubscriptionNotFound", f"The subscription '{found[1]}' could not be found.")
        if found[2] != self.platform.get("resource_group"):
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{found[2]}' could not be found.")
        if found[3] != self.platform.get("workspace"):
            raise Refused(
                404,
                "ResourceNotFound",
                f"The Resource 'Microsoft.MachineLearningServices/workspaces/{found[3]}' under resource group "
                f"'{found[2]}' was not found.",
            )

    def _jobs(self, operation: str, rest: str, request: Request) -> Response:
        name = rest.split("/")[2] if rest.count("/") > 1 else ""
        if operation == "Jobs_CreateOrUpdate":
            with self._lock:
                run, new = create(self.runs, name, request.get_json(), self._check)
            if new:
                self._source(run)
                self.runner.start(run)
            return _json(run.state(self.scope), 201 if new else 200)
        if operation == "Jobs_List":
            return self._list(request)
        run = self._run(name)
        if operation == "Jobs_Cancel":
            if run.status in ENDED:
                raise Refused(400, "UserError", f"Job {name} is in a terminal state and cannot be canceled.")
            run.cancelled.set()
            return Response(status=202)
        if operation == "Jobs_Delete":
            run.cancelled.set()
            del self.runs[name]
            return Response(status=200)
        return _json(run.state(self.scope))

    def _check(self, properties: dict[str, Any]) -> None:
        if properties.get("jobType") == "Pipeline":
            for step in (properties.get("jobs") or {}).values():
                self._component(step["componentId"])
            if properties.get("componentId"):
                self._component(properties["componentId"])
            if properties.get("sourceJobId"):
                self._run(properties["sourceJobId"].rpartition("/")[2])
            return
        check_command(properties)
        self._cluster(properties.get("computeId") or "")
        self._image(properties["environmentId"])

    def _source(self, run: Run) -> None:
        """A job made of another has its steps, and its inputs where it was given none."""
        source = run.properties.get("sourceJobId")
        if source:
            other = self._run(source.rpartition("/")[2]).properties
            run.properties["jobs"] = other.get("jobs")
            run.properties["inputs"] = {**(other.get("inputs") or {}), **(run.properties.get("inputs") or {})}

    def _list(self, request: Request) -> Response:
        """Newest first, in pages; the size of the service's own pages is not documented."""
        tag = request.args.get("tag")
        shown = time.time() - self.misbehaviour.faults.listing_delay
        found = [
            run
            for run in sorted(self.runs.values(), key=lambda run: -run.created)
            if run.created <= shown and (not tag or tag in (run.properties.get("tags") or {}))
        ]
        start = int(request.args.get("$skip") or 0)
        answer: dict[str, Any] = {"value": [run.state(self.scope) for run in found[start : start + PAGE]]}
        if start + PAGE < len(found):
            rest = "&".join(f"{k}={v}" for k, v in request.args.items() if k != "$skip")
            answer["nextLink"] = f"{self.url}{request.path}?{rest}&$skip={start + PAGE}"
        return _json(answer)

    def _batch(self, request: Request) -> Response:
        good: dict[str, Any] = {}
        bad: dict[str, Any] = {}
        shown = time.time() - self.misbehaviour.faults.listing_delay
        for key, asked in (request.get_json().get("requests") or {}).items():
            run = self.runs.get(asked["runId"])
            if run is None or run.created > shown:
                bad[key] = {"error": {"code": "UserError", "message": f"Run {asked['runId']} not found"}}
            else:
                good[key] = {"runMetadata": run.history()}
        return _json({"successfulResults": good, "failedResults": bad}, 207 if bad else 200)

    def _details(self, run: Run) -> dict[str, Any]:
        name = f"logs/{run.name}/std_log.txt"
        found = self.blobs.client().get_blob_client(self.container, name)
        found.upload_blob(run.log.encode(), overwrite=True)
        return {**run.history(), "logFiles": {"user_logs/std_log.txt": self._readable(name)}}

    def _readable(self, name: str) -> str:
        """A blob's address that holds its own signature, as the service gives out."""
        from datetime import UTC, datetime, timedelta

        from azure.storage.blob import BlobSasPermissions, generate_blob_sas

        sas = generate_blob_sas(
            self.account,
            self.container,
            name,
            account_key=self.blobs.key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.now(UTC) + timedelta(hours=1),
        )
        return f"{self.url}/{self.account}/{self.container}/{name}?{sas}"

    def _published(self, pipeline: str, request: Request) -> Response:
        """A published pipeline is started by its id; the run's id is the service's own ("Publish machine learning
        pipelines": the REST endpoint)."""
        known = self.published.get(pipeline)
        component = known or next((c for k, c in self.components.items() if k.startswith(f"{pipeline}/")), None)
        if component is None:
            raise Refused(404, "UserError", f"Pipeline {pipeline} not found")
        body = request.get_json()
        inputs = {
            name: {"jobInputType": "literal", "value": value}
            for name, value in (body.get("ParameterAssignments") or {}).items()
        }
        name = str(uuid.uuid4())
        spec = component["properties"]["componentSpec"]
        properties = {
            "jobType": "Pipeline",
            "inputs": inputs,
            "jobs": {"step": {"spec": spec, "inputs": {}}},
            "experimentName": body.get("ExperimentName"),
            "tags": body.get("Tags") or {},
        }
        self.runs[name] = run = Run(name, {"properties": properties})
        self.runner.start(run)
        return _json({"Id": name, "Status": {"StatusCode": 0}})

    def _version(self, held: dict[str, dict[str, Any]], rest: str, request: Request) -> Response:
        _, kind, name, _, version = [*rest.split("/"), "", ""][:5]
        key = f"{name}/{version}"
        if request.method == "PUT":
            body = request.get_json()
            if key in held and held[key]["properties"] != body["properties"]:
                raise Refused(409, "UserError", f"{kind} {name}:{version} exists, and a version does not change.")
            held[key] = {"id": f"{self.scope}{rest}", "name": version, "properties": body["properties"]}
            return _json(held[key], 201)
        if request.method == "GET" and request.path.rstrip("/").endswith(f"/{kind}/{name}"):
            versions = [key.partition("/")[2] for key in held if key.startswith(f"{name}/")]
            if not versions:
                raise Refused(404, "UserError", f"{kind} {name} not found")
            return _json({"id": f"{self.scope}{rest}", "name": name, "properties": {"latestVersion": versions[-1]}})
        if request.method == "GET" and not version:
            values = [value for key, value in held.items() if key.startswith(f"{name}/")]
            return _json({"value": values[::-1]})
        if key not in held:
            raise Refused(404, "UserError", f"{kind} {name}:{version} not found")
        return _json(held[key])

    def _run(self, name: str) -> Run:
        if name not in self.runs:
            raise Refused(404, "UserError", f"Job {name} not found.")
        return self.runs[name]

    def _image(self, environment: str) -> str:
        if environment.startswith("azureml://registries/"):
            return environment
        name, _, version = environment.partition("/environments/")[2].replace("/versions/", "/").partition("/")
        found = self.environments.get(f"{name}/{version}")
        if found is None:
            raise Refused(404, "UserError", f"Environment {name}:{version} not found")
        return str(found["properties"].get("image"))

    def _cluster(self, compute: str) -> Mapping[str, Any]:
        name = compute.rpartition("/")[2]
        if name not in self.clusters:
            raise Refused(400, "UserError", f"The specified compute target {name} was not found in the workspace.")
        return self.clusters[name]

    def _component(self, component: str) -> Mapping[str, Any]:
        name, _, version = component.partition("/components/")[2].replace("/versions/", "/").partition("/")
        found = self.components.get(f"{name}/{version}")
        if found is None:
            raise Refused(404, "UserError", f"Component {name}:{version} not found")
        spec: Mapping[str, Any] = found["properties"]["componentSpec"]
        return spec

    def _mlflow(self, rest: str, request: Request) -> Response:
        from tests.emulators.azure_tracking import MlflowService

        with self._lock:
            if self.tracking is None:
                self.tracking = MlflowService(self.folder)
            shown = time.time() - self.misbehaviour.faults.listing_delay
            names = {
                name: (run.properties.get("experimentName") or "Default", run.properties.get("tags") or {})
                for name, run in self.runs.items()
                if run.created <= shown
            }
            answer: Response = self.tracking.forward(rest, request, names)
        return answer

    def _track(self, request: Request) -> Response:
        body = request.get_data()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        items = json.loads(body)
        mine = [item for item in items if item.get("iKey") == INSTRUMENTATION_KEY]
        self.telemetry += mine
        if len(mine) < len(items):
            return _json(
                {
                    "itemsReceived": len(items),
                    "itemsAccepted": len(mine),
                    "errors": [{"index": 0, "statusCode": 400, "message": "Invalid instrumentation key"}],
                },
                400,
            )
        return _json({"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []})


def start(folder: Path, platform: Mapping[str, Any]) -> Emulation:
    """Start it: see ``tests.emulators.start``."""
    url, process = launch("tests.emulators.azure", folder, platform)
    found = _ADDRESS.match(str(platform.get("bucket") or "abfss://models@acmeml.dfs.core.windows.net"))
    assert found is not None
    return Emulation(url, connection(url, found[2], platform), process)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": {"code": code, "message": message}}, status)


if __name__ == "__main__":
    serve(Azure)
