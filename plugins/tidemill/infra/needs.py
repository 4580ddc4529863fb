"""What some pipelines need of their provider: plain data, each piece with the lines of the specs that ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tidemill.errors import TidemillError
from tidemill.plan.model import Plan
from tidemill.platforms.cloud import connection_id, service_of
from tidemill.spec.document import Path
from tidemill.spec.models import Spec
from tidemill.spec.platform import Platform

Place = Callable[[Path], tuple[str, int]]
"""Where the key of a path is written: file and line."""

Task = Literal["train", "track", "monitor"]
"""What of a pipeline's tasks calls the provider: the training with its files, the experiments, the numbers."""

_PLURAL: Final = {"region": "regions", "project": "projects", "namespace": "namespaces", "account": "accounts"}


class InfraProblem(TidemillError):
    """Nothing can be written for these specs; the message says why, where, and what to do."""


@dataclass(frozen=True, order=True)
class Asked:
    """Who asked for something: the pipeline, and the place in its files."""

    pipeline: str
    file: str
    line: int
    key: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.key}"


@dataclass(frozen=True)
class Pipeline:
    """One pipeline, as far as its provider is concerned."""

    name: str
    model: str
    owner: str
    spec: Spec
    tasks: tuple[Task, ...]
    monitor_dag: str
    place: Place

    @property
    def platform(self) -> Platform:
        """Where it runs."""
        return self.spec.platform

    @property
    def service(self) -> str:
        """The service that trains."""
        return service_of(self.platform, self.spec.train.service)

    @property
    def connection(self) -> str:
        """The Airflow connection that its tasks sign with."""
        return connection_id(self.platform)

    @property
    def existing(self) -> frozenset[str]:
        """What is there already, and is not to be created."""
        return frozenset(self.platform.existing)

    def asked(self, key: str) -> Asked:
        """This pipeline, asking by a key (``train.image``)."""
        file, line = self.place(tuple(key.split(".")))
        return Asked(self.name, file, line, key)


@dataclass(frozen=True)
class Named:
    """Something with a name that one or more pipelines use. ``existing``: it is there, and is not to be created."""

    name: str
    asked: tuple[Asked, ...]
    existing: bool
    users: tuple[Pipeline, ...]


@dataclass(frozen=True)
class Needs:
    """What the pipelines of one provider need, in one place (region and account, project, cluster)."""

    provider: str
    pipelines: tuple[Pipeline, ...]

    def named(self, key: str, of: Callable[[Pipeline], str | None], existing: str | None = None) -> tuple[Named, ...]:
        """The different names that a key has among the pipelines, in order.

        ``of`` gives a pipeline's name, ``None`` if it has none. ``existing``: the word in ``platform.existing`` for it,
        by default the last part of the key.

        Raises:
            InfraProblem: one spec says that it is there, and another one does not.
        """
        word = existing or key.rpartition(".")[2]
        users: dict[str, list[Pipeline]] = defaultdict(list)
        for pipeline in self.pipelines:
            name = of(pipeline)
            if name is not None:
                users[name].append(pipeline)
        return tuple(self._one(key, name, using, word) for name, using in sorted(users.items()))

    def _one(self, key: str, name: str, users: Sequence[Pipeline], word: str) -> Named:
        there = {word in pipeline.existing for pipeline in users}
        if len(there) > 1:
            yes = next(p for p in users if word in p.existing)
            no = next(p for p in users if word not in p.existing)
            raise InfraProblem(
                f"{yes.asked('platform.existing')} says that {name} is there, {no.asked(key)} does not: add {word} to "
                f"platform.existing of {no.name}, or take it out of {yes.name}'s"
            )
        return Named(name, tuple(pipeline.asked(key) for pipeline in users), there.pop(), tuple(users))

    def one(self, key: str, of: Callable[[Pipeline], str | None]) -> str | None:
        """The one value that all pipelines have; ``None`` if none of them has any.

        Raises:
            InfraProblem: there are several, and a root has one.
        """
        found = {value: pipeline for pipeline in self.pipelines if (value := of(pipeline)) is not None}
        if len(found) > 1:
            told = ", ".join(f"{value} ({pipeline.asked(key)})" for value, pipeline in sorted(found.items())[:2])
            what = key.rpartition(".")[2]
            raise InfraProblem(
                f"these specs are in several {_PLURAL.get(what, what + 's')}: {told}; a root is for one: name the "
                "files of each in a call of its own"
            )
        return next(iter(found), None)


def needs_of(made: Iterable[tuple[Plan, Place]]) -> Needs:
    """What plans need. Pipelines that run on this machine, and workflows without a model, need nothing.

    Raises:
        InfraProblem: they are of several providers, or of none.
    """
    found: list[Pipeline] = []
    for plan, place in made:
        if not plan.model:
            continue
        spec = Spec.model_validate(plan.spec)
        if spec.platform.provider != "local":
            monitor = plan.dag("monitor")
            dag_id = monitor.dag_id if monitor is not None else ""
            found.append(Pipeline(plan.pipeline, plan.model, plan.owner, spec, _tasks(plan, spec), dag_id, place))
    found.sort(key=lambda pipeline: pipeline.name)
    providers = {pipeline.platform.provider: pipeline for pipeline in found}
    if not providers:
        raise InfraProblem(
            "none of these specs names a provider that needs infrastructure: platform.provider is local, or absent"
        )
    if len(providers) > 1:
        told = ", ".join(f"{name} ({providers[name].asked('platform.provider')})" for name in sorted(providers))
        raise InfraProblem(
            f"these specs are of several providers: {told}; a root is for one: name the files of each in a call of its "
            "own, with an --output of its own"
        )
    return Needs(next(iter(providers)), tuple(found))


def _tasks(plan: Plan, spec: Spec) -> tuple[Task, ...]:
    """The tasks of a plan that call its provider. The others run where Airflow runs, and call nobody."""
    stages = {task.step for dag in plan.dags for task in dag.tasks}
    found: list[Task] = []
    if "train" in stages:
        found.append("train")
        if spec.train.track != "mlflow":
            found.append("track")
    if "monitor" in stages:
        found.append("monitor")
    return tuple(found)
