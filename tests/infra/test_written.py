"""A root in its folder: written beside people's files, never over their edits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from tidemill.infra.needs import InfraProblem
from tidemill.infra.written import compare, write

LOCK: Final = ".tidemill-infra.json"
FILES: Final = {
    "main.tf": "one\n",
    "backend.tf": "# yours\n",
    "modules/a/main.tf": "two\n",
    "modules/b/main.tf": "three\n",
}


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_written_again_it_is_the_same_to_the_byte_and_untouched(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "root"
    assert write(folder, FILES, force=False).new == list(FILES)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write(folder, FILES, force=False).none
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert compare(folder, FILES).diff == ""


def test_files_of_people_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "modules" / "b").mkdir(parents=True)
    for name in ("own.tf", "modules/b/extra.tf", "prod.auto.tfvars"):
        (tmp_path / name).write_text("mine")
    write(tmp_path, FILES, force=False)
    write(tmp_path, {"main.tf": "new\n"}, force=True)
    assert contents(tmp_path) == {
        "own.tf": "mine", "modules/b/extra.tf": "mine", "prod.auto.tfvars": "mine", "main.tf": "new\n",
        "backend.tf": "# yours\n", LOCK: contents(tmp_path)[LOCK],
    }  # fmt: skip
    assert not (tmp_path / "modules" / "a").exists()


def test_what_no_longer_belongs_to_it_is_removed(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    less = {path: text for path, text in FILES.items() if not path.startswith("modules/a")}
    found = compare(tmp_path, less)
    assert (found.stale, found.edited) == (["modules/a/main.tf"], [])
    assert "-two" in found.diff
    write(tmp_path, less, force=False)
    assert not (tmp_path / "modules" / "a").exists()
    assert sorted(json.loads((tmp_path / LOCK).read_text())["files"]) == ["main.tf", "modules/b/main.tf"]


def test_an_edit_is_not_replaced_without_force(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / "main.tf").write_text("one\nand more\n")
    before = contents(tmp_path)
    for files in (FILES | {"main.tf": "new\n"}, {"backend.tf": "# yours\n"}):
        assert compare(tmp_path, files).edited == ["main.tf"]
        with pytest.raises(InfraProblem, match=r"main\.tf would be replaced.*nothing was written"):
            write(tmp_path, files, force=False)
        assert contents(tmp_path) == before
    assert write(tmp_path, FILES | {"main.tf": "new\n"}, force=True).edited == ["main.tf"]
    assert (tmp_path / "main.tf").read_text() == "new\n"
    assert compare(tmp_path, FILES | {"main.tf": "new\n"}).none


def test_an_edit_that_is_what_is_wanted_is_none(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / "main.tf").write_text("new\n")
    assert write(tmp_path, FILES | {"main.tf": "new\n"}, force=False).none


def test_a_file_that_was_there_before_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "main.tf").write_text("by hand\n")
    with pytest.raises(InfraProblem, match=r"main\.tf would be replaced"):
        write(tmp_path, FILES, force=False)
    assert contents(tmp_path) == {"main.tf": "by hand\n"}


def test_the_backend_is_a_persons_from_then_on(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / "backend.tf").write_text("terraform {}\n")
    assert write(tmp_path, FILES, force=True).none
    assert (tmp_path / "backend.tf").read_text() == "terraform {}\n"


def test_a_file_that_was_removed_by_hand_comes_back(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / "main.tf").unlink()
    assert write(tmp_path, FILES, force=False).new == ["main.tf"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "files": []}', '{"format": null}'])
def test_a_damaged_lock_file_is_told_and_nothing_is_written(text: str, tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / LOCK).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(InfraProblem, match=r"damaged|later Tidemill"):
        write(tmp_path, {"main.tf": "new\n"}, force=True)
    assert contents(tmp_path) == before


def test_a_lock_file_names_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    import hashlib

    outside = tmp_path / "outside.tf"
    outside.write_text("theirs\n")
    digest = hashlib.sha256(b"theirs\n").hexdigest()
    root = tmp_path / "root"
    root.mkdir()
    names = ["../outside.tf", str(outside), "modules/../../outside.tf"]
    (root / LOCK).write_text(json.dumps({"format": 1, "files": dict.fromkeys(names, digest)}))
    write(root, FILES, force=True)
    assert outside.read_text() == "theirs\n"


def test_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfraProblem, match=r"cannot write .*Not a directory; choose another --output"):
        write(tmp_path / "file" / "root", FILES, force=False)
    (tmp_path / "root" / "main.tf").mkdir(parents=True)
    with pytest.raises(InfraProblem, match=r"cannot read .*Is a directory"):
        write(tmp_path / "root", FILES, force=False)


def test_a_file_of_another_encoding_is_an_edit(tmp_path: Path) -> None:
    write(tmp_path, FILES, force=False)
    (tmp_path / "main.tf").write_bytes(b"\xff\xfe")
    with pytest.raises(InfraProblem, match="would be replaced"):
        write(tmp_path, FILES | {"main.tf": "new\n"}, force=False)
