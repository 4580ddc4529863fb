"""What the tests of the conversion share: the fixtures' project, and conversions of a text."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.convert.file import convert
from tidemill.convert.model import Converted, Note
from tidemill.project import Project

HARBOUR = Path(__file__).parent / "project"
Convert = Callable[[str], tuple[list[Converted], list[Note]]]


@pytest.fixture(scope="session")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where signatures are kept for all of these tests."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def project(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the fixtures' code, and no DAGs."""
    for name in ("TIDEMILL_ROOT", "TIDEMILL_STATE", "AIRFLOW__TIDEMILL__ALLOW", "CREW"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HARBOUR", str(tmp_path))
    shutil.copytree(HARBOUR / "include", tmp_path / "include")
    (tmp_path / "dags").mkdir()
    return Project(tmp_path, state)


@pytest.fixture
def converted(project: Project) -> Convert:
    """Convert a text, as ``dags/old.yml``."""

    def made(text: str) -> tuple[list[Converted], list[Note]]:
        dags = project.root / "dags"
        (dags / "old.yml").write_text(text, encoding="utf-8")
        return convert(dags / "old.yml", dags, dags, project)

    return made


@pytest.fixture
def one(converted: Convert) -> Callable[[str], Converted]:
    """The only DAG of a text."""

    def made(text: str) -> Converted:
        (only,), notes = converted(text)
        assert not notes
        return only

    return made
