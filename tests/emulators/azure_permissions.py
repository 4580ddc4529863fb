"""What Azure's RBAC asks whether a caller may do, of each call: an action, and the resource that it is about.

By "Azure permissions" of the documentation of Azure RBAC (AI + machine learning, Storage, Containers), and "Calling
data operations" of Blob Storage's REST reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

ML: Final = "Microsoft.MachineLearningServices/workspaces"
STORAGE: Final = "Microsoft.Storage/storageAccounts"
BLOBS: Final = f"{STORAGE}/blobServices/containers/blobs"
_WORKSPACE: Final = {
    "Workspaces_Get": "read",
    "Jobs_CreateOrUpdate": "jobs/write",
    "Jobs_Get": "jobs/read",
    "Jobs_List": "jobs/read",
    "Jobs_Cancel": "jobs/cancel/action",
    "Jobs_Delete": "jobs/delete",
    "Compute_Get": "computes/read",
    "EnvironmentVersions_CreateOrUpdate": "environments/versions/write",
    "EnvironmentVersions_Get": "environments/versions/read",
    "EnvironmentVersions_List": "environments/versions/read",
    "ComponentContainers_Get": "components/read",
    "ComponentVersions_CreateOrUpdate": "components/versions/write",
    "ComponentVersions_Get": "components/versions/read",
    "ComponentVersions_List": "components/versions/read",
    "BatchGetRunData": "experiments/runs/read",
    "GetDetails": "experiments/runs/read",
    "PipelineSubmit": "experiments/runs/submit/action",
}
_MLFLOW: Final = {
    "runs/get": "experiments/runs/read",
    "runs/search": "experiments/runs/read",
    "runs/create": "experiments/runs/write",
    "runs/update": "experiments/runs/write",
    "runs/log-batch": "experiments/runs/write",
    "experiments/get-by-name": "experiments/read",
    "experiments/create": "experiments/write",
}
_ACCOUNT: Final = {
    "StorageAccounts_List": "read",
    "StorageAccounts_GetProperties": "read",
    "ManagementPolicies_Get": "managementPolicies/read",
    "ManagementPolicies_CreateOrUpdate": "managementPolicies/write",
    "ManagementPolicies_Delete": "managementPolicies/delete",
}
_BLOB: Final = {
    "GetBlob": "read",
    "GetBlobProperties": "read",
    "ListBlobs": "read",
    "PutBlob": "write",
    "PutBlock": "write",
    "PutBlockList": "write",
    "SetBlobMetadata": "write",
    "DeleteBlob": "delete",
}


@dataclass(frozen=True)
class Asked:
    """Whether ``who`` (``connection``, ``job``) may do ``action``, of ``data`` or of the thing itself, with
    ``resource``, an id in Azure Resource Manager."""

    who: str
    action: str
    resource: str
    data: bool = False


class Permissions:
    """Collects what was asked. Threads may share it; what is asked again is kept once."""

    def __init__(self) -> None:
        self._seen: dict[Asked, None] = {}

    def see(self, asked: Iterator[Asked]) -> None:
        """Keep some."""
        for one in asked:
            self._seen.setdefault(one)

    def report(self) -> list[dict[str, Any]]:
        """All of them, as JSON."""
        return [asdict(one) for one in list(self._seen)]


def of_workspace(operation: str, path: str, scope: str) -> Iterator[Asked]:
    """A call of a workspace's, by the management API or one of its own services."""
    if operation == "Mlflow":
        action = _MLFLOW[path.partition("/mlflow/v1.0")[2].partition("/api/2.0/mlflow/")[2] or path]
    else:
        action = _WORKSPACE[operation]
    yield Asked("connection", f"{ML}/{action}", scope)


def of_account(operation: str, path: str, account: str) -> Iterator[Asked]:
    """A call about storage accounts. A list shows those that the caller may read: so it asks for the one there is."""
    resource = account if operation == "StorageAccounts_List" else path.partition("/managementPolicies")[0]
    yield Asked("connection", f"{STORAGE}/{_ACCOUNT[operation]}", resource)


def of_blob(who: str, operation: str, query: Mapping[str, str], container: str) -> Iterator[Asked]:
    """A call of the blob API; ``container`` is the container's id."""
    if operation in ("CreateContainer", "DeleteContainer", "GetContainer"):
        verb = {"CreateContainer": "write", "DeleteContainer": "delete", "GetContainer": "read"}[operation]
        yield Asked(who, f"{STORAGE}/blobServices/containers/{verb}", container)
        return
    verb = _BLOB[operation]
    if verb == "delete" and "versionid" in query:
        verb = "deleteBlobVersion/action"
    yield Asked(who, f"{BLOBS}/{verb}", container, data=True)


def of_image(image: str, group: str) -> Iterator[Asked]:
    """A job's image, pulled; ``group`` is the id of the resource group of registries."""
    host = image.partition("/")[0]
    if host.endswith(".azurecr.io"):
        kind = "Microsoft.ContainerRegistry/registries"
        yield Asked("job", f"{kind}/pull/read", f"{group}/providers/{kind}/{host.partition('.')[0]}")
