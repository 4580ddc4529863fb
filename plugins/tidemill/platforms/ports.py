"""The ports between steps and the world. A step knows these, never Airflow and never a cloud."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

from tidemill.errors import TidemillError
from tidemill.spec.models import Resources


@dataclass(frozen=True)
class Connection:
    """An address with credentials, as Airflow keeps them. Its ``repr`` hides the password."""

    conn_id: str
    conn_type: str
    host: str | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    port: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Connections(Protocol):
    """Where credentials come from."""

    def get(self, conn_id: str) -> Connection | None:
        """The connection of that id; ``None`` if there is none."""
        ...


@dataclass(frozen=True)
class Job:
    """A user's training function to be run: everything it needs, as plain values and addresses.

    ``name`` is derived from its cause (installation, DAG, run, task, attempt), so that a job can be found again.
    ``output`` is an empty folder that the job fills; ``checkpoint`` survives attempts.
    """

    name: str
    code: str
    root: Path
    train: Path
    holdout: Path
    output: Path
    checkpoint: Path
    params: Mapping[str, Any]
    seed: int
    resources: Resources
    timeout: timedelta | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """What a finished job left: the model's address under ``output``, the metrics it logged, its duration."""

    model: Path
    metrics: Mapping[str, float]
    seconds: float


class JobError(TidemillError):
    """A job did not finish. ``user`` tells a mistake in the user's code from a fault of the system."""

    def __init__(self, message: str, *, user: bool, detail: str = "") -> None:
        super().__init__(message)
        self.user = user
        self.detail = detail


class Jobs(Protocol):
    """Runs the user's function."""

    def run(self, job: Job, log: Callable[[str], None]) -> JobResult:
        """Run the job to its end, handing each line it prints to ``log``; when the caller is interrupted, the
        whole process tree is gone before this returns.

        Raises:
            JobError: the function failed, was not found, ran out of time or memory, or left no model.
        """
        ...
