"""Where a project's root, state and run folders are."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.project import Project


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_ROOT", raising=False)
    monkeypatch.delenv("TIDEMILL_STATE", raising=False)


def test_the_root_is_the_parent_that_holds_include_else_the_dag_folder(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    assert Project.of(dags) == Project(dags, dags / ".tidemill")
    (tmp_path / "include").mkdir()
    assert Project.of(dags) == Project(tmp_path, tmp_path / ".tidemill")


def test_an_include_that_is_a_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "include").write_text("")
    assert Project.of(tmp_path / "dags").root == tmp_path / "dags"


def test_settings_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "include").mkdir()
    monkeypatch.setenv("TIDEMILL_ROOT", str(tmp_path / "elsewhere"))
    assert Project.of(tmp_path / "dags") == Project(tmp_path / "elsewhere", tmp_path / "elsewhere" / ".tidemill")
    monkeypatch.setenv("TIDEMILL_STATE", str(tmp_path / "state"))
    assert Project.of(tmp_path / "dags").state == tmp_path / "state"


def test_a_linked_dag_folder_belongs_to_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "release" / "dags").mkdir(parents=True)
    (tmp_path / "release" / "include").mkdir()
    (tmp_path / "dags").symlink_to(tmp_path / "release" / "dags")
    assert Project.of(tmp_path / "dags").root == tmp_path / "release"


def test_paths_of_specs_start_at_the_root(tmp_path: Path) -> None:
    project = Project(tmp_path, tmp_path / ".tidemill")
    assert project.path("include/x.parquet") == tmp_path / "include" / "x.parquet"
    assert project.path("/data/x.parquet") == Path("/data/x.parquet")


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_runs_have_folders_of_their_own_with_names_that_file_systems_take(one: str, other: str) -> None:
    project = Project(Path("/p"), Path("/p/.tidemill"))
    found = project.run_folder("flights", one)
    assert found.parent == Path("/p/.tidemill/runs/flights")
    assert found.name not in {".", ".."}
    assert len(found.name.encode()) <= 255
    assert found.name.isascii()
    assert (found == project.run_folder("flights", other)) is (one == other)
