"""What holds of object versions on every cloud: the tests of each bring a store and run these."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.platforms import clouds
from tidemill.platforms.cloud import Cloud
from tidemill.platforms.ports import ObjectVersions, PlatformError, VersionGone
from tidemill.project import Project
from tidemill.records import DataVersion, Part
from tidemill.spec import units
from tidemill.tools.object_store import ObjectStore
from tidemill.tools.versions import DataChanged, Kept


def content(folder: Path, name: str, text: str) -> Path:
    """A file with a text."""
    file = folder / name
    file.write_text(text)
    return file


def check_versions(versions: ObjectVersions, uri: str, folder: Path) -> tuple[str, str]:
    """Each content has a version of its own, which is got back by its id; equal content makes no second one."""
    first = versions.put(content(folder, "given", "first"), uri)
    assert versions.put(content(folder, "given", "first"), uri) == first
    second = versions.put(content(folder, "given", "other"), uri)
    assert second != first
    assert versions.newest(uri) == second
    for version, text in ((first, "first"), (second, "other")):
        versions.get(uri, version, folder / "deep" / "got")
        assert (folder / "deep" / "got").read_text() == text
        assert versions.has(uri, version, 5)
        assert not versions.has(uri, version, 6)
    assert [path.name for path in (folder / "deep").iterdir()] == ["got"]
    return first, second


def check_gone(versions: ObjectVersions, uri: str, gone: str, folder: Path) -> None:
    """A version that is not there is told from everything else that may go wrong; nothing is written."""
    for version in (gone, "no-such-version"):
        assert not versions.has(uri, version, 5)
        with pytest.raises(VersionGone):
            versions.get(uri, version, folder / "nothing" / "got")
        assert list((folder / "nothing").glob("*")) == []
    with pytest.raises(VersionGone):
        versions.newest(f"{uri}-never")


def check_writers(versions: ObjectVersions, uri: str, folder: Path) -> None:
    """Whoever writes at the same time gets the version of the own bytes."""

    def write(number: int) -> tuple[str, str]:
        text = f"writer {number}"
        return versions.put(content(folder, f"writer-{number}", text), uri), text

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(write, range(4)))
    assert len({version for version, _ in made}) == 4
    for version, text in made:
        versions.get(uri, version, folder / "written")
        assert (folder / "written").read_text() == text


def check_no_versions(versions: ObjectVersions, uri: str, folder: Path, says: str) -> None:
    """A store that keeps none is refused, and told how to change that."""
    with pytest.raises(PlatformError, match=says) as error:
        versions.put(content(folder, "given", "first"), uri)
    assert error.value.fault == "user"


def check_data_versions(cloud: Cloud, folder: Path, remove: Callable[[str, str], None]) -> None:
    """A pipeline's data versions in this store, from one machine to another, with their lifecycle.

    ``remove`` ends one version of an object (address, id), as a lifecycle rule or a person would.
    """
    here, there = (a_store(cloud, folder / name, keep="90 d") for name in ("here", "there"))
    first = here.add(rows(folder / "first", "one"), nothing)
    second = here.add(rows(folder / "second", "two"), nothing)
    assert [o.uri for o in first.objects] == [o.uri for o in second.objects], "one key for all versions"
    assert first.version != second.version
    for kept, text in ((first, "one"), (second, "two")):
        record = a_record(kept)
        assert (there.fetch(record) / "train.parquet").read_text() == f"train {text}"
        assert (there.fetch(record) / "holdout.parquet").read_text() == f"holdout {text}"
        here.verify(record)
    here.lifecycle(None)
    here.lifecycle(a_record(second))
    here.protect(a_record(first))
    for each in (*first.objects, second.objects[0]):
        remove(each.uri, each.version)
    here.verify(a_record(first))  # by its copy
    with pytest.raises(DataChanged, match=f"{second.objects[0].uri} has no version {second.objects[0].version} any"):
        here.verify(a_record(second))
    again = here.add(rows(folder / "third", "two"), lambda version: a_record(second))
    assert again.version == second.version
    assert again.objects != second.objects
    here.verify(a_record(again))


def a_store(cloud: Cloud, state: Path, *, pipeline: str = "flights", keep: str | None = None) -> ObjectStore:
    """The data versions of a pipeline, on a machine with a state folder of its own."""
    return ObjectStore(
        Project(root=state, state=state / "state"),
        cloud,
        pipeline=pipeline,
        installation=lambda: clouds.INSTALLATION,
        keep=None if keep is None else units.calendar(keep),
    )


def rows(folder: Path, text: str) -> Path:
    """A folder with what is versioned."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "holdout"):
        (folder / f"{name}.parquet").write_text(f"{name} {text}")
    return folder


def nothing(version: str) -> DataVersion | None:
    """The ledger of a pipeline that has versioned nothing yet."""
    return None


def a_record(kept: Kept, keep: str | None = None) -> DataVersion:
    """What the ledger says of a version."""
    at = datetime(2013, 6, 1, tzinfo=UTC)
    part = Part(name="train", rows=1, start=at, end=at)
    return DataVersion(
        version=kept.version,
        backend="object-store",
        source="include/rows.parquet",
        path="",
        train=part,
        holdout=replace(part, name="holdout"),
        columns={},
        objects=kept.objects,
        keep=keep,
    )
