"""What tests ask of a planned DAG, and what they are told where it is otherwise."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tidemill.testing import Dag, Pipeline


@pytest.fixture(scope="module")
def dag(flow: Pipeline) -> Dag:
    return flow.dag()


def test_its_tasks_and_groups(dag: Dag) -> None:
    assert (dag.id, dag.kind, dag.groups) == ("flow", "workflow", ("per_row",))
    assert dag.tasks.index("read") < dag.tasks.index("clean") < dag.tasks.index("per_row.double")
    assert dag.upstream("big") == {"choose", "read"}
    assert dag.downstream("choose") == {"big", "small"}
    assert dag.ancestors("small") == {"choose", "clean", "read"}


def test_a_group_comes_after_what_it_is_mapped_over(dag: Dag) -> None:
    assert dag.upstream("per_row.double") == {"clean"}
    assert dag.task("per_row.count").group == "per_row"
    dag.assert_order("read", "clean", "per_row")


def test_a_task_by_itself(dag: Dag) -> None:
    task = dag.task("fail")
    assert (task.operator, task.decorator, task.stage) == ("include.flow:fail", "python", None)
    assert task.settings == {"retries": 3}
    assert task.place == "dags/flow.yaml:34"
    assert not task.mapped
    assert dag.task("greet").mapped
    assert dag.task("per_row.count").mapped


def test_a_stage_by_itself(churn: Pipeline) -> None:
    task = churn.dag("training").task("train")
    assert (task.stage, task.operator, task.arguments) == ("train", None, {})


@pytest.mark.parametrize("order", [("read", "clean", "choose", "big"), ("read", "big"), ("read",), ()])
def test_an_order_that_holds(dag: Dag, order: tuple[str, ...]) -> None:
    dag.assert_order(*order)


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (
            ("big", "clean"),
            'flow: "clean" (dags/flow.yaml:12) does not come after "big": it comes after read; '
            '"big" (dags/flow.yaml:19) comes after it',
        ),
        (("small", "read"), '"read" (dags/flow.yaml:8) does not come after "small": nothing comes before it'),
        (("big", "small"), '"small" (dags/flow.yaml:23) does not come after "big": it comes after read, clean, choose'),
        (("read", "read"), 'does not come after "read"'),
        (("per_row", "clean"), '"clean" (dags/flow.yaml:12) does not come after "per_row.'),
        (("read", "claen"), 'flow (dags/flow.yaml) has no task "claen"; did you mean "clean"? It has: '),
    ],
)
def test_an_order_that_does_not_hold(dag: Dag, order: tuple[str, ...], message: str) -> None:
    with pytest.raises(AssertionError) as caught:
        dag.assert_order(*order)
    assert message in str(caught.value)


def test_ticks_keep_to_start_and_end(dag: Dag, churn: Pipeline) -> None:
    assert dag.ticks("2024-12-30", "2025-01-02") == [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2)]
    monthly = churn.dag("training").ticks("2025-01-01", "2027-01-01")
    assert (monthly[0], monthly[-1]) == (datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert len(monthly) == 8
    assert dag.schedule.cron == "0 0 * * *"
