"""A YAML file dropped into dags/ of a real Airflow, from its first sight to the model's alias."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.cli.airflow_api import Conflict
from tidemill.demo.stack import AIRFLOW, MLFLOW

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

BROKEN = """
tidemill: 1
platform: {provider: local}
data:
  source: include/rows.parquet
  window: {column: time, train: 1 month, holdout: 1 month}
train: {code: "include.train:train"}
evaluate: {task: classification, target: late, metrics: [roc_acu]}
promote:
  when: {roc_auc: {at_least: 0.6}}
"""


def test_a_dropped_yaml_becomes_a_dag_a_person_says_no_and_to_what_a_first_click_on_trigger_trains_yes(
    live: Any,
) -> None:
    live.dag_file("fresh.yaml", (live.project.root / "dags" / "gated.yaml").read_text())
    dag = live.wait_for_dag("fresh")
    assert not dag["is_paused"]
    assert "Rows that were made up for a test." in dag["doc_md"]
    source = live.api._call("GET", "/api/v2/dagSources/fresh")["content"]
    assert source.startswith("tidemill: 1")  # the Code tab shows the spec, not the loader

    refused, _ = _answered(live, {"as_of": "2020-04-01"}, "Reject")
    assert refused["outcome"] == "refused"
    assert any("rejected by" in reason for reason in refused["reasons"])
    assert live.aliased("fresh") is None

    # The UI's Trigger button, nothing filled in: the run stands at the end of the pipeline.
    promoted, run_id = _answered(live, {}, "Approve")
    tasks = {task["task_id"]: task["state"] for task in live.api.tasks("fresh", run_id)}
    assert tasks == dict.fromkeys(tasks, "success")
    assert live.api.xcom("fresh", run_id, "as_of")["instant"] == "2020-05-01T00:00:00+00:00"
    assert promoted["outcome"] == "promoted"
    assert live.aliased("fresh") == promoted["version"] != refused["version"]
    assert promoted["approval"]["answer"] == "Approve"


def _answered(live: Any, params: dict[str, str], answer: str) -> tuple[dict[str, Any], str]:
    """Train, and answer the question; what the gate said, and the run."""
    run_id = live.api.start("fresh", None, params)["dag_run_id"]

    def waits() -> bool:
        states = {task["task_id"]: task["state"] for task in live.api.tasks("fresh", run_id)}
        assert "failed" not in states.values(), states
        return states.get("approve") == "awaiting_input"

    live.wait_for("a question to a person", waits, 180)
    # No person answers within a second; Airflow 3.3.2 fails a task that is answered before its scheduler has
    # read that the task's process ended.
    time.sleep(3)
    live.api.answer("fresh", run_id, "approve", answer)
    with pytest.raises(Conflict):
        live.api.answer("fresh", run_id, "approve", "Approve")  # an answer is given once
    live.finish("fresh", run_id)
    (promotion,) = [p for p in live.promotions("fresh") if p["dag_run"] == run_id]
    return promotion, run_id


def test_a_broken_yaml_shows_what_validate_prints_and_leaves_its_neighbours_alone(live: Any) -> None:
    live.wait_for_dag("watched.monitor")
    broken = live.dag_file("broken.yaml", BROKEN)
    try:
        errors = live.wait_for("an import error", live.api.import_errors)
        printed = subprocess.run(
            [sys.executable, "-m", "tidemill.cli.main", "validate", "dags/broken.yaml"],
            cwd=live.project.root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert printed.returncode == 1
        assert 'did you mean "roc_auc"' in printed.stdout
        (text,) = errors.values()
        assert text.rstrip().endswith(printed.stdout.rstrip())

        # The neighbours are neither stale nor broken, and still run.
        run = live.api.start("watched.monitor", None, {"as_of": "2020-03-01"})
        live.finish("watched.monitor", run["dag_run_id"])
        for dag_id in ("watched", "watched.monitor", "gated"):
            dag = live.api.dag(dag_id)
            assert (dag["is_stale"], dag["has_import_errors"], dag["is_paused"]) == (False, False, False), dag_id
        assert live.dag("broken") is None

        live.dag_file("broken.yaml", BROKEN.replace("roc_acu", "roc_auc"))
        live.wait_for("no import error any more", lambda: not live.api.import_errors())
        live.wait_for_dag("broken")
    finally:
        broken.unlink()


ODD = """
tidemill: 1
steps:
  greet: {operator: BashOperatr, with: {bash_command: "echo hello"}}
"""


def test_two_broken_specs_both_stand_in_the_import_errors_and_one_mended_is_gone(live: Any) -> None:
    live.wait_for_dag("gated")
    files = [live.dag_file("broken.yaml", BROKEN), live.dag_file("odd.yaml", ODD)]

    def told() -> str:
        return "\n".join(live.api.import_errors().values())

    try:
        live.wait_for("both mistakes", lambda: "roc_acu" in told() and "BashOperatr" in told())
        for line in ('did you mean "roc_auc"?', "dags/odd.yaml:3:", "dags/broken.yaml:7:", "^^^^"):
            assert line in told()
        live.dag_file("odd.yaml", ODD.replace("BashOperatr", "BashOperator"))
        live.wait_for_dag("odd")
        live.wait_for("the other mistake alone", lambda: "roc_acu" in told() and "BashOperatr" not in told())
        dag = live.api.dag("gated")
        assert (dag["is_stale"], dag["has_import_errors"]) == (False, False)
    finally:
        for file in files:
            file.unlink()


FLOW = """
tidemill: 1
description: Steps of every sort.
params: {country: {type: string, default: dk, enum: [dk, "no"]}}
defaults: {retries: 0}
steps:
  make: {operator: BashOperator, with: {bash_command: "echo {{ params.country }} {{ as_of }}"}, setup: true}
  countries: {python: "include.flow:countries", after: make}
  wait:
    after: make
    operator: DateTimeSensorAsync
    # A moment ahead: Airflow 3.3.2 kills a task whose trigger fires before it has read that the task was deferred.
    with:
      target_time: "{{ (macros.datetime.now(dag_run.run_after.tzinfo) + macros.timedelta(seconds=5)).isoformat() }}"
  load:
    python: include.flow:load
    for_each: {country: "{{ steps.countries }}"}
    with: {year: 2013}
  choose: {python: "include.flow:choose", decorator: branch, after: [load, wait]}
  ways:
    after: choose
    steps:
      high: {operator: BashOperator, with: {bash_command: "echo {{ steps.countries[1] }} of {{ steps.make }}"}}
      low: {operator: EmptyOperator}
  each:
    for_each: {country: "{{ steps.countries }}"}
    steps:
      say: {python: "include.flow:say", with: {country: "{{ each.country }}"}}
  total:
    after: [ways, each]
    trigger_rule: none_failed
    python: include.flow:total
    with: {rows: "{{ steps.load }}"}
  clean: {operator: BashOperator, with: {bash_command: "echo clean"}, teardown: {of: make}, after: total}
"""

FLOW_CODE = """
def countries():
    return ["dk", "no", "se"]


def load(country, year):
    return {"country": country, "rows": len(country) + year}


def choose():
    return "ways.high"


def say(country):
    return country.upper()


def total(rows):
    return sum(row["rows"] for row in rows)
"""


def test_steps_of_every_sort_run_under_the_real_scheduler(live: Any) -> None:
    (live.project.root / "include" / "flow.py").write_text(FLOW_CODE.lstrip(), encoding="utf-8")
    live.dag_file("flow.yaml", FLOW)
    live.wait_for_dag("flow")
    run_id = live.api.start("flow", None, {"country": "no"})["dag_run_id"]
    live.finish("flow", run_id)

    instances = live.api.tasks("flow", run_id)
    states = sorted((task["task_id"], task["map_index"], task["state"]) for task in instances)
    mapped = [(name, index, "success") for name in ("each.say", "load") for index in range(3)]
    single = [(name, -1, "success") for name in ("make", "countries", "wait", "choose", "ways.high", "total", "clean")]
    assert states == sorted([*mapped, *single, ("ways.low", -1, "skipped")])
    assert live.api.xcom("flow", run_id, "total") == 3 * (2 + 2013)
    made = live.api.xcom("flow", run_id, "make")
    assert made.startswith("no 20")  # the param that was given, and the run's instant
    assert live.api.xcom("flow", run_id, "ways.high") == f"no of {made}"
    operators = {task["task_id"]: task["operator"] for task in instances}
    assert operators["ways.low"] == "EmptyOperator"  # stored from the whole DAG, not from a task's placeholders


def test_a_replay_moves_the_clock_and_a_monitor_starts_a_training(live: Any) -> None:
    live.wait_for_dag("watched")
    told = _replay(live, "dags/watched.yaml")
    assert told.returncode == 0, told.stderr
    result = json.loads(told.stdout)
    runs = [(run["dag_id"], run["as_of"], run["caused_by"] is not None) for run in result["runs"]]
    assert runs == [
        ("watched.monitor", "2020-03-01", False),
        ("watched", "2020-03-01", False),
        ("watched.monitor", "2020-04-01", False),
        ("watched", "2020-04-01", True),
    ]
    trainings = result["summary"]["trainings"]
    assert [(t["cause"], t["reasons"], t["outcome"]) for t in trainings] == [
        ("scheduled", [], "promoted"),
        ("asset", ["drift"], "promoted"),
    ]
    window = result["summary"]["windows"][-1]
    assert (window["start"], window["end"]) == ("2020-03-01T00:00:00+00:00", "2020-04-01T00:00:00+00:00")
    assert (window["version"], window["fired"], window["drifted"]) == ("1", ["drift"], ["first"])
    assert live.aliased("watched") == result["summary"]["champion"] == "2"

    # A second replay of the same spec finds everything done.
    again = _replay(live, "dags/watched.yaml")
    assert again.returncode == 0, again.stderr
    assert [(r["run_id"], r["adopted"]) for r in json.loads(again.stdout)["runs"]] == [
        (run["run_id"], True) for run in result["runs"]
    ]
    assert len(live.promotions("watched")) == 2


SCORED = "score: {window: 1 month, rows: 500}\n"
FOLLOWS = """score:
  window: 1 month
  schedule: {assets: {name: scored.scores, uri: "tidemill://scored/scores"}}
"""


@pytest.mark.slow
def test_scores_are_logged_and_start_what_waits_for_them_at_their_as_of(live: Any) -> None:
    spec = (live.project.root / "dags" / "gated.yaml").read_text().replace("manual", "automatic")
    live.dag_file("scored.yaml", spec + SCORED)
    live.dag_file("follows.yaml", spec + FOLLOWS)
    for name in ("scored", "follows"):
        live.wait_for_dag(f"{name}.score")
        live.finish(name, live.api.start(name, None, {"as_of": "2020-03-01"})["dag_run_id"])

    run = live.api.start("scored.score", None, {"as_of": "2020-04-01"})["dag_run_id"]
    live.finish("scored.score", run)
    made = live.api.xcom("scored.score", run, "score")
    assert (made["version"], made["rows"], made["parts"]) == ("1", 31 * 24 * 2, 3)
    assert Path(made["path"]).name == "as_of=20200401T000000Z"
    assert len(list(Path(made["path"]).glob("part-*.parquet"))) == 3

    (event,) = live.api.events_of("scored.score", run)
    assert (event["name"], event["extra"]["as_of"]) == ("scored.scores", "2020-04-01T00:00:00+00:00")
    (caused,) = live.wait_for("the run that waited", lambda: live.api.runs("follows.score"))
    live.finish("follows.score", caused["dag_run_id"])
    followed = live.api.xcom("follows.score", caused["dag_run_id"], "score")
    assert (followed["as_of"], followed["rows"]) == ("2020-04-01T00:00:00+00:00", made["rows"])
    assert followed["data_version"] == made["data_version"]
    with live.ledger() as ledger:
        assert [entry.body["version"] for entry in ledger.entries("scored", kinds=["scoring"])] == ["1"]


def test_another_distributions_plugin_survives_beside_ours_in_a_tasks_process(live: Any) -> None:
    live.wait_for_dag("uses_second")
    run_id = live.api.start("uses_second", None, {})["dag_run_id"]
    live.finish("uses_second", run_id)
    assert live.api.xcom("uses_second", run_id, "say") == "hello from the second plugin"
    plugins = [plugin["name"] for plugin in live.api._call("GET", "/api/v2/plugins")["plugins"]]
    assert plugins.count("tidemill") == plugins.count("second") == 1
    assert live.api._call("GET", "/api/v2/plugins/importErrors")["import_errors"] == []


def test_a_second_start_finds_everything_running(live: Any) -> None:
    before = live.stack.servers()
    up = live.stack.up()
    assert up.started == ()
    assert up.seconds < 10  # a fraction of a second; this machine may be busy
    assert up.address == live.address
    assert live.stack.servers() == before
    assert set(before) == {MLFLOW, *AIRFLOW}


def test_a_server_that_was_killed_is_told_and_started_again_alone(live: Any) -> None:
    before = live.stack.servers()
    os.kill(before["triggerer"].pid, signal.SIGKILL)
    live.wait_for("its end", lambda: "triggerer" not in live.stack.servers())
    live.said.clear()
    assert live.stack.up().started == ("triggerer",)
    assert live.said[0].startswith("triggerer has ended by itself; its log (")
    after = live.stack.servers()
    assert after.pop("triggerer") != before.pop("triggerer")
    assert after == before


def _replay(live: Any, spec: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tidemill.cli.main", "replay", spec, "--json"]
    root: Path = live.project.root
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=500)
