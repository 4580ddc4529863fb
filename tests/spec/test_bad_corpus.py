"""The corpus of bad specs: the real command on each file prints exactly what stands beside it, and exits with 1.

One file, one lesson. Beside ``tests/specs/bad/NAME.yaml`` stands ``NAME.txt``, the whole output of
``tidemill validate tests/specs/bad/NAME.yaml``. After a change of wording, write it anew and read it aloud:

    for f in tests/specs/bad/*.yaml; do .venv/bin/tidemill validate "$f" > "${f%.yaml}.txt"; done
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.cli import main as cli

ROOT = Path(__file__).parents[2]
BAD = sorted((ROOT / "tests/specs/bad").glob("*.yaml"))
GOOD = sorted(
    path
    for path in (ROOT / "tests/specs/good").rglob("*.yaml")
    if path.name != "defaults.yaml" and path.parent.name != "templates"
)
TEMPLATES = {f"tests/specs/bad/templates/{name}.yaml" for name in ("broken", "nested")}
_PLACE = re.compile(r"^(?P<file>[^:\n]+):(?P<line>\d+):(?P<column>\d+): \S", re.MULTILINE)


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("TIDEMILL_ROOT", raising=False)


def validate(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of ``tidemill validate``, run in this process by the function that the command calls."""
    monkeypatch.setattr(sys, "argv", ["tidemill", "validate", *arguments])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def expected(file: Path) -> str:
    return file.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("file", BAD, ids=[file.stem for file in BAD])
def test_the_command_says_what_is_wrong_where_and_what_to_do(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate(named(file), monkeypatch=monkeypatch) == 1
    out, err = capsys.readouterr()
    assert out == expected(file)
    assert err == ""


@pytest.mark.parametrize("file", BAD, ids=[file.stem for file in BAD])
def test_expected_messages_stand_at_a_place_of_their_file_in_order(file: Path) -> None:
    places = list(_PLACE.finditer(expected(file)))
    assert places
    for place in places:
        # Expectations and templates are files of their own; everything else is a mistake of the spec.
        assert place["file"] in {named(file), "tests/specs/suites/with_mistakes.yaml"} | TEMPLATES
        lines = (ROOT / place["file"]).read_bytes().decode("utf-8", "replace").split("\n")
        assert 1 <= int(place["line"]) <= len(lines)
        assert 1 <= int(place["column"]) <= len(lines[int(place["line"]) - 1]) + 1
    order = [(place["file"], int(place["line"]), int(place["column"])) for place in places]
    assert order == sorted(order)


def test_no_expected_message_speaks_of_the_machinery() -> None:
    machinery = re.compile(
        r"pydantic|croniter|Traceback|Error\b|libyaml|input should|NoneType|\bdict\b|\bstr\b|\bTrue\b"
    )
    for file in BAD:
        messages = [line for line in expected(file).splitlines() if " | " not in line]
        assert not [line for line in messages if machinery.search(line)], file.name


def test_every_bad_spec_has_its_text_and_every_text_its_spec() -> None:
    texts = {file.stem for file in (ROOT / "tests/specs/bad").glob("*.txt")}
    assert {file.stem for file in BAD} == texts
    assert len(BAD) > 100


def test_the_real_command_on_the_whole_corpus_at_once() -> None:
    command = [sys.executable, "-m", "tidemill.cli.main", "validate", *map(named, BAD)]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    # All in one list, by place; the suite with mistakes comes last, since its folder does.
    blocks = [block for file in BAD for block in expected(file).rstrip("\n").split("\n\n")]
    assert sorted(ran.stdout.rstrip("\n").split("\n\n")) == sorted(blocks)
    assert ran.stderr == ""


def test_the_folder_is_refused_as_a_whole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate("tests/specs/bad", "--json", monkeypatch=monkeypatch) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is False
    assert not any(file["ok"] for file in told["files"])
    # Of a matrix, the rows that are sound live on.
    assert {dag for file in told["files"] for dag in file["dags"]} == {
        "matrix_one_bad_row.north", "matrix_one_bad_row.east",
    }  # fmt: skip
    assert all(file["errors"] for file in told["files"])
    # A folder is searched for specs; a list is none, and only judged when it is named.
    missing = {file.stem for file in BAD} - {file["pipeline"] for file in told["files"]}
    assert missing == {"file_a_list"}


def test_good_specs_pass(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert validate(*map(named, GOOD), monkeypatch=monkeypatch) == 0
    of_rows = 1  # one of the files makes two pipelines
    assert capsys.readouterr().out == f"{len(GOOD) + of_rows} pipelines checked, no mistakes\n"


def test_good_specs_pass_as_a_folder_and_the_demonstration_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert validate("tests/specs/good", "dags", "--json", monkeypatch=monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert {file["pipeline"] for file in told["files"]} >= {"flight_delays", "inherits", "takes_back", "full"}
