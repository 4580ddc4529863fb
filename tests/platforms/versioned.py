"""What holds of object versions on every cloud: the tests of each bring a store and run these."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidemill.platforms.ports import ObjectVersions, PlatformError, VersionGone


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
