"""A whole run of a pipeline, in a process, an Airflow home and a state folder of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.plan.model import DagPlan
from tidemill.testing.environment import airflow_variables
from tidemill.testing.folders import scratch
from tidemill.testing.scratch_spec import written

if TYPE_CHECKING:
    from tidemill.testing.pipeline import Pipeline

_PRIVATE = ("AIRFLOW_CONN_TIDEMILL", "AIRFLOW__DATABASE__", "AIRFLOW__SECRETS__", "MLFLOW_", "TIDEMILL_")
"""Settings that lead to what the project itself uses."""
_KEPT = ("TIDEMILL_ENVIRONMENT",)
_SHOWN_LINES = 20


@dataclass(frozen=True)
class Wanted:
    """How to run: see :meth:`tidemill.testing.Pipeline.run`."""

    sample: int | None = 500
    as_of: str | datetime | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)
    approve: bool = True
    connections: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 300


@dataclass(frozen=True)
class TaskRun:
    """What became of a task: ``success``, ``skipped``, ``failed``, ``upstream_failed`` …; and what it said at its end.

    ``value`` is what it returned; of a mapped one, the list of what its instances returned.
    """

    state: str
    said: str = ""
    value: Any = None


@dataclass(frozen=True)
class Run:
    """A run that has ended. ``log``: everything that Airflow and the tasks printed. ``state_folder`` holds its ledger,
    registry and data versions until the tests end."""

    id: str
    state: str
    tasks: dict[str, TaskRun]
    summary: dict[str, Any] | None = field(repr=False)
    log: str = field(repr=False)
    state_folder: Path = field(repr=False)

    @property
    def outcome(self) -> str | None:
        """What the gate said: ``promoted``, ``refused``, ``superseded``; ``unfinished`` if the run did not get there,
        ``None`` for a workflow."""
        training = self._training()
        return None if training is None else str(training["outcome"])

    @property
    def why(self) -> tuple[str, ...]:
        """The gate's reasons, or why there was no training."""
        training = self._training()
        return () if training is None else tuple(training["why"])

    @property
    def version(self) -> str | None:
        """The model version that was registered."""
        training = self._training()
        return None if training is None or training["version"] is None else str(training["version"])

    @property
    def metrics(self) -> dict[str, float]:
        """The new model's metrics on the holdout."""
        training = self._training()
        return {} if training is None else {name: one["challenger"] for name, one in training["metrics"].items()}

    def assert_success(self) -> None:
        """Raises AssertionError if the run did not succeed, with what the failed tasks said and the end of the log."""
        __tracebackhide__ = True
        if self.state == "success":
            return
        failed = [f"{name}: {task.said}" for name, task in self.tasks.items() if task.state == "failed"]
        raise AssertionError("\n".join([f"the run {self.state}", *failed, "", *_end(self.log)]))

    def _training(self) -> dict[str, Any] | None:
        trainings = self.summary["trainings"] if self.summary else []
        return trainings[-1] if trainings else None


def run(pipeline: Pipeline, wanted: Wanted) -> Run:
    """As :meth:`tidemill.testing.Pipeline.run`."""
    __tracebackhide__ = True
    dag = pipeline.plan.dags[0]
    _check_params(dag, wanted)
    folder = scratch("run")
    file, as_of = written(pipeline, wanted, folder)
    job = {
        "file": str(file),
        "row": pipeline.row,
        "as_of": as_of,
        "params": dict(wanted.params),
        "approve": wanted.approve,
        "result": str(folder / "result.json"),
    }
    said = _in_a_process(pipeline, job, folder, wanted)
    log = folder / "state" / "airflow-run" / "last-run.log"
    text = log.read_text(errors="replace") if log.is_file() else said
    try:
        found = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        raise AssertionError("\n".join([f"the run of {pipeline.id} could not begin", *_end(said)])) from None
    tasks = {name: TaskRun(**one) for name, one in found["tasks"].items()}
    return Run(found["run_id"], found["state"], tasks, found["summary"], text, folder / "state")


def _check_params(dag: DagPlan, wanted: Wanted) -> None:
    __tracebackhide__ = True
    for name in wanted.params:
        if name not in dag.params:
            raise AssertionError(f'{dag.dag_id} has no param "{name}"; it has: {", ".join(dag.params) or "none"}')


def _in_a_process(pipeline: Pipeline, job: Mapping[str, Any], folder: Path, wanted: Wanted) -> str:
    """Run the job to its end; what it printed besides the log."""
    __tracebackhide__ = True
    environment = {
        **{name: value for name, value in os.environ.items() if name in _KEPT or not name.startswith(_PRIVATE)},
        **airflow_variables(wanted.connections, wanted.variables),
        "TIDEMILL_ROOT": str(pipeline.place.project.root),
        "TIDEMILL_STATE": str(folder / "state"),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "0",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tidemill.testing.runner"],
        cwd=pipeline.place.project.root,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(json.dumps(job), timeout=wanted.timeout)
    except subprocess.TimeoutExpired:
        log = folder / "state" / "airflow-run" / "last-run.log"
        text = log.read_text(errors="replace") if log.is_file() else ""
        message = f"the run of {pipeline.id} took more than {wanted.timeout:g} s"
        raise AssertionError("\n".join([message, *_end(text)])) from None
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return said


def _end(log: str) -> list[str]:
    return log.rstrip().splitlines()[-_SHOWN_LINES:]
