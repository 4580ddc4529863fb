"""dag-factory's DAGs and those of the converted specs are stored alike."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.convert import compare

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "project"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The comparison of all fixtures, in a process of its own: it imports what they name."""
    files = [str(f.relative_to(ROOT)) for f in sorted((PROJECT / "dags").rglob("*.yml")) if f.name != "defaults.yml"]
    folders = ["--dags", str(PROJECT / "dags"), "--project", str(PROJECT)]
    home = str(tmp_path_factory.mktemp("home"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.convert.compare", *files, *folders, "--json"],
        cwd=ROOT,
        env={
            **os.environ,
            "HARBOUR": str(PROJECT),
            "AIRFLOW_HOME": home,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
            "AIRFLOW_VAR_CREW": "echo everybody",
            "CREW": "night",
            "DO_NOT_TRACK": "1",
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_fixture_is_stored_as_dag_factory_stores_it(results: list[dict[str, Any]]) -> None:
    runs = [one for one in results if one["file"] not in ("older.yml", "listed.yml")]
    assert {one["dag_id"]: one["why"] for one in runs if one["verdict"] != "equal"} == {}
    assert len(runs) == 21


def test_what_dag_factory_can_no_longer_build_is_valid_as_a_spec(results: list[dict[str, Any]]) -> None:
    older = {one["dag_id"]: one for one in results if one["file"] == "older.yml"}
    assert len(older) == 5
    for one in older.values():
        assert one["verdict"] == "does not run"
        assert not any(why.startswith("spec: ") for why in one["why"]), one


def test_what_differs_is_explained(results: list[dict[str, Any]]) -> None:
    listed = {one["dag_id"]: one for one in results if one["file"] == "listed.yml"}
    assert {one["verdict"] for one in listed.values()} == {"explained"}
    assert "hands a function" in str(listed["sends_json"]["why"])
    assert "$CREW stays as it is written" in str(listed["asks_the_environment"]["why"])
    assert "read when the task runs" in str(listed["asks_for_variables"]["why"])


STORED: dict[str, Any] = {
    "dag": {
        "dag_id": "d",
        "fileloc": "here",
        "tags": ["port", "dagfactory"],
        "start_date": 1.0,
        "timetable": {"__type": "t", "__var": {"expression": "0 0 * * *"}},
        "params": [["port", {"default": 1, "source": None}]],
        "tasks": [
            {
                "__type": "operator",
                "__var": {
                    "task_id": "a",
                    "task_type": "BashOperator",
                    "_task_module": "m",
                    "bash_command": "echo",
                    "template_fields": ["bash_command"],
                    "downstream_task_ids": ["b"],
                    "params": [["port", {"default": 1, "source": None}]],
                },
            },
            {"__type": "operator", "__var": {"task_id": "b", "task_type": "EmptyOperator", "_task_module": "m"}},
        ],
    }
}


def changed(*path: Any, to: Any) -> dict[str, Any]:
    other = copy.deepcopy(STORED)
    at: Any = other["dag"]
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = to
    return other


@pytest.mark.parametrize(
    ("other", "where"),
    [
        (changed("dag_id", to="e"), "dag_id"),
        (changed("tags", to=["ships", "tidemill"]), "tags"),
        (changed("timetable", "__var", "expression", to="0 1 * * *"), "timetable.__var.expression"),
        (changed("start_date", to=2.0), "tasks.a.start_date"),
        (changed("params", to=[["port", {"default": 2}]]), "params.port.default"),
        (changed("tasks", 0, "__var", "task_type", to="EmptyOperator"), "tasks.a.task_type"),
        (changed("tasks", 0, "__var", "_task_module", to="n"), "tasks.a._task_module"),
        (changed("tasks", 0, "__var", "bash_command", to="ls"), "tasks.a.bash_command"),
        (changed("tasks", 0, "__var", "template_fields", to=[]), "tasks.a.template_fields"),
        (changed("tasks", 0, "__var", "downstream_task_ids", to=[]), "tasks.a.downstream_task_ids"),
        (changed("tasks", 1, "__var", "task_id", to="c"), "tasks.b"),
    ],
)
def test_a_difference_is_found(other: dict[str, Any], where: str) -> None:
    assert any(line.startswith(f"{where}:") for line in compare.differences(STORED, other))


def test_what_the_factories_sign_with_is_none() -> None:
    other = changed("tags", to=["tidemill", "port"])
    other["dag"]["fileloc"] = "there"
    other["dag"]["doc_md"] = "more"
    for task in other["dag"]["tasks"]:
        task["__var"].pop("params", None)
    assert list(compare.differences(STORED, other)) == []
