"""The storage account in Azure Resource Manager, and its management policy.

Rules of the service that are kept to, from its REST reference ("Management Policies") and the guide to lifecycle
management of Blob Storage: one policy, named ``default``; its rules have names of their own, at most 100; each has an
action; an answer has what the service adds (``lastModifiedTime``). The account is in a resource group of its own, as
many are.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from werkzeug.wrappers import Request, Response

from tests.emulators.azure_jobs import Refused

GROUP = "storage"
_LIST = re.compile(r"/subscriptions/([^/]+)/providers/Microsoft\.Storage/storageAccounts")
_ACCOUNT = re.compile(
    r"/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Storage/storageAccounts/([^/]+)"
    r"(/managementPolicies/default)?"
)
_MOST = 100


def name_of(method: str, path: str) -> str:
    """The operation that is asked for, as the specification of the management API has it; empty if it is none here."""
    if _LIST.fullmatch(path):
        return "StorageAccounts_List"
    found = _ACCOUNT.fullmatch(path)
    if found is None:
        return ""
    if found[4] is None:
        return "StorageAccounts_GetProperties"
    return {"GET": "ManagementPolicies_Get", "PUT": "ManagementPolicies_CreateOrUpdate"}.get(
        method, "ManagementPolicies_Delete"
    )


class Accounts:
    """The one account. Threads may share it."""

    def __init__(self, subscription: str, name: str) -> None:
        self.subscription = subscription
        self.name = name
        self._policy: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def perform(self, operation: str, request: Request) -> Response:
        """One call.

        Raises:
            Refused: as the service would.
        """
        if "api-version" not in request.args:
            raise Refused(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if operation == "StorageAccounts_List":
            return _json({"value": [self._described()]})
        found = _ACCOUNT.fullmatch(request.path)
        assert found is not None
        if (found[1], found[2].lower(), found[3]) != (self.subscription, GROUP, self.name):
            words = f"The Resource 'Microsoft.Storage/storageAccounts/{found[3]}' under resource group '{found[2]}' was"
            raise Refused(404, "ResourceNotFound", f"{words} not found.")
        if operation == "StorageAccounts_GetProperties":
            return _json(self._described())
        with self._lock:
            return self._of_policy(operation, request)

    def _of_policy(self, operation: str, request: Request) -> Response:
        if operation == "ManagementPolicies_CreateOrUpdate":
            policy = request.get_json()["properties"]["policy"]
            _check(policy)
            self._policy = {"lastModifiedTime": datetime.now(UTC).isoformat(), "policy": policy}
        elif operation == "ManagementPolicies_Delete":
            held, self._policy = self._policy, None
            return Response(status=204 if held is None else 200)
        if self._policy is None:
            raise Refused(404, "ManagementPolicyNotFound", "No ManagementPolicy found for account " + self.name)
        return _json({"name": "DefaultManagementPolicy", "properties": self._policy})

    def _described(self) -> dict[str, Any]:
        scope = f"/subscriptions/{self.subscription}/resourceGroups/{GROUP}"
        return {
            "id": f"{scope}/providers/Microsoft.Storage/storageAccounts/{self.name}",
            "name": self.name,
            "kind": "StorageV2",
        }


def _check(policy: Mapping[str, Any]) -> None:
    rules = policy.get("rules") or []
    names = [rule.get("name") for rule in rules]
    actions = [(rule.get("definition") or {}).get("actions") for rule in rules]
    if not 0 < len(rules) <= _MOST or len(names) != len(set(names)) or not all(names) or not all(actions):
        raise Refused(400, "InvalidRequestPropertyValue", "The value of the property 'rules' is invalid.")


def _json(value: Any) -> Response:
    return Response(json.dumps(value), content_type="application/json")
