"""S3 as a store, over the wire."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms.aws_emulated import client, opened
from tidemill.platforms.ports import PlatformError, Storage, Stored

ROOT = "s3://acme-ml/storage"


@pytest.fixture
def storage(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Storage:
    return opened(monkeypatch, emulation, "sagemaker").storage


def puts(emulation: Emulation) -> int:
    made = emulation.report()["calls"]
    return int(made.get("PutObject", 0) + made.get("UploadPart", 0))


@pytest.mark.parametrize("name", ["plain", "with space/and+plus", "ä/é.parquet"])
def test_there_and_back(storage: Storage, tmp_path: Path, name: str) -> None:
    file = tmp_path / "given"
    file.write_bytes(bytes(range(256)) * 10)
    storage.put(file, f"{ROOT}/{name}")
    storage.get(f"{ROOT}/{name}", tmp_path / "deep" / "got")
    assert (tmp_path / "deep" / "got").read_bytes() == file.read_bytes()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["got"]


def test_equal_content_is_left_alone_and_other_content_is_not(
    emulation: Emulation, storage: Storage, tmp_path: Path
) -> None:
    file = tmp_path / "given"
    for content, puts_made in (("one", 1), ("one", 0), ("two", 1), ("", 1), ("", 0)):
        file.write_text(content)
        before = puts(emulation)
        storage.put(file, f"{ROOT}/same")
        assert puts(emulation) - before == puts_made, content
    storage.get(f"{ROOT}/same", tmp_path / "got")
    assert (tmp_path / "got").read_text() == ""


def test_a_large_file_goes_in_parts(emulation: Emulation, storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"0123456789abcdef" * (9 * 2**16))
    storage.put(file, f"{ROOT}/large")
    storage.get(f"{ROOT}/large", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
    before = puts(emulation)
    storage.put(file, f"{ROOT}/large")
    assert puts(emulation) == before


def test_a_list_holds_what_lies_below_and_no_neighbour(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("abc")
    for name in ("list/b", "list/a/x", "list-2/c", "lis"):
        storage.put(file, f"{ROOT}/{name}")
    below = [Stored(f"{ROOT}/list/a/x", 3), Stored(f"{ROOT}/list/b", 3)]
    assert list(storage.list(f"{ROOT}/list")) == list(storage.list(f"{ROOT}/list/")) == below
    assert list(storage.list(f"{ROOT}/list/b")) == [Stored(f"{ROOT}/list/b", 3)]
    assert list(storage.list(f"{ROOT}/none")) == []


def test_more_than_a_page(emulation: Emulation, storage: Storage) -> None:
    s3 = client(emulation, "s3")
    s3.create_bucket(Bucket="acme-many", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for n in range(3):
        s3.put_object(Bucket="acme-many", Key=f"d/{n}", Body=b"x")
    assert [stored.uri for stored in storage.list("s3://acme-many")] == [f"s3://acme-many/d/{n}" for n in range(3)]


def test_delete_and_what_is_not_there(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("abc")
    storage.put(file, f"{ROOT}/gone")
    storage.delete(f"{ROOT}/gone")
    storage.delete(f"{ROOT}/gone")
    with pytest.raises(PlatformError, match="there is no s3://acme-ml/storage/gone"):
        storage.get(f"{ROOT}/gone", tmp_path / "got")
    assert not (tmp_path / "got").exists()


def test_versions_newest_first_where_the_bucket_keeps_them(
    emulation: Emulation, storage: Storage, tmp_path: Path
) -> None:
    s3 = client(emulation, "s3")
    s3.create_bucket(Bucket="acme-versions", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    file = tmp_path / "f"
    file.write_text("zero")
    storage.put(file, "s3://acme-versions/data")
    assert storage.versions("s3://acme-versions/data") == []
    s3.put_bucket_versioning(Bucket="acme-versions", VersioningConfiguration={"Status": "Enabled"})
    wanted = []
    for content in ("one", "two"):
        file.write_text(content)
        storage.put(file, "s3://acme-versions/data")
        wanted.insert(0, s3.head_object(Bucket="acme-versions", Key="data")["VersionId"])
    storage.put(file, "s3://acme-versions/data-2")
    assert storage.versions("s3://acme-versions/data") == wanted


def test_no_bucket_and_a_bucket_elsewhere(emulation: Emulation, storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("x")
    client(emulation, "s3", "us-east-2").create_bucket(
        Bucket="acme-elsewhere", CreateBucketConfiguration={"LocationConstraint": "us-east-2"}
    )
    for bucket, says in (
        ("acme-none", "there is no bucket 'acme-none'; make it in eu-west-1"),
        ("acme-elsewhere", "is in us-east-2, the platform in eu-west-1; set platform.region to us-east-2"),
    ):
        with pytest.raises(PlatformError, match=says) as caught:
            storage.put(file, f"s3://{bucket}/x")
        assert caught.value.fault == "user"
    with pytest.raises(PlatformError, match="no address in S3"):
        storage.put(file, "gs://acme/x")


@pytest.mark.parametrize(
    ("faults", "fault", "says"),
    [
        ({"denied": ["HeadBucket", "ListObjectsV2"]}, "user", "may not do s3:ListBucket"),
        ({"denied": ["PutObject"]}, "user", "may not do s3:PutObject"),
        ({"throttle": {"PutObject": 9}}, "system", "fewer calls"),
        ({"fail": {"PutObject": 9}}, "system", "try again"),
    ],
)
def test_refused_calls(
    emulation: Emulation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    faults: dict[str, Any],
    fault: str,
    says: str,
) -> None:
    storage = opened(monkeypatch, emulation, "sagemaker", tags={}).storage
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    file = tmp_path / "f"
    file.write_text("refused")
    emulation.set_faults(**faults)
    with pytest.raises(PlatformError, match=says) as caught:
        storage.put(file, f"{ROOT}/refused")
    assert caught.value.fault == fault


@pytest.mark.parametrize("kind", ["half", "lose"])
def test_half_an_object_is_read_again(
    emulation: Emulation, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    file = tmp_path / "f"
    file.write_bytes(b"whole" * 1000)
    storage.put(file, f"{ROOT}/half")
    emulation.set_faults(**{kind: {"GetObject": 1}})
    storage.get(f"{ROOT}/half", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()
    emulation.set_faults(**{kind: {"ListObjectsV2": 1}})
    if kind == "half":
        with pytest.raises(PlatformError):
            list(storage.list(f"{ROOT}/half"))
    assert [stored.size for stored in storage.list(f"{ROOT}/half")] == [5000]


def test_damage_is_noticed(emulation: Emulation, storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("right")
    storage.put(file, f"{ROOT}/damaged")
    s3 = client(emulation, "s3")
    told = s3.head_object(Bucket="acme-ml", Key="storage/damaged")["Metadata"]
    s3.put_object(Bucket="acme-ml", Key="storage/damaged", Body=b"wrong", Metadata=told)
    with pytest.raises(PlatformError, match="came damaged"):
        storage.get(f"{ROOT}/damaged", tmp_path / "got")
    assert list(tmp_path.iterdir()) == [file]
