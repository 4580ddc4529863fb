"""What a step is given, and how it says that there is nothing to do or that it failed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from tidemill.errors import TidemillError
from tidemill.project import Project
from tidemill.records import AsOf, Record, SketchPart

if TYPE_CHECKING:
    from tidemill.ledger import Ledger
    from tidemill.platforms.cloud import Cloud
    from tidemill.platforms.ports import Connections, JobRef, Jobs
    from tidemill.spec.models import Spec

R = TypeVar("R", bound=Record)


class StepError(TidemillError):
    """A step failed for a reason its reader can act on. ``retry``: trying again may help (a server was down)."""

    def __init__(self, message: str, *, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class StepSkipped(Exception):
    """There is nothing to do, for a reason worth reading; ``record`` (if any) is kept as the step's result."""

    def __init__(self, reason: str, record: Record | None = None) -> None:
        super().__init__(reason)
        self.record = record


class StepWaits(Exception):
    """Nothing is left to do until a job somewhere else has ended: the step is run again then.

    ``until`` is when it is run again in any case; ``queued_until`` when, if the job has not begun by then.
    """

    def __init__(self, cloud: Cloud, ref: JobRef, until: datetime, queued_until: datetime | None = None) -> None:
        super().__init__(f"waiting for {ref.name}")
        self.cloud = cloud
        self.ref = ref
        self.until = until
        self.queued_until = queued_until


class Memory(Protocol):
    """What a task remembers across its tries, and when it is cleared: JSON values by name."""

    def get(self, name: str) -> Any:
        """The value; ``None`` if there is none."""
        ...

    def set(self, name: str, value: Any) -> None:
        """Remember a value, stored when this returns."""
        ...


class Event(NamedTuple):
    """An asset event: what whoever emitted it wrote, when it was emitted, and the name of the asset."""

    extra: Mapping[str, Any]
    timestamp: datetime
    asset: str = ""


@dataclass(frozen=True)
class TriggerFacts:
    """What is known of a run before its ``as_of`` is resolved, all instants in UTC.

    ``params`` are the run's params (``as_of``: text or ``None``; ``scheduled``: the replay says that this run
    stands for a scheduled one). ``interval_*``: the data interval of a scheduled or backfill run.
    ``events``: the triggering asset events, in order.
    """

    params: Mapping[str, Any]
    run_after: datetime
    run_type: str
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    events: tuple[Event, ...] = ()


class Forgetful:
    """A memory that lasts as long as its context: for a step that is run once, by no Airflow."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def get(self, name: str) -> Any:
        """The value; ``None`` if there is none."""
        return self._values.get(name)

    def set(self, name: str, value: Any) -> None:
        """Remember a value."""
        self._values[name] = value


@dataclass(frozen=True)
class StepContext:
    """Everything a step may use.

    ``results`` are the records of the run's earlier steps, by step name; ``answer`` is a person's answer at the
    approval, as Airflow's human-in-the-loop task returns it. ``part`` is what a mapped task has to do, ``parts`` what
    the mapped tasks before this one have done.

    ``cleared`` grows each time somebody clears the task; ``woken``: the step is run again, since what it waited for has
    ended. What is in ``on_stop`` is called when somebody stops the task while it runs. In ``links`` a step puts the
    addresses at which a person sees what it makes, as soon as it knows them: ``mlflow``, and ``console`` and ``log`` of
    its job; empty for what there is not, or no longer.
    """

    pipeline: str
    dag_id: str
    run_id: str
    task_id: str
    try_number: int
    spec: Spec
    spec_hash: str
    model: str
    project: Project
    connections: Connections
    jobs: Jobs
    open_ledger: Callable[[], Ledger]
    trigger: TriggerFacts
    results: Mapping[str, Record] = field(default_factory=dict)
    answer: Mapping[str, Any] | None = None
    part: Mapping[str, Any] | None = None
    parts: tuple[SketchPart, ...] = ()
    memory: Memory = field(default_factory=Forgetful)
    cleared: int = 0
    woken: bool = False
    on_stop: list[Callable[[], None]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tidemill"))

    @property
    def as_of(self) -> AsOf:
        """The run's instant, as its first task resolved it."""
        return self.result(AsOf)

    def result(self, kind: type[R]) -> R:
        """The record that an earlier step of this run returned.

        Raises:
            StepError: that step has not run in this run.
        """
        for record in self.results.values():
            if isinstance(record, kind):
                return record
        raise StepError(f"{self.task_id}: no {kind.kind} of this run; has its task run?")

    def scratch(self, name: str) -> Path:
        """A folder of this run's own, made if needed: ``<state>/runs/<dag>/<run>/<name>``.

        Raises:
            StepError: it cannot be made (``retry``).
        """
        path = self.project.run_folder(self.dag_id, self.run_id) / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StepError(
                f"the run's folder {path} cannot be made: {e.strerror}. Make that possible, or set TIDEMILL_STATE to "
                "another folder; then run this task again.",
                retry=True,
            ) from e
        return path
