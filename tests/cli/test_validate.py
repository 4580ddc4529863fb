"""``tidemill validate``: which files it judges, how it names them, what it says to machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tests.spec.test_load import BASE

BROKEN = BASE.replace("roc_auc:", "roc_acu:")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a sound and a broken pipeline."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    write(tmp_path, "dags/good.yaml", BASE)
    write(tmp_path, "dags/team/bad.yaml", BROKEN)
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_folder_with_a_mistake(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("validate", "dags", cwd=root)
    assert said.code == 1
    assert said.out.splitlines()[0] == 'dags/team/bad.yaml:9:18: promote.when: unknown metric "roc_acu"'
    assert said.err == ""


def test_a_sound_file_and_a_sound_folder(root: Path, tidemill: CommandLine) -> None:
    assert tidemill("validate", "dags/good.yaml", cwd=root).out == "1 pipeline checked, no mistakes\n"
    write(root, "dags/team/bad.yaml", BASE)
    assert tidemill("validate", "dags").out == "2 pipelines checked, no mistakes\n"


@pytest.mark.parametrize(
    ("cwd", "path", "named"),
    [
        (".", "dags/team/bad.yaml", "dags/team/bad.yaml"),
        ("dags", "team/bad.yaml", "team/bad.yaml"),
        ("dags/team", "bad.yaml", "bad.yaml"),
        ("dags/team", ".", "bad.yaml"),
        (".", "./dags/../dags", "dags/team/bad.yaml"),
    ],
)
def test_files_are_named_from_the_current_folder(
    root: Path,
    cwd: str,
    path: str,
    named: str,
    tidemill: CommandLine,
) -> None:
    assert tidemill("validate", path, cwd=root / cwd).out.startswith(f"{named}:9:18: ")


def test_from_elsewhere_files_are_named_absolutely(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("validate", root / "dags" / "team" / "bad.yaml", cwd=root / "include")
    assert said.out.startswith(f"{root}/dags/team/bad.yaml:9:18: ")


def test_json(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("validate", "dags", "--json", cwd=root)
    assert said.code == 1
    assert said.json["ok"] is False
    good, bad = said.json["files"]
    assert good == {
        "file": str(root / "dags/good.yaml"), "pipeline": "good", "ok": True, "dags": ["good"], "errors": [],
    }  # fmt: skip
    assert (bad["ok"], bad["dags"]) == (False, [])
    (error,) = bad["errors"]
    assert error == {
        "file": "dags/team/bad.yaml",
        "line": 9,
        "column": 18,
        "path": "promote.when",
        "message": 'unknown metric "roc_acu"',
        "hint": 'did you mean "roc_auc"?',
        "length": 7,
        "source": "promote: {when: {roc_acu: {at_least: 0.65}}}",
    }


def test_broken_defaults_are_told_once(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/team/bad.yaml", BASE)
    write(root, "dags/team/worse.yaml", BASE)
    for text, place in (("owner: [a]\n", "1:8"), ("owner: a\n\tb: c\n", "2:1"), ("onwer: a\n", "1:1")):
        write(root, "dags/defaults.yaml", text)
        said = tidemill("validate", "dags", cwd=root)
        assert said.code == 1
        assert [line for line in said.out.splitlines() if line.startswith("dags/")] == [
            line for line in said.out.splitlines() if line.startswith(f"dags/defaults.yaml:{place}: ")
        ]
        assert said.out.count("dags/defaults.yaml") == 1
        machine = tidemill("validate", "dags", "--json").json
        assert [len(file["errors"]) for file in machine["files"]] == [1, 1, 1]


def test_defaults_by_themselves_are_no_pipeline(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/defaults.yaml", "owner: a\n")
    said = tidemill("validate", "dags/defaults.yaml", cwd=root)
    assert said.code == 1
    assert "this is no pipeline, but what the pipelines of its folder inherit" in said.out


def test_one_file_inherits_as_in_its_folder(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/defaults.yaml", "platform: {provider: local}\n")
    write(root, "dags/team/short.yaml", BASE.replace("platform: {provider: local}\n", ""))
    assert tidemill("validate", "dags/team/short.yaml", cwd=root).code == 0
    assert tidemill("validate", "short.yaml", cwd=root / "dags" / "team").code == 0


def test_a_file_that_has_a_double_elsewhere_is_refused(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/other/good.yml", BASE)
    said = tidemill("validate", "dags/good.yaml", cwd=root)
    assert said.code == 1
    assert said.out.startswith('dags/good.yaml:1:1: two files for one pipeline: "good" is also dags/other/good.yml')


def test_a_file_that_is_named_twice_is_judged_once(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("validate", "dags", "dags/good.yaml", "dags/team", "--json", cwd=root)
    assert [file["pipeline"] for file in said.json["files"]] == ["good", "bad"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "tidemill: there is no nowhere\n"),
        (["include"], "tidemill: no spec below include: a spec is a YAML file with a top-level `tidemill: 1`\n"),
    ],
)
def test_what_cannot_be_validated_is_told(
    root: Path,
    arguments: list[str],
    message: str,
    tidemill: CommandLine,
) -> None:
    said = tidemill("validate", *arguments, cwd=root)
    assert (said.code, said.err, said.out) == (1, message, "")


def test_nothing_of_the_users_is_run_and_nothing_heavy_imported(root: Path) -> None:
    import subprocess
    import sys

    write(root, "include/train.py", "raise SystemExit('ran')\ndef train(context): ...\n")
    code = (
        "import sys; sys.argv = ['tidemill', 'validate', 'dags/good.yaml']\n"
        "from tidemill.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'airflow', 'mlflow', 'pandas', 'polars', 'numpy',"
        " 'great_expectations', 'dvc', 'sklearn', 'sqlalchemy', 'include'}))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines() == ["1 pipeline checked, no mistakes", "[]"], ran.stderr


def test_an_environment_is_chosen_and_must_be_known(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/good.yaml", BASE + "environments: {prod: {schedule: dayly}}\n")
    write(root, "dags/team/bad.yaml", BASE)
    assert tidemill("validate", "dags", cwd=root).code == 0
    said = tidemill("validate", "dags", "--environment", "prod")
    assert said.code == 1
    assert said.out.startswith("dags/good.yaml:10:33: schedule: ")
    said = tidemill("validate", "dags", "--environment", "produ")
    assert (said.code, said.out) == (1, "")
    assert said.err == 'tidemill: no file knows the environment "produ"; known: prod\n'
    said = tidemill("validate", "dags/team/bad.yaml", "--environment", "prod")
    assert said.err == 'tidemill: no file knows the environment "prod"; none has `environments:`\n'


def test_environments_of_inherited_files_are_known(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/team/bad.yaml", "tidemill: 1\nuses: templates/t.yaml\n")
    write(root, "dags/templates/t.yaml", BASE + "environments: {live: {owner: a}}\n")
    write(root, "dags/defaults.yaml", "environments: {prod: {owner: a}}\n")
    for name in ("live", "prod"):
        assert tidemill("validate", "dags", "--environment", name, cwd=root).code == 0


def test_the_rows_of_a_matrix_are_counted_and_named(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/team/bad.yaml", BASE + "matrix: {a: {}, b: {}, c: {}}\n")
    assert tidemill("validate", "dags", cwd=root).out == "4 pipelines checked, no mistakes\n"
    _, matrix = tidemill("validate", "dags", "--json").json["files"]
    assert (matrix["pipeline"], matrix["dags"]) == ("bad", ["bad.a", "bad.b", "bad.c"])


def test_ignored_specs_are_not_validated_unless_they_are_named(root: Path, tidemill: CommandLine) -> None:
    write(root, "dags/.airflowignore", "bad.yaml\n")
    assert tidemill("validate", "dags", cwd=root).code == 0
    assert tidemill("validate", "dags/team/bad.yaml").code == 1
    said = tidemill("validate", "dags/team")
    assert said.err.startswith("tidemill: no spec below dags/team")
