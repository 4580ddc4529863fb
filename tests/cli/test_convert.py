"""``tidemill convert``: what it writes, what it lists, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import CommandLine

PLAIN = """\
default:
  default_args: {owner: quay, start_date: 2024-01-01}
  schedule: "0 6 * * *"

unload:
  tasks:
    greet: {operator: airflow.operators.bash.BashOperator, bash_command: echo hello}

load:
  tasks:
    greet: {operator: airflow.operators.bash.BashOperator, bash_command: echo again}
"""
LOSSY = PLAIN.replace("  schedule:", "  sla_miss_callback: include.x.f\n  schedule:")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("AIRFLOW__TIDEMILL__ALLOW", raising=False)
    (tmp_path / "include").mkdir()
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "old.yml").write_text(PLAIN)
    return tmp_path


def test_a_spec_for_each_dag_and_all_of_them_sound(project: Path, tidemill: CommandLine) -> None:
    said = tidemill("convert", "dags/old.yml", cwd=project)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "wrote dags/unload.yaml",
        "wrote dags/load.yaml",
        "",
        "2 DAGs converted; everything was carried over",
    ]
    assert tidemill("validate", "dags").out == "2 pipelines checked, no mistakes\n"
    text = (project / "dags" / "load.yaml").read_text()
    assert text == (
        "# Converted from old.yml, where dag-factory called it load.\n"
        "tidemill: 1\nowner: quay\n\n"
        'schedule: {cron: "0 6 * * *", data_interval: false}\nstart: 2024-01-01\n\n'
        "steps:\n  greet:\n    operator: BashOperator\n    with: {bash_command: echo again}\n"
    )


def test_nothing_is_written_over_but_by_force(project: Path, tidemill: CommandLine) -> None:
    (project / "dags" / "load.yaml").write_text("mine")
    said = tidemill("convert", "dags/old.yml", cwd=project)
    assert said.code == 1
    assert "kept dags/load.yaml, which is there already: --force writes over it" in said.out
    assert (project / "dags" / "load.yaml").read_text() == "mine"
    assert tidemill("convert", "dags/old.yml", "--force").code == 0
    assert (project / "dags" / "load.yaml").read_text() != "mine"


def test_elsewhere(project: Path, tidemill: CommandLine) -> None:
    said = tidemill("convert", "dags/old.yml", "--to", "dags/new/folder", cwd=project)
    assert said.code == 0, said.out
    assert sorted(path.name for path in (project / "dags" / "new" / "folder").iterdir()) == ["load.yaml", "unload.yaml"]


def test_what_is_lost_is_listed_by_line_once_and_the_specs_written_all_the_same(
    project: Path, tidemill: CommandLine
) -> None:
    (project / "dags" / "old.yml").write_text(LOSSY)
    said = tidemill("convert", "dags/old.yml", cwd=project)
    assert said.code == 1
    line = "  dags/old.yml:3:3: sla_miss_callback: Airflow 3 has no SLAs any more; write `deadline:`"
    assert said.out.splitlines().count(line) == 1
    assert said.out.endswith("2 DAGs converted; 1 not carried over\n")
    assert (project / "dags" / "load.yaml").is_file()


def test_the_setting_that_is_needed(project: Path, tidemill: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "dags" / "beside.py").write_text("def f(): ...\n")
    (project / "dags" / "old.yml").write_text(
        "d: {tasks: {t: {decorator: airflow.sdk.task, python_callable: beside.f}}}"
    )
    said = tidemill("convert", "dags/old.yml", cwd=project)
    assert said.code == 0, said.out
    assert "AIRFLOW__TIDEMILL__ALLOW='beside:f'" in said.out
    assert "may not be named" in tidemill("validate", "dags/d.yaml").err + tidemill("validate", "dags/d.yaml").out


def test_json(project: Path, tidemill: CommandLine) -> None:
    (project / "dags" / "old.yml").write_text(LOSSY)
    (project / "dags" / "bad.yml").write_text("d: [\n")
    said = tidemill("convert", "dags/old.yml", "dags/bad.yml", "--json", cwd=project)
    assert said.code == 1
    assert [(one["dag_id"], one["written"], one["errors"]) for one in said.json["specs"]] == [
        ("unload", True, []),
        ("load", True, []),
    ]
    assert [(one["file"], one["line"]) for one in said.json["not_carried_over"]] == [("dags/old.yml", 3)]
    assert said.json["unreadable"][0]["file"] == "dags/bad.yml"
    assert (said.json["allow"], said.json["whole"]) == ([], False)


@pytest.mark.parametrize(
    ("path", "message"), [("nowhere.yml", "there is no nowhere.yml"), ("dags", "dags is a folder; name the files")]
)
def test_what_cannot_be_converted(project: Path, tidemill: CommandLine, path: str, message: str) -> None:
    said = tidemill("convert", path, cwd=project)
    assert said.code == 1
    assert message in said.err


def test_mistakes_of_what_was_written_are_shown_at_their_place(project: Path, tidemill: CommandLine) -> None:
    (project / "dags" / "old.yml").write_text(PLAIN.replace("bash_command: echo again", "bash_comand: echo"))
    said = tidemill("convert", "dags/old.yml", cwd=project)
    assert said.code == 1
    assert "mistakes in dags/load.yaml:" in said.out
    assert "dags/load.yaml:11:12: steps.greet.with:" in said.out
    assert "2 DAGs converted; 1 to correct in what was written" in said.out
