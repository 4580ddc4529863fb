"""Kept files are whole or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.entries import read_entry, write_entry


def test_what_is_kept_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    assert read_entry(str(path)) is None
    write_entry(str(path), b"one\ntwo")
    assert read_entry(str(path)) == b"one\ntwo"
    write_entry(str(path), b"")
    assert read_entry(str(path)) == b""
    assert [one.name for one in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize("damage", [b"", b"x", b"\n", b"0" * 64 + b"\n{}"])
def test_what_is_damaged_is_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "b.json"
    write_entry(str(path), b"{}")
    path.write_bytes(damage)
    assert read_entry(str(path)) is None


def test_a_cut_entry_is_none(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_entry(str(path), b"a longer text")
    path.write_bytes(path.read_bytes()[:-1])
    assert read_entry(str(path)) is None


def test_where_nothing_can_be_kept_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    write_entry(str(tmp_path / "file" / "b.json"), b"x")
    (tmp_path / "folder" / "b.json").mkdir(parents=True)
    write_entry(str(tmp_path / "folder" / "b.json"), b"x")
    assert [one.name for one in (tmp_path / "folder").iterdir()] == ["b.json"]
