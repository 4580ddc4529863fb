"""The operators: what a step is given of a run, and what Airflow hears of what became of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from tests.airflow.conftest import BASE, WHOLE
from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.records import AsOf, Decision, Promotion, RetrainRequest, Scoring
from tidemill.steps.context import StepContext, StepError, StepSkipped

AS_OF = AsOf(instant=datetime(2013, 10, 1, tzinfo=UTC), cause="scheduled")
GO = Decision(decision="go", cause="scheduled", why=("the schedule",))
Step = Callable[[StepContext], Any]
Operator = Callable[..., Any]


class TaskInstance:
    """What an operator uses of Airflow's task instance."""

    dag_id, run_id, task_id, try_number, max_tries = "flights", "manual__1", "data", 2, 3

    def __init__(self, pulled: dict[str, Any]) -> None:
        self.pulled = pulled
        self.pushed: dict[str, Any] = {}

    def xcom_pull(self, task_ids: str = "", key: str = "") -> Any:
        return self.pushed.get(key) if key else self.pulled.get(task_ids)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(pulled: dict[str, Any] | None = None, **run: Any) -> dict[str, Any]:
    """The context of a task, as far as it is used."""
    import pendulum

    facts = {
        "run_after": pendulum.datetime(2013, 10, 1, 2, tz="Europe/Berlin"),
        "run_type": SimpleNamespace(value="scheduled"),
        "data_interval_start": pendulum.datetime(2013, 7, 1),
        "data_interval_end": pendulum.datetime(2013, 10, 1),
    }
    return {
        "ti": TaskInstance(pulled or {}),
        "dag_run": SimpleNamespace(**(facts | run)),
        "params": {"as_of": None, "scheduled": False},
        "triggering_asset_events": {},
        "outlet_events": {},
    }


@pytest.fixture
def operator(plan_of: Callable[[str], Plan], project: Project, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """The operator of a task of a whole pipeline, whose step is a function of the test."""
    from tidemill.airflow.factory import build

    plan = plan_of(WHOLE)

    def make(task_id: str, step: Step) -> Any:
        kind = "monitor" if task_id in {"monitor", "request"} else "training"
        dag_plan = plan.dag(kind)  # type: ignore[arg-type]
        assert dag_plan is not None
        dag = build(plan, dag_plan, project.root / "dags" / "flights.yaml", project)
        monkeypatch.setattr(f"tidemill.steps.{task_id}.run", step)
        return dag.get_task(task_id)

    return make


def test_a_step_is_given_the_run_as_airflow_knows_it(operator: Operator, project: Project) -> None:
    seen: list[StepContext] = []

    def step(ctx: StepContext) -> AsOf:
        seen.append(ctx)
        return AS_OF

    pulled = {"as_of": AS_OF.to_json(), "retrain": GO.to_json()}
    assert operator("data", step).execute(context(pulled)) == AS_OF.to_json()
    (ctx,) = seen
    assert (ctx.pipeline, ctx.dag_id, ctx.run_id, ctx.task_id, ctx.try_number) == (
        "flights", "flights", "manual__1", "data", 2,
    )  # fmt: skip
    assert ctx.as_of == AS_OF
    assert ctx.results == {"as_of": AS_OF, "retrain": GO}
    assert ctx.project == project
    assert ctx.model == "flights"
    assert ctx.spec.promote.approval == "manual"
    assert ctx.answer is None


def test_instants_reach_a_step_in_utc(operator: Operator) -> None:
    seen: list[StepContext] = []

    def step(ctx: StepContext) -> AsOf:
        seen.append(ctx)
        return AS_OF

    operator("as_of", step).execute(context())
    trigger = seen[0].trigger
    assert trigger.run_after == datetime(2013, 10, 1, tzinfo=UTC)
    assert trigger.run_after.tzinfo is UTC
    assert (trigger.interval_start, trigger.interval_end) == (
        datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 10, 1, tzinfo=UTC),
    )  # fmt: skip
    assert trigger.run_type == "scheduled"


def test_a_run_of_events_has_no_interval_but_their_extras(operator: Operator) -> None:
    seen: list[StepContext] = []

    def step(ctx: StepContext) -> AsOf:
        seen.append(ctx)
        return AS_OF

    extra = {"as_of": "2013-10-01", "reasons": ["drift"]}
    asset = SimpleNamespace(name="flights.retrain")
    events = [SimpleNamespace(extra=extra, timestamp=datetime(2013, 11, 1, tzinfo=UTC), asset=asset)]
    given = context(data_interval_start=None, data_interval_end=None, run_type="asset_triggered")
    given["triggering_asset_events"] = {"flights.retrain": events}
    operator("as_of", step).execute(given)
    trigger = seen[0].trigger
    assert (trigger.interval_start, trigger.interval_end) == (None, None)
    assert trigger.events == ((extra, datetime(2013, 11, 1, tzinfo=UTC), "flights.retrain"),)


def test_nothing_to_do_is_skipped_and_its_record_kept(operator: Operator) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    def step(ctx: StepContext) -> Any:
        raise StepSkipped("no training: cooling down; spent", no)

    no = Decision(decision="no", cause="asset", why=("cooling down", "spent"))
    given = context()
    task = operator("retrain", step)
    with pytest.raises(AirflowSkipException, match="cooling down; spent"):
        task.execute(given)
    assert given["ti"].pushed == {"return_value": no.to_json()}
    assert task.said == "no training: cooling down\nspent"


def test_what_was_decided_is_stored_when_the_task_has_run(operator: Operator) -> None:
    """Airflow shows a task's fields as *Rendered Templates*, and stores them again after a task that asks for it."""
    refused = Promotion(
        model="flights", version="4", outcome="refused", reasons=("roc_auc is 0.5", "too slow"), champion_before="3",
        data_version="d",
    )  # fmt: skip
    task = operator("promote", lambda ctx: refused)
    assert (tuple(task.template_fields), task.overwrite_rtif_after_execution) == (("said",), True)
    task.execute(context())
    assert task.said == "version 4 refused: roc_auc is 0.5\ntoo slow"
    assert not operator("data", lambda ctx: GO).template_fields


@pytest.mark.parametrize("retry", [False, True])
def test_an_error_fails_at_once_or_may_be_tried_again_and_shows_no_inside(operator: Operator, retry: bool) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    def step(ctx: StepContext) -> Any:
        try:
            raise ValueError("inside")
        except ValueError as e:
            raise StepError("no such column", retry=retry) from e

    with pytest.raises(AirflowException, match="no such column") as caught:
        operator("data", step).execute(context())
    assert isinstance(caught.value, AirflowFailException) is not retry
    assert caught.value.__suppress_context__


def test_a_ledger_that_cannot_be_reached_may_be_tried_again(operator: Operator) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from tidemill.ledger import LedgerError

    def step(ctx: StepContext) -> Any:
        raise LedgerError("the ledger is locked")

    with pytest.raises(AirflowException, match="the ledger is locked") as caught:
        operator("data", step).execute(context())
    assert not isinstance(caught.value, AirflowFailException)


def test_a_request_goes_out_with_the_event(operator: Operator) -> None:
    request = RetrainRequest(as_of=AS_OF.instant, reasons=("drift",), version="3")
    task = operator("request", lambda ctx: request)
    given = context()
    given["outlet_events"] = {outlet: SimpleNamespace(extra=None) for outlet in task.outlets}
    task.execute(given)
    assert [event.extra for event in given["outlet_events"].values()] == [request.to_json()]


def test_a_scorings_event_carries_its_as_of(
    plan_of: Callable[[str], Plan], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tidemill.airflow.factory import build

    plan = plan_of(BASE + "score: {schedule: monthly}\n")
    dag_plan = plan.dag("score")
    assert dag_plan is not None
    dag = build(plan, dag_plan, project.root / "dags" / "flights.yaml", project)
    assert [task.task_id for task in dag.tasks] == ["as_of", "score"]
    task: Any = dag.get_task("score")
    assert [(outlet.name, outlet.uri) for outlet in task.outlets] == [("flights.scores", "tidemill://flights/scores")]
    made = Scoring(
        model="flights", version="3", data_version="d", as_of=AS_OF.instant, start=AS_OF.instant, end=AS_OF.instant,
        rows=1, parts=1, path="p",
    )  # fmt: skip
    monkeypatch.setattr("tidemill.steps.score.run", lambda ctx: made)
    given = context({"as_of": AS_OF.to_json()})
    given["outlet_events"] = {outlet: SimpleNamespace(extra=None) for outlet in task.outlets}
    assert task.execute(given) == made.to_json()
    assert task.said == "version 3 scored 1 rows: p"
    (event,) = given["outlet_events"].values()
    assert event.extra == made.to_json()
    assert event.extra["as_of"] == "2013-10-01T00:00:00+00:00"


def test_a_persons_answer_reaches_the_promotion(operator: Operator) -> None:
    seen: list[StepContext] = []

    def step(ctx: StepContext) -> Decision:
        seen.append(ctx)
        return GO

    answer = {"chosen_options": ["Approve"], "responded_by_user": {"id": "1", "name": "ada"}}
    operator("promote", step).execute(context({"as_of": AS_OF.to_json(), "approve": answer}))
    assert seen[0].answer == answer
    assert "approve" not in seen[0].results  # an answer is no record


def test_a_record_of_another_version_is_told_and_not_guessed(operator: Operator) -> None:
    from tidemill.records import RecordError

    with pytest.raises(RecordError, match="as_of/1"):
        operator("data", lambda ctx: AS_OF).execute(context({"as_of": AS_OF.to_json() | {"record": "as_of/9"}}))


def test_the_question_shows_what_is_to_be_decided(plan_of: Callable[[str], Plan], project: Project) -> None:
    import jinja2

    from tidemill.airflow.factory import build

    plan = plan_of(WHOLE)
    dag_plan = plan.dag("training")
    assert dag_plan is not None
    task: Any = build(plan, dag_plan, project.root / "dags" / "flights.yaml", project).get_task("approve")
    assert task.options == ["Approve", "Reject"]
    assert task.subject == "Promote a new version of flights?"
    scores = {"metrics": {"roc_auc": 0.7, "log_loss": None}}
    evaluation = {"rows": 500, "champion_version": "3", "challenger": scores, "champion": {"metrics": {"roc_auc": 0.6}}}
    pulled = {"evaluate": evaluation, "register": {"version": "4", "model": "flights"}}
    text = jinja2.Template(task.body).render(ti=TaskInstance(pulled))
    assert "Version **4** of **flights**, judged on 500 holdout rows." in text
    assert "| roc_auc | 0.7 | 0.6 |" in text
    pulled["evaluate"] = evaluation | {"champion": None, "champion_version": None}
    text = jinja2.Template(task.body).render(ti=TaskInstance(pulled))
    assert "champion (none)" in text
    assert "| roc_auc | 0.7 |  |" in text


def test_only_what_makes_something_in_mlflow_links_there(plan_of: Callable[[str], Plan], project: Project) -> None:
    from tidemill.airflow.factory import build

    plan = plan_of(BASE)
    dag = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project)
    linked = {task.task_id for task in dag.tasks if getattr(task, "operator_extra_links", ())}
    assert linked == {"train", "register", "promote"}


CLOUD = BASE.replace(
    "provider: local", "provider: gcp, region: europe-west4, project: acme, bucket: gs://acme"
).replace("train:\n", "train:\n  image: acme/ml:1\n  resources: {machine: n1-standard-4}\n")


def test_what_runs_on_a_service_links_to_its_job_there(plan_of: Callable[[str], Plan], project: Project) -> None:
    from tidemill.airflow.factory import build

    plan = plan_of(CLOUD)
    dag = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project)
    links = {task.task_id: [link.name for link in getattr(task, "operator_extra_links", ())] for task in dag.tasks}
    assert {name: found for name, found in links.items() if found} == {
        "train": ["Job", "Job log", "MLflow"], "register": ["MLflow"], "promote": ["MLflow"],
    }  # fmt: skip


@pytest.mark.parametrize(("steps", "away"), [("", {"train", "validate", "evaluate"}), ("steps: [score], ", {"train"})])
def test_steps_that_run_as_processing_jobs_link_to_them_and_count_clears(
    plan_of: Callable[[str], Plan], project: Project, steps: str, away: set[str]
) -> None:
    from tidemill.airflow.factory import build

    role = "role: 'arn:aws:iam::123456789012:role/ml'"
    platform = (
        f"provider: aws, region: eu-west-1, bucket: s3://acme, {role}, processing: {{{steps}machine: ml.m5.large}}"
    )
    train = "train:\n  service: sagemaker\n  image: acme/ml:1\n  resources: {machine: ml.m5.xlarge}\n"
    plan = plan_of(BASE.replace("provider: local", platform).replace("train:\n", train) + "score: {window: 1 month}\n")
    dag = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project)
    links = {task.task_id: {link.name for link in getattr(task, "operator_extra_links", ())} for task in dag.tasks}
    assert {name for name, found in links.items() if "Job log" in found} == away & links.keys()
    task: Any = dag.get_task("evaluate")
    assert task._context(context({"as_of": AS_OF.to_json()})).cleared == 3


def links(task: Any, given: dict[str, Any]) -> dict[str, str]:
    """What Airflow stores when a task's process ends, whatever became of the task."""
    for link in task.operator_extra_links:
        given["ti"].xcom_push(link.xcom_key, link.get_link(task, ti_key=given["ti"]))
    return {link.name: given["ti"].pushed[link.xcom_key] for link in task.operator_extra_links}


def test_links_are_those_that_the_step_told_last_and_stay_when_it_tells_none(
    operator: Operator, plan_of: Callable[[str], Plan], project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowException

    from tidemill.airflow.factory import build

    plan = plan_of(CLOUD)
    told: dict[str, str] = {"console": "https://c/1", "log": ""}

    def step(ctx: StepContext) -> Any:
        ctx.links.update(told)
        raise StepError("the job failed", retry=True)

    monkeypatch.setattr("tidemill.steps.train.run", step)

    def tried(given: dict[str, Any], method: str = "execute") -> dict[str, str]:
        task = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project).get_task("train")
        with pytest.raises(AirflowException, match="the job failed"):
            getattr(task, method)(given, *([None] if method == "wake" else []))
        return links(task, given)

    given = context()
    assert tried(given) == {"Job": "https://c/1", "Job log": "", "MLflow": ""}
    told.clear()  # the wait failed, and the step never got to its job
    assert tried(given, "wake")["Job"] == "https://c/1"
    told.update(console="https://c/2", log="https://l/2", mlflow="https://m")
    assert tried(given, "wake") == {"Job": "https://c/2", "Job log": "https://l/2", "MLflow": "https://m"}
    told.update(console="", log="")  # another attempt, whose job the service has not taken
    assert tried(given, "wake") == {"Job": "", "Job log": "", "MLflow": "https://m"}
