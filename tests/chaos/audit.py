"""What is left when every run has ended, counted: from the services' own view, the ledger, MLflow and its registry."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tests.chaos.lives import Life
from tests.chaos.world import World
from tests.emulators import Emulation
from tidemill.ledger import Entry, views

State = Literal["live", "succeeded", "failed", "stopped"]
_ENDS: Final[Mapping[str, State]] = {
    "Completed": "succeeded",
    "Complete": "succeeded",
    "SUCCEEDED": "succeeded",
    "Failed": "failed",
    "FAILED": "failed",
    "Stopped": "stopped",
    "Canceled": "stopped",
    "CANCELLED": "stopped",
}
_ONCE: Final = (views.DATA_VERSION, views.RUN, views.EVALUATION, views.REGISTERED, views.PROMOTION)


@dataclass(frozen=True)
class Seen:
    """A job as its service has it."""

    service: str
    name: str
    state: State


@dataclass
class Found:
    """The problems by kind, each with the run it is about, and what is told besides."""

    duplicates: list[str] = field(default_factory=list)
    lost_jobs: list[str] = field(default_factory=list)
    lost_records: list[str] = field(default_factory=list)
    jobs: int = 0
    again: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> int:
        """How many there are."""
        return len(self.duplicates) + len(self.lost_jobs) + len(self.lost_records)


def jobs_of(emulations: Iterable[Emulation]) -> list[Seen]:
    """Every job that a service has taken."""
    return [job for emulation in emulations for job in _reported(emulation.report())]


def _reported(report: Mapping[str, Any]) -> list[Seen]:
    if "sagemaker" in report:
        both = ("sagemaker", "batch")
        return [Seen(service, job["name"], _state(job["status"])) for service in both for job in report[service]]
    jobs = report["jobs"]
    if isinstance(jobs, dict):
        return [Seen("azureml", name, _state(job["status"])) for name, job in jobs.items()]
    if "contexts" in report:
        return [Seen("vertex", job["name"], _state(job["state"])) for job in jobs]
    ends = {job["name"]: [condition["type"] for condition in job["status"].get("conditions", ())] for job in jobs}
    return [Seen("kubernetes", name, _state(of[0] if of else "live")) for name, of in ends.items()]


def _state(word: str) -> State:
    return _ENDS.get(word.rpartition("_")[2] if word.startswith("JOB_STATE") else word, "live")


def examine(world: World, lives: Sequence[Life]) -> Found:
    """Count. All runs have ended, or never will."""
    found = Found()
    whose = {life.run_id: life.told() for life in lives}
    with world.ledger() as ledger:
        entries = {name: ledger.entries(name) for name in world.pipelines}
        for name in [*world.pipelines, "@installation"]:
            found.lost_records += [f"the chain of {name}: {problem}" for problem in ledger.verify(name)]
    every = [entry for chain in entries.values() for entry in chain]
    _jobs(found, jobs_of(world.emulations.values()), [entry for entry in every if entry.kind == views.JOB], whose)
    _records(found, lives, every)
    _registry(found, world, entries, whose)
    return found


def _jobs(found: Found, seen: Sequence[Seen], noted: Sequence[Entry], whose: Mapping[str, str]) -> None:
    states: dict[str, dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for entry in noted:
        states[str(entry.body["name"])][str(entry.body["state"])] = entry.body
    runs = {name: _whose(next(iter(of.values())), whose) for name, of in states.items()}
    found.jobs = len(seen)
    for (service, name), count in Counter((job.service, job.name) for job in seen).items():
        if count > 1:
            found.duplicates.append(f"{count} jobs {name} in {service}; {runs.get(name, 'of nobody')}")
    by_name = {job.name: job for job in seen}
    for job in by_name.values():
        cause, _, number = job.name.rpartition("-")
        before = by_name.get(f"{cause}-{int(number) - 1}")
        if before is not None:
            found.again[f"{before.state} before it"] += 1
            if before.state not in {"failed", "stopped"}:
                found.duplicates.append(f"{job.name}, though {before.name} {before.state}; {runs.get(job.name)}")
        if job.name not in states:
            found.lost_jobs.append(f"{job.name} in {job.service} is in no ledger")
        elif not states[job.name].keys() & {"succeeded", "failed", "stopped"}:
            found.lost_records.append(f"how {job.name} ended ({job.state}) is not in the ledger; {runs[job.name]}")
        if job.state == "live":
            found.lost_jobs.append(f"{job.name} in {job.service} still runs; {runs.get(job.name, 'of nobody')}")
    for name, of in states.items():
        if "submitted" in of and name not in by_name:
            found.lost_jobs.append(f"{name} was submitted, and the service does not have it; {runs[name]}")


def _whose(body: Mapping[str, Any], whose: Mapping[str, str]) -> str:
    return whose.get(str(body["dag_run"]), str(body["dag_run"]))


def _records(found: Found, lives: Iterable[Life], every: Iterable[Entry]) -> None:
    count = Counter((entry.kind, str(entry.body.get("dag_run"))) for entry in every)
    for life in lives:
        if life.state != "success":
            continue
        for kind in _ONCE:
            if (times := count[kind, life.run_id]) != 1:
                found.lost_records.append(f"{kind} is in the ledger {times} times; {life.told()}")


def _registry(found: Found, world: World, entries: Mapping[str, list[Entry]], whose: Mapping[str, str]) -> None:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(world.live.address.mlflow)
    for name, chain in entries.items():
        versions = client.search_model_versions(f"name = '{name}'", max_results=1000)
        known = {str(entry.body["version"]): entry.body for entry in chain if entry.kind == views.REGISTERED}
        for run_id, count in Counter(str(version.run_id) for version in versions).items():
            if count > 1:
                body = next((body for body in known.values() if body["run_id"] == run_id), {"dag_run": "nobody's"})
                found.lost_records.append(f"{count} versions of {name} of MLflow run {run_id}; {_whose(body, whose)}")
        for number in known.keys() ^ {str(version.version) for version in versions}:
            where = "MLflow" if number in known else "the ledger"
            found.lost_records.append(f"version {number} of {name} is not in {where}")
        champion = views.champion(chain)
        wanted = None if champion is None else str(champion.body["version"])
        if (alias := world.live.aliased(name)) != wanted:
            found.lost_records.append(f"the alias of {name} is on {alias}, the champion is {wanted}")
        _tracked_once(found, client, name, whose)


def _tracked_once(found: Found, client: Any, name: str, whose: Mapping[str, str]) -> None:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    for run_id, count in Counter(run.data.tags.get("tidemill.dag_run", "") for run in runs).items():
        if count > 1:
            found.lost_records.append(f"{count} MLflow runs of one; {whose.get(run_id, run_id)}")
