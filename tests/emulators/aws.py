"""AWS on loopback: SageMaker's jobs and AWS Batch that really run, in front of moto for everything else.

moto serves S3, CloudWatch, STS and SageMaker's experiments. In front of it: signatures, the regions of buckets, and the
two services that run jobs, whose jobs read and write moto's S3.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from werkzeug.wrappers import Request, Response

from tests.emulators import Emulation, connection_variable
from tests.emulators.aws_auth import Keys
from tests.emulators.aws_batch import Batch
from tests.emulators.aws_errors import Refused, worded
from tests.emulators.aws_lifecycle import OPERATIONS, Lifecycles
from tests.emulators.aws_permissions import Asked, Permissions, of_batch, of_cloudwatch, of_s3, of_sagemaker
from tests.emulators.aws_processing import Processing
from tests.emulators.aws_sagemaker import SageMaker
from tests.emulators.aws_store import Store, split
from tests.emulators.aws_validate import Validator
from tests.emulators.clock import Clock
from tests.emulators.server import Emulator, Refusal, launch, serve

_SCOPE: Final = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/([^/]+)/aws4_request")
_S3_QUERIES: Final = ("versions", "versioning", "lifecycle", "uploads", "location", "tagging", "encryption", "policy")
_THROTTLED: Final = {
    "s3": ("SlowDown", 503),
    "batch": ("TooManyRequestsException", 429),
}
_FAILED: Final = {"s3": "InternalError", "batch": "ServerException"}
_EXPERIMENTS: Final = {
    "CreateExperiment": "ExperimentName",
    "CreateTrial": "TrialName",
    "CreateTrialComponent": "TrialComponentName",
}
_CREDENTIALS: Final = "/v2/credentials/container"


class Aws(Emulator):
    """Everything of AWS that answers at one address."""

    def __init__(self, folder: Path, platform: Mapping[str, Any]) -> None:
        super().__init__(folder, platform)
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._moto: Callable[..., Any] = DomainDispatcherApplication(create_backend_app)
        self._keys = Keys()
        self._permissions = Permissions()
        self._named: dict[tuple[str, str], set[str]] = {}
        clock, store = Clock(), Store()
        self._store = store
        self._lifecycles = Lifecycles()
        self._validator = Validator()
        self.sagemaker = SageMaker(store, self.misbehaviour, clock, folder / "sagemaker", platform.get("role"))
        self.processing = Processing(store, self.misbehaviour, clock, folder / "processing", platform.get("role"))
        self._operations = {**self.sagemaker.operations, **self.processing.operations}
        self.batch = Batch(store, self.misbehaviour, clock, folder / "batch", platform, self._container_environment)

    def ready(self) -> None:
        """The buckets that the platform names exist."""
        for place in (self.platform, *({**self.platform, **other} for other in self.platform.get("fallback", []))):
            if place.get("bucket"):
                self._store.make(split(str(place["bucket"]))[0], _region(place))

    def describe(self) -> dict[str, Any]:
        """The jobs by service and name."""
        return {
            "sagemaker": [
                {
                    "name": job.name,
                    "status": job.described["TrainingJobStatus"],
                    "reason": job.described.get("FailureReason", ""),
                    "log": job.log[-2000:],
                }
                for job in list(self.sagemaker.jobs.values())
            ],
            "processing": self.processing.report(),
            "batch": self.batch.report(),
            "permissions": self._permissions.report(),
        }

    def close(self) -> None:
        """End every job."""
        self.sagemaker.close()
        self.processing.close()
        self.batch.close()

    def operation(self, request: Request) -> str:
        """The operation's name in the SDK, by each protocol's own place for it."""
        target = request.headers.get("X-Amz-Target", "")
        if target:
            return target.rpartition(".")[2]
        service = _service(request)
        if service == "batch":
            return self._validator.rest_operation("batch", request.method, request.path)
        if service == "s3":
            return _s3_operation(request)
        if "/operation/" in request.path:  # Smithy's RPC v2, which CloudWatch speaks
            return request.path.rpartition("/")[2]
        action = re.search(rb"(?:^|&)Action=(\w+)", self._body(request))
        return action[1].decode() if action else request.path

    def perform(self, operation: str, request: Request) -> Response:
        """Answer a call, or refuse it in the service's words."""
        if request.path == _CREDENTIALS:
            return Response(json.dumps(self._keys.container()), content_type="application/json")
        service, region = _service(request), _signed_region(request)
        try:
            self._body(request)
            self._keys.check(request, service)
            with suppress(KeyError, ValueError):  # what is no request is refused below
                self._permissions.see(self._asked(service, operation, request, region))
            if service == "s3":
                self._check_region(operation, request, region)
                if operation in OPERATIONS:
                    return self._lifecycles.answer(operation, request)
            elif service == "sagemaker":
                return self._sagemaker(operation, request, region)
            elif service == "batch":
                body = self._validator.parsed("batch", operation, request)
                return _json(self.batch.answer(operation, body, region), "application/json")
        except Refused as e:
            return worded(e, service)
        self._body(request)
        return Response.from_app(self._moto, request.environ)

    def refuse(self, kind: Refusal, operation: str, request: Request) -> Response:
        """Throttled, failed or denied, as the service words it."""
        service = _service(request)
        if kind == "throttle":
            code, status = _THROTTLED.get(service, ("ThrottlingException", 400))
            error = Refused(code, "Rate exceeded", status)
        elif kind == "fail":
            error = Refused(_FAILED.get(service, "InternalFailure"), "We encountered an internal error.", 500)
        else:
            # The words of IAM's guide, "Troubleshoot access denied error messages".
            who = "arn:aws:iam::123456789012:user/test"
            what = f"{'s3' if service == 's3' else service}:{operation}"
            error = Refused(
                "AccessDenied" if service == "s3" else "AccessDeniedException",
                f"User: {who} is not authorized to perform: {what} because no identity-based policy allows the {what} "
                "action",
                403,
            )
        return worded(error, service)

    def _sagemaker(self, operation: str, request: Request, region: str) -> Response:
        if operation in self._operations:
            body = self._validator.parsed("sagemaker", operation, request)
            return _json(self._operations[operation](body, region), "application/x-amz-json-1.1")
        if operation == "ListTags":
            body = self._validator.parsed("sagemaker", operation, request)
            tags = self.sagemaker.tags(body["ResourceArn"]) or self.processing.tags(body["ResourceArn"])
            if tags is not None:
                entries = [{"Key": key, "Value": value} for key, value in tags.items()]
                return _json({"Tags": entries}, "application/x-amz-json-1.1")
        if operation in _EXPERIMENTS:
            body = self._validator.parsed("sagemaker", operation, request)
            key, name = (operation, region), body[_EXPERIMENTS[operation]]
            if name in self._named.setdefault(key, set()):
                # moto makes it anew. The service's words, as the SDK's notebooks quote them.
                what = operation.removeprefix("Create")
                raise Refused("ValidationException", f"{what} names must be unique within an AWS account and region.")
            self._named[key].add(name)
        self._body(request)
        return Response.from_app(self._moto, request.environ)

    def _check_region(self, operation: str, request: Request, region: str) -> None:
        # "PermanentRedirect: the bucket you are attempting to access must be addressed using the specified endpoint":
        # S3's list of error codes.
        bucket = request.path.split("/")[1]
        actual = self._store.region(bucket) if bucket else None
        if operation != "CreateBucket" and actual is not None and actual != region:
            raise Refused(
                "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the specified endpoint.",
                301,
                {"x-amz-bucket-region": actual},
            )

    def _asked(self, service: str, operation: str, request: Request, region: str) -> Iterator[Asked]:
        """What the caller has to be allowed for this call."""
        key = _SCOPE.search(request.headers.get("Authorization", ""))
        who = {"test": "connection", "stranger": ""}.get(key[1] if key else "", "job")
        if not who:
            return
        if service == "s3":
            yield from of_s3(who, operation, request.path, versioned="versionId" in request.args)
        if service not in ("monitoring", "sagemaker", "batch"):
            return
        body = json.loads(self._body(request) or b"{}")
        if service == "monitoring":
            yield from of_cloudwatch(who, operation, body)
        elif service == "sagemaker":
            yield from of_sagemaker(who, operation.lstrip("/"), region, body)
        else:
            yield from of_batch(who, operation, region, body, self._tags_of)

    def _tags_of(self, job: str) -> Mapping[str, str]:
        found = self.batch.jobs.get(job)
        return {} if found is None else found.described["tags"]

    def _container_environment(self) -> dict[str, str]:
        """What a container on ECS finds its credentials, and here its endpoint, by."""
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}{_CREDENTIALS}",
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_REGION": _region(self.platform),
        }

    @staticmethod
    def _body(request: Request) -> bytes:
        """The body, which stays readable for who comes next."""
        body = request.get_data(cache=True)
        request.environ["wsgi.input"] = io.BytesIO(body)
        return body


def start(folder: Path, platform: Mapping[str, Any]) -> Emulation:
    """Start the emulator with what the platform names: its bucket, its queues, its role."""
    url, process = launch("tests.emulators.aws", folder, platform)
    connection = {
        "conn_type": "aws",
        "login": "test",
        "password": "test",
        "extra": {"region_name": _region(platform), "endpoint_url": url},
    }
    name = str(platform.get("connection") or "aws_default")
    return Emulation(url, connection_variable(name, connection), process)


def _region(platform: Mapping[str, Any]) -> str:
    return str(platform.get("region") or "us-east-1")


def _service(request: Request) -> str:
    found = _SCOPE.search(request.headers.get("Authorization", ""))
    return found[3] if found else "s3"


def _signed_region(request: Request) -> str:
    found = _SCOPE.search(request.headers.get("Authorization", ""))
    return found[2] if found else ""


def _s3_operation(request: Request) -> str:
    _, _, rest = request.path.partition("/")
    bucket, _, key = rest.partition("/")
    verb = {"GET": "Get", "HEAD": "Head", "PUT": "Put", "DELETE": "Delete", "POST": "Post"}.get(request.method, "")
    what = next((name for name in _S3_QUERIES if name in request.args), "")
    if not bucket:
        return "ListBuckets"
    if key:
        if "uploadId" in request.args or what == "uploads":
            return {"PUT": "UploadPart", "DELETE": "AbortMultipartUpload"}.get(
                request.method, "CreateMultipartUpload" if what else "CompleteMultipartUpload"
            )
        if request.method == "PUT" and "x-amz-copy-source" in request.headers:
            return "CopyObject"
        return f"{verb}Object{what.capitalize()}"
    if what == "versions":
        return "ListObjectVersions"
    if what or request.method == "HEAD":
        return f"{verb}Bucket{what.capitalize()}"
    return {"GET": "ListObjectsV2", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "POST": "DeleteObjects"}.get(
        request.method, "Unknown"
    )


def _json(value: Mapping[str, Any], kind: str) -> Response:
    return Response(json.dumps(value), content_type=kind)


if __name__ == "__main__":
    serve(Aws)
