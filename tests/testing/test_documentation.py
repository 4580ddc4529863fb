"""docs/testing.md: every example of it, in a project, by pytest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.testing.test_plugin import run
from tidemill.cli.new import write

DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The pipeline that `tidemill new churn` writes, and the document's files."""
    write("churn", "local", tmp_path)
    (tmp_path / "tests" / "test_churn.py").unlink()
    for name, text in re.findall(r"```\w+\n# (\S+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_quick_ones_hold(project: Path) -> None:
    code, said = run(project, "-k", "not a_run", "-rA")
    assert code == 0, said
    assert "9 passed, 2 deselected" in said, said


@pytest.mark.slow
def test_the_runs_hold(project: Path) -> None:
    code, said = run(project, "-k", "a_run")
    assert code == 0, said
    assert "2 passed" in said
