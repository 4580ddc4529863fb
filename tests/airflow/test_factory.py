"""Plan to DAG: what Airflow is given, and what is stored of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.airflow.conftest import BASE, WHOLE
from tidemill.plan.model import Plan
from tidemill.project import Project

PlanOf = Callable[[str], Plan]


def built(plan: Plan, project: Project, kind: str = "training", only: str | None = None) -> Any:
    from tidemill.airflow.factory import build

    dag_plan = plan.dag(kind)  # type: ignore[arg-type]
    assert dag_plan is not None
    return build(plan, dag_plan, project.root / "dags" / "flights.yaml", project, only)


def stored(dag: Any) -> dict[str, Any]:
    from airflow.serialization.serialized_objects import DagSerialization

    value: dict[str, Any] = DagSerialization.to_dict(dag)
    return value


def edges(dag: Any) -> dict[str, set[str]]:
    return {task.task_id: set(task.upstream_task_ids) for task in dag.tasks}


def test_tasks_and_edges_are_the_plans(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(WHOLE)
    for dag_plan in plan.dags:
        dag = built(plan, project, dag_plan.kind)
        assert dag.dag_id == dag_plan.dag_id
        assert edges(dag) == {task.task_id: set(task.upstream) for task in dag_plan.tasks}


def test_what_people_see(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(WHOLE)
    dag = built(plan, project)
    assert dag.description == "Which departures are late?"
    assert dag.tags == {"flights", "tidemill"}
    assert dag.owner == "ops"
    assert dag.owner_links == {"ops": "https://example.org/ops"}
    for text in (
        "Nobody knows.",
        "`flights`, alias `champion`",
        "`include/rows.parquet`",
        "`dags/flights.yaml`",
        plan.spec_hash,
        "[flights.monitor](/dags/flights.monitor)",
        "[data](https://example.org/data)",
        "approve → promote",
    ):
        assert text in dag.doc_md
    assert "[flights](/dags/flights)" in built(plan, project, "monitor").doc_md
    shown = {task["__var"].get("_operator_name") for task in stored(dag)["dag"]["tasks"]}
    assert shown >= {"tidemill data", "tidemill promote"}


def test_the_least_pipeline_has_no_empty_places(plan_of: PlanOf, project: Project) -> None:
    dag = built(plan_of(BASE), project)
    assert dag.description is None
    assert dag.owner_links == {}
    assert dag.tags == {"tidemill"}
    assert dag.doc_md.startswith("**Training** of pipeline `flights`")
    assert "See also" not in dag.doc_md
    assert dag.timetable.__class__.__name__ == "NullTimetable"


def test_a_schedule_with_triggers_waits_for_either(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(WHOLE)
    dag = built(plan, project)
    timetable = dag.timetable
    assert type(timetable).__name__ == "AssetOrTimeSchedule"
    assert [asset.name for asset in timetable.asset_condition.objects] == ["flights.retrain"]
    assert (timetable.timetable.expression, dag.catchup) == ("0 0 1 */3 *", False)
    assert (dag.start_date, dag.end_date) == (datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 10, 1, tzinfo=UTC))
    monitor = built(plan, project, "monitor")
    assert type(monitor.timetable).__name__ == "CronDataIntervalTimetable"
    assert [outlet.name for outlet in monitor.get_task("request").outlets] == ["flights.retrain"]


def test_any_one_of_the_upstream_assets_is_enough(plan_of: PlanOf, project: Project) -> None:
    text = WHOLE.replace(
        "triggers: [drift]", "triggers: [drift, asset], assets: [orders, {name: prices, uri: 's3://acme/prices'}]"
    )
    for spec in (text, text.replace("schedule: quarterly\n", "")):
        dag = built(plan_of(spec), project)
        condition = stored(dag)["dag"]["timetable"]["__var"]["asset_condition"]
        assert condition["__type"] == "asset_any"  # a plain list would wait for all of them
        assert [(part["name"], part["uri"]) for part in condition["objects"]] == [
            ("flights.retrain", "tidemill://flights/retrain"),
            ("orders", "orders"),
            ("prices", "s3://acme/prices"),
        ]


def test_triggers_alone_make_an_asset_schedule(plan_of: PlanOf, project: Project) -> None:
    text = BASE + "monitor: {window: 1 month, drift: {}}\nretrain: {triggers: [drift]}\n"
    dag = built(plan_of(text), project)
    assert type(dag.timetable).__name__ == "AssetTriggeredTimetable"


def test_a_score_that_waits_for_others_is_stored_with_its_condition(plan_of: PlanOf, project: Project) -> None:
    """Also where nothing else in the file asks for what builds steps of one's own."""
    asset = '{name: orders, uri: "s3://acme/orders"}'
    plan = plan_of(BASE + f"score: {{window: 1 d, schedule: {{assets: {{all: [{asset}, rates]}}}}}}\n")
    text = json.dumps(stored(built(plan, project, "score"))["dag"]["timetable"])
    assert "orders" in text
    assert "rates" in text
    both = BASE + f'score: {{window: 1 d, schedule: {{cron: "0 3 * * *", assets: {asset}}}}}\n'
    assert "0 3 * * *" in json.dumps(stored(built(plan_of(both), project, "score"))["dag"]["timetable"])


def test_one_run_at_a_time_and_a_first_click_without_params(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(WHOLE)
    for kind in ("training", "monitor"):
        dag = built(plan, project, kind)
        assert dag.max_active_runs == 1
        assert dag.params.validate() == {"as_of": None, "scheduled": False}
        assert dag.params.get_param("as_of").description


def test_what_is_given_to_one_run_stays_out_of_other_dags(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(BASE)
    one, other = built(plan, project), built(plan, project)
    one.params.get_param("as_of").value = "2013-07-01"
    assert other.params["as_of"] is None


def test_the_code_tab_shows_the_yaml(plan_of: PlanOf, project: Project) -> None:
    """The DAG bag sets ``fileloc`` to the loader and validates afterwards."""
    dag = built(plan_of(BASE), project)
    dag.fileloc = "loader.py"
    dag.validate()
    assert dag.fileloc == str(project.root / "dags" / "flights.yaml")


def test_each_step_gets_the_records_of_all_before_it_in_order(plan_of: PlanOf, project: Project) -> None:
    dag = built(plan_of(WHOLE), project)
    earlier = {task.task_id: task.earlier for task in dag.tasks if hasattr(task, "earlier")}
    assert earlier["as_of"] == ()
    assert earlier["evaluate"] == ("as_of", "retrain", "data", "validate", "train")
    assert earlier["promote"][-2:] == ("register", "approve")


def test_in_a_tasks_process_only_that_task_is_real(plan_of: PlanOf, project: Project) -> None:
    from tidemill.airflow.factory import Placeholder

    plan = plan_of(WHOLE)
    whole = built(plan, project)
    for task in whole.tasks:
        dag = built(plan, project, only=task.task_id)
        assert edges(dag) == edges(whole)
        assert [t.task_id for t in dag.tasks if not isinstance(t, Placeholder)] == [task.task_id]
        assert type(dag.get_task(task.task_id)) is type(task)
    stand_in = built(plan, project, only="data").get_task("train")
    with pytest.raises(RuntimeError, match="train was built as a placeholder"):
        stand_in.execute({})


def test_serialized_dags_hold_no_plan_and_no_path_of_this_machine(plan_of: PlanOf, project: Project) -> None:
    """What is stored is compared by hash at each parse: it must not differ between machines."""
    dag = built(plan_of(WHOLE), project)
    tasks = str(stored(dag)["dag"]["tasks"])
    assert str(project.root) not in tasks
    assert "learning_rate" not in tasks


def test_two_builds_are_stored_alike(plan_of: PlanOf, project: Project) -> None:
    plan = plan_of(WHOLE)
    assert stored(built(plan, project)) == stored(built(Plan.from_json(plan.to_json()), project))


SPREAD = WHOLE.replace("drift: {}", "drift: {}, partitions: 4")


def test_a_window_in_parts_is_a_mapped_task_between_two_others(plan_of: PlanOf, project: Project) -> None:
    dag = built(plan_of(SPREAD), project, "monitor")
    assert edges(dag)["sketch"] == {"partitions"}
    assert edges(dag)["monitor"] == {"sketch"}
    # Without a champion there are no parts: the monitor runs all the same, and says so.
    assert dag.get_task("monitor").trigger_rule == "none_failed"
    value = stored(dag)
    text = json.dumps(value)  # a mapped operator is stored with what it is given
    mapped = next(t["__var"] for t in value["dag"]["tasks"] if t["__var"]["task_id"] == "sketch")
    assert mapped["_is_mapped"] is True
    assert mapped["_operator_name"] == "tidemill sketch"
    assert str(project.root) not in text.replace(str(dag.fileloc), "")
    assert stored(built(plan_of(SPREAD), project, "monitor")) == value


@pytest.mark.parametrize("only", ["partitions", "sketch", "monitor"])
def test_in_its_process_each_of_them_is_real_and_the_others_are_placeholders(
    plan_of: PlanOf, project: Project, only: str
) -> None:
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    dag = built(plan_of(SPREAD), project, "monitor", only)
    kinds = {
        task.task_id: (task.operator_class if isinstance(task, MappedOperator) else type(task)).__name__
        for task in dag.tasks
    }
    assert {name for name, kind in kinds.items() if kind != "Placeholder"} == {only}
    assert isinstance(dag.get_task("sketch"), MappedOperator)
    assert edges(dag)["monitor"] == {"sketch"}
