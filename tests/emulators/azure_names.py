"""What the calls to the emulator of Azure are named, and the connection that leads to it."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request

from tests.emulators import azure_accounts, connection_variable
from tests.emulators.azure_blob import operation

TOKEN = "emulated-token"
INSTRUMENTATION_KEY = "00000000-0000-0000-0000-00000000ab1e"
SCOPE = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.MachineLearningServices/workspaces/([^/]+)(.*)",
    re.IGNORECASE,
)
_OPERATIONS: tuple[tuple[str, dict[str, str]], ...] = (
    ("", {"GET": "Workspaces_Get"}),
    ("/jobs", {"GET": "Jobs_List"}),
    ("/jobs/[^/]+", {"PUT": "Jobs_CreateOrUpdate", "GET": "Jobs_Get", "DELETE": "Jobs_Delete"}),
    ("/jobs/[^/]+/cancel", {"POST": "Jobs_Cancel"}),
    ("/computes/[^/]+", {"GET": "Compute_Get"}),
    ("/environments/[^/]+/versions", {"GET": "EnvironmentVersions_List"}),
    (
        "/environments/[^/]+/versions/[^/]+",
        {"PUT": "EnvironmentVersions_CreateOrUpdate", "GET": "EnvironmentVersions_Get"},
    ),
    ("/components/[^/]+", {"GET": "ComponentContainers_Get"}),
    ("/components/[^/]+/versions", {"GET": "ComponentVersions_List"}),
    ("/components/[^/]+/versions/[^/]+", {"PUT": "ComponentVersions_CreateOrUpdate", "GET": "ComponentVersions_Get"}),
)


def name_of(request: Request, account: str) -> str:
    """The operation that is asked for; ``account`` is the storage account's name."""
    path = request.path
    if path.startswith(f"/{account}/"):
        return operation(request.method, request.args)
    if "/mlflow/" in path:
        return "Mlflow"
    if "/PipelineRuns/PipelineSubmit/" in path:
        return "PipelineSubmit"
    of_account = azure_accounts.name_of(request.method, path)
    if of_account:
        return of_account
    for end, name in _ENDS.items():
        if path.endswith(end):
            return name
    found = SCOPE.fullmatch(path)
    rest = found[4] if found else ""
    for pattern, names in _OPERATIONS:
        if re.fullmatch(pattern, rest) and request.method in names:
            return names[request.method]
    return "Unknown"


_ENDS = {
    "/batchrundata": "BatchGetRunData",
    "/details": "GetDetails",
    "/v2.1/track": "Track",
    "/discovery": "Discovery",
}


def connection(url: str, account: str, platform: Mapping[str, Any]) -> dict[str, str]:
    """The Airflow connection that leads to the emulator at ``url``."""
    extra = {
        "subscriptionId": platform.get("subscription"),
        "access_token": TOKEN,
        "resource_manager_endpoint": url,
        "storage_endpoint": f"{url}/{account}",
        "shared_access_key": base64.b64encode(hashlib.sha512(account.encode()).digest()).decode(),
        "application_insights": f"InstrumentationKey={INSTRUMENTATION_KEY};IngestionEndpoint={url}/",
    }
    name = str(platform.get("connection") or "azure_default")
    return connection_variable(name, {"conn_type": "azure", "extra": extra})
