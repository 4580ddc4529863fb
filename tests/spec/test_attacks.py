"""The corpus of attacks, in its short form and whole; ``python -m tests.specs.attacks`` prints the same count."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

attacks = importlib.import_module("tests.specs.attacks.__main__")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command measures against one second; here other tests take the processors, and what escapes takes minutes."""
    monkeypatch.setattr(attacks, "SECONDS", 10.0)


def test_no_attack_of_the_short_form_escapes() -> None:
    told: list[str] = []
    assert attacks.run(attacks.corpus(short=True), told.append) == {}
    assert "0 escapes" in told[-1]


@pytest.mark.slow
def test_no_attack_escapes() -> None:
    assert attacks.run(attacks.corpus(), print) == {}


def test_every_stored_attack_has_its_answer() -> None:
    stored = list(attacks.stored())
    assert len(stored) > 100
    assert [attack.name for attack in stored if not attack.text] == []
    assert len(list(attacks.HERE.glob("*.txt"))) == len(stored)


def test_what_escapes_is_seen(tmp_path: Path) -> None:
    world = attacks.World(tmp_path)
    sound = attacks.Attack("sound", f"tidemill: 1\nsteps: {{a: {attacks._STEP}}}\n".encode())
    assert attacks.escaped(sound, world.tried(sound)) == "it was accepted"

    def reads_outside(root: Path, outside: Path) -> Path:
        (root / "dags" / "x.yaml").symlink_to(outside / "linked.py")
        (outside / "linked.py").chmod(0o644)
        return root / "dags" / "x.yaml"

    link = attacks.Attack("link", make=reads_outside, says="no such words")
    assert "another reason" in str(attacks.escaped(link, world.tried(link)))
    told = {"seen": ["import include.canary"], "seconds": 0, "megabytes": 0, "plans": 0, "errors": []}
    assert "it ran" in str(attacks.escaped(sound, told))


@pytest.mark.parametrize("how", [["show"], ["show", "--resolved"], ["validate"]])
def test_no_text_of_a_spec_reaches_the_terminal_as_a_command(
    how: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tidemill.cli import main as cli

    odd = "\\e]0;owned\\a\\e[2J\\u202E\\x9b31m"
    wrong = f'"{odd}": 1\n' if how == ["validate"] else ""
    (tmp_path / "a.yaml").write_text(f'tidemill: 1\n{wrong}description: "{odd}"\nsteps: {{a: {attacks._STEP}}}\n')
    monkeypatch.setattr("sys.argv", ["tidemill", *how, str(tmp_path / "a.yaml")])
    with pytest.raises(SystemExit):
        cli.main()
    shown = "".join(capsys.readouterr())
    assert "owned" in shown
    assert [char for char in shown if char != "\n" and not char.isprintable()] == []


def test_convert_runs_nothing_of_what_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill.cli import main as cli

    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.yml").write_text(
        "a:\n  tasks:\n    t:\n      operator: airflow.providers.standard.operators.python.PythonOperator\n"
        '      python_callable: !!python/object/apply:os.system ["touch canary"]\n'
    )
    monkeypatch.setattr("sys.argv", ["tidemill", "convert", "old.yml"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code != 0
    assert not (tmp_path / "canary").exists()
