"""One step, run for real: the operators, templates and sandbox are Airflow's, only what is around them is made up."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tidemill.testing import Pipeline, load


def test_its_templates_are_rendered(flow: Pipeline) -> None:
    done = flow.run_step("read", as_of="2025-02-01", params={"size": 7})
    assert done.state == "success"
    assert done.value == {"rows": [1, 2, 3], "path": "in/7.csv", "day": "2025-02-01T00:00:00+00:00"}
    assert done.rendered["op_kwargs"] == {"path": "in/7.csv", "day": "2025-02-01T00:00:00+00:00"}
    assert done.pushed["path"] == "in/7.csv"


def test_airflows_own_dates_are_those_of_a_scheduled_run(project: Path) -> None:
    spec = project / "dags" / "dates.yaml"
    dates = "{{ ds }} {{ data_interval_start }} {{ data_interval_end }}"
    spec.write_text(
        f"tidemill: 1\nschedule: monthly\nstart: 2025-01-01\nsteps:\n"
        f"  tell: {{operator: BashOperator, with: {{bash_command: 'echo {dates}'}}}}\n"
    )
    done = load(spec).run_step("tell", as_of="2025-03-01")
    assert done.value == "2025-02-01 2025-02-01 00:00:00+00:00 2025-03-01 00:00:00+00:00"


def test_a_step_beside_a_model(model_project: Path) -> None:
    spec = model_project / "dags" / "told.yaml"
    text = (model_project / "dags" / "churn.yaml").read_text()
    command = "echo {{ as_of }} {{ steps.promote.version }}"
    spec.write_text(f"{text}steps:\n  tell: {{operator: BashOperator, with: {{bash_command: '{command}'}}}}\n")
    pipeline = load(spec)
    pipeline.dag("training").assert_order("promote", "tell")
    done = pipeline.run_step("tell", as_of="2025-07-01", outputs={"promote": {"version": "7"}})
    assert done.value == "2025-07-01T00:00:00+00:00 7"


def test_it_gets_the_results_of_others(flow: Pipeline) -> None:
    assert flow.run_step("clean", outputs={"read": {"rows": [1, 2]}}).value == [2, 4]


def test_an_operator_with_variables(flow: Pipeline) -> None:
    done = flow.run_step("big", outputs={"read": {"path": "a"}, "choose": None}, variables={"colour": "crimson"})
    assert done.value == "a crimson"
    assert done.rendered["bash_command"] == "echo a crimson"


def test_connections_and_variables(flow: Pipeline) -> None:
    before = dict(os.environ), list(sys.path), signal.getsignal(signal.SIGTERM)
    done = flow.run_step(
        "secrets",
        connections={"store": "postgres://reader:hushhush@db.example.org/shop"},
        variables={"colour": "crimson", "sizes": [1, 2]},
    )
    assert done.value == ["db.example.org", "hushhush", "crimson", [1, 2]]
    assert done.variables == {"seen": "yes"}
    assert (dict(os.environ), list(sys.path), signal.getsignal(signal.SIGTERM)) == before


def test_without_its_connection_it_fails_as_in_airflow(flow: Pipeline) -> None:
    with pytest.raises(Exception, match="conn_id `store` isn't defined"):
        flow.run_step("secrets")


def test_a_branch_says_which_way_it_goes(flow: Pipeline) -> None:
    done = flow.run_step("choose", outputs={"clean": [1]})
    assert (done.follows, done.skips) == (("small",), ("big",))


def test_a_mapped_step_runs_one_of_its_instances(flow: Pipeline) -> None:
    done = flow.run_step("greet", outputs={"read": {"path": "a"}}, each={"country": "no"})
    assert done.value == "no from a"


def test_a_step_of_a_mapped_group_runs_in_one_of_its_instances(flow: Pipeline) -> None:
    assert flow.run_step("per_row.double", each={"row": 3}).value == [3]
    assert flow.run_step("per_row.count", each={"row": 3}, outputs={"per_row.double": ["x", "yy"]}).value == 2


def test_the_results_of_a_mapped_step_are_a_list(flow: Pipeline) -> None:
    done = flow.run_step("length", outputs={"greet": ["a", "b", "c"]})
    assert done.value == 3
    assert done.rendered["op_kwargs"] == {"values": ["a", "b", "c"]}


@pytest.mark.parametrize(("size", "state"), [("/", "success"), ("/no/such/file", "up_for_reschedule")])
def test_a_sensor_is_asked_once(flow: Pipeline, size: str, state: str) -> None:
    assert flow.run_step("wait", params={"size": size}).state == state


@pytest.mark.parametrize(("target", "state"), [("2020-01-01", "success"), ("2999-01-01", "up_for_reschedule")])
def test_so_is_a_mapped_one(flow: Pipeline, target: str, state: str) -> None:
    assert flow.run_step("sense", each={"target_time": target}).state == state


def test_a_step_in_a_python_of_its_own(flow: Pipeline) -> None:
    done = flow.run_step(
        "elsewhere",
        outputs={"read": {"rows": [1, 2]}},
        params={"python": sys.executable},
        variables={"colour": "crimson"},
    )
    assert done.value == [2, "crimson"]
    assert "__AIRFLOW_SUPERVISOR_FD" not in os.environ


def test_a_step_that_skips_itself(flow: Pipeline) -> None:
    assert flow.run_step("skip").state == "skipped"


def test_what_a_step_starts_is_not_started(flow: Pipeline) -> None:
    done = flow.run_step("start_other")
    assert done.triggered == ({"dag_id": "other", "conf": {"n": 1}},)


def test_what_a_step_raises_is_raised(flow: Pipeline) -> None:
    with pytest.raises(ValueError, match="no such thing") as caught:
        flow.run_step("fail")
    assert any(entry.name == "fail" for entry in caught.traceback)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("claen", {}, 'has no task "claen"; did you mean "clean"?'),
        ("clean", {}, '"clean" (dags/flow.yaml:12) asks for the result of "read": give one, outputs={\'read\': …}'),
        (
            "clean",
            {"outputs": {"read": {"row": []}}},
            'asks for "rows" of the result of "read", which outputs gives as',
        ),
        ("clean", {"outputs": {"raed": 1}}, 'has no task "raed"; did you mean "read"?'),
        ("length", {"outputs": {"greet": 3}}, '"greet" is mapped: outputs must give the list of its results, got 3'),
        ("greet", {}, "is mapped: say which instance, each={'country': '…'}"),
        ("greet", {"each": {"land": "dk"}}, "is mapped over country; each gives land"),
        ("read", {"each": {"land": "dk"}}, '"read" (dags/flow.yaml:8) is not mapped: run it without `each`'),
        ("read", {"params": {"siz": 1}}, 'flow has no param "siz"; it has: size, python, few'),
        ("read", {"as_of": "yesterday"}, "as_of: "),
        ("read", {"params": {"few": 0}}, "flow (dags/flow.yaml): Invalid input for param few: 0 is less than"),
        ("later", {}, '"later" (dags/flow.yaml:47) is deferrable'),
        ("ask", {}, '"ask" (dags/flow.yaml:41) waits for a person'),
    ],
)
def test_what_cannot_be_run_is_told(flow: Pipeline, name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        flow.run_step(name, **given)
    assert message in str(caught.value)


def test_a_stage_of_a_model_is_no_step(churn: Pipeline) -> None:
    with pytest.raises(AssertionError, match=r'"train" is a stage .* pipeline.run\(\).* pipeline.train\(\)'):
        churn.run_step("train")
