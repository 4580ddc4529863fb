"""The intermediate form between a spec and everything made of it: plain frozen values, JSON and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["training", "monitor"]


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """An asset by which one DAG starts another."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """When a DAG runs. Instants are ISO 8601 in UTC.

    ``first`` and ``last`` bound ``as_of``, inclusive; ``start`` and ``end`` are the same bounds moved back by
    one data interval, as Airflow counts them.
    """

    cron: str | None = None
    timezone: str = "UTC"
    assets: tuple[AssetPlan, ...] = ()
    first: str | None = None
    last: str | None = None
    start: str | None = None
    end: str | None = None
    catchup: bool = False


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task: the step it runs, what it waits for, and where the spec asks for it."""

    task_id: str
    step: str
    upstream: tuple[str, ...]
    line: int
    file: str
    outlets: tuple[AssetPlan, ...] = ()


@dataclass(frozen=True, slots=True)
class DagPlan:
    """One DAG, its tasks in topological order."""

    dag_id: str
    kind: Kind
    schedule: SchedulePlan
    tasks: tuple[TaskPlan, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one spec makes.

    ``spec`` is the spec with its defaults, as JSON; ``spec_hash`` its SHA-256 (16 hexadecimal digits),
    independent of key order, comments and where a value was inherited from.
    """

    pipeline: str
    file: str
    model: str
    description: str
    owner: str
    owner_link: str | None
    tags: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    spec: dict[str, Any]
    spec_hash: str
    dags: tuple[DagPlan, ...]

    def to_json(self) -> dict[str, Any]:
        """The plan as a JSON-ready object; it shares the spec with the plan."""
        return {**_fields(self), "dags": [_dag_json(d) for d in self.dags]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Plan:
        """Read what ``to_json`` wrote. Raises KeyError or TypeError on anything else."""
        return cls(
            **{
                **value,
                "tags": tuple(value["tags"]),
                "links": tuple((name, address) for name, address in value["links"]),
                "dags": tuple(_dag(d) for d in value["dags"]),
            }
        )

    def dag(self, kind: Kind) -> DagPlan | None:
        """The DAG of a kind, if the pipeline has one."""
        return next((d for d in self.dags if d.kind == kind), None)


def _fields(value: Any) -> dict[str, Any]:
    # dataclasses.asdict copies every value below, which costs more than all the rest of keeping a plan.
    return {name: getattr(value, name) for name in value.__slots__}


def _dag_json(dag: DagPlan) -> dict[str, Any]:
    schedule = {**_fields(dag.schedule), "assets": [_fields(a) for a in dag.schedule.assets]}
    tasks = [{**_fields(t), "outlets": [_fields(a) for a in t.outlets]} for t in dag.tasks]
    return {**_fields(dag), "schedule": schedule, "tasks": tasks}


def _dag(value: dict[str, Any]) -> DagPlan:
    schedule = {**value["schedule"], "assets": _assets(value["schedule"]["assets"])}
    tasks = tuple(
        TaskPlan(**{**t, "upstream": tuple(t["upstream"]), "outlets": _assets(t["outlets"])}) for t in value["tasks"]
    )
    return DagPlan(value["dag_id"], value["kind"], SchedulePlan(**schedule), tasks)


def _assets(value: list[dict[str, str]]) -> tuple[AssetPlan, ...]:
    return tuple(AssetPlan(**a) for a in value)
