"""Which steps there are, what their names mean, what comes before what: whatever the order in the file."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import yaml

from tests.plan.test_compile import edges, plan_of, training, without_places
from tests.spec.test_load import BASE
from tidemill.plan.graph import CycleError, Graph, graph_of, in_order
from tidemill.plan.model import DagPlan, Plan
from tidemill.spec.models import Workflow

STAGES = {"as_of": (), "data": ("as_of",), "promote": ("data",)}


def graph(steps: str, stages: dict[str, tuple[str, ...]] | None = None) -> Graph:
    value = {"tidemill": 1, "steps": yaml.safe_load(steps)}
    return graph_of(Workflow.model_validate(value).steps, stages or {})


def test_names_mean_siblings_first_and_then_what_stands_further_out() -> None:
    found = graph("""
a: {operator: EmptyOperator}
g:
  steps:
    a: {operator: EmptyOperator}
    b: {operator: EmptyOperator, after: a}
    inner:
      steps: {c: {operator: EmptyOperator, after: [b, g]}}
d: {operator: EmptyOperator, after: [g.b, g.inner.c, a]}
""")
    assert found.upstream["g.b"] == ["g.a"]
    assert found.upstream["d"] == ["g.b", "g.inner.c", "a"]
    assert found.find("a", None) == "a"
    assert found.find("a", "g.inner") == "g.a"
    assert found.find("g.nothing", None) is None
    assert found.known("g") == ("a", "b", "inner", "g", "d")
    assert [node.id for node in found.members("g")] == ["g.a", "g.b", "g.inner.c"]


def test_without_a_prefix_ids_are_the_names_alone() -> None:
    found = graph("""
g:
  prefix: false
  steps:
    a: {operator: EmptyOperator}
    h: {steps: {b: {operator: EmptyOperator}}}
outer:
  steps:
    i: {prefix: false, steps: {c: {operator: EmptyOperator}}}
a: {operator: EmptyOperator}
""")
    assert set(found.nodes) == {"g", "a", "h", "h.b", "outer", "outer.i", "c"}
    assert [node.path for node in found.taken] == [("steps", "a")]


def test_before_and_outcomes() -> None:
    found = graph(
        "a: {operator: X, before: data}\nb: {operator: X, after: {promote: refused}, before: [c]}\nc: {operator: X}",
        STAGES,
    )
    assert found.upstream["data"] == ["as_of", "a"]
    assert found.upstream["c"] == ["b"]
    assert found.outcomes == {"b": "refused"}
    assert [m.name for m in graph("a: {operator: X, after: [a, b]}").missing] == ["a", "b"]


def test_the_order_is_that_of_time_and_not_of_the_file() -> None:
    found = graph(
        "z: {operator: X}\ng: {after: z, steps: {b: {operator: X}, a: {operator: X}}}\nc: {operator: X, after: g}"
    )
    assert in_order(found) == ["z", "g.a", "g.b", "c"]
    with pytest.raises(CycleError):
        in_order(graph("a: {operator: X, after: b}\nb: {operator: X, after: a}"))
    with pytest.raises(CycleError):  # what stands in a group cannot come after the group
        in_order(graph("g: {after: b, steps: {a: {operator: X}}}\nb: {operator: X, after: g}"))


WORKFLOW = """
tidemill: 1
defaults: {retries: 1}
steps:
  a: {operator: BashOperator, with: {bash_command: "echo {{ steps.b.rows }}", env: {B: c, A: d}}}
  b: {python: "include.m:f", retries: 2, pool: p}
  g:
    for_each: {x: [1, 2]}
    defaults: {queue: q}
    steps:
      c: {operator: BashOperator, with: {bash_command: "{{ each.x }}"}}
      d: {operator: BashOperator, after: c, teardown: true, with: {bash_command: "{{ steps.c }}"}}
  e: {operator: EmptyOperator, after: [g, a]}
"""


def shuffled(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return value


def workflow(plan: Plan) -> DagPlan:
    (found,) = plan.dags
    assert found.kind == "workflow"
    return found


@pytest.mark.parametrize("seed", range(10))
def test_the_order_of_keys_changes_nothing_in_the_plan(seed: int) -> None:
    value = yaml.safe_load(WORKFLOW)
    other = plan_of(shuffled(value, random.Random(seed)))
    assert without_places(other) == without_places(plan_of(value))
    tasks = [task.task_id for task in workflow(other).tasks]
    assert tasks == [task.task_id for task in workflow(plan_of(value)).tasks]


def test_results_make_edges_and_templates_full_ids() -> None:
    plan = workflow(plan_of(WORKFLOW))
    tasks = {task.task_id: task for task in plan.tasks}
    assert edges(plan) == {"a": ("b",), "b": (), "g.c": (), "g.d": ("g.c",), "e": ("g", "a")}
    own = {name: task.own for name, task in tasks.items()}
    assert own["a"] is not None
    assert own["g.c"] is not None
    assert own["g.d"] is not None
    assert own["a"].arguments["bash_command"] == "echo {{ steps('b').rows }}"
    assert own["g.c"].arguments["bash_command"] == {"$each": "x"}
    assert own["g.d"].arguments["bash_command"] == {"$output": ["g.c", None]}
    assert own["g.d"].teardown
    (group,) = plan.groups
    assert (group.group_id, group.expand, group.defaults) == ("g", {"x": [1, 2]}, {"queue": "q"})
    assert plan.defaults == {"retries": 1}


def test_a_plan_with_steps_is_the_same_after_json() -> None:
    plan = plan_of(WORKFLOW)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


MONITORED = BASE + "monitor: {schedule: monthly, drift: {}}\n"


def test_steps_find_their_place_among_the_stages() -> None:
    text = (
        MONITORED
        + """
steps:
  first: {operator: EmptyOperator}
  fetch: {operator: EmptyOperator, before: data}
  early: {operator: EmptyOperator, before: retrain}
  told: {operator: EmptyOperator, after: promote}
  lost: {operator: EmptyOperator, after: {promote: refused}}
  both: {after: {promote: superseded}, steps: {a: {operator: EmptyOperator}, b: {operator: EmptyOperator, after: a}}}
  seen: {operator: EmptyOperator, after: monitor}
  then: {operator: EmptyOperator, after: seen}
"""
    )
    plan = plan_of(text)
    found = edges(training(plan))
    assert found["first"] == ("retrain",)  # where the guard says no, nothing runs
    assert found["early"] == ("as_of",)
    assert set(found["retrain"]) == {"as_of", "early"}
    assert set(found["data"]) == {"retrain", "fetch"}
    (promote,) = (task for task in training(plan).tasks if task.task_id == "promote")
    assert promote.followers == {"promoted": ["told"], "refused": ["lost"], "superseded": ["both.a"]}
    monitor = plan.dag("monitor")
    assert monitor is not None
    assert {"seen", "then"} <= set(edges(monitor))
    assert {"seen", "then"}.isdisjoint(found)
