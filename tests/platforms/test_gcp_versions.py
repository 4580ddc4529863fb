"""Generations of objects in Cloud Storage and the rule for their end, over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.platforms import clouds, gcp, versioned
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.gcp.storage import open_storage
from tidemill.platforms.gcp.versions import CloudVersions, open_versions
from tidemill.platforms.ports import PlatformError

ROOT = "gs://acme-models/tidemill/versions"


@pytest.fixture
def versions(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudVersions]:
    running = gcp.emulation()
    yield open_versions(clouds.platform_of(gcp.PLATFORM), clouds.connections(monkeypatch, running))
    running.set_faults()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The SDK's client, of somebody else."""
    connections = clouds.connections(monkeypatch, gcp.emulation())
    return open_storage(clouds.platform_of(gcp.PLATFORM), connections).client


def held(client: Any, name: str) -> list[str]:
    blobs = client.list_blobs("acme-models", prefix=f"tidemill/versions/{name}", versions=True)
    return [str(blob.generation) for blob in blobs]


def test_each_content_has_a_version(versions: CloudVersions, client: Any, tmp_path: Path) -> None:
    first, second = versioned.check_versions(versions, f"{ROOT}/each", tmp_path)
    assert sorted(held(client, "each")) == sorted([first, second])
    client.bucket("acme-models").blob("tidemill/versions/each", generation=int(first)).delete()
    versioned.check_gone(versions, f"{ROOT}/each", first, tmp_path)
    versioned.check_gone(versions, f"{ROOT}/each", "1", tmp_path)


def test_data_versions_and_their_lifecycle(monkeypatch: pytest.MonkeyPatch, client: Any, tmp_path: Path) -> None:
    platform = clouds.platform_of(gcp.PLATFORM)
    cloud = Cloud(platform, "vertex", clouds.connections(monkeypatch, gcp.emulation()))

    def remove(uri: str, version: str) -> None:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        client.bucket(bucket).blob(name, generation=int(version)).delete()

    versioned.check_data_versions(cloud, tmp_path, remove)
    prefix = f"team/tidemill/{clouds.INSTALLATION}/versions/flights/"
    assert rule(prefix, 90) in [dict(each) for each in client.get_bucket("acme-models").lifecycle_rules]


def test_writers_at_once(versions: CloudVersions, tmp_path: Path) -> None:
    versioned.check_writers(versions, f"{ROOT}/writers", tmp_path)


def test_a_bucket_without_versions(versions: CloudVersions, client: Any, tmp_path: Path) -> None:
    client.create_bucket("acme-plain")
    says = "acme-plain' keeps no versions.*gcloud storage buckets update gs://acme-plain --versioning"
    versioned.check_no_versions(versions, "gs://acme-plain/x", tmp_path, says)
    assert list(client.list_blobs("acme-plain")) == []


@pytest.mark.parametrize("fault", ["throttle", "fail", "lose", "half"])
def test_a_write_whose_answer_fails_makes_one_version(
    versions: CloudVersions, client: Any, tmp_path: Path, fault: str
) -> None:
    gcp.emulation().set_faults(**{fault: {"storage.objects.create": 1}})
    version = versions.put(versioned.content(tmp_path, "given", "whole" * 100), f"{ROOT}/{fault}")
    assert held(client, fault) == [version]
    gcp.emulation().set_faults(**{fault: {"storage.objects.get": 1}})
    versions.get(f"{ROOT}/{fault}", version, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "whole" * 100


@pytest.mark.parametrize(
    ("denied", "says"),
    [
        ("storage.objects.create", r"storage\.objects\.create"),
        ("storage.buckets.get", r"storage\.buckets\.get.*roles/storage\.bucketViewer"),
    ],
)
def test_a_missing_permission_is_named(versions: CloudVersions, tmp_path: Path, denied: str, says: str) -> None:
    gcp.emulation().set_faults(denied=[denied])
    with pytest.raises(PlatformError, match=says) as error:
        versions.put(versioned.content(tmp_path, "given", "denied"), f"{ROOT}/denied")
    assert error.value.fault == "user"


def rule(prefix: str, days: int) -> dict[str, Any]:
    return {"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": days, "matchesPrefix": [prefix]}}


class TestExpire:
    def rules(self, client: Any) -> list[dict[str, Any]]:
        return [dict(rule) for rule in client.get_bucket("acme-rules").lifecycle_rules]

    def test_makes_changes_and_removes_its_own_rule_alone(self, versions: CloudVersions, client: Any) -> None:
        bucket = client.create_bucket("acme-rules")
        others: list[dict[str, Any]] = [
            {"action": {"type": "SetStorageClass", "storageClass": "COLDLINE"}, "condition": {"age": 9}},
            {"action": {"type": "Delete"}, "condition": {"matchesPrefix": ["tidemill/a/", "logs/"], "age": 400}},
            {
                "action": {"type": "SetStorageClass", "storageClass": "NEARLINE"},
                "condition": {"matchesPrefix": ["tidemill/a/"], "daysSinceNoncurrentTime": 3},
            },
            {"action": {"type": "Delete"}, "condition": {"matchesPrefix": ["tidemill/a/"], "numNewerVersions": 900}},
        ]
        bucket.lifecycle_rules = others
        bucket.patch()
        versions.expire("gs://acme-rules/tidemill/a", "tidemill-a", 30)
        assert self.rules(client) == [*others, rule("tidemill/a/", 30)]
        before = client.get_bucket("acme-rules").metageneration
        versions.expire("gs://acme-rules/tidemill/a/", "tidemill-a", 30)
        assert client.get_bucket("acme-rules").metageneration == before, "it was so already"
        versions.expire("gs://acme-rules/tidemill/b", "tidemill-b", 5)
        versions.expire("gs://acme-rules/tidemill/a", "tidemill-a", 31)
        assert self.rules(client)[4:] == [rule("tidemill/b/", 5), rule("tidemill/a/", 31)]
        versions.expire("gs://acme-rules/tidemill/a", "tidemill-a", None)
        assert self.rules(client) == [*others, rule("tidemill/b/", 5)]

    def test_what_somebody_else_changes_meanwhile_is_kept(
        self, versions: CloudVersions, client: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bucket = client.create_bucket("acme-raced")
        theirs = {"action": {"type": "Delete"}, "condition": {"age": 7}}
        reading, raced = versions._storage.bucket, []

        def read_then_raced(uri: str) -> Any:
            found = reading(uri)
            if not raced:
                raced.append(True)
                bucket.lifecycle_rules = [theirs]
                bucket.patch()
            return found

        monkeypatch.setattr(versions._storage, "bucket", read_then_raced)
        versions.expire("gs://acme-raced/tidemill/a", "tidemill-a", 30)
        found = [dict(each) for each in client.get_bucket("acme-raced").lifecycle_rules]
        assert found == [theirs, rule("tidemill/a/", 30)]

    def test_a_rule_of_an_unknown_kind_is_not_lost(self, versions: CloudVersions, monkeypatch: Any) -> None:
        import google.cloud.storage.bucket as library

        client = versions._storage.client
        bucket = client.create_bucket("acme-newer")
        bucket.lifecycle_rules = [{"action": {"type": "Delete"}, "condition": {"age": 7}}]
        bucket.patch()

        class Newer(library.Bucket):
            @property
            def lifecycle_rules(self) -> Any:
                self._properties["lifecycle"]["rule"][0]["action"]["type"] = "Newer"
                return library.Bucket.lifecycle_rules.fget(self)

        found = Newer(client, "acme-newer")
        found.reload()
        monkeypatch.setattr(versions._storage, "bucket", lambda uri: found)
        with pytest.raises(PlatformError, match="would lose it"):
            versions.expire("gs://acme-newer/tidemill/a", "tidemill-a", 30)

    def test_a_missing_permission_is_named(self, versions: CloudVersions) -> None:
        gcp.emulation().set_faults(denied=["storage.buckets.update"])
        with pytest.raises(PlatformError, match=r"storage\.buckets\.update.*roles/storage\.admin") as error:
            versions.expire("gs://acme-models/tidemill/a", "tidemill-a", 30)
        assert error.value.fault == "user"
