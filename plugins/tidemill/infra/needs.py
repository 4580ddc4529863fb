"""What some pipelines need of their provider: plain data, each piece with the lines of the specs that ask for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tidemill.errors import TidemillError
from tidemill.plan.model import Plan
from tidemill.platforms.cloud import connection_id, service_of
from tidemill.platforms.tags import tags_of
from tidemill.spec.document import Path
from tidemill.spec.models import Spec
from tidemill.spec.platform import Platform

Place = Callable[[Path], tuple[str, int]]
"""Where the key of a path is written: file and line."""

Task = Literal["train", "track", "monitor", "versions", "process"]
"""What of a pipeline's tasks calls the provider: the training with its files, the experiments, the numbers; the data
versions in its bucket; what other steps compute over rows as jobs."""

COMPUTED: Final = ("validate", "evaluate", "monitor", "score")
"""The steps that may run as jobs, besides the training."""


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
    """One pipeline, as far as its provider is concerned.

    ``home``: of one at another place (``elsewhere``), the pipeline at its platform itself; ``moved``: the words in
    ``platform.existing`` for what is another thing there though it may have the same name.
    """

    name: str
    model: str
    owner: str
    spec: Spec
    tasks: tuple[Task, ...]
    monitor_dag: str
    place: Place
    environment: str | None = None
    home: Pipeline | None = None
    moved: frozenset[str] = frozenset()

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
    def tags(self) -> dict[str, str]:
        """The tags of its jobs and of what is made for it: the scheme of ``platforms/tags.py``."""
        return tags_of(self.name, self.owner, self.environment, self.platform.tags)

    @property
    def existing(self) -> frozenset[str]:
        """What is there already, and is not to be created."""
        return frozenset(self.platform.existing)

    @property
    def sources(self) -> tuple[str, ...]:
        """The addresses in the platform's store that rows are read from."""
        spec, monitor = self.spec, self.spec.monitor
        labels = monitor.labels if monitor is not None else None
        named = (spec.data.source, spec.score and spec.score.source, labels and labels.source)
        return tuple(sorted({source for source in named if source and "://" in source}))

    def asked(self, key: str) -> Asked:
        """This pipeline, asking by a key (``train.image``)."""
        file, line = self.place(tuple(int(part) if part.isdigit() else part for part in key.split(".")))
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

    def named(self, key: str, of: Callable[[Pipeline], str | None]) -> tuple[Named, ...]:
        """The different names that a key has among the pipelines, in order; ``of`` gives a pipeline's, ``None`` if it
        has none. The key's last part is the word for it in ``platform.existing``.

        Raises:
            InfraProblem: one spec says that it is there, and another one does not.
        """
        return self.among(key.rpartition(".")[2], lambda p: [(key, name)] if (name := of(p)) is not None else [])

    def among(self, word: str, of: Callable[[Pipeline], Iterable[tuple[str, str]]]) -> tuple[Named, ...]:
        """As ``named``, of what several keys may name: ``of`` gives a pipeline's keys, each with a name; ``word`` is
        the one in ``platform.existing``."""
        asked: dict[str, list[Asked]] = defaultdict(list)
        users: dict[str, dict[str, Pipeline]] = defaultdict(dict)
        there: dict[str, set[str]] = defaultdict(set)
        for pipeline in self.pipelines:
            shared = () if pipeline.home is None or word in pipeline.moved else of(pipeline.home)
            at_home = {name for _, name in shared}
            for key, name in of(pipeline):
                if word in pipeline.existing or name in at_home:
                    there[name].add(pipeline.name)
                asked[name].append(pipeline.asked(key))
                users[name][pipeline.name] = pipeline
        return tuple(_one(word, name, asked[name], [*users[name].values()], there[name]) for name in sorted(users))

    def one(self, key: str, of: Callable[[Pipeline], str | None], what: str) -> str | None:
        """The one value that all pipelines have, of ``what`` (``region``); ``None`` if none of them has any.

        Raises:
            InfraProblem: there are several, and a root has one.
        """
        found = {value: pipeline for pipeline in self.pipelines if (value := of(pipeline)) is not None}
        if len(found) > 1:
            told = ", ".join(f"{value} ({pipeline.asked(key)})" for value, pipeline in sorted(found.items())[:2])
            raise InfraProblem(
                f"these specs are of several {what}s: {told}; a root is for one: name the files of each in a call of "
                "its own, with an --output of its own"
            )
        return next(iter(found), None)


def needs_of(made: Iterable[tuple[Plan, Place]], environment: str | None = None) -> Needs:
    """What plans need in an environment. Pipelines that run on this machine, and workflows without a model, need none.

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
            tasks = _tasks(plan, spec)
            found.append(Pipeline(plan.pipeline, plan.model, plan.owner, spec, tasks, dag_id, place, environment))
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
    if "data" in stages and spec.data.version == "object-store":
        found.append("versions")
    processing = spec.platform.processing
    if processing is not None and stages & set(processing.steps or COMPUTED):
        found.append("process")
    return tuple(found)


def _one(word: str, name: str, asked: Sequence[Asked], users: Sequence[Pipeline], existing: Collection[str]) -> Named:
    there = [pipeline for pipeline in users if pipeline.name in existing]
    missing = [pipeline for pipeline in users if pipeline.name not in existing]
    if there and missing:
        wants = next(one for one in asked if one.pipeline == missing[0].name)
        raise InfraProblem(
            f"{there[0].asked('platform.existing')} says that {name} is there, {wants} does not: add {word} to "
            f"platform.existing of {missing[0].name}, or take it out of {there[0].name}'s"
        )
    return Named(name, tuple(asked), bool(there), tuple(users))
