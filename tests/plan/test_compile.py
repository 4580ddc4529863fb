"""Spec to plan: which DAGs and tasks it makes, that only meaning counts, that JSON keeps all of it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.spec.test_load import BASE, FULL
from tidemill.plan.compile import compile_plan, hash_of
from tidemill.plan.model import DagPlan, Plan
from tidemill.spec.load import Sources, parse
from tidemill.spec.reader import read

ROOT = Path(__file__).parents[2]


def plan_of(text: str | dict[str, Any], *defaults: str, pipeline: str = "flights") -> Plan:
    written = text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False, allow_unicode=True)
    documents = [read(t.encode(), f"dags/{n}.yaml") for n, t in enumerate((written, *defaults))]
    sources = Sources(tuple(documents))
    spec, errors = parse(sources)
    assert errors == []
    return compile_plan(pipeline, spec, sources)


def training(plan: Plan) -> DagPlan:
    found = plan.dag("training")
    assert found is not None
    return found


def edges(dag: DagPlan) -> dict[str, tuple[str, ...]]:
    return {task.task_id: task.upstream for task in dag.tasks}


def without_places(plan: Plan) -> dict[str, Any]:
    """A plan without the lines it came from, which are the one thing that the order of keys may change."""
    value: dict[str, Any] = json.loads(json.dumps(plan.to_json()))
    for dag in value["dags"]:
        for task in dag["tasks"]:
            del task["line"], task["file"]
    return value


# What is made


def test_the_least_pipeline() -> None:
    plan = plan_of(BASE)
    assert [dag.dag_id for dag in plan.dags] == ["flights"]
    assert edges(training(plan)) == {
        "as_of": (),
        "retrain": ("as_of",),
        "data": ("retrain",),
        "train": ("data",),
        "reference": ("train",),
        "evaluate": ("train",),
        "register": ("evaluate", "reference"),
        "promote": ("register",),
    }
    assert training(plan).schedule.cron is None
    assert training(plan).schedule.assets == ()
    assert (plan.model, plan.owner, plan.owner_link) == ("flights", "tidemill", None)


def test_the_whole_pipeline() -> None:
    plan = plan_of(FULL)
    assert [dag.dag_id for dag in plan.dags] == ["flights", "flights.monitor"]
    found = edges(training(plan))
    assert found["validate"] == ("data",)
    assert found["train"] == ("validate", "enrich")
    assert found["reference"] == ("train",)
    assert found["approve"] == ("register",)
    assert found["promote"] == ("approve",)
    monitor = plan.dag("monitor")
    assert monitor is not None
    assert edges(monitor) == {
        "as_of": (), "monitor": ("as_of",), "request": ("monitor",), "report": ("monitor",)
    }  # fmt: skip
    assert (plan.model, plan.owner, plan.owner_link) == ("flight_delays_full", "ops-research", "mailto:ops@example.org")


def test_the_monitor_asks_the_training_by_an_asset() -> None:
    plan = plan_of(FULL)
    monitor = plan.dag("monitor")
    assert monitor is not None
    (request,) = (task for task in monitor.tasks if task.step == "request")
    assert request.outlets == training(plan).schedule.assets
    assert request.outlets[0].name == "flights.retrain"
    assert not any(task.outlets for task in training(plan).tasks)


def test_without_triggers_nobody_asks() -> None:
    plan = plan_of(BASE + "monitor: {schedule: monthly, drift: {}}\nretrain: {min_rows: 5}\n")
    monitor = plan.dag("monitor")
    assert monitor is not None
    assert list(edges(monitor)) == ["as_of", "monitor"]
    assert training(plan).schedule.assets == ()


def test_tasks_stand_after_what_they_wait_for() -> None:
    for text in (BASE, FULL):
        for dag in plan_of(text).dags:
            seen: set[str] = set()
            for task in dag.flat():
                assert seen >= set(task.upstream)
                seen.add(task.task_id)


def test_the_monitor_inherits_start_end_and_catchup() -> None:
    plan = plan_of(FULL)
    monitor = plan.dag("monitor")
    assert monitor is not None
    assert (monitor.schedule.first, monitor.schedule.last) == (
        training(plan).schedule.first,
        training(plan).schedule.last,
    )
    assert monitor.schedule.catchup is True
    assert monitor.schedule.cron == "0 3 * * mon"


def test_a_schedule_without_a_start_has_one_for_airflow_and_none_for_as_of() -> None:
    schedule = training(plan_of(BASE + "schedule: monthly\n")).schedule
    assert (schedule.first, schedule.last, schedule.end) == (None, None, None)
    assert schedule.start is not None


def test_each_task_knows_the_line_that_asks_for_it() -> None:
    text = BASE + "schedule: monthly\n"
    lines = text.splitlines()
    found = {task.task_id: lines[task.line - 1].split(":")[0] for task in training(plan_of(text)).tasks}
    assert found == {
        "as_of": "tidemill",
        "retrain": "schedule",
        "data": "data",
        "train": "train",
        "reference": "data",
        "evaluate": "evaluate",
        "register": "promote",
        "promote": "promote",
    }


def test_a_task_that_defaults_ask_for_names_their_file() -> None:
    plan = plan_of(BASE, "# inherited\nmonitor: {schedule: monthly, drift: {}}\n")
    monitor = plan.dag("monitor")
    assert monitor is not None
    assert [(task.file, task.line) for task in monitor.tasks] == [("dags/1.yaml", 2)] * 2


# JSON


@pytest.mark.parametrize("text", [BASE, FULL], ids=["minimal", "full"])
def test_a_plan_is_the_same_after_json(text: Any) -> None:
    plan = plan_of(text)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_the_json_has_every_field_that_holds_anything() -> None:
    from dataclasses import asdict

    def left_out(whole: Any, kept: Any) -> list[Any]:
        """What is in the whole and not in what is kept; what is in both must be the same."""
        if isinstance(whole, list):
            assert len(whole) == len(kept)
            return [x for pair in zip(whole, kept, strict=True) for x in left_out(*pair)]
        if not isinstance(whole, dict):
            assert whole == kept
            return []
        assert kept.keys() <= whole.keys()
        missing = [value for key, value in whole.items() if key not in kept]
        return missing + [x for key in kept for x in left_out(whole[key], kept[key])]

    plan = plan_of(FULL)
    missing = left_out(json.loads(json.dumps(asdict(plan))), json.loads(json.dumps(plan.to_json())))
    assert not any(missing)


@pytest.mark.parametrize("wrong", [{}, {"dags": 5}, {"tags": None}, {"dags": [{"tasks": []}]}, {"links": [1]}])
def test_json_that_is_no_plan_is_refused(wrong: dict[str, Any]) -> None:
    value = wrong and {**plan_of(BASE).to_json(), **wrong}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Plan.from_json(value)


# What changes a plan, and what does not


def shuffled(value: Any, shuffle: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        shuffle.shuffle(keys)
        return {key: shuffled(value[key], shuffle) for key in keys}
    return [shuffled(item, shuffle) for item in value] if isinstance(value, list) else value


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([yaml.safe_load(BASE), FULL]))
def test_the_order_of_keys_changes_nothing(shuffle: random.Random, value: dict[str, Any]) -> None:
    assert without_places(plan_of(shuffled(value, shuffle))) == without_places(plan_of(value))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 80)), st.sampled_from(["# x", "   # {a: b", "", "#\t-"]))
def test_comments_and_blank_lines_change_nothing(where: set[int], comment: str) -> None:
    value = FULL | {"description": "On one line: in a text of several, a blank line means something."}
    lines = yaml.safe_dump(value, sort_keys=False, width=200).splitlines()
    added = [line for at, line in enumerate(lines) for line in ((comment, line) if at in where else (line,))]
    assert without_places(plan_of("\n".join(added))) == without_places(plan_of(value))


def test_where_a_value_was_inherited_from_and_how_it_is_written_changes_nothing() -> None:
    section = "promote: {when: {roc_auc: {at_least: 0.65}}}\n"
    assert plan_of(BASE.replace(section, ""), section).spec_hash == plan_of(BASE).spec_hash
    for one, other in (
        ("5 months", "5months"),
        ("0.65", "6.5e-1"),
        ("platform: {provider: local}", "platform:\n  provider: 'local'"),
        ("train: 5 months", "train: 5 months"),
    ):
        assert plan_of(BASE.replace(one, other)).spec_hash == plan_of(BASE).spec_hash
    assert plan_of(BASE + "catchup: false\n").spec_hash == plan_of(BASE).spec_hash


@pytest.mark.parametrize(
    ("one", "other"),
    [("0.65", "0.66"), ("5 months", "6 months"), ("late", "early"), ("[roc_auc]", "[roc_auc, brier]")],
)
def test_what_means_something_else_has_another_hash(one: str, other: str) -> None:
    assert plan_of(BASE.replace(one, other)).spec_hash != plan_of(BASE).spec_hash


def test_the_hash_is_of_the_json_and_of_nothing_else() -> None:
    assert hash_of({"b": 1, "a": [1, "ü"]}) == hash_of({"a": [1, "ü"], "b": 1}) != hash_of({"a": ["ü", 1], "b": 1})
    assert len(hash_of({})) == 16


def test_show_json_is_the_same_in_every_process(tmp_path: Path) -> None:
    told = set()
    for seed in ("0", "1"):
        command = [sys.executable, "-m", "tidemill.cli.main", "show", "--json", "tests/specs/good/full.yaml"]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True)
        told.add(ran.stdout)
    assert len(told) == 1
    plan = Plan.from_json(json.loads(told.pop()))
    assert plan.pipeline == "full"
    assert plan.to_json()["spec_hash"] == plan_of(FULL | {
        "start": "2013-07-01T03:00-04:00", "end": "2014-01-01T08:00:00Z",
    }, pipeline="full").spec_hash  # fmt: skip
