"""What a workflow says of itself reaches Airflow as it is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from tests.airflow.test_factory import built, edges, stored
from tidemill.plan.model import Plan
from tidemill.project import Project

PlanOf = Callable[[str], Plan]
STEPS = "steps:\n  a: {operator: BashOperator, with: {bash_command: 'echo {{ params.port }}'}, params: {port: Ribe}}\n"


def test_bounds_hold_without_a_schedule_too(plan_of: PlanOf, project: Project) -> None:
    dag = built(plan_of(f"tidemill: 1\nstart: 2024-01-01\nend: 2030-06-01\n{STEPS}"), project, "workflow")
    assert (dag.start_date, dag.end_date) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2030, 6, 1, tzinfo=UTC))
    assert type(dag.timetable).__name__ == "NullTimetable"


def test_a_new_dag_waits_only_if_it_is_to(plan_of: PlanOf, project: Project) -> None:
    def paused(line: str) -> object:
        return built(plan_of(f"tidemill: 1\n{line}{STEPS}"), project, "workflow").is_paused_upon_creation

    assert [paused(f"is_paused_upon_creation: {value}\n") for value in ("true", "false")] == [True, False]
    assert paused("") is None


def test_a_steps_params_are_its_own_and_plain(plan_of: PlanOf, project: Project) -> None:
    text = STEPS.replace("{port: Ribe}", "{port: Ribe, kept: {$object: os.system}, nothing: null}")
    dag = built(plan_of(f"tidemill: 1\nparams: {{port: Esbjerg}}\n{text}"), project, "workflow")
    assert dag.params["port"] == "Esbjerg"
    assert dag.get_task("a").params.dump() == {"port": "Ribe", "kept": {"$object": "os.system"}, "nothing": None}
    ((_, port), *_) = stored(dag)["dag"]["tasks"][0]["__var"]["params"]
    assert port["default"] == "Ribe"


def test_what_follows_a_task_goes_to_a_groups_first_tasks_alone(plan_of: PlanOf, project: Project) -> None:
    empty = "operator: EmptyOperator"
    text = (
        f"tidemill: 1\nsteps:\n  gate: {{{empty}}}\n  yard:\n    after: gate\n    steps:\n"
        f"      wash: {{{empty}}}\n      dock:\n        after: wash\n        steps:\n"
        f"          paint: {{{empty}}}\n          dry: {{{empty}, after: paint}}\n  leave: {{{empty}, after: yard}}\n"
    )
    assert edges(built(plan_of(text), project, "workflow")) == {
        "gate": set(),
        "yard.wash": {"gate"},
        "yard.dock.paint": {"yard.wash"},
        "yard.dock.dry": {"yard.dock.paint"},
        "leave": {"yard.dock.dry"},
    }
