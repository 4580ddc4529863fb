"""Signatures of what specs name: extracted once in a process of its own, kept, and never imported here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemill.checks import signatures as module
from tidemill.checks.allowed import Use
from tidemill.checks.parameters import Signature, SignatureProblem
from tidemill.checks.signatures import Lookup, files_of, signatures
from tidemill.project import Project

BASH = "airflow.providers.standard.operators.bash.BashOperator"
HOOK = "airflow.providers.standard.hooks.subprocess.SubprocessHook"
SOURCE = """
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import BaseNotifier, BaseSensorOperator
class Shell(BashOperator):
    def __init__(self, day: str, **kwargs):
        super().__init__(bash_command="date", **kwargs)
class Wait(BaseSensorOperator):
    template_fields = ("what",)
    def __init__(self, what, **kwargs):
        super().__init__(**kwargs)
class Page(BaseNotifier): pass
class Plain: pass
def f(a: int): ...
raise SystemExit("this module was imported")
"""
WANTED: list[tuple[str, Use]] = [
    ("BashOperator", "operator"),
    ("airflow.sdk.Asset", "object"),
    ("include.own.Shell", "operator"),
    ("include.own.Wait", "operator"),
    ("include.own.Page", "notifier"),
    ("include.own.Plain", "object"),
    ("include.own:f", "callable"),
    ("datetime.timedelta", "object"),
    ("airflow.sdk.CronTriggerTimetable", "timetable"),
    ("airflow.providers.standard.triggers.file.FileDeleteTrigger", "trigger"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all: a look at Airflow's classes takes seconds."""
    root = tmp_path_factory.mktemp("project")
    (root / "include").mkdir()
    (root / "include/own.py").write_text(SOURCE, encoding="utf-8")
    return Project(root, root / ".tidemill")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The processes that are started, each as its command; they are started all the same."""
    commands: list[list[str]] = []
    run = subprocess.run

    def noted(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(module.subprocess, "run", noted)
    monkeypatch.setattr(module, "_remembered", {})
    # As in the command line, where nothing of Airflow is imported.
    monkeypatch.setattr(module, "_imported", lambda name: None)
    return commands


def good(answer: Signature | SignatureProblem) -> Signature:
    assert isinstance(answer, Signature), answer
    return answer


def test_all_are_looked_at_in_one_process_and_then_never_again(project: Project, started: list[list[str]]) -> None:
    found = signatures(WANTED, project)
    assert len(started) == 1
    assert started[0][:2] == [sys.executable, "-P"]
    bash = good(found["BashOperator", "operator"])
    assert bash.name == BASH
    assert bash.kinds == ("operator",)
    assert [one.name for one in bash.parameters if one.required] == ["bash_command"]
    assert bash.template_fields == ("bash_command", "env", "cwd")
    assert {"retries", "pool", "task_id", "queue"} <= {*bash.settings}
    assert not bash.open
    wait = good(found["include.own.Wait", "operator"])
    assert wait.kinds == ("operator", "sensor")
    assert {one.name for one in wait.parameters} >= {"what", "poke_interval", "timeout", "mode"}
    assert (wait.template_fields, wait.open) == (("what",), False)
    shell = good(found["include.own.Shell", "operator"])
    assert {"day", "env", "cwd"} <= {one.name for one in shell.parameters}
    assert "bash_command" not in {one.name for one in shell.parameters}
    assert good(found["include.own.Page", "notifier"]).kinds == ("notifier",)
    assert good(found["airflow.sdk.CronTriggerTimetable", "timetable"]).kinds == ("timetable",)
    assert "trigger" in good(found["airflow.providers.standard.triggers.file.FileDeleteTrigger", "trigger"]).kinds

    assert signatures(WANTED, project) == found
    module._remembered.clear()  # as in another process
    assert signatures(WANTED, project) == found
    assert Lookup(project)("BashOperator", "operator") == bash
    assert len(started) == 1


def test_what_is_kept_for_another_version_or_damaged_is_looked_at_again(
    project: Project, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[tuple[str, Use]] = [("BashOperator", "operator")]
    found = signatures(wanted, project)
    entry = Path(module._entry(BASH, project))
    before = len(started)
    module._remembered.clear()
    entry.write_bytes(entry.read_bytes().replace(b'"env"', b'"evn"'))
    assert signatures(wanted, project) == found
    assert len(started) == before + 1
    module._remembered.clear()
    monkeypatch.setattr(module, "installed", lambda name: "99.0")
    assert signatures(wanted, project) == found
    assert len(started) == before + 2
    assert json.loads(entry.read_bytes().partition(b"\n")[2])["of"][1] == "99.0"


def test_nowhere_to_keep_it_costs_only_time(tmp_path: Path, started: list[list[str]]) -> None:
    (tmp_path / "state").write_text("a file in the way")
    found = signatures([("BashOperator", "operator")], Project(tmp_path, tmp_path / "state"))
    assert good(found["BashOperator", "operator"]).name == BASH


@pytest.mark.parametrize(
    ("name", "use", "message"),
    [
        (HOOK, "operator", f'"{HOOK}" is no operator'),
        (BASH, "object", f'"{BASH}" is an operator'),
        (BASH, "notifier", f'"{BASH}" is no notifier'),
        ("airflow.sdk.Asset", "timetable", '"airflow.sdk.Asset" is no timetable'),
        ("include.own.Plain", "operator", '"include.own.Plain" is no operator'),
        ("include.own.Shell", "object", '"include.own.Shell" is an operator'),
        ("include.own.Absent", "operator", '"include.own" has no class "Absent"'),
        ("include.own:absent", "callable", '"include.own" has no function "absent"'),
        ("subprocess.Popen", "object", '"subprocess.Popen" may not be named in a spec'),
        ("airflow.providers.standard.hooks.subprocess.Popen", "object", 'is "subprocess.Popen"'),
        ("airflow.sdk.dag", "object", "is no class"),
        ("airflow.providers.standard.operators.bash.Nothing", "operator", 'has no class "Nothing"'),
        ("airflow.providers.snowflake.x.Y", "operator", "apache-airflow-providers-snowflake"),
    ],
)
def test_what_has_no_signature(project: Project, name: str, use: Use, message: str) -> None:
    answer = Lookup(project)(name, use)
    assert isinstance(answer, SignatureProblem)
    assert message in answer.message


def test_an_import_that_fails_or_kills_its_process_spoils_no_other(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "acme"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "dies.py").write_text("import os\nprint('noise')\nos._exit(7)\nclass C: ...")
    (package / "fails.py").write_text("raise RuntimeError('no licence')\nclass C: ...")
    (package / "lacks.py").write_text("import nowhere_to_be_found\nclass C: ...")
    (package / "works.py").write_text('print(\'{"name": "noise"}\')\nclass C:\n def __init__(self, a: int): ...')
    (package / "borrows.py").write_text("def __getattr__(name):\n import subprocess\n return subprocess.Popen")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "acme.*")
    project = Project(tmp_path, tmp_path / ".tidemill")
    wanted: list[tuple[str, Use]] = [
        (f"acme.{name}.C", "object") for name in ("dies", "fails", "lacks", "works", "borrows")
    ]
    found = [*signatures(wanted, project).values()]
    assert len(started) == 2
    assert [one.message for one in found if isinstance(one, SignatureProblem)] == [
        '"acme.dies.C" cannot be imported: its import ended the process (7): noise',
        '"acme.fails.C" cannot be imported: RuntimeError: no licence',
        "\"acme.lacks.C\" cannot be imported: No module named 'nowhere_to_be_found'",
        '"acme.borrows.C" is "subprocess.Popen", which a spec may not name',
    ]
    assert [one.name for one in good(found[3]).parameters] == ["a"]


def test_an_import_that_does_not_end_is_given_up(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(60)\nclass C: ...")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "endless.C")
    monkeypatch.setattr(module, "_TIME_LIMIT", 4.0)
    found = Lookup(Project(tmp_path, tmp_path / ".tidemill"))("endless.C", "object")
    assert isinstance(found, SignatureProblem)
    assert found.message == '"endless.C" cannot be imported: its import takes more than 4 s'


def test_what_lies_in_the_working_directory_is_not_run(
    tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch, started: list[list[str]]
) -> None:
    for name in ("json", "airflow", "inspect"):
        (tmp_path / f"{name}.py").write_text("open('was_run', 'w')")
    monkeypatch.chdir(tmp_path)
    module._remembered.clear()
    Path(module._entry(BASH, project)).unlink(missing_ok=True)
    good(Lookup(project)("BashOperator", "operator"))
    assert len(started) == 1
    assert not (tmp_path / "was_run").exists()


def test_nothing_that_is_named_is_imported_here(project: Project) -> None:
    code = f"""
import sys
from pathlib import Path
from tidemill.checks.signatures import signatures
from tidemill.project import Project
answers = signatures({WANTED!r}, Project(Path({str(project.root)!r}), Path({str(project.state)!r})))
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("airflow", "include", "jinja2")), len(answers))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {len(WANTED)}"


def test_airflows_own_processes_start_none(tmp_path: Path) -> None:
    code = f"""
import airflow.providers.standard.operators.bash
import subprocess
def refuse(*args, **options): raise AssertionError("a process was started")
from pathlib import Path
from tidemill.checks.signatures import signatures
from tidemill.project import Project
subprocess.run = refuse
root = Path({str(tmp_path)!r})
[answer] = signatures([("BashOperator", "operator")], Project(root, root / "state")).values()
print(answer.parameters[0].name)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "bash_command"


def test_a_process_in_which_no_database_can_be_named_still_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Airflow's dag-processor sets it in the processes that parse.
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "airflow-db-not-allowed:///")
    monkeypatch.setattr(module, "_remembered", {})
    monkeypatch.delitem(sys.modules, BASH.rpartition(".")[0], raising=False)
    found = signatures([(BASH, "operator")], Project(tmp_path, tmp_path / ".tidemill"))[BASH, "operator"]
    assert isinstance(found, Signature), found


def test_the_files_that_decide_are_named(tmp_path: Path) -> None:
    (tmp_path / "include" / "lib").mkdir(parents=True)
    (tmp_path / "include" / "a.py").write_text("from .lib import b\nfrom include.c import *\nimport os")
    (tmp_path / "include" / "lib" / "b.py").write_text("import include.a as a")
    (tmp_path / "include" / "c.py").write_text("this is not Python")
    project = Project(tmp_path, tmp_path / "state")
    files = {file.relative_to(tmp_path).as_posix() for file in files_of("include.a:f", "callable", project)}
    assert files == {"include/a.py", "include/lib/b.py", "include/c.py"}
    assert files_of("include.absent.C", "operator", project) == [tmp_path / "include" / "absent.py"]
    assert [file.name for file in files_of("BashOperator", "operator", project)] == ["bash.py"]
