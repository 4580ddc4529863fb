"""Cloud Storage over the wire."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platforms import clouds, gcp
from tidemill.platforms.gcp.storage import CloudStorage, open_storage
from tidemill.platforms.ports import PlatformError, Stored

AT = "gs://acme-models/stored"


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudStorage]:
    running = gcp.emulation()
    yield open_storage(clouds.platform_of(gcp.PLATFORM), clouds.connections(monkeypatch, running))
    running.set_faults()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "file"
    made.write_bytes(os.urandom(3000))
    return made


def test_what_is_put_is_got(storage: CloudStorage, file: Path, tmp_path: Path) -> None:
    uri = f"{AT}/a folder/ünïcode+plus%20?.bin"
    storage.put(file, uri)
    storage.get(uri, tmp_path / "deep" / "got")
    assert (tmp_path / "deep" / "got").read_bytes() == file.read_bytes()
    assert list(storage.list(f"{AT}/a folder")) == [Stored(uri, 3000)]


def test_an_object_of_the_same_content_is_left_alone(storage: CloudStorage, file: Path) -> None:
    uri = f"{AT}/same"
    storage.put(file, uri)
    storage.put(file, uri)
    assert len(storage.versions(uri)) == 1
    # The same size, so that only the content tells.
    file.write_bytes(os.urandom(3000))
    storage.put(file, uri)
    versions = storage.versions(uri)
    assert len(versions) == 2
    assert int(versions[0]) > int(versions[1])


def test_an_empty_file_and_a_large_one(storage: CloudStorage, tmp_path: Path) -> None:
    for size in (0, 20_000_000):  # beyond 8 MiB the client uploads in several calls
        file = tmp_path / str(size)
        file.write_bytes(os.urandom(size))
        storage.put(file, f"{AT}/size-{size}")
        storage.get(f"{AT}/size-{size}", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == file.read_bytes()


def test_a_list_holds_what_is_below_and_not_its_neighbours(storage: CloudStorage, file: Path) -> None:
    for name in ("below/b", "below/a/c", "below-not", "below"):
        storage.put(file, f"{AT}/{name}")
    for uri in (f"{AT}/below", f"{AT}/below/"):
        assert [found.uri for found in storage.list(uri)] == [f"{AT}/below/a/c", f"{AT}/below/b"]


def test_a_list_of_more_than_a_page(storage: CloudStorage, file: Path) -> None:
    file.write_bytes(b"")
    for n in range(12):
        storage.put(file, f"{AT}/pages/{n:04}")
    assert [found.uri for found in storage.list(f"{AT}/pages")] == [f"{AT}/pages/{n:04}" for n in range(12)]


def test_deleting_what_is_not_there_is_fine(storage: CloudStorage, file: Path) -> None:
    storage.put(file, f"{AT}/deleted")
    storage.delete(f"{AT}/deleted")
    storage.delete(f"{AT}/deleted")
    assert list(storage.list(f"{AT}/deleted")) == []


@pytest.mark.parametrize("fault", ["throttle", "fail", "lose", "half"])
def test_a_write_that_goes_wrong_once_is_done_once(
    storage: CloudStorage, file: Path, tmp_path: Path, fault: str
) -> None:
    uri = f"{AT}/{fault}"
    gcp.emulation().set_faults(**{fault: {"storage.objects.create": 1}})
    storage.put(file, uri)
    assert len(storage.versions(uri)) == 1
    gcp.emulation().set_faults(**{fault: {"storage.objects.get": 1}})
    storage.get(uri, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == file.read_bytes()


def test_a_failed_fetch_leaves_no_file(storage: CloudStorage, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("before")
    with pytest.raises(PlatformError, match="No such object: acme-models/stored/nothing") as error:
        storage.get(f"{AT}/nothing", target)
    assert error.value.fault == "user"
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_bucket_that_is_not_there_is_named(storage: CloudStorage, file: Path) -> None:
    for call in (
        lambda: storage.put(file, "gs://acme-nothing/x"),
        lambda: storage.get("gs://acme-nothing/x", file),
        lambda: list(storage.list("gs://acme-nothing/x")),
        lambda: storage.versions("gs://acme-nothing/x"),
    ):
        with pytest.raises(PlatformError, match=r"gs://acme-nothing/x: there is no such bucket.*platform\.bucket"):
            call()


@pytest.mark.parametrize("uri", ["s3://acme/x", "gs://", "/tmp/x", "gs://bucket"])
def test_what_is_no_address_of_an_object_is_refused(storage: CloudStorage, file: Path, uri: str) -> None:
    with pytest.raises(PlatformError) as error:
        storage.put(file, uri)
    assert error.value.fault == "user"
    assert uri in str(error.value)


def test_a_missing_permission_is_named(storage: CloudStorage, file: Path) -> None:
    gcp.emulation().set_faults(denied=["storage.objects.create"])
    with pytest.raises(PlatformError, match=r"storage\.objects\.create.*roles/storage\.objectUser") as error:
        storage.put(file, f"{AT}/denied")
    assert error.value.fault == "user"
