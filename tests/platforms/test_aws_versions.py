"""Versions of objects in S3 and the rule for their end, over the wire."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms import versioned
from tests.platforms.aws_emulated import client, opened
from tidemill.platforms.ports import ObjectVersions, PlatformError, VersionGone

ROOT = "s3://acme-ml/tidemill/versions"


@pytest.fixture
def versions(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> ObjectVersions:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return opened(monkeypatch, emulation, "sagemaker").versions


def made(emulation: Emulation, bucket: str, status: str | None = None) -> str:
    s3 = client(emulation, "s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    if status:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    return bucket


def held(emulation: Emulation, key: str) -> list[str]:
    found = client(emulation, "s3").list_object_versions(Bucket="acme-ml", Prefix=f"tidemill/versions/{key}")
    return [entry["VersionId"] for entry in found.get("Versions", [])]


def test_each_content_has_a_version(versions: ObjectVersions, emulation: Emulation, tmp_path: Path) -> None:
    first, second = versioned.check_versions(versions, f"{ROOT}/each", tmp_path)
    assert held(emulation, "each") == [second, first]
    client(emulation, "s3").delete_object(Bucket="acme-ml", Key="tidemill/versions/each", VersionId=first)
    versioned.check_gone(versions, f"{ROOT}/each", first, tmp_path)


def test_a_deletion_leaves_versions_and_is_none(versions: ObjectVersions, emulation: Emulation, tmp_path: Path) -> None:
    first = versions.put(versioned.content(tmp_path, "given", "first"), f"{ROOT}/deleted")
    marker = client(emulation, "s3").delete_object(Bucket="acme-ml", Key="tidemill/versions/deleted")["VersionId"]
    assert versions.has(f"{ROOT}/deleted", first, 5)
    versioned.check_gone(versions, f"{ROOT}/deleted", marker, tmp_path)


def test_writers_at_once(versions: ObjectVersions, tmp_path: Path) -> None:
    versioned.check_writers(versions, f"{ROOT}/writers", tmp_path)


@pytest.mark.parametrize("status", [None, "Suspended"])
def test_a_bucket_without_versions(
    versions: ObjectVersions, emulation: Emulation, tmp_path: Path, status: str | None
) -> None:
    bucket = made(emulation, f"acme-plain-{str(status).lower()}", status)
    says = f"{bucket}' keeps no versions.*aws s3api put-bucket-versioning --bucket {bucket}"
    versioned.check_no_versions(versions, f"s3://{bucket}/x", tmp_path, says)
    listed = client(emulation, "s3").list_objects_v2(Bucket=bucket)
    assert listed["KeyCount"] == 0, "what was refused is not left there"


def test_a_large_object_goes_in_parts(versions: ObjectVersions, emulation: Emulation, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 65)
    version = versions.put(file, f"{ROOT}/large")
    assert versions.put(file, f"{ROOT}/large") == version
    assert held(emulation, "large") == [version]
    versions.get(f"{ROOT}/large", version, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("fault", ["throttle", "fail", "lose", "half"])
def test_an_answer_that_fails_once(versions: ObjectVersions, emulation: Emulation, tmp_path: Path, fault: str) -> None:
    uri = f"{ROOT}/{fault}"
    emulation.set_faults(**{fault: {"PutObject": 1}})
    version = versions.put(versioned.content(tmp_path, "given", "whole" * 100), uri)
    assert version in held(emulation, fault)
    emulation.set_faults(**{fault: {"GetObject": 1}})
    versions.get(uri, version, tmp_path / "got")
    assert (tmp_path / "got").read_text() == "whole" * 100


@pytest.mark.parametrize(
    ("faults", "fault", "says"),
    [
        ({"denied": ["PutObject"]}, "user", "may not do s3:PutObject"),
        ({"throttle": {"PutObject": 9}}, "system", "fewer calls"),
        ({"fail": {"PutObject": 9}}, "system", "try again"),
    ],
)
def test_refused_writes(
    versions: ObjectVersions, emulation: Emulation, tmp_path: Path, faults: dict[str, Any], fault: str, says: str
) -> None:
    emulation.set_faults(**faults)
    with pytest.raises(PlatformError, match=says) as caught:
        versions.put(versioned.content(tmp_path, "given", "refused"), f"{ROOT}/refused")
    assert caught.value.fault == fault


def test_a_read_that_is_not_allowed_is_no_version_that_is_gone(
    versions: ObjectVersions, emulation: Emulation, tmp_path: Path
) -> None:
    version = versions.put(versioned.content(tmp_path, "given", "kept"), f"{ROOT}/kept")
    emulation.set_faults(denied=["HeadObject", "GetObject"])
    with pytest.raises(PlatformError, match="may not do s3:GetObjectVersion") as caught:
        versions.get(f"{ROOT}/kept", version, tmp_path / "got")
    assert not isinstance(caught.value, VersionGone)


def rules(emulation: Emulation, bucket: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client(emulation, "s3").get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    return found


OURS = {
    "ID": "tidemill-a",
    "Status": "Enabled",
    "Filter": {"Prefix": "tidemill/a/"},
    "NoncurrentVersionExpiration": {"NoncurrentDays": 30},
}


class TestExpire:
    def test_makes_changes_and_removes_its_own_rule_alone(self, versions: ObjectVersions, emulation: Emulation) -> None:
        bucket = made(emulation, "acme-rules", "Enabled")
        others = [
            {
                "ID": "logs",
                "Status": "Enabled",
                "Filter": {"And": {"Prefix": "logs/", "ObjectSizeGreaterThan": 10}},
                "Expiration": {"Days": 9},
                "NoncurrentVersionExpiration": {"NoncurrentDays": 9, "NewerNoncurrentVersions": 2},
            },
            {"ID": "all", "Status": "Disabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}},
        ]
        client(emulation, "s3").put_bucket_lifecycle_configuration(
            Bucket=bucket,
            LifecycleConfiguration={"Rules": others},
            TransitionDefaultMinimumObjectSize="varies_by_storage_class",
        )
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", 30)
        assert rules(emulation, bucket) == [*others, OURS]
        before = emulation.report()["calls"]["PutBucketLifecycle"]
        versions.expire(f"s3://{bucket}/tidemill/a/", "tidemill-a", 30)
        assert emulation.report()["calls"]["PutBucketLifecycle"] == before, "it was so already"
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", 31)
        assert rules(emulation, bucket)[-1]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 31}
        versions.expire(f"s3://{bucket}/tidemill/b", "tidemill-b", 5)
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", None)
        found = client(emulation, "s3").get_bucket_lifecycle_configuration(Bucket=bucket)
        assert [rule["ID"] for rule in found["Rules"]] == ["logs", "all", "tidemill-b"]
        assert found["Rules"][:2] == others
        assert found["TransitionDefaultMinimumObjectSize"] == "varies_by_storage_class"

    def test_a_bucket_without_rules_before_and_after(self, versions: ObjectVersions, emulation: Emulation) -> None:
        bucket = made(emulation, "acme-no-rules", "Enabled")
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", None)
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", 30)
        assert rules(emulation, bucket) == [OURS]
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", None)
        with pytest.raises(client(emulation, "s3").exceptions.ClientError, match="NoSuchLifecycleConfiguration"):
            rules(emulation, bucket)

    def test_rules_as_they_were_once_written_stay_so(self, versions: ObjectVersions, emulation: Emulation) -> None:
        bucket = made(emulation, "acme-old-rules", "Enabled")
        old = {"ID": "old", "Status": "Enabled", "Prefix": "logs/", "Expiration": {"Days": 9}}
        s3 = client(emulation, "s3")
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [old]})
        versions.expire(f"s3://{bucket}/tidemill/a", "tidemill-a", 30)
        assert rules(emulation, bucket)[0] == old
        assert rules(emulation, bucket)[1]["Prefix"] == "tidemill/a/"

    def test_a_missing_permission_is_named(self, versions: ObjectVersions, emulation: Emulation) -> None:
        emulation.set_faults(denied=["PutBucketLifecycle"])
        with pytest.raises(PlatformError, match="may not do s3:PutLifecycleConfiguration") as error:
            versions.expire("s3://acme-ml/tidemill/a", "tidemill-a", 30)
        assert error.value.fault == "user"
