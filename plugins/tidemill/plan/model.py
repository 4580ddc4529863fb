"""The intermediate form between a spec and everything made of it: plain frozen values, JSON and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Kind = Literal["training", "score", "monitor", "workflow"]

Value = Any
"""A JSON value. Where it is an argument, an object with one of these keys stands for more than itself:
``$timedelta`` (seconds), ``$datetime`` (ISO 8601), ``$function`` (``module:function``), ``$object`` (a class,
its ``with`` and ``args`` beside it), ``$output`` (``[task, field or None]``), ``$each`` (an argument of the group)."""


@dataclass(frozen=True, slots=True)
class AssetPlan:
    """An asset by which one DAG starts another."""

    name: str
    uri: str


@dataclass(frozen=True, slots=True)
class SchedulePlan:
    """When a DAG runs. Instants are ISO 8601 in UTC.

    ``first`` and ``last`` bound ``as_of``, inclusive; ``start`` and ``end`` are the same bounds moved back by
    one data interval, as Airflow counts them. ``cron`` is the schedule whose runs have data intervals; every other
    one is ``other``: ``{"preset"}``, ``{"crons", "timezone"}``, ``{"every", "data_interval"}`` (seconds), or
    ``{"class", "with"}``. ``condition`` is an expression of assets: ``{"asset"}``, ``{"alias"}``, ``{"any"}``,
    ``{"all"}``.
    """

    cron: str | None = None
    timezone: str = "UTC"
    assets: tuple[AssetPlan, ...] = ()
    first: str | None = None
    last: str | None = None
    start: str | None = None
    end: str | None = None
    catchup: bool = False
    other: dict[str, Value] | None = None
    condition: dict[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a task of the user's own is built from.

    ``target`` is the operator's class, or the function with its ``decorator``; ``arguments`` are theirs, ``options``
    the decorator's, ``settings`` Airflow's own. ``expand``: argument → values, or values that are each the arguments
    of one instance. ``of``: the setups that a teardown belongs to.
    """

    target: str
    decorator: str | None = None
    arguments: dict[str, Value] = field(default_factory=dict)
    options: dict[str, Value] = field(default_factory=dict)
    settings: dict[str, Value] = field(default_factory=dict)
    expand: Value = None
    inlets: tuple[Value, ...] = ()
    outlets: tuple[Value, ...] = ()
    setup: bool = False
    teardown: bool = False
    of: tuple[str, ...] = ()
    fail_run: bool = False


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """One task: the stage it runs, or the step of the user's; what it waits for, and where the spec asks for it.

    ``upstream`` names tasks and groups. ``followers``, of the task ``promote`` alone: outcome → the tasks that run
    after it.
    """

    task_id: str
    step: str
    upstream: tuple[str, ...]
    line: int
    file: str
    outlets: tuple[AssetPlan, ...] = ()
    group: str | None = None
    own: StepPlan | None = None
    followers: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """A group of tasks; ``group_id`` and ``parent`` are full ids."""

    group_id: str
    upstream: tuple[str, ...]
    parent: str | None = None
    prefix: bool = True
    defaults: dict[str, Value] = field(default_factory=dict)
    expand: Value = None
    tooltip: str = ""
    display_name: str = ""


@dataclass(frozen=True, slots=True)
class DagPlan:
    """One DAG, its tasks in topological order, its groups from the outside in.

    ``settings`` are arguments of Airflow's DAG by its names, ``defaults`` its default arguments of tasks.
    """

    dag_id: str
    kind: Kind
    schedule: SchedulePlan
    tasks: tuple[TaskPlan, ...]
    groups: tuple[GroupPlan, ...] = ()
    settings: dict[str, Value] = field(default_factory=dict)
    defaults: dict[str, Value] = field(default_factory=dict)
    params: dict[str, Value] = field(default_factory=dict)

    def flat(self) -> tuple[TaskPlan, ...]:
        """The tasks with those right before each, groups left out: what comes after a group comes after its last
        tasks, and its first ones come after what comes before it."""
        if not self.groups:
            return self.tasks
        inside: dict[str, set[str]] = {group.group_id: set() for group in self.groups}
        parents = {group.group_id: group.parent for group in self.groups}
        for task in self.tasks:
            at = task.group
            while at is not None:
                inside[at].add(task.task_id)
                at = parents[at]
        before = {task.task_id: set(task.upstream) for task in self.tasks}
        for group in self.groups:
            for name in inside[group.group_id]:
                if inside[group.group_id].isdisjoint(before[name]):
                    before[name] |= set(group.upstream)
        last = {g: {n for n in names if not any(n in before[m] for m in names)} for g, names in inside.items()}
        return tuple(
            replace(t, upstream=tuple(sorted(set().union(*(last.get(n, {n}) for n in before[t.task_id])))))
            for t in self.tasks
        )

    def edges(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each group and task by id, with those right before it, in the order in which Airflow must hear of them: it
        asks for a group's first and last tasks at once, so that what is inside it must have been said before."""
        levels: dict[str | None, int] = {None: -1}
        for group in self.groups:
            levels[group.group_id] = levels[group.parent] + 1
        late: list[tuple[int, str, str]] = []
        for task in self.tasks:
            yield task.task_id, tuple(name for name in task.upstream if name not in levels)
            late += [(-levels[name], task.task_id, name) for name in task.upstream if name in levels]
        for group in self.groups:
            at = levels[group.group_id]
            late += [(-max(at, levels.get(name, -1)), group.group_id, name) for name in group.upstream]
        yield from ((node, (before,)) for _, node, before in sorted(late))


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything one spec makes.

    ``spec`` is the spec with its defaults, as JSON; ``spec_hash`` its SHA-256 (16 hexadecimal digits),
    independent of key order, comments and where a value was inherited from. ``model`` is empty for a workflow.
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


def _set(value: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Those of some fields that hold anything: thousands of kept plans do without most of them."""
    return {name: item for name in names if (item := getattr(value, name))}


def _dag_json(dag: DagPlan) -> dict[str, Any]:
    schedule = _fields(dag.schedule) | {"assets": [_fields(a) for a in dag.schedule.assets]}
    found = {
        "dag_id": dag.dag_id,
        "kind": dag.kind,
        "schedule": schedule,
        "tasks": [_task_json(t) for t in dag.tasks],
        **_set(dag, ("settings", "defaults", "params")),
    }
    if dag.groups:
        found["groups"] = [_fields(g) for g in dag.groups]
    return found


def _task_json(task: TaskPlan) -> dict[str, Any]:
    found = {
        "task_id": task.task_id,
        "step": task.step,
        "upstream": task.upstream,
        "line": task.line,
        "file": task.file,
        "outlets": [_fields(a) for a in task.outlets],
        **_set(task, ("group", "followers")),
    }
    if task.own is not None:
        found["own"] = _fields(task.own)
    return found


def _dag(value: dict[str, Any]) -> DagPlan:
    schedule = SchedulePlan(**value["schedule"] | {"assets": _assets(value["schedule"]["assets"])})
    tasks = tuple(_task(t) for t in value["tasks"])
    plan = DagPlan(value["dag_id"], value["kind"], schedule, tasks)
    rest: dict[str, Any] = {name: value[name] for name in ("settings", "defaults", "params") if name in value}
    if "groups" in value:
        rest["groups"] = tuple(GroupPlan(**g | {"upstream": tuple(g["upstream"])}) for g in value["groups"])
    return replace(plan, **rest) if rest else plan


def _task(value: dict[str, Any]) -> TaskPlan:
    own = value.get("own")
    if own is not None:
        own = StepPlan(**own | {name: tuple(own[name]) for name in ("inlets", "outlets", "of")})
    fields = value | {"upstream": tuple(value["upstream"]), "outlets": _assets(value["outlets"]), "own": own}
    return TaskPlan(**fields)


def _assets(value: list[dict[str, str]]) -> tuple[AssetPlan, ...]:
    return tuple(AssetPlan(**a) for a in value)
