"""The check by serialization: what Airflow would refuse becomes an error of that spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.airflow.conftest import BASE, WHOLE
from tidemill.plan.model import Plan
from tidemill.project import Project


def test_a_plan_that_airflow_takes_has_no_errors(plan_of: Callable[[str], Plan], project: Project) -> None:
    from tidemill.airflow.safety import SafetyCheck

    for text in (BASE, WHOLE):
        assert SafetyCheck(project)(plan_of(text), project.root / "dags" / "flights.yaml") == ()


def _id(plan: Plan) -> Plan:
    return replace(plan, dags=(replace(plan.dags[0], dag_id="no good id!"), *plan.dags[1:]))


def _time_zone(plan: Plan) -> Plan:
    schedule = replace(plan.dags[1].schedule, timezone="Mars/Olympus")
    return replace(plan, dags=(plan.dags[0], replace(plan.dags[1], schedule=schedule)))


def _cycle(plan: Plan) -> Plan:
    tasks = plan.dags[0].tasks
    first = replace(tasks[0], upstream=(tasks[0].task_id,))
    return replace(plan, dags=(replace(plan.dags[0], tasks=(first, *tasks[1:])), *plan.dags[1:]))


def _owner(plan: Plan) -> Plan:
    return replace(plan, owner_link="https://[bad")


def _tag(plan: Plan) -> Plan:
    return replace(plan, tags=("x" * 101,))


@pytest.mark.parametrize("spoil", [_id, _time_zone, _cycle, _owner, _tag])
def test_what_airflow_refuses_is_an_error_with_the_files_place(
    spoil: Callable[[Plan], Plan], plan_of: Callable[[str], Plan], project: Project
) -> None:
    from tidemill.airflow.safety import SafetyCheck

    file = project.root / "dags" / "flights.yaml"
    (error,) = SafetyCheck(project)(spoil(plan_of(WHOLE)), file)
    head, _, source, _ = error.render().splitlines()
    assert head.startswith("dags/flights.yaml:1:1: Airflow cannot take the DAG '")
    assert source == "1 | tidemill: 1"


def test_it_changes_nothing_on_disk(plan_of: Callable[[str], Plan], project: Project) -> None:
    from tidemill.airflow.safety import SafetyCheck

    plan = plan_of(WHOLE)

    def files() -> set[Path]:
        return {path for path in project.root.rglob("*") if "__pycache__" not in path.parts}

    before = files()
    SafetyCheck(project)(plan, project.root / "dags" / "flights.yaml")
    assert files() == before
