"""A training as a remote job, through the step itself: who adopts it, when another one begins, what is remembered."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.mlflow_store import copy_store
from tests.platforms import clouds, gcp
from tests.steps.training import SKLEARN, a_version, rows, write_code
from tidemill.ledger.installation import installation_id
from tidemill.platforms.ports import JobRef
from tidemill.project import Project
from tidemill.records import DataVersion
from tidemill.records.training import Part
from tidemill.runtime.files import Result
from tidemill.steps import remote, remote_training, train
from tidemill.steps.code import code_version
from tidemill.steps.context import Forgetful, StepContext, StepError, StepWaits
from tidemill.steps.intent import recall
from tidemill.steps.job_names import job_name

TRAIN = """
import json, time

def train(context):
    if context.params.get("fail"):
        raise ValueError("no such column")
    time.sleep(context.params.get("sleep", 0))
    context.log_metric("rows", len(context.data.train.read_bytes()))
    return {"seed": context.seed, "params": context.params}
"""
SPAN = {"rows": 1, "start": datetime(2013, 4, 1, tzinfo=UTC), "end": datetime(2013, 6, 1, tzinfo=UTC)}
DATA = DataVersion(
    version="0" * 32 + ".dir",
    backend="dvc",
    source="include/rows.parquet",
    path="/nowhere",
    train=Part(name="train", **SPAN),
    holdout=Part(name="holdout", **SPAN),
    columns={"id": "Int64"},
)


class Task:
    """One task of Airflow's: its tries share a memory, and each has a context of its own."""

    def __init__(self, context: StepContext, folder: Path) -> None:
        self.context = context
        self.folder = folder
        self.fetched = 0
        self.links: dict[str, str] = {}
        self.on_stop: list[Callable[[], None]] = []

    def fetch(self) -> Path:
        self.fetched += 1
        rows = self.folder / "rows"
        rows.mkdir(parents=True, exist_ok=True)
        for name in ("train", "holdout"):
            (rows / f"{name}.parquet").write_text(f"rows of {name}")
        return rows

    def tries(self, *, woken: bool = False, cleared: int = 0) -> StepWaits | None:
        """One try: what it waits for; ``None`` if it has ended well."""
        self.links, self.on_stop = {}, []
        context = replace(self.context, woken=woken, cleared=cleared, on_stop=self.on_stop, links=self.links)
        try:
            remote_training.train(context, self.folder / "place", DATA, self.fetch, {})
        except StepWaits as waits:
            return waits
        return None

    def to_its_end(self, *, cleared: int = 0, seconds: float = 60) -> None:
        """Tries until it has ended, as the trigger would wake it."""
        waits, end = self.tries(cleared=cleared), time.monotonic() + seconds
        while waits is not None:
            assert time.monotonic() < end, gcp.emulation().report()
            time.sleep(0.3)
            waits = self.tries(woken=True, cleared=cleared)

    def result(self) -> Result:
        return Result.read(self.folder / "place" / "output.result.json")

    def told(self) -> list[tuple[str, str]]:
        """What the ledger says of the jobs: (attempt, state)."""
        with self.context.open_ledger() as ledger:
            entries = ledger.entries(self.context.model, kinds=["job"])
        return [(e.body["attempt"], e.body["state"]) for e in entries]

    def tried(self) -> list[tuple[str, str, bool]]:
        """Where each attempt was to run, and on what: (place, machine, spot)."""
        with self.context.open_ledger() as ledger:
            entries = ledger.entries(self.context.model, kinds=["job"])
        return [(e.body["place"], e.body["machine"], e.body["spot"]) for e in entries if e.body["state"] == "intended"]

    def jobs(self) -> list[dict[str, Any]]:
        """The jobs that the service holds of this task, the oldest first."""
        with self.context.open_ledger() as ledger:
            mine = installation_id(ledger)
        return [job for job in gcp.emulation().report()["jobs"] if mine in job["name"]]


@pytest.fixture
def task(make_context: Callable[..., StepContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    running = gcp.emulation()
    running.set_faults()

    def make(*, params: dict[str, Any] | None = None, fallback: Any = (), **resources: Any) -> Task:
        context = make_context(
            "train",
            platform={**gcp.PLATFORM, "fallback": list(fallback)},
            train={
                "code": "include.train:train",
                "image": "europe-docker.pkg.dev/acme/ml:1",
                "params": params or {},
                "resources": {"machine": "n1-standard-4", **resources},
            },
        )
        (context.project.root / "include" / "train.py").write_text(dedent(TRAIN))
        connections = clouds.connections(monkeypatch, running)
        memory = Forgetful()
        log = logging.getLogger("test.remote")
        return Task(replace(context, connections=connections, memory=memory, log=log), tmp_path / "task")

    yield make
    running.set_faults()


def test_a_training_is_submitted_waited_for_and_collected(task: Any) -> None:
    trained = task(params={"sleep": 1})
    assert trained.tries() is not None
    number = trained.context.memory.get("job")["id"].rpartition("/")[2]
    assert f"/training/{number}?" in trained.links["console"]
    assert number in trained.links["log"]
    linked = dict(trained.links)
    trained.to_its_end()
    assert trained.links == linked
    assert trained.result().last() == {"rows": float(len("rows of train"))}
    assert (trained.folder / "place" / "output" / "model.pkl").is_file()
    assert trained.told() == [(1, "intended"), (1, "submitted"), (1, "succeeded")]
    assert trained.fetched == 1
    assert len(trained.jobs()) == 1


def test_whoever_comes_later_goes_on_with_the_job_that_is_there(task: Any) -> None:
    trained = task(params={"sleep": 2})
    first = trained.tries()
    again = trained.tries()  # another try of Airflow's: the first one's process was killed
    assert first is not None
    assert again is not None
    assert again.ref == first.ref
    trained.to_its_end()
    trained.to_its_end()  # the model could not be logged, say: the finished job is taken again
    assert len(trained.jobs()) == 1
    assert trained.told() == [(1, "intended"), (1, "submitted"), (1, "succeeded")]


def test_a_kill_between_intent_and_answer_makes_no_second_job(task: Any) -> None:
    trained = task(params={"sleep": 1})
    trained.tries()
    # What a process leaves that is killed after the service has acted, and before it has written that down.
    intent = trained.context.memory.get("job")
    trained.context.memory.set("job", {**intent, "state": "intended", "id": "", "region": ""})
    trained.to_its_end()
    assert len(trained.jobs()) == 1
    assert trained.told() == [(1, "intended"), (1, "submitted"), (1, "succeeded")]


def test_a_kill_before_an_answer_makes_no_second_job_where_lists_are_late(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcp.emulation().set_faults(listing_delay=1.5)
    monkeypatch.setattr(remote, "_SEARCHES", (0.0, 0.5, 2.0))
    trained = task(params={"sleep": 1})
    trained.tries()
    intent = trained.context.memory.get("job")
    trained.context.memory.set("job", {**intent, "state": "intended", "id": "", "region": ""})
    trained.to_its_end()
    assert len(trained.jobs()) == 1


def test_a_cleared_task_ends_its_job_and_pays_for_another(task: Any) -> None:
    trained = task(params={"sleep": 60})
    assert trained.tries() is not None
    first = trained.links["console"]
    second = trained.tries(cleared=1)
    assert second is not None
    assert second.ref.name.endswith("-2")
    assert trained.links["console"] not in ("", first)
    assert trained.told() == [(1, "intended"), (1, "submitted"), (1, "stopped"), (2, "intended"), (2, "submitted")]
    second.cloud.jobs.stop(second.ref)


def test_a_cleared_task_ends_a_job_that_it_does_not_know_where_lists_are_late(
    task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcp.emulation().set_faults(listing_delay=1.5)
    monkeypatch.setattr(remote, "_SEARCHES", (0.0, 0.5, 2.0))
    trained = task(params={"sleep": 60})
    waits = trained.tries()
    intent = trained.context.memory.get("job")
    trained.context.memory.set("job", {**intent, "state": "intended", "id": "", "region": ""})
    second = trained.tries(cleared=1)
    try:
        assert clouds.until_ended(waits.cloud.jobs, [waits.ref])[waits.ref.id].state == "stopped"
    finally:
        second.cloud.jobs.stop(second.ref)


def test_a_job_that_was_stopped_with_its_task_begins_anew_when_the_task_does(task: Any) -> None:
    trained = task(params={"sleep": 60})
    waits = trained.tries()
    waits.cloud.jobs.stop(waits.ref)
    clouds.until_ended(waits.cloud.jobs, [waits.ref])
    second = trained.tries()
    assert second is not None
    assert second.ref.name.endswith("-2")
    second.cloud.jobs.stop(second.ref)


def test_a_task_that_is_told_to_end_and_waits_all_the_same_begins_anew_when_it_is_woken(task: Any) -> None:
    trained = task(params={"sleep": 60})
    waits = trained.tries()
    for stop in trained.on_stop:  # as when the machine goes down in the moment between its last step and its wait
        stop()
    clouds.until_ended(waits.cloud.jobs, [waits.ref])
    second = trained.tries(woken=True)
    assert second is not None
    assert second.ref.name.endswith("-2")
    second.cloud.jobs.stop(second.ref)
    clouds.until_ended(second.cloud.jobs, [second.ref])
    with pytest.raises(StepError, match="was stopped"):  # that one was somebody else's doing
        trained.tries(woken=True)


def test_a_job_that_somebody_stops_under_a_waiting_task_fails_it(task: Any) -> None:
    trained = task(params={"sleep": 60})
    waits = trained.tries()
    waits.cloud.jobs.stop(waits.ref)
    clouds.until_ended(waits.cloud.jobs, [waits.ref])
    with pytest.raises(StepError, match="was stopped") as error:
        trained.tries(woken=True)
    assert not error.value.retry


def test_a_mistake_in_the_code_is_the_users_and_another_try_is_another_attempt(
    task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing = task(params={"fail": True})
    with caplog.at_level(logging.ERROR, "test.remote"), pytest.raises(StepError) as error:
        failing.to_its_end()
    assert not error.value.retry
    assert "no such column" in caplog.text
    assert "train.py" in caplog.text
    with pytest.raises(StepError):
        failing.to_its_end()
    assert [state for _, state in failing.told()] == ["intended", "submitted", "failed"] * 2


def test_a_job_that_was_deleted_behind_our_back_is_trained_again_by_the_next_try(task: Any) -> None:
    trained = task(params={"sleep": 60})
    waits = trained.tries()
    gcp.remove(waits.ref.id)
    with pytest.raises(StepError, match="no longer knows it") as error:
        trained.tries(woken=True)
    assert error.value.retry
    second = trained.tries()
    assert second is not None
    assert second.ref.name.endswith("-2")
    second.cloud.jobs.stop(second.ref)


def test_a_machine_that_is_not_to_be_had_is_followed_by_the_next_and_spot_by_on_demand(task: Any) -> None:
    checkpoint = f"{gcp.PLATFORM['bucket']}/checkpoints"
    trained = task(machine=["n1-standard-8", "n1-standard-4"], spot={"checkpoint": checkpoint, "wait": "1 s"})
    gcp.emulation().set_faults(no_capacity=["n1-standard-8", "n1-standard-4", "spot"])
    with pytest.raises(StepError, match="no machine to be had") as error:
        trained.to_its_end()
    assert error.value.retry
    assert [attempt for attempt, state in trained.told() if state == "intended"] == [1, 2, 3, 4]
    gcp.emulation().set_faults(no_capacity=["n1-standard-8", "spot"])
    trained.to_its_end()
    with trained.context.open_ledger() as ledger:
        last = ledger.entries(trained.context.model, kinds=["job"])[-1].body
    assert (last["state"], last["machine"], last["spot"]) == ("succeeded", "n1-standard-4", False)


HERE, THERE = gcp.PLATFORM["region"], gcp.US["region"]


def test_a_region_without_machines_is_followed_by_the_next_place_with_all_that_is_its_own(task: Any) -> None:
    other = {**gcp.US, "image": "us-docker.pkg.dev/acme/ml:1"}
    trained = task(machine=["n1-standard-8", "n1-standard-4"], fallback=[other])
    gcp.emulation().set_faults(no_capacity=[HERE])
    trained.to_its_end()
    assert trained.tried() == [
        (HERE, "n1-standard-8", False),
        (HERE, "n1-standard-4", False),
        (THERE, "n1-standard-8", False),
    ]
    last = trained.jobs()[-1]
    assert f"/locations/{THERE}/" in last["id"]
    assert last["image"] == other["image"]
    assert f"/locations/{THERE}/" in trained.links["console"]
    # The rows came from there, and what was trained is fetched from there.
    assert trained.result().last() == {"rows": float(len("rows of train"))}
    storage = remote.cloud_of(trained.context, trained_at(trained)).storage
    assert {stored.uri.split("/tidemill/")[0] for stored in storage.list(gcp.US["bucket"])} == {gcp.US["bucket"]}
    assert {stored.uri.rpartition("/")[2] for stored in storage.list(gcp.US["bucket"])} >= {
        "code.tar.gz", "train.parquet", "holdout.parquet", "job.json",
    }  # fmt: skip


def trained_at(task: Task) -> Any:
    intent = recall(task.context)
    assert intent is not None
    return intent.where.platform


def test_a_quota_that_is_used_up_sends_the_training_on_as_well(task: Any) -> None:
    trained = task(machine=["n1-standard-8", "n1-standard-4"])
    gcp.emulation().set_faults(no_quota=["n1-standard-8"])
    trained.to_its_end()
    assert trained.told() == [(1, "intended"), (1, "failed"), (2, "intended"), (2, "submitted"), (2, "succeeded")]
    assert trained.tried()[-1] == (HERE, "n1-standard-4", False)


def test_a_spot_machine_elsewhere_comes_before_one_on_demand_here(task: Any) -> None:
    spot = {"checkpoint": f"{gcp.PLATFORM['bucket']}/checkpoints", "wait": "1 s"}
    trained = task(spot=spot, fallback=[{**gcp.US, "checkpoint": f"{gcp.US['bucket']}/checkpoints"}])
    gcp.emulation().set_faults(no_capacity=["spot"])
    trained.to_its_end()
    machine = "n1-standard-4"
    assert trained.tried() == [(HERE, machine, True), (THERE, machine, True), (HERE, machine, False)]


def test_a_job_that_is_queued_for_too_long_goes_elsewhere_and_is_stopped_here(task: Any) -> None:
    trained = task(fallback=[{**gcp.US, "after": "1 s"}])
    gcp.emulation().set_faults(start_delay=60)
    waits = trained.tries()
    assert waits.queued_until is not None
    time.sleep(1.1)
    gcp.emulation().set_faults()
    waits = trained.tries(woken=True)
    assert waits is not None
    assert waits.queued_until is None
    assert trained.tried()[-1][0] == THERE
    trained.to_its_end()
    states = [job["state"] for job in trained.jobs()]
    assert states == ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"]


@pytest.mark.parametrize("edited", [False, True])
def test_who_comes_later_finds_the_job_at_its_place_whatever_the_spec_says_by_then(task: Any, edited: bool) -> None:
    trained = task(params={"sleep": 3}, fallback=[gcp.US])
    gcp.emulation().set_faults(no_capacity=[HERE])
    waits = trained.tries()
    while trained.tried()[-1][0] == HERE:
        time.sleep(0.2)
        waits = trained.tries(woken=True)
    if edited:
        spec = trained.context.spec
        platform = spec.platform.model_copy(update={"fallback": [], "region": "asia-east1"})
        trained.context = replace(trained.context, spec=spec.model_copy(update={"platform": platform}))
    # What a process leaves that is killed after the service has acted, and before it has written that down.
    intent = trained.context.memory.get("job")
    trained.context.memory.set("job", {**intent, "state": "intended", "id": "", "region": ""})
    again = trained.tries()
    assert again.ref == waits.ref
    assert again.cloud.platform.region == THERE
    second = trained.tries(cleared=1)  # ends the job where it is, and begins where the spec likes it best
    assert clouds.until_ended(again.cloud.jobs, [again.ref])[again.ref.id].state == "stopped"
    assert trained.tried()[2][0] == ("asia-east1" if edited else HERE)
    if second is not None:
        second.cloud.jobs.stop(second.ref)


def test_a_training_is_recorded_as_what_was_submitted_whatever_the_spec_says_by_then(
    task: Any, project: Project, store_template: Path
) -> None:
    copy_store(store_template, project)
    data = a_version(project, rows(400, 1), rows(200, 2))
    ctx = task(params={"C": 0.5}).context
    ctx = replace(ctx, results={**ctx.results, "data": data})
    write_code(project, SKLEARN)
    code = code_version(project.root)
    with pytest.raises(StepWaits) as begun:
        train.run(ctx)
    waits = begun.value
    write_code(project, f"{SKLEARN}\n# edited")
    given = ctx.spec.train.model_copy(update={"params": {"C": 2.0}, "seed": 7})
    edited = replace(ctx, spec=ctx.spec.model_copy(update={"train": given}), spec_hash="6" * 12, woken=True)
    clouds.until_ended(waits.cloud.jobs, [waits.ref])
    made = train.run(edited)
    assert (made.params, made.seed, made.spec_hash) == ({"C": 0.5}, ctx.spec.train.seed, ctx.spec_hash)
    assert made.code_version == code != code_version(project.root)
    assert train.run(replace(edited, woken=False)) == made, "another try records the same"
    with pytest.raises(StepWaits):  # whoever clears the task wants what the spec says now
        train.run(replace(edited, cleared=1, woken=False))
    cleared = recall(edited)
    assert cleared is not None
    assert cleared.given["params"] == {"C": 2.0}
    waits.cloud.jobs.stop(JobRef(cleared.service, cleared.name, cleared.id, cleared.region))


def test_waiting_for_a_spot_machine_has_an_end(task: Any) -> None:
    trained = task(spot={"checkpoint": f"{gcp.PLATFORM['bucket']}/checkpoints", "wait": "1 s"})
    gcp.emulation().set_faults(start_delay=60)
    waits = trained.tries()
    assert waits.queued_until is not None
    time.sleep(1.1)
    gcp.emulation().set_faults()
    trained.to_its_end()
    assert (1, "stopped") in trained.told()
    assert trained.told()[-1] == (2, "succeeded")


def test_names_are_told_apart_and_taken_by_every_service(make_context: Callable[..., StepContext]) -> None:
    one = make_context("train", pipeline="Flüge_und_ein_sehr_langer_Name_der_nicht_aufhören_will" * 2)
    other = replace(one, run_id="another")
    names = {
        job_name(one, "0a1b2c3d", 1),
        job_name(one, "0a1b2c3d", 2),
        job_name(one, "ffffffff", 1),
        job_name(other, "0a1b2c3d", 1),
        job_name(replace(one, part={"name": "a"}), "0a1b2c3d", 1),
    }
    assert len(names) == 5
    for name in names:
        assert len(name) <= 63
        assert name == name.lower()
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert name[0].isalpha()
        assert "--" not in name
        assert name[-1] != "-"
