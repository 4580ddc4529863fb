"""A thousand specs under the real dag-processor: all of them, an edit, and a file that goes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]
COUNT = 1_000
SPEC = """\
tidemill: 1
description: Pipeline NAME.
schedule: daily
start: 2024-01-01
steps:
  extract: {operator: BashOperator, with: {bash_command: "echo NAME {{ as_of }}"}}
  transform: {operator: BashOperator, with: {bash_command: "echo {{ steps.extract }}"}}
  load: {operator: BashOperator, after: transform, with: {bash_command: "echo done"}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An Airflow with a thousand specs and a dag-processor at work on them."""
    project, home = tmp_path / "project", tmp_path / "home"
    dags = project / "dags"
    dags.mkdir(parents=True)
    (project / "include").mkdir()
    for name in ("tidemill.py", "tidemill_errors.py"):
        (dags / name).write_bytes((REPOSITORY / "dags" / name).read_bytes())
    for index in range(COUNT):
        name = f"pipeline_{index:04d}"
        (dags / f"{name}.yaml").write_text(SPEC.replace("NAME", name), encoding="utf-8")
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "5",
        "DAG_PROCESSOR__PARSING_CLEANUP_INTERVAL": "10",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
    }
    environment = {**os.environ, "AIRFLOW_HOME": str(home)} | {f"AIRFLOW__{k}": v for k, v in settings.items()}
    airflow = str(Path(sys.executable).with_name("airflow"))
    subprocess.run([airflow, "db", "migrate"], env=environment, check=True, capture_output=True)
    with (tmp_path / "processor.log").open("w") as log:
        process = subprocess.Popen([airflow, "dag-processor"], env=environment, stdout=log, stderr=log)
    try:
        yield home
    finally:
        process.terminate()
        process.wait(60)


def test_a_thousand_specs_are_stored_an_edit_is_seen_and_a_deleted_one_goes_away(home: Path) -> None:
    dags = home.parent / "project" / "dags"

    def ask(query: str) -> list[Any]:
        with sqlite3.connect(f"file:{home / 'airflow.db'}?mode=ro", uri=True, timeout=30) as database:
            return database.execute(query).fetchall()

    def wait_for(what: str, found: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not found():
            assert not ask("select stacktrace from import_error"), what
            assert time.monotonic() < end, f"not in {seconds:.0f} s: {what}"
            time.sleep(1)

    wait_for("a thousand DAGs", lambda: ask("select count(*) from dag where not is_stale") == [(COUNT,)], 300)

    edited = dags / "pipeline_0007.yaml"
    edited.write_text(edited.read_text().replace("Pipeline pipeline_0007.", "Edited."), encoding="utf-8")
    asked = "select description from dag where dag_id = 'pipeline_0007'"
    wait_for("the edit", lambda: ask(asked) == [("Edited.",)], 120)

    (dags / "pipeline_0008.yaml").unlink()
    gone = "select is_stale from dag where dag_id = 'pipeline_0008'"
    wait_for("the end of a deleted one", lambda: ask(gone) == [(1,)], 300)
    assert ask("select count(*) from dag where not is_stale") == [(COUNT - 1,)]
    assert ask("select count(*) from import_error") == [(0,)]
