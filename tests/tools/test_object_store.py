"""Data versions in a bucket: equal bytes are one version, got back to the byte, whatever others write meanwhile."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation
from tests.platforms import clouds
from tests.platforms.aws_emulated import client, opened, running
from tests.platforms.versioned import a_record, a_store, check_data_versions, nothing, rows
from tidemill.platforms.cloud import Cloud
from tidemill.tools.object_store import ObjectStore
from tidemill.tools.versions import DataChanged, VersionError

PLACE = f"tidemill/{clouds.INSTALLATION}"


@pytest.fixture
def emulation() -> Iterator[Emulation]:
    yield running()
    running().set_faults()


@pytest.fixture
def cloud(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return opened(monkeypatch, emulation, "sagemaker")


@pytest.fixture
def store(cloud: Cloud, tmp_path: Path, request: pytest.FixtureRequest) -> ObjectStore:
    """Of a pipeline of the test's own."""
    return a_store(cloud, tmp_path / "here", pipeline=request.node.originalname)


def puts(emulation: Emulation) -> int:
    return int(emulation.report()["calls"].get("PutObject", 0))


def split(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def remove(emulation: Emulation, uri: str, version: str) -> None:
    bucket, key = split(uri)
    client(emulation, "s3").delete_object(Bucket=bucket, Key=key, VersionId=version)


def test_from_one_machine_to_another(cloud: Cloud, emulation: Emulation, tmp_path: Path) -> None:
    check_data_versions(cloud, tmp_path, lambda uri, version: remove(emulation, uri, version))
    found = client(emulation, "s3").get_bucket_lifecycle_configuration(Bucket="acme-ml")["Rules"]
    ours = [rule for rule in found if rule["Filter"]["Prefix"].startswith(PLACE)]  # others share the emulator
    assert [(rule["Filter"], rule["NoncurrentVersionExpiration"]) for rule in ours] == [
        ({"Prefix": f"{PLACE}/versions/flights/"}, {"NoncurrentDays": 90})
    ]


class TestAdd:
    def test_equal_content_is_not_sent_again(self, store: ObjectStore, emulation: Emulation, tmp_path: Path) -> None:
        first = store.add(rows(tmp_path / "a", "one"), nothing)
        before = puts(emulation)
        assert store.add(rows(tmp_path / "b", "one"), nothing) == first, "the newest ones have it"
        other = store.add(rows(tmp_path / "c", "two"), nothing)
        assert puts(emulation) == before + 2
        assert store.add(rows(tmp_path / "d", "one"), lambda version: a_record(first)) == first, "the ledger knows it"
        assert puts(emulation) == before + 2
        assert other.version != first.version

    def test_what_only_one_file_has_in_common_is_another_version(self, store: ObjectStore, tmp_path: Path) -> None:
        first = store.add(rows(tmp_path / "a", "one"), nothing)
        changed = rows(tmp_path / "b", "one")
        (changed / "holdout.parquet").write_text("holdout two")
        second = store.add(changed, nothing)
        assert second.version != first.version
        held = {o.name: o.version for o in first.objects}
        assert {o.name: o.version == held[o.name] for o in second.objects} == {
            "holdout.parquet": False,
            "train.parquet": True,
        }

    def test_pipelines_do_not_meet(self, cloud: Cloud, tmp_path: Path) -> None:
        one, two = (a_store(cloud, tmp_path / name, pipeline=name) for name in ("meet.a", "meet.b"))
        first, second = (store.add(rows(tmp_path / "rows", "one"), nothing) for store in (one, two))
        assert first.version == second.version
        assert {o.uri for o in first.objects}.isdisjoint(o.uri for o in second.objects)

    def test_writers_at_once_get_their_own(self, cloud: Cloud, tmp_path: Path) -> None:
        stores = [a_store(cloud, tmp_path / f"state{n}", pipeline="at_once") for n in range(4)]
        folders = [rows(tmp_path / f"rows{n}", f"of {n}") for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda pair: pair[0].add(pair[1], nothing), zip(stores, folders, strict=True)))
        for n, kept in enumerate(made):
            away = a_store(cloud, tmp_path / f"away{n}", pipeline="at_once")
            assert (away.fetch(a_record(kept)) / "train.parquet").read_text() == f"train of {n}"

    @pytest.mark.parametrize("extra", ["more.parquet", None])
    def test_another_folder_is_refused(self, store: ObjectStore, tmp_path: Path, extra: str | None) -> None:
        folder = rows(tmp_path / "a", "one")
        if extra:
            (folder / extra).write_text("x")
        else:
            (folder / "train.parquet").unlink()
        with pytest.raises(VersionError, match=r"must hold holdout\.parquet and train\.parquet alone"):
            store.add(folder, nothing)

    def test_a_bucket_without_versions(
        self, emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        client(emulation, "s3").create_bucket(
            Bucket="acme-unversioned", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        cloud = opened(monkeypatch, emulation, "sagemaker", bucket="s3://acme-unversioned/ml")
        with pytest.raises(VersionError, match="put-bucket-versioning --bucket acme-unversioned") as error:
            a_store(cloud, tmp_path / "here").add(rows(tmp_path / "a", "one"), nothing)
        assert not error.value.retry

    def test_a_bucket_elsewhere(self, emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        client(emulation, "s3", "us-east-2").create_bucket(
            Bucket="acme-far", CreateBucketConfiguration={"LocationConstraint": "us-east-2"}
        )
        cloud = opened(monkeypatch, emulation, "sagemaker", bucket="s3://acme-far")
        with pytest.raises(VersionError, match="is in us-east-2, the platform in eu-west-1") as error:
            a_store(cloud, tmp_path / "here").add(rows(tmp_path / "a", "one"), nothing)
        assert not error.value.retry

    def test_wrong_credentials(self, emulation: Emulation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        wrong = {name: value.replace('"test"', '"wrong"') for name, value in emulation.environment.items()}
        cloud = opened(monkeypatch, emulation, "sagemaker", tags={})
        for name, value in wrong.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(VersionError, match="AWS does not know the credentials of connection") as error:
            a_store(cloud, tmp_path / "here").add(rows(tmp_path / "a", "one"), nothing)
        assert not error.value.retry

    @pytest.mark.parametrize("kind", ["throttle", "fail"])
    def test_a_store_that_fails_is_worth_another_try(
        self, store: ObjectStore, emulation: Emulation, tmp_path: Path, kind: str
    ) -> None:
        folder = rows(tmp_path / "a", kind)
        emulation.set_faults(**{kind: {"PutObject": 99}})
        with pytest.raises(VersionError) as error:
            store.add(folder, nothing)
        assert error.value.retry
        emulation.set_faults()
        store.verify(a_record(store.add(folder, nothing)))

    def test_a_lost_answer_leads_to_the_very_bytes(
        self, store: ObjectStore, emulation: Emulation, tmp_path: Path
    ) -> None:
        emulation.set_faults(lose={"PutObject": 1})
        kept = store.add(rows(tmp_path / "a", "one"), nothing)
        store.verify(a_record(kept))


class TestFetch:
    def test_what_is_here_is_not_fetched_again(self, store: ObjectStore, emulation: Emulation, tmp_path: Path) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        before = emulation.report()["calls"].get("GetObject", 0)
        folder = store.fetch(record)
        assert emulation.report()["calls"].get("GetObject", 0) == before
        assert sorted(p.name for p in folder.iterdir()) == ["holdout.parquet", "train.parquet"]
        assert not os.stat(folder / "train.parquet").st_mode & 0o222

    def test_damage_is_fetched_anew(self, store: ObjectStore, tmp_path: Path) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        folder = store.fetch(record)
        (folder / "train.parquet").chmod(0o644)
        (folder / "train.parquet").write_text("train two")
        (folder / "of mine").write_text("x")
        assert store.fetch(record) == folder
        assert (folder / "train.parquet").read_text() == "train one"
        assert sorted(p.name for p in folder.iterdir()) == ["holdout.parquet", "train.parquet"]
        assert [p.name for p in store.root.iterdir()] == [record.version], "nothing is left beside it"

    def test_at_once(self, store: ObjectStore, cloud: Cloud, tmp_path: Path) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        away = a_store(cloud, tmp_path / "away")
        with ThreadPoolExecutor(4) as pool:
            folders = set(pool.map(lambda n: away.fetch(record), range(8)))
        assert len(folders) == 1
        assert (folders.pop() / "train.parquet").read_text() == "train one"
        assert [p.name for p in away.root.iterdir()] == [record.version]

    def test_an_answer_cut_short_is_read_again(
        self, store: ObjectStore, cloud: Cloud, emulation: Emulation, tmp_path: Path
    ) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one" * 1000), nothing))
        emulation.set_faults(half={"GetObject": 1})
        folder = a_store(cloud, tmp_path / "away").fetch(record)
        assert (folder / "train.parquet").read_text() == f"train {'one' * 1000}"

    def test_what_is_gone_is_named_with_what_to_do(
        self, store: ObjectStore, cloud: Cloud, emulation: Emulation, tmp_path: Path
    ) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "that goes"), nothing))
        gone = next(o for o in record.objects if o.name == "train.parquet")
        remove(emulation, gone.uri, gone.version)
        away = a_store(cloud, tmp_path / "away", keep="30 d")
        with pytest.raises(DataChanged) as error:
            away.fetch(record)
        said = str(error.value)
        for part in (record.version, gone.uri, gone.version, "Run the training anew", "data.keep is 30 d"):
            assert part in said
        assert list(away.root.iterdir()) == []
        assert (store.fetch(record) / "train.parquet").read_text() == "train that goes", "this machine has it still"
        with pytest.raises(DataChanged, match="see who may remove it"):
            store.verify(record)

    def test_what_has_changed_under_its_version_is_refused(self, store: ObjectStore, tmp_path: Path) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        other = replace(record.objects[0], sha256="0" * 64)
        with pytest.raises(DataChanged, match=r"is not what was versioned: s3://.*holdout\.parquet \(version"):
            store.verify(replace(record, objects=(other, *record.objects[1:])))

    def test_a_record_of_another_backend(self, store: ObjectStore, tmp_path: Path) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        with pytest.raises(DataChanged, match="names no objects"):
            store.verify(replace(record, objects=()))

    def test_a_read_that_is_not_allowed_does_not_look_gone(
        self, store: ObjectStore, emulation: Emulation, tmp_path: Path
    ) -> None:
        record = a_record(store.add(rows(tmp_path / "a", "one"), nothing))
        emulation.set_faults(denied=["GetObject", "HeadObject"])
        with pytest.raises(VersionError, match="may not do s3:GetObjectVersion") as error:
            store.verify(record)
        assert not isinstance(error.value, DataChanged)


class TestLifecycle:
    def ours(self, emulation: Emulation, pipeline: str) -> list[Any]:
        found = client(emulation, "s3").get_bucket_lifecycle_configuration(Bucket="acme-ml")["Rules"]
        return [r["NoncurrentVersionExpiration"] for r in found if f"/{pipeline}/" in r["Filter"]["Prefix"]]

    @pytest.fixture(autouse=True)
    def other(self, emulation: Emulation) -> None:
        rule = {"ID": "other", "Status": "Enabled", "Filter": {"Prefix": "x/"}, "Expiration": {"Days": 1}}
        client(emulation, "s3").put_bucket_lifecycle_configuration(
            Bucket="acme-ml", LifecycleConfiguration={"Rules": [rule]}
        )

    def test_a_rule_comes_changes_and_goes_with_the_spec(
        self, cloud: Cloud, store: ObjectStore, emulation: Emulation, tmp_path: Path
    ) -> None:
        kept = store.add(rows(tmp_path / "a", "one"), nothing)
        store.lifecycle(None)
        assert self.ours(emulation, "rules") == []
        for keep, days in (("1 year", 366), ("36 h", 2), ("2 w", 14)):
            a_store(cloud, tmp_path / "here", pipeline="rules", keep=keep).lifecycle(None)
            assert self.ours(emulation, "rules") == [{"NoncurrentDays": days}]
        a_store(cloud, tmp_path / "here", pipeline="rules").lifecycle(a_record(kept, keep="2 w"))
        assert self.ours(emulation, "rules") == []

    def test_without_the_permission_the_data_is_versioned_all_the_same(
        self, cloud: Cloud, emulation: Emulation, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        emulation.set_faults(denied=["PutBucketLifecycle"])
        store = a_store(cloud, tmp_path / "here", pipeline="denied", keep="90 d")
        with caplog.at_level(logging.WARNING):
            store.lifecycle(None)
        assert "old versions are kept for ever" in caplog.text
        assert "may not do s3:PutLifecycleConfiguration" in caplog.text

    def test_no_rule_no_call(self, store: ObjectStore, emulation: Emulation) -> None:
        emulation.set_faults(denied=["GetBucketLifecycle"])
        store.lifecycle(None)

    def test_without_keep_a_champion_needs_no_copy(
        self, store: ObjectStore, emulation: Emulation, tmp_path: Path
    ) -> None:
        kept = store.add(rows(tmp_path / "a", "one"), nothing)
        before = puts(emulation)
        store.protect(a_record(kept))
        assert puts(emulation) == before
