"""Named classes and functions, imported where they are needed: the allow-list holds there too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tidemill.airflow.signatures import load_class
from tidemill.checks.allowed import Use
from tidemill.errors import TidemillError


def test_a_class_is_imported_by_its_name() -> None:
    cls = load_class("BashOperator", "operator")
    assert cls.__module__ == "airflow.providers.standard.operators.bash"
    assert load_class("datetime.timedelta", "object").__name__ == "timedelta"
    assert load_class("airflow.sdk.Asset", "object").__name__ == "Asset"


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("subprocess.Popen", "object"),
        ("airflow.providers.standard.hooks.subprocess.Popen", "object"),
        ("airflow.providers.standard.hooks.subprocess.os", "object"),
        ("airflow.sdk.dag", "object"),
        ("airflow.sdk.Nothing", "object"),
        ("airflow.providers.standard.nowhere.C", "operator"),
        ("airflow.models.connection.Connection", "object"),
    ],
)
def test_what_a_spec_may_not_name_is_not_loaded_either(name: str, use: Use) -> None:
    with pytest.raises(TidemillError, match=name.rpartition(".")[2]):
        load_class(name, use)


def test_a_function_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/__init__.py").touch()
    (tmp_path / "include/tasks.py").write_text("def f(): return 5\nx = 3", encoding="utf-8")
    code = """
import sys
from tidemill.airflow.signatures import load_function
from tidemill.errors import TidemillError
sys.path.insert(0, sys.argv[1])
print(load_function("include.tasks:f")())
for name in ("os:system", "include.tasks:x", "include.tasks:y", "include.nowhere:f"):
    try:
        load_function(name)
    except TidemillError as e:
        print(e)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "5"
    assert lines[1].startswith('"os:system" may not be named in a spec')
    assert lines[2] == '"include.tasks:x" is no function'
    assert lines[3].startswith('"include.tasks:y" cannot be imported')
    assert lines[4].startswith('"include.nowhere:f" cannot be imported')


def test_the_process_answers_a_line_for_each_class_whatever_a_module_prints() -> None:
    names = ["airflow.sdk.BaseOperator", "this.C", "airflow.providers.standard.operators.empty.EmptyOperator"]
    command = [sys.executable, "-W", "ignore", "-m", "tidemill.airflow.signatures", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["name"] for answer in answers] == names
    assert {"retries", "pool", "trigger_rule"} <= {*answers[0]["signature"]["settings"]}
    assert answers[1]["problem"][0].startswith('"this.C" cannot be imported')
    assert answers[2]["signature"]["kinds"] == ["operator"]
    assert answers[2]["real"] == ["airflow.providers.standard.operators.empty", "EmptyOperator"]
    assert "The Zen of Python" in done.stderr
