"""``tidemill new``: what it writes is a sound project, and nothing is written over."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tests.testing.test_plugin import run
from tidemill.cli.new import PROVIDERS, sample


@pytest.mark.parametrize("name", ["churn", "late-flights", "2nd_try", "class"])
def test_a_new_pipeline_is_sound_and_its_code_is_python(tmp_path: Path, name: str, tidemill: CommandLine) -> None:
    said = tidemill("new", name, cwd=tmp_path)
    assert said.code == 0, said.err
    written = [line.removeprefix("wrote ") for line in said.out.splitlines() if line.startswith("wrote ")]
    assert f"dags/{name}.yaml" in written
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert tidemill("validate", "dags").out == "1 pipeline checked, no mistakes\n"
    assert tidemill("show", f"dags/{name}.yaml").code == 0
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text())


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_new_pipeline_on_each_provider_is_sound(tmp_path: Path, provider: str, tidemill: CommandLine) -> None:
    said = tidemill("new", "9-Lives", "--provider", provider, cwd=tmp_path)
    assert said.code == 0, said.err
    assert tidemill("validate", "dags").out == "1 pipeline checked, no mistakes\n"
    assert f"provider: {provider}\n" in (tmp_path / "dags" / "9-Lives.yaml").read_text()
    assert (f"docs/platforms/{provider}.md" in said.out) == (provider != "local")


@pytest.mark.parametrize("name", ["sales", "late-orders", "class"])
def test_a_new_workflow_is_sound(tmp_path: Path, name: str, tidemill: CommandLine) -> None:
    said = tidemill("new", name, "--steps", cwd=tmp_path)
    assert said.code == 0, said.err
    written = [line.removeprefix("wrote ") for line in said.out.splitlines() if line.startswith("wrote ")]
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == set(written)
    assert not any(file.endswith((".csv", "train.py")) for file in written)
    assert tidemill("validate", "dags").out == "1 pipeline checked, no mistakes\n"
    for path in tmp_path.rglob("*.py"):
        ast.parse(path.read_text())


def test_the_tests_that_are_written_pass(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "late-orders", "--steps", cwd=tmp_path)
    tidemill("new", "churn", cwd=tmp_path)
    code, said = run(tmp_path, "-m", "not slow", "--strict-markers")
    assert code == 0, said
    assert "6 passed, 2 deselected" in said


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--steps"], ["--provider", "aws"]])  # a test trains here, also for a cloud
def test_the_runs_in_the_tests_that_are_written_pass(tmp_path: Path, options: list[str], tidemill: CommandLine) -> None:
    tidemill("new", "class", *options, cwd=tmp_path)
    code, said = run(tmp_path, "-m", "slow")
    assert code == 0, said
    assert "1 passed, 3 deselected" in said


def test_two_pipelines_share_a_project(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "one", cwd=tmp_path)
    loader = tmp_path / "dags" / "tidemill.py"
    loader.write_text("# mine\n")
    assert tidemill("new", "two").code == 0
    assert loader.read_text() == "# mine\n"
    assert tidemill("validate", "dags").out == "2 pipelines checked, no mistakes\n"


def test_nothing_is_written_over(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    (tmp_path / "dags" / "churn.yaml").write_text("mine")
    said = tidemill("new", "churn")
    assert said.code == 1
    assert "exists already" in said.err
    assert (tmp_path / "dags" / "churn.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["two words"], "cannot be a pipeline's id"),
        (["../up"], "cannot be a pipeline's id"),
        (["a.b"], "cannot be a pipeline's id"),
        ([""], "cannot be a pipeline's id"),
        (["churn", "--provider", "ibm"], "choose one of local, aws, gcp, azure, kubernetes"),
        (["churn", "--provider", "aws", "--steps"], "it has no provider"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, arguments: list[str], message: str, tidemill: CommandLine) -> None:
    said = tidemill("new", *arguments, cwd=tmp_path)
    assert said.code == 1
    assert message in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_published_schema_is_written_beside_it(tmp_path: Path, tidemill: CommandLine) -> None:
    tidemill("new", "churn", cwd=tmp_path)
    written = (tmp_path / "include" / "schemas" / "tidemill-1.json").read_text()
    assert written == tidemill("schema").out
    spec = (tmp_path / "dags" / "churn.yaml").read_text()
    assert "$schema=../include/schemas/tidemill-1.json" in spec


def test_the_sample_is_the_same_each_time_and_has_what_the_spec_asks_for() -> None:
    assert sample() == sample()
    header, *rows = sample().splitlines()
    assert len(rows) == 6000
    assert len(header.split(",")) == len(rows[0].split(","))
