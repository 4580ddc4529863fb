"""The pytest plugin, in real runs of pytest on a project of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "tidemill: 1\nsteps:\n  a: {python: 'include.code:a'}\n  b: {operator: EmptyOperator, after: a}\n"
BAD = GOOD.replace("after: a", "afterr: a")
TESTS = """\
import pytest


@pytest.mark.tidemill("dags/good.yaml")
class TestGood:
    def test_by_marker(self, tidemill_pipeline):
        tidemill_pipeline.dag().assert_order("a", "b")


def test_by_path(load_pipeline):
    assert load_pipeline("dags/rows.yaml", row="dk").run_step("a").value == 1


def test_broken(load_pipeline):
    load_pipeline("dags/bad.yaml")


def test_without_a_marker(tidemill_pipeline):
    pass
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with two good specs, a broken one, one that cannot be built, a test file, and what is no spec."""
    for folder in ("dags/templates", "dags/team", "include", "tests"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "include" / "__init__.py").touch()
    (tmp_path / "include" / "code.py").write_text("def a(): return 1\n")
    (tmp_path / "dags" / "good.yaml").write_text(GOOD)
    (tmp_path / "dags" / "team" / "rows.yaml").write_text(GOOD + "matrix: {dk: {}, se: {}}\n")
    (tmp_path / "dags" / "defaults.yaml").write_text("owner: me\n")
    (tmp_path / "dags" / "other.yaml").write_text("a: 1\n")
    (tmp_path / "dags" / "templates" / "t.yaml").write_text("tidemill: 1\nparameters: {}\n")
    (tmp_path / "tests" / "test_it.py").write_text(TESTS.replace("dags/rows", "dags/team/rows"))
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    return tmp_path


def run(root: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest as a user does; its exit code and what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", *arguments]
    done = subprocess.run(command, cwd=root, env=clean, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout + done.stderr


def collected(root: Path, *arguments: str) -> list[str]:
    """The node ids that a run would hold."""
    code, said = run(root, "--collect-only", "-q", *arguments)
    assert code in (0, 5), said
    return [line for line in said.splitlines() if "::" in line]


SPECS = [f"dags/{name}.yaml::{test}" for name in ("good", "team/rows") for test in ("valid", "builds")]
IN_TESTS = ["TestGood::test_by_marker", "test_by_path", "test_broken", "test_without_a_marker"]
OWN = [f"tests/test_it.py::{name}" for name in IN_TESTS]


def test_it_is_off_unless_asked_for(root: Path) -> None:
    assert collected(root) == OWN
    assert collected(root, "dags") == []


def test_the_option_adds_the_specs_to_the_usual_tests(root: Path) -> None:
    assert collected(root, "--tidemill-specs", "dags") == OWN + SPECS


def test_the_setting_does_the_same(root: Path) -> None:
    (root / "pytest.ini").write_text("[pytest]\ntestpaths = tests\ntidemill_specs = dags\n")
    assert collected(root) == OWN + SPECS
    assert collected(root, "tests") == OWN
    assert collected(root, "dags/team") == SPECS[2:]
    assert collected(root, "dags/good.yaml::valid") == SPECS[:1]
    assert collected(root, "-k", "builds and rows") == SPECS[3:]
    (root / "pytest.ini").write_text("[pytest]\ntidemill_specs = dags\n")
    assert collected(root) == SPECS + OWN


def test_a_folder_that_is_none(root: Path) -> None:
    code, said = run(root, "--tidemill-specs", "dgas")
    assert code == 4
    assert f"there is no folder {root / 'dgas'}" in said


@pytest.mark.slow
def test_broken_specs_fail_with_their_mistakes_alone(root: Path) -> None:
    (root / "dags" / "bad.yaml").write_text(BAD)
    (root / "dags" / "wait.yaml").write_text(
        "tidemill: 1\nsteps:\n  w: {operator: TimeDeltaSensor, with: {delta: 1 min, mode: never}}\n"
    )
    twice = root / "dags" / "team" / "good.yaml"
    twice.write_text(GOOD)
    code, said = run(root, "--tidemill-specs", "dags", "dags", "-v", "-rs")
    assert code == 1
    found = dict(re.findall(r"^(dags/\S+::\w+) ([A-Z]+)", said, re.MULTILINE))
    assert found == {
        "dags/bad.yaml::valid": "FAILED",
        "dags/bad.yaml::builds": "SKIPPED",
        "dags/good.yaml::valid": "FAILED",
        "dags/good.yaml::builds": "SKIPPED",
        "dags/team/good.yaml::valid": "FAILED",
        "dags/team/good.yaml::builds": "SKIPPED",
        "dags/team/rows.yaml::valid": "PASSED",
        "dags/team/rows.yaml::builds": "PASSED",
        "dags/wait.yaml::valid": "PASSED",
        "dags/wait.yaml::builds": "FAILED",
    }
    assert "SKIPPED [1] dags/bad.yaml:1: it is not valid" in said
    assert "dags/bad.yaml:4" in said
    assert 'did you mean "after"' in said
    assert "two files for one pipeline" in said
    assert "dags/wait.yaml:3: steps.w: TimeDeltaSensor refuses its arguments" in said
    assert "Traceback" not in said
    assert "runtest" not in said


def test_after_the_first_failure_it_stops_where_it_is_told_to(root: Path) -> None:
    (root / "dags" / "bad.yaml").write_text(BAD)
    code, said = run(root, "--tidemill-specs", "dags", "dags", "-x")
    assert code == 1
    assert "1 failed in" in said


@pytest.mark.slow
def test_it_runs_in_several_processes(root: Path) -> None:
    code, said = run(root, "--tidemill-specs", "dags", "-n", "2", "-k", "valid or builds or test_by")
    assert code == 0, said
    assert "6 passed" in said


def test_the_fixtures_and_a_broken_spec_that_fails_the_test_that_loads_it_with_its_mistakes_alone(root: Path) -> None:
    (root / "dags" / "bad.yaml").write_text(BAD)
    code, said = run(root)
    assert code == 1
    assert "1 failed, 2 passed, 1 error" in said
    assert '@pytest.mark.tidemill("dags/churn.yaml")' in said
    assert 'did you mean "after"' in said
    assert "plan_of" not in said
