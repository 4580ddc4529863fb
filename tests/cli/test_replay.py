"""Moving an Airflow through time: the order, what is refused, what is found again, and what is said when it fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.airflow_double import PASSWORD, USER, AirflowDouble, Run, serving
from tidemill.cli.airflow_api import AirflowApi
from tidemill.cli.replay import Limits, Replayed, ReplayError, ReplayResult, Silent, replay
from tidemill.ledger import Ledger, open_ledger
from tidemill.plan.model import AssetPlan, DagPlan, Plan, SchedulePlan
from tidemill.plan.ticks import Tick

MONTHLY, QUARTERLY = "0 0 1 * *", "0 0 1 */3 *"
FAST = Limits(visible=0.2, still=0.4, event=0.3, run=30, poll=0.01)


def plan(**training: object) -> Plan:
    bounds = {"first": "2013-07-01T00:00:00+00:00", "last": "2013-10-01T00:00:00+00:00"}
    asset = AssetPlan("flights.retrain", "tidemill://flights/retrain")
    quarterly = dataclasses.replace(SchedulePlan(cron=QUARTERLY, assets=(asset,), **bounds), **training)  # type: ignore[arg-type]
    dags = (
        DagPlan("flights", "training", quarterly, ()),
        DagPlan("flights.monitor", "monitor", SchedulePlan(cron=MONTHLY, **bounds), ()),
    )
    return Plan("flights", "dags/flights.yaml", "flights", "", "me", None, (), (), {}, "c0ffee00c0ffee00", dags)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def airflow() -> Iterator[AirflowDouble]:
    details = {"is_paused": False, "is_stale": False, "doc_md": "(hash `c0ffee00c0ffee00`; …)"}
    with serving(AirflowDouble(dags={"flights": dict(details), "flights.monitor": dict(details)})) as double:
        yield double


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as opened:
        yield opened


class Told(Silent):
    def __init__(self) -> None:
        self.ticks: list[tuple[int, str, str]] = []
        self.states: list[Mapping[str, str]] = []
        self.runs: list[Replayed] = []
        self.said: list[str] = []

    def tick(self, number: int, tick: Tick) -> None:
        self.ticks.append((number, tick.dag_id, tick.instant.date().isoformat()))

    def tasks(self, states: Mapping[str, str]) -> None:
        self.states.append(states)

    def ended(self, run: Replayed) -> None:
        self.runs.append(run)

    def say(self, text: str) -> None:
        self.said.append(text)


def go(airflow: AirflowDouble, ledger: Ledger, told: Told | None = None, limits: Limits = FAST) -> ReplayResult:
    api = AirflowApi(airflow.url, USER, PASSWORD, patience=0.3)
    try:
        return replay(plan(), api, ledger, progress=told, limits=limits)
    finally:
        api.close()


def test_the_clock_moves_tick_by_tick_and_waits_for_what_a_run_causes(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.causes["flights.monitor", "2013-09-01"] = "flights"
    told = Told()
    result = go(airflow, ledger, told)
    assert [(run.dag_id, run.as_of, run.caused_by is not None) for run in result.runs] == [
        ("flights.monitor", "2013-07-01", False),
        ("flights", "2013-07-01", False),
        ("flights.monitor", "2013-08-01", False),
        ("flights.monitor", "2013-09-01", False),
        ("flights", "2013-09-01", True),
        ("flights.monitor", "2013-10-01", False),
        ("flights", "2013-10-01", False),
    ]
    assert told.runs == list(result.runs)
    assert told.ticks[-1] == (6, "flights", "2013-10-01")
    run = airflow.runs["flights.monitor", "replay__2013-08-01__c0ffee00"]
    assert run.conf == {"as_of": "2013-08-01", "scheduled": True, "interval_start": "2013-07-01"}
    assert airflow.logins == 1


def test_a_replay_that_was_killed_finds_what_it_had_started(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.causes["flights.monitor", "2013-08-01"] = "flights"
    go(airflow, ledger)
    for dag_id, run_id in list(airflow.runs):
        if "2013-10-01" in run_id:
            del airflow.runs[dag_id, run_id]  # as if it had been killed before
    started = len(airflow.started)
    ledger.append("flights", "decision", {"decision": "go"}, as_of=at("2014-01-01"))  # a resumed replay goes on
    told = Told()
    result = go(airflow, ledger, told)
    assert [run.adopted for run in result.runs] == [True] * 5 + [False] * 2
    assert airflow.started[started:] == [("flights.monitor", "2013-10-01"), ("flights", "2013-10-01")]
    assert told.said == ["an earlier replay of this spec is found and continued"]


def test_a_ledger_that_stands_later_refuses_a_new_replay(airflow: AirflowDouble, ledger: Ledger) -> None:
    ledger.append("flights", "decision", {"decision": "go"}, as_of=at("2013-07-02"))
    with pytest.raises(ReplayError, match="The ledger of model 'flights' has come to 2013-07-02 already"):
        go(airflow, ledger)
    assert airflow.started == []


def test_a_ledger_that_stands_at_the_very_tick_does_not(airflow: AirflowDouble, ledger: Ledger) -> None:
    ledger.append("flights", "decision", {"decision": "go"}, as_of=at("2013-07-01"))
    assert len(go(airflow, ledger).runs) == 6


def test_a_failed_task_stops_it_with_its_last_words_and_the_next_replay_runs_it_again(
    airflow: AirflowDouble, ledger: Ledger
) -> None:
    airflow.outcomes["flights", "2013-07-01"] = ["queued", "running", "failed"]
    with pytest.raises(ReplayError) as caught:
        go(airflow, ledger)
    link = f"{airflow.url}/dags/flights/runs/replay__2013-07-01__c0ffee00/tasks/as_of"
    assert str(caught.value).splitlines() == [
        "The task 'as_of' of flights failed, in the run replay__2013-07-01__c0ffee00. Its log ends so:",
        "    reading",
        "    gone",
        "    AirflowFailException: as_of could not",
        "    because of this",
        f"All of it: {link}",
        "Mend the cause and start the replay again: it goes on with the failed task.",
    ]
    told = Told()
    assert len(go(airflow, ledger, told).runs) == 6
    assert airflow.runs["flights", "replay__2013-07-01__c0ffee00"].cleared == 1
    assert "flights failed here before; its failed tasks are run again" in told.said


def test_a_paused_dag_is_said_before_anything_starts(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.dags["flights"]["is_paused"] = True
    with pytest.raises(ReplayError, match=f"'flights' is paused.* Unpause it: {airflow.url}/dags/flights"):
        go(airflow, ledger)
    assert airflow.started == []


def test_a_dag_that_airflow_does_not_have_is_told_with_its_import_error(airflow: AirflowDouble, ledger: Ledger) -> None:
    del airflow.dags["flights"]
    airflow.import_errors["tidemill_errors.py"] = "1 file is broken\n\ndags/flights.yaml:3:1: unknown key"
    with pytest.raises(ReplayError, match=r"has no DAG 'flights'(.|\n)*dags/flights.yaml:3:1: unknown key"):
        go(airflow, ledger)


def test_another_version_of_the_spec_is_not_replayed_for_this_one(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.dags["flights"]["doc_md"] = "(hash `0000000000000000`; …)"
    with pytest.raises(ReplayError, match=r"has another version of dags/flights\.yaml"):
        go(airflow, ledger)


def test_a_dead_scheduler_is_named(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.health["scheduler"] = "unhealthy"
    with pytest.raises(ReplayError, match="Airflow's scheduler is unhealthy"):
        go(airflow, ledger)


def test_what_stands_still_names_the_run_that_has_its_turn_first(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.outcomes["flights", "2013-07-01"] = ["queued"]
    airflow.runs["flights", "manual__1"] = Run("flights", "manual__1", {"as_of": "2013-01-01"}, ["running"])
    with pytest.raises(ReplayError, match=r"Nothing has moved in the run replay__2013-07-01(.|\n)*first: manual__1"):
        go(airflow, ledger)


def test_an_event_that_starts_nothing_is_said(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.causes["flights.monitor", "2013-07-01"] = "flights"
    airflow.deaf = True
    with pytest.raises(ReplayError, match="asked for a run of flights, but Airflow started none"):
        go(airflow, ledger)


def test_a_persons_answer_is_waited_for_without_an_end_and_said_once(airflow: AirflowDouble, ledger: Ledger) -> None:
    airflow.outcomes["flights", "2013-07-01"] = ["awaiting"] * 30 + ["success"]
    told = Told()
    limits = dataclasses.replace(FAST, still=0.1, poll=0.02)
    assert len(go(airflow, ledger, told, limits).runs) == 6
    (asked,) = [text for text in told.said if "a person's answer is needed" in text]
    assert asked.endswith("/tasks/as_of")


def test_a_run_that_somebody_deletes_is_said(airflow: AirflowDouble, ledger: Ledger) -> None:
    class Deletes(Told):
        def tasks(self, states: Mapping[str, str]) -> None:
            airflow.runs.pop(("flights", "replay__2013-07-01__c0ffee00"), None)

    airflow.outcomes["flights", "2013-07-01"] = ["running"] * 50
    with pytest.raises(ReplayError, match=r"of flights is gone: somebody deleted it"):
        go(airflow, ledger, Deletes())
