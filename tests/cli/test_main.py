"""The command line as a whole: help, exit codes, no stack traces, a quick start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import CommandLine
from tidemill.cli.main import app

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)


def test_the_commands_are_those_of_the_documents() -> None:
    documented = {"validate", "show", "schema", "new", "run", "replay", "convert"}
    documented |= {"history", "promote", "rollback", "drift", "backtest", "infra", "ci"}
    assert set(COMMANDS) == documented


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps_with_an_example(command: str, tidemill: CommandLine) -> None:
    said = tidemill(command, "--help")
    assert said.code == 0
    assert f"Example: tidemill {command}" in said.out


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in {"schema", "new"}])
def test_every_command_that_tells_something_tells_it_to_machines_too(command: str, tidemill: CommandLine) -> None:
    assert "--json" in tidemill(command, "--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["validate"],
        ["validate", "--nonsense"],
        ["show"],
        ["show", "a", "b"],
        ["run", "x.yaml", "--approve", "--reject"],
        ["run", "dags/flight_delays.yaml", "--dag", "scoring"],
        ["run", "none.yaml"],
        ["replay", "none.yaml"],
        ["drift", "one.csv"],
        ["promote", "model"],
        ["drift", "a", "b", "--share", "many"],
    ],
    ids=" ".join,
)
def test_what_was_typed_wrong_is_told_on_stderr(arguments: list[str], tidemill: CommandLine) -> None:
    said = tidemill(*arguments, cwd=ROOT)
    assert said.code in {1, 2}
    assert said.out == ""
    assert said.err


def test_without_a_command_it_lists_them(tidemill: CommandLine) -> None:
    said = tidemill()
    assert all(command in said.out + said.err for command in COMMANDS)


def test_the_reader_of_the_output_may_leave() -> None:
    command = f"{sys.executable} -m tidemill.cli.main schema | head -n 1"
    ran = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "{\n"
    assert ran.stderr == ""


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tidemill', '--help']\n"
        "from tidemill.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'airflow', 'mlflow', 'pandas', 'polars', 'numpy', 'sqlalchemy', 'pydantic', 'dvc'}\n"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_json_has_sorted_keys_and_letters_of_every_script(tidemill: CommandLine) -> None:
    said = tidemill("show", "tests/specs/good/unicode.yaml", "--json", cwd=ROOT)
    assert "遅延" in said.out
    assert said.out == json.dumps(said.json, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
