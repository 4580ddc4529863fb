"""In which order Airflow hears of a plan's edges: it asks for a group's first and last tasks at once."""

from __future__ import annotations

from tidemill.plan.model import DagPlan, GroupPlan, SchedulePlan, TaskPlan


def task(name: str, *upstream: str, group: str | None = None) -> TaskPlan:
    return TaskPlan(name, "own", upstream, 1, "f.yaml", group=group)


def test_what_is_inside_of_a_group_is_said_before_what_stands_around_it() -> None:
    plan = DagPlan(
        dag_id="d",
        kind="workflow",
        schedule=SchedulePlan(),
        tasks=(
            task("gate"),
            task("yard.wash", group="yard"),
            task("yard.dock.paint", group="yard.dock"),
            task("yard.dock.dry", "yard.dock.paint", group="yard.dock"),
            task("leave", "gate", "yard"),
        ),
        groups=(GroupPlan("yard", ("gate",)), GroupPlan("yard.dock", ("yard.wash",), parent="yard")),
    )
    order = [(name, one) for name, before in plan.edges() for one in before]
    assert order == [
        ("yard.dock.dry", "yard.dock.paint"),
        ("leave", "gate"),
        ("yard.dock", "yard.wash"),
        ("leave", "yard"),
        ("yard", "gate"),
    ]


def test_without_groups_each_task_says_its_own() -> None:
    plan = DagPlan("d", "workflow", SchedulePlan(), (task("a"), task("b", "a"), task("c", "a", "b")))
    assert list(plan.edges()) == [("a", ()), ("b", ("a",)), ("c", ("a", "b"))]
