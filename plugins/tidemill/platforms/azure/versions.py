"""Versions of blobs, and the rule for their end in the storage account's management policy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tidemill.platforms.azure.account import TIMEOUTS, client_of, cloud_of, request_of
from tidemill.platforms.azure.errors import code_of, translated
from tidemill.platforms.azure.storage import Blobs, address_of, open_storage
from tidemill.platforms.cloud import connection_id
from tidemill.platforms.ports import Connections, PlatformError, VersionGone
from tidemill.spec.platform import Platform

_API: Final = "2024-01-01"
_MALFORMED: Final = frozenset({"InvalidQueryParameterValue", "OutOfRangeQueryParameterValue", "InvalidVersionId"})
_ACTIONS: Final = "Microsoft.Storage/storageAccounts/managementPolicies/read and /write, and storageAccounts/read"


def open_versions(platform: Platform, connections: Connections) -> BlobVersions:
    """The port ``ObjectVersions`` over the blob API.

    Raises:
        PlatformError: no such connection, or nothing can be made of it.
    """
    name = connection_id(platform)
    found = connections.get(name)
    accounts = Accounts(
        connections.credentials("azure", name),
        name,
        {} if found is None else found.extra,
        subscription=platform.subscription,
        group=platform.resource_group,
    )
    return BlobVersions(open_storage(platform, connections), accounts)


class BlobVersions:
    """The port ``ObjectVersions`` of ``abfss://`` addresses."""

    def __init__(self, blobs: Blobs, accounts: Accounts) -> None:
        self._blobs = blobs
        self._accounts = accounts

    def put(self, file: Path, uri: str) -> str:
        """See the port. A call that was repeated since its answer was lost may leave a version that nobody names."""
        version = self._blobs.put_version(file, uri)
        if version is None:
            self._blobs.delete(uri)
            raise _not_kept(uri)
        return version

    def get(self, uri: str, version: str, file: Path) -> None:
        """See the port."""
        if self._look(uri, version) is None:
            raise VersionGone("Azure: no such version of the blob")
        self._blobs.get(uri, file, version)

    def has(self, uri: str, version: str, size: int) -> bool:
        """See the port."""
        found = self._look(uri, version)
        return bool(found is not None and found.size == size)

    def newest(self, uri: str) -> str:
        """See the port."""
        found = self._blobs.look(uri)
        if found is None:
            raise VersionGone(f"there is no {uri}")
        if not found.version_id:
            raise _not_kept(uri)
        return str(found.version_id)

    def expire(self, uri: str, name: str, days: int | None) -> None:
        """See the port. The service replaces the account's whole policy, and has no guard against another writer at
        that moment. Days count from when a version was written: it knows no other age of versions."""
        at = address_of(uri)
        policy = self._accounts.policy(at.account)
        rules = policy.get("rules", [])
        others = [rule for rule in rules if rule.get("name") != name]
        wanted = others
        if days is not None:
            wanted = [*others, _rule(name, f"{at.container}/{at.key.rstrip('/')}/", days)]
        if _in_order(rules) != _in_order(wanted):
            self._accounts.set_policy(at.account, {**policy, "rules": wanted})

    def _look(self, uri: str, version: str) -> Any:
        """The properties of a version; ``None`` if there is none of that id, or could be none."""
        from azure.core.exceptions import HttpResponseError

        try:
            return self._blobs.look(uri, version)
        except PlatformError as error:
            cause = error.__cause__
            if isinstance(cause, HttpResponseError) and code_of(cause) in _MALFORMED:
                return None
            raise


class Accounts:
    """The storage accounts of a subscription, by its management API."""

    def __init__(
        self,
        credential: Any,
        connection: str,
        extra: Mapping[str, Any],
        *,
        subscription: str | None,
        group: str | None,
    ) -> None:
        self._credential = credential
        self._connection = connection
        self._extra = extra
        self._subscription = subscription or str(extra.get("subscriptionId") or "")
        self._group = group
        self._ids: dict[str, str] = {}

    def policy(self, account: str) -> Mapping[str, Any]:
        """An account's management policy, as JSON; empty if it has none."""
        found: Mapping[str, Any] = self._policy("GET", account).get("properties", {}).get("policy", {})
        return found

    def set_policy(self, account: str, policy: Mapping[str, Any]) -> None:
        """Replace an account's management policy; one without rules is none."""
        if policy["rules"]:
            self._policy("PUT", account, {"properties": {"policy": dict(policy)}})
        else:
            self._policy("DELETE", account)

    def _policy(self, method: str, account: str, body: Any = None) -> Mapping[str, Any]:
        return self._call(method, f"{self._id(account)}/managementPolicies/default", body)

    def _id(self, account: str) -> str:
        """The account's id in the subscription: in the platform's resource group, or in another one.

        Raises:
            PlatformError: the subscription is not known, or has no such account.
        """
        if account in self._ids:
            return self._ids[account]
        if not self._subscription:
            raise PlatformError(
                f"nothing says which subscription the storage account {account} is of; set `subscriptionId` in the "
                f"extra of the connection {self._connection!r}",
                fault="user",
            )
        end = f"/providers/Microsoft.Storage/storageAccounts/{account}"
        base = f"/subscriptions/{self._subscription}"
        near = f"{base}/resourceGroups/{self._group}{end}" if self._group else ""
        if near and self._call("GET", near):
            self._ids[account] = near
            return near
        path = f"{base}/providers/Microsoft.Storage/storageAccounts"
        while path:
            page = self._call("GET", path)
            for one in page.get("value", []):
                if str(one["id"]).lower().endswith(end.lower()):
                    self._ids[account] = str(one["id"])
                    return self._ids[account]
            path = str(page.get("nextLink") or "")
        raise PlatformError(
            f"the subscription {self._subscription} shows no storage account {account} to the connection "
            f"{self._connection!r}; it needs {_ACTIONS}",
            fault="user",
        )

    def _call(self, method: str, path: str, body: Any = None) -> Mapping[str, Any]:
        """The answer; empty if there is no such thing."""
        cloud = cloud_of(self._connection, self._extra)
        manager = str(self._extra.get("resource_manager_endpoint") or cloud.manager).rstrip("/")
        client = client_of(self._credential, self._connection, manager, f"{cloud.manager}/.default")
        url, params = (path, None) if path.startswith("http") else (f"{manager}{path}", {"api-version": _API})
        with translated(f"{method} {path} (it takes {_ACTIONS})", self._connection, "accounts"):
            answer = client.send_request(
                request_of(method, url, json=body, params=params),
                connection_timeout=TIMEOUTS["connection_timeout"],
                read_timeout=TIMEOUTS["read_timeout"],
            )
            if answer.status_code == 404 and method != "PUT":
                return {}
            answer.raise_for_status()
            found: Mapping[str, Any] = answer.json() if answer.status_code == 200 and method != "DELETE" else {}
        return found


def _not_kept(uri: str) -> PlatformError:
    account = address_of(uri).account
    return PlatformError(
        f"the storage account {account!r} keeps no versions of its blobs; switch them on: az storage account "
        f"blob-service-properties update --account-name {account} --enable-versioning true (an account with a "
        "hierarchical namespace, as of Data Lake Storage Gen2, cannot keep any: name a container of one without)",
        fault="user",
    )


def _rule(name: str, prefix: str, days: int) -> dict[str, Any]:
    return {
        "name": name,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {
            "filters": {"blobTypes": ["blockBlob"], "prefixMatch": [prefix]},
            "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": days}}},
        },
    }


def _in_order(rules: Any) -> list[Any]:
    return sorted(rules, key=lambda rule: str(rule.get("name")))
