"""``tidemill show``: the picture, the schedule in words, the plan as JSON."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command_line import CommandLine
from tests.plan.test_compile import plan_of
from tests.spec.test_load import BASE, FULL
from tidemill.cli.show import describe_schedule, draw, draw_dag
from tidemill.plan.model import AssetPlan, DagPlan, Plan, SchedulePlan, TaskPlan

ROOT = Path(__file__).parents[2]
TURNS = str.maketrans("─┬┴┼└├┌┘┤┐│", "-----------")


def dag(**upstream: tuple[str, ...]) -> DagPlan:
    tasks = tuple(TaskPlan(name, name, before, 1, "a.yaml") for name, before in upstream.items())
    return DagPlan("a", "training", SchedulePlan(), tasks)


@pytest.mark.parametrize(
    ("tasks", "picture"),
    [
        ({"a": ()}, ["a"]),
        ({"a": (), "b": ("a",)}, ["a ─── b"]),
        ({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}, ["a ─┬─ b ─┬─ d", "   └─ c ─┘"]),
        (
            {"a": (), "b": ("a",), "c": ("a",), "d": ("a",), "e": ("b", "c", "d")},
            ["a ─┬─ b ─┬─ e", "   ├─ c ─┤", "   └─ d ─┘"],
        ),
        ({"a": (), "b": (), "c": ("a", "b")}, ["a ─┬─ c", "b ─┘"]),
        ({"a": (), "bb": ("a",), "c": ("a",), "d": ("bb",), "e": ("d", "c")}, [
            "a ─┬─ bb ─── d ─┬─ e", "   └─ c ────────┘",
        ]),
    ],
)  # fmt: skip
def test_tasks_are_drawn_from_left_to_right(tasks: dict[str, tuple[str, ...]], picture: list[str]) -> None:
    assert draw_dag(dag(**tasks)) == picture


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 7), max_size=3), min_size=1, max_size=8))
def test_every_picture_has_every_task_once_and_is_straight(upstream: list[list[int]]) -> None:
    tasks = {f"t{n}": tuple(sorted({f"t{u}" for u in before if u < n})) for n, before in enumerate(upstream)}
    drawn = draw_dag(dag(**tasks))
    words = [word for line in drawn for word in line.translate(TURNS).replace("-", " ").split()]
    assert sorted(words) == sorted(tasks)
    assert all(line == line.rstrip() for line in drawn)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (SchedulePlan(), "by hand"),
        (SchedulePlan(cron="0 0 1 * *"), "monthly"),
        (SchedulePlan(cron="0 0 1 * *", timezone="Europe/Berlin"), "monthly (Europe/Berlin)"),
        (SchedulePlan(cron="5 4 * * *", assets=(AssetPlan("a.retrain", "x://a"),)), "5 4 * * * or on a.retrain"),
        (SchedulePlan(cron="0 0 * * *", first="2013-07-01T00:00:00+00:00"), "daily, as_of 2013-07-01 … "),
    ],
)
def test_schedules_are_told_in_words(schedule: SchedulePlan, words: str) -> None:
    assert describe_schedule(schedule) == words


def test_the_whole_picture_of_a_pipeline() -> None:
    text = draw(plan_of(FULL))
    head, training, monitor = text.rsplit("\n\n", 2)
    assert head.splitlines()[:4] == [
        "flights (dags/0.yaml)",
        "  Which departures will arrive more than 15 minutes late?",
        "",
        "  The second paragraph says more.",
    ]
    assert "flight_delays_full@in-force, trained by include.flights.train:train" in head
    assert training.startswith("flights  ·  0 3 1 * * (America/New_York) or on flights.retrain, as_of 2013-07-01 … ")
    assert "approve ─── promote ─┬─ announce" in training
    assert "fetch ─── data ─── validate" in training
    assert "train ─┬─ reference ─┬─ register" in training
    assert "as_of ─── monitor ─┬─ request" in monitor


def test_the_order_of_keys_does_not_change_the_picture() -> None:
    gates = "{roc_auc: {at_least: 0.65}, brier: {at_most: 0.2}}"
    turned = "{brier: {at_most: 0.2}, roc_auc: {at_least: 0.65}}"
    text = BASE.replace("[roc_auc]", "[roc_auc, brier]").replace("{roc_auc: {at_least: 0.65}}", gates)
    assert draw(plan_of(text)) == draw(plan_of(text.replace(gates, turned)))
    assert "roc_auc ≥ 0.65; brier ≤ 0.2" in draw(plan_of(text))


def test_the_command_draws_and_prints_json(tidemill: CommandLine) -> None:
    said = tidemill("show", "dags/flight_delays.yaml", cwd=ROOT)
    assert said.code == 0
    assert "flight_delays.monitor  ·  monthly, as_of 2013-07-01 … 2014-01-01" in said.out
    machine = tidemill("show", "dags/flight_delays.yaml", "--json")
    plan = Plan.from_json(machine.json)
    assert [d.dag_id for d in plan.dags] == ["flight_delays", "flight_delays.score", "flight_delays.monitor"]
    assert draw(plan) + "\n" == said.out


def test_a_broken_file_is_told_of_as_validate_does(tidemill: CommandLine) -> None:
    file = "tests/specs/bad/several_at_once.yaml"
    said = tidemill("show", file, cwd=ROOT)
    assert (said.code, said.out) == (1, "")
    assert said.err == (ROOT / file).with_suffix(".txt").read_text(encoding="utf-8")


def test_a_folder_and_a_missing_file_are_told(tidemill: CommandLine, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "specs" / "good", tmp_path / "dags")
    assert tidemill("show", "dags", cwd=tmp_path).err == "tidemill: dags is a folder; name one spec file in it\n"
    assert tidemill("show", "none.yaml").err == "tidemill: there is no none.yaml\n"
