"""What IAM of Google Cloud would be asked of each call: a permission, a resource and the call's own attributes.

From the IAM permissions reference and the pages "IAM permissions for JSON methods" of Cloud Storage and "Attributes for
IAM Conditions". A call of the runtime in a container is told from one of Airflow's side by its client: the runtime has
Python's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from werkzeug.wrappers import Request

from tests.emulators.aws_permissions import Asked

PERMISSIONS = {
    "CreateCustomJob": "aiplatform.customJobs.create",
    "ListCustomJobs": "aiplatform.customJobs.list",
    "GetCustomJob": "aiplatform.customJobs.get",
    "CancelCustomJob": "aiplatform.customJobs.cancel",
    "GetMetadataStore": "aiplatform.metadataStores.get",
    "CreateMetadataStore": "aiplatform.metadataStores.create",
    "CreateContext": "aiplatform.contexts.create",
    "GetContext": "aiplatform.contexts.get",
    "UpdateContext": "aiplatform.contexts.update",
    "AddContextChildren": "aiplatform.contexts.addContextChildren",
    "CreateTimeSeries": "monitoring.timeSeries.create",
}
"""Operation → permission."""
_OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
_BUCKET = re.compile(r"/(?:upload/)?storage/v1/b/([^/]+)(?:/o)?")
_NAME = re.compile(rb'"name": *("(?:[^"\\]|\\.)*")')


def of_call(operation: str, name: str, request: Request) -> Iterator[Asked]:
    """A call of Vertex AI or Cloud Monitoring about a resource, or in a project."""
    if operation not in PERMISSIONS:
        return
    project = name.split("/")[1] if "/" in name else name
    yield Asked("connection", PERMISSIONS[operation], f"projects/{project}")
    if operation == "UpdateContext":
        yield Asked("connection", "aiplatform.contexts.get", f"projects/{project}")
    if operation == "CreateCustomJob":
        account = json.loads(request.get_data()).get("jobSpec", {}).get("serviceAccount")
        if account:
            yield Asked("connection", "iam.serviceAccounts.actAs", f"projects/{project}/serviceAccounts/{account}")


def of_storage(operation: str, request: Request, exists: Callable[[str, str], bool]) -> Iterator[Asked]:
    """A call of Cloud Storage; ``exists`` tells whether a bucket has an object."""
    who = "job" if str(request.user_agent).startswith("Python-urllib") else "connection"
    if found := _OBJECT.fullmatch(request.path):
        yield Asked(who, operation, f"projects/_/buckets/{found[1]}/objects/{unquote(found[2])}")
        return
    found = _BUCKET.fullmatch(request.path)
    if found is None or "upload_id" in request.args:
        return  # the rest of an upload, which was allowed when it began
    bucket = f"projects/_/buckets/{found[1]}"
    if operation == "storage.objects.create":
        told = _NAME.search(request.get_data()) if "name" not in request.args else None
        name = json.loads(told[1]) if told else request.args["name"]
        yield Asked(who, operation, f"{bucket}/objects/{name}")
        if exists(found[1], name):
            yield Asked(who, "storage.objects.delete", f"{bucket}/objects/{name}")
    elif operation == "storage.objects.list":
        yield Asked(who, operation, bucket, {_PREFIX: request.args.get("prefix", "")})
    else:
        yield Asked(who, operation, bucket)


_PREFIX = "storage.googleapis.com/objectListPrefix"
