"""Versions of blobs and the rule for their end, over the wire."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from tests.emulators import Emulation
from tests.emulators.azure_accounts import GROUP
from tests.emulators.azure_names import TOKEN
from tests.platforms import clouds, versioned
from tests.platforms.azure import PLATFORM, connected, needs_azurite, platform, running
from tidemill.airflow.connections import AirflowConnections
from tidemill.platforms.azure.storage import address_of, open_storage
from tidemill.platforms.azure.versions import BlobVersions, open_versions
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import PlatformError

pytestmark = needs_azurite
HOST = "acmeml.dfs.core.windows.net"
ROOT = f"abfss://models@{HOST}/base/tidemill/versions"


@pytest.fixture(scope="module")
def emulation() -> Emulation:
    return running()


@pytest.fixture
def known(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Iterator[AirflowConnections]:
    yield connected(monkeypatch, emulation)
    emulation.set_faults()


@pytest.fixture
def versions(known: AirflowConnections) -> BlobVersions:
    return open_versions(platform(), known)


def service(known: AirflowConnections) -> Any:
    """The SDK's client, of somebody else."""
    return open_storage(platform(), known)._service(address_of(ROOT))


def held(known: AirflowConnections, name: str) -> list[str]:
    return list(reversed(open_storage(platform(), known).versions(f"{ROOT}/{name}")))


def test_each_content_has_a_version(versions: BlobVersions, known: AirflowConnections, tmp_path: Path) -> None:
    first, second = versioned.check_versions(versions, f"{ROOT}/each", tmp_path)
    assert held(known, "each") == [first, second]
    blob = service(known).get_blob_client("models", "base/tidemill/versions/each")
    blob.delete_blob(version_id=first)
    versioned.check_gone(versions, f"{ROOT}/each", first, tmp_path)


def test_a_deletion_leaves_versions(versions: BlobVersions, known: AirflowConnections, tmp_path: Path) -> None:
    first = versions.put(versioned.content(tmp_path, "given", "first"), f"{ROOT}/deleted")
    open_storage(platform(), known).delete(f"{ROOT}/deleted")
    versions.get(f"{ROOT}/deleted", first, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "first"


def test_writers_at_once(versions: BlobVersions, tmp_path: Path) -> None:
    versioned.check_writers(versions, f"{ROOT}/writers", tmp_path)


def test_an_account_without_versions(versions: BlobVersions, known: AirflowConnections, tmp_path: Path) -> None:
    service(known).create_container("plain")
    says = "acmeml' keeps no versions.*--account-name acmeml --enable-versioning true.*hierarchical namespace"
    versioned.check_no_versions(versions, f"abfss://plain@{HOST}/x", tmp_path, says)
    assert list(service(known).get_container_client("plain").list_blobs()) == []


def test_a_large_blob_goes_in_blocks(versions: BlobVersions, known: AirflowConnections, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(9 << 20))
    version = versions.put(file, f"{ROOT}/large")
    assert versions.put(file, f"{ROOT}/large") == version
    versions.get(f"{ROOT}/large", version, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("fault", ["throttle", "fail", "lose"])
def test_an_answer_that_fails_once(
    versions: BlobVersions, emulation: Emulation, known: AirflowConnections, tmp_path: Path, fault: str
) -> None:
    emulation.set_faults(**{fault: {"PutBlob": 1}})
    version = versions.put(versioned.content(tmp_path, "given", "whole" * 100), f"{ROOT}/{fault}")
    assert version in held(known, fault)
    emulation.set_faults(**{fault: {"GetBlob": 1}})
    versions.get(f"{ROOT}/{fault}", version, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "whole" * 100


def test_half_a_version_is_not_handed_out(versions: BlobVersions, emulation: Emulation, tmp_path: Path) -> None:
    version = versions.put(versioned.content(tmp_path, "given", "whole" * 100), f"{ROOT}/half")
    emulation.set_faults(half={"GetBlob": 99})
    with pytest.raises(PlatformError) as error:
        versions.get(f"{ROOT}/half", version, tmp_path / "got")
    assert error.value.fault == "system"
    assert not (tmp_path / "got").exists()


def policy(emulation: Emulation, policy: dict[str, Any] | None = None) -> Any:
    """The account's management policy, as somebody else reads or writes it."""
    path = f"/subscriptions/{PLATFORM['subscription']}/resourceGroups/{GROUP}/providers/Microsoft.Storage"
    request = Request(
        f"{emulation.url}{path}/storageAccounts/acmeml/managementPolicies/default?api-version=2023-05-01",
        None if policy is None else json.dumps({"properties": {"policy": policy}}).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
        method="GET" if policy is None else "PUT",
    )
    with urlopen(request, timeout=30) as answer:
        return json.load(answer)["properties"]["policy"]


def rule(name: str, prefix: str, days: int) -> dict[str, Any]:
    return {
        "name": name,
        "enabled": True,
        "type": "Lifecycle",
        "definition": {
            "filters": {"blobTypes": ["blockBlob"], "prefixMatch": [prefix]},
            "actions": {"version": {"delete": {"daysAfterCreationGreaterThan": days}}},
        },
    }


class TestExpire:
    def test_makes_changes_and_removes_its_own_rule_alone(self, versions: BlobVersions, emulation: Emulation) -> None:
        versions.expire(f"{ROOT}/a", "tidemill-a", 30)
        ours = rule("tidemill-a", "models/base/tidemill/versions/a/", 30)
        assert policy(emulation) == {"rules": [ours]}
        others = [
            {**rule("logs", "logs/", 9), "enabled": False, "aFieldOfALaterVersion": 1},
            rule("theirs", "models/base/tidemill/versions/a/", 2),
        ]
        policy(emulation, {"rules": [*others, ours]})
        before = emulation.report()["calls"]["ManagementPolicies_CreateOrUpdate"]
        versions.expire(f"{ROOT}/a/", "tidemill-a", 30)
        assert emulation.report()["calls"]["ManagementPolicies_CreateOrUpdate"] == before, "it was so already"
        versions.expire(f"{ROOT}/b", "tidemill-b", 5)
        versions.expire(f"{ROOT}/a", "tidemill-a", 31)
        b, a = rule("tidemill-b", "models/base/tidemill/versions/b/", 5), rule("tidemill-a", ours_prefix(), 31)
        assert policy(emulation)["rules"] == [*others, b, a]
        versions.expire(f"{ROOT}/a", "tidemill-a", None)
        assert policy(emulation)["rules"] == [*others, b]

    def test_without_a_rule_there_is_no_policy(self, versions: BlobVersions, emulation: Emulation) -> None:
        policy(emulation, {"rules": [rule("tidemill-a", ours_prefix(), 3)]})
        versions.expire(f"{ROOT}/a", "tidemill-a", None)
        with pytest.raises(OSError, match="404"):
            policy(emulation)
        versions.expire(f"{ROOT}/a", "tidemill-a", None)

    def test_a_missing_permission_is_named(self, versions: BlobVersions, emulation: Emulation) -> None:
        emulation.set_faults(denied=["ManagementPolicies_CreateOrUpdate"])
        with pytest.raises(PlatformError, match=r"managementPolicies/read and /write.*Storage Account Contr") as error:
            versions.expire(f"{ROOT}/a", "tidemill-a", 30)
        assert error.value.fault == "user"

    def test_an_account_of_another_subscription(self, known: AirflowConnections) -> None:
        elsewhere = open_versions(platform(), known)
        with pytest.raises(PlatformError, match="shows no storage account acmeother to the connection"):
            elsewhere.expire("abfss://models@acmeother.dfs.core.windows.net/a", "tidemill-a", 30)

    def test_no_subscription(self, emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> None:
        unknown = connected(monkeypatch, emulation, subscriptionId=None)
        found = open_versions(platform(subscription=None), unknown)
        with pytest.raises(PlatformError, match="set `subscriptionId` in the extra of the connection 'azure_default'"):
            found.expire(f"{ROOT}/a", "tidemill-a", 30)


def ours_prefix() -> str:
    return "models/base/tidemill/versions/a/"


def test_data_versions_and_their_lifecycle(known: AirflowConnections, emulation: Emulation, tmp_path: Path) -> None:
    cloud = Cloud(platform(), "azureml", known)

    def remove(uri: str, version: str) -> None:
        at = address_of(uri)
        blob = service(known).get_blob_client(at.container, at.key)
        if blob.get_blob_properties().version_id == version:  # the newest one goes with the blob
            blob.delete_blob()
        blob.delete_blob(version_id=version)

    versioned.check_data_versions(cloud, tmp_path, remove)
    prefix = f"models/base/tidemill/{clouds.INSTALLATION}/versions/flights/"
    assert prefix in [p for each in policy(emulation)["rules"] for p in each["definition"]["filters"]["prefixMatch"]]
