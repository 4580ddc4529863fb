"""``tidemill run``: one DAG run here and now, by Airflow's own in-process runner."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tidemill.cli.local_stack import LocalStack
from tidemill.cli.locate import Place, UsageProblem
from tidemill.discovery import row_of
from tidemill.plan.model import DagPlan, Plan
from tidemill.project import Project
from tidemill.settings import environment, setting
from tidemill.spec.scalars import plain

Answer = Literal["Approve", "Reject"]
WAITING = 3
"""The exit code when a person's answer is needed and there is nobody to ask."""

_MLFLOW, _LEDGER = "AIRFLOW_CONN_TIDEMILL_MLFLOW", "AIRFLOW_CONN_TIDEMILL_LEDGER"

_LOADER = """\
\"\"\"Made by `tidemill run`: an Airflow DAG file with the DAGs of one spec.\"\"\"

from pathlib import Path

from tidemill.airflow.loader import load_file

globals().update(load_file(Path({file!r}), Path({dags!r}), {row!r}))
"""


@dataclass
class Outcome:
    """What became of the run: each task's state in the order they ended, and what the failed ones said."""

    state: str = "running"
    run_id: str = ""
    tasks: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    log: Path | None = None
    waiting: bool = False


def run(plan: Plan, dag_plan: DagPlan, file: Path, place: Place, options: Options) -> Outcome:
    """Run one DAG of a pipeline to its end, and tell what became of it.

    Raises:
        UsageProblem: Airflow's own files cannot be written; the project's MLflow server is down.
    """
    project = scratch_project(place.project, plan, live=options.live)
    _choose_servers(project, live=options.live)
    home = project.state / "airflow-run"
    row = row_of(dag_plan.dag_id)
    _configure(home, file, place, project, row)
    log = home / "last-run.log"
    with _writable(home), _quiet(log) as console:
        show = _Progress(console, dag_plan)
        with show.during("starting Airflow in this process"):
            dag = _prepare(home, file, place, dag_plan.dag_id, row)
        outcome = Outcome(log=log)
        _listen(show, outcome)
        approver = _Approver(options.answer, show, outcome)
        approver.start()
        began = time.monotonic()
        try:
            finished = dag.test(logical_date=None, run_conf=options.conf())
            outcome.state, outcome.run_id = str(finished.state), finished.run_id
        except KeyboardInterrupt:
            outcome.state = "waiting" if outcome.waiting else "interrupted"
        finally:
            approver.stop()
            show.close()
        show.line(f"{dag_plan.dag_id}: {outcome.state} after {time.monotonic() - began:.0f} s")
    return outcome


@dataclass(frozen=True)
class Options:
    """How to run. ``answer``: what to say at an approval; ``None`` asks, or stops where nobody can be asked."""

    as_of: str | None = None
    scheduled: bool = False
    live: bool = False
    answer: Answer | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def conf(self) -> dict[str, Any]:
        """The run's conf: the DAG's params that were given."""
        given = {"as_of": self.as_of, "scheduled": self.scheduled or None}
        return {**self.params, **{name: value for name, value in given.items() if value is not None}}


def read_params(given: list[str], dag_plan: DagPlan) -> dict[str, Any]:
    """The params of ``--param NAME=VALUE``; values are read as YAML's plain scalars are.

    Raises:
        UsageProblem: the DAG has no such param, or the form is another one.
    """
    found = {}
    for item in given:
        name, sign, text = item.partition("=")
        if not sign:
            raise UsageProblem(f'--param takes NAME=VALUE, got "{item}"')
        if name not in dag_plan.params:
            known = ", ".join(dag_plan.params) or "none"
            raise UsageProblem(f'{dag_plan.dag_id} has no param "{name}"; it has: {known}')
        found[name] = plain(text)
    return found


def scratch_project(project: Project, plan: Plan, *, live: bool) -> Project:
    """The project whose state a run uses: the live one, or one of its own for trying out."""
    return project if live else Project(project.root, project.state / "try" / plan.pipeline)


def _choose_servers(project: Project, *, live: bool) -> None:
    """A run of the project's own goes to its servers; one for trying out keeps away from them.

    Raises:
        UsageProblem: MLflow's server of this project keeps its artifacts, and it is not running.
    """
    if not live:
        for name in (_MLFLOW, _LEDGER):
            os.environ.pop(name, None)
        return
    if _MLFLOW in os.environ or LocalStack.read(project.state) is None:
        return
    served = LocalStack.mlflow_up(project.state)
    if served is None:
        raise UsageProblem("the MLflow server that hands out this project's models is down; `make run` starts it")
    os.environ[_MLFLOW] = served


def _configure(home: Path, file: Path, place: Place, project: Project, row: str | None) -> None:
    """Set Airflow up by the environment, before it is imported."""
    dags = home / "dags"
    with _writable(home):
        dags.mkdir(parents=True, exist_ok=True)
        (home / "plugins").mkdir(exist_ok=True)
        (dags / "pipeline_dag.py").write_text(_LOADER.format(file=str(file), dags=str(place.dags), row=row))
    os.environ.update(
        {
            "TIDEMILL_ROOT": str(project.root),
            "TIDEMILL_STATE": str(project.state),
            # The project's own settings, which stand in the configuration that is left behind here.
            "AIRFLOW__TIDEMILL__ENVIRONMENT": environment() or "",
            "AIRFLOW__TIDEMILL__ALLOW": setting("allow"),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(home / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}?timeout=30",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        }
    )
    if str(project.root) not in sys.path:
        sys.path.insert(0, str(project.root))


@contextmanager
def _writable(home: Path) -> Iterator[None]:
    """Airflow's files and database are ours to make; that they cannot be written is told as the user's own matter."""
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (OSError, DBAPIError) as e:
        why = (e.strerror or e) if isinstance(e, OSError) else e.orig
        raise UsageProblem(
            f"cannot write to {home}: {why}. Is the disk full, or the folder read-only? Make room, or set "
            "TIDEMILL_STATE to a folder that can be written; then run this again"
        ) from e


def _prepare(home: Path, file: Path, place: Place, dag_id: str, row: str | None) -> Any:
    from airflow.utils.db import upgradedb

    ready = home / "airflow.db.ready"
    version = _airflow_version()
    if not ready.is_file() or ready.read_text() != version:
        upgradedb()
        ready.write_text(version)
    from tidemill.airflow.loader import load_file

    return load_file(file, place.dags, row)[dag_id]


def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow-core")


@contextmanager
def _quiet(log: Path) -> Iterator[Any]:
    """Airflow's and the tasks' output goes to a file; what is yielded is a console on the real one."""
    from rich.console import Console

    sys.stdout.flush()
    sys.stderr.flush()
    out, err = os.dup(1), os.dup(2)
    with log.open("w") as sink, os.fdopen(os.dup(err), "w") as real:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield Console(file=real, stderr=False, force_terminal=os.isatty(err) or None)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.close(out)
            os.close(err)


class _Progress:
    """A line for each finished task, and what is going on now below them."""

    _SIGNS: Mapping[str, str] = {"success": "[green]✓[/]", "skipped": "[yellow]–[/]", "failed": "[red]✗[/]"}

    def __init__(self, console: Any, dag: DagPlan) -> None:
        self._console = console
        self._width = max(len(task.task_id) for task in dag.tasks)
        self._count = len(dag.tasks)
        self._done = 0
        self._began = time.monotonic()
        self._status: Any = None

    def during(self, text: str) -> Any:
        return self._console.status(text)

    def running(self, task_id: str) -> None:
        self._began = time.monotonic()
        self.pause()
        self._status = self._console.status(f"{task_id} ({self._done + 1} of {self._count})")
        self._status.start()

    def ended(self, task_id: str, state: str, said: str) -> None:
        self.pause()
        self._done += 1
        seconds = f"{time.monotonic() - self._began:6.1f} s"
        self._console.print(f"{self._SIGNS[state]} {task_id.ljust(self._width)} {seconds}", end="  ")
        self._console.print(said.replace("\n", "; "), markup=False, highlight=False)

    def pause(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def ask(self, subject: str, body: str) -> Answer:
        from rich.prompt import Confirm

        self.pause()
        self._console.print(f"\n{subject}\n\n{body}", markup=False, highlight=False)
        return "Approve" if Confirm.ask("Approve?", console=self._console) else "Reject"

    def line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    close = pause


def _listen(show: _Progress, outcome: Outcome) -> None:
    """Follow the run through Airflow's task listeners, which are called in this process."""
    from airflow.listeners import hookimpl
    from airflow.sdk.listener import get_listener_manager

    class Listener:
        def _end(self, task_instance: Any, state: str, said: str) -> None:
            outcome.tasks[task_instance.task_id] = state
            if said:
                outcome.said[task_instance.task_id] = said
            show.ended(task_instance.task_id, state, said)

        @hookimpl
        def on_task_instance_running(self, previous_state: Any, task_instance: Any) -> None:
            outcome.run_id = task_instance.run_id
            show.running(task_instance.task_id)

        @hookimpl
        def on_task_instance_success(self, previous_state: Any, task_instance: Any) -> None:
            self._end(task_instance, "success", getattr(task_instance.task, "said", ""))

        @hookimpl
        def on_task_instance_skipped(self, previous_state: Any, task_instance: Any) -> None:
            self._end(task_instance, "skipped", getattr(task_instance.task, "said", ""))

        @hookimpl
        def on_task_instance_failed(self, previous_state: Any, task_instance: Any, error: Any) -> None:
            self._end(task_instance, "failed", str(error))

    get_listener_manager().add_listener(Listener())


class _Approver(threading.Thread):
    """Answers Airflow's human-in-the-loop task, as its page would: by filling the answer in and resuming it."""

    def __init__(self, answer: Answer | None, show: _Progress, outcome: Outcome) -> None:
        super().__init__(daemon=True)
        self._answer = answer
        self._show = show
        self._outcome = outcome
        self._over = threading.Event()

    def stop(self) -> None:
        self._over.set()

    def run(self) -> None:
        from sqlalchemy.exc import OperationalError

        answer = self._answer
        while not self._over.wait(0.3):
            try:
                detail = self._open_detail()
                if detail is None:
                    continue
                if answer is None and sys.stdin.isatty():
                    answer = self._show.ask(detail.subject, detail.body or "")
                if answer is None:
                    self._outcome.waiting = True
                    _thread.interrupt_main()
                    return
                self._submit(detail, answer)
            except OperationalError:
                continue  # the run itself was writing to the database: once more
            answer = self._answer

    def _open_detail(self) -> Any:
        from airflow.models.hitl import HITLDetail
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import TaskInstanceState
        from sqlalchemy import select

        # An earlier run that nobody answered may still be waiting in the same database. And a task asks before it
        # is parked: an answer in between would be written over by its parking, and nobody would ask again.
        asked = select(HITLDetail).join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        asked = asked.where(
            HITLDetail.responded_at.is_(None),
            TaskInstance.run_id == self._outcome.run_id,
            TaskInstance.state == TaskInstanceState.AWAITING_INPUT,
        )
        with create_session() as session:
            found = session.scalar(asked)
            if found is not None:
                session.expunge(found)
            return found

    def _submit(self, detail: Any, answer: Answer) -> None:
        from datetime import UTC, datetime
        from getpass import getuser

        from airflow.models.hitl import HITLDetail
        from airflow.models.taskinstance import TaskInstance
        from airflow.models.trigger import handle_event_submit
        from airflow.triggers.base import TriggerEvent
        from airflow.utils.session import create_session

        with create_session() as session:
            found: Any = session.get(HITLDetail, detail.ti_id)
            user = getuser()
            found.responded_by = {"id": user, "name": user}
            found.responded_at = datetime.now(UTC)
            found.chosen_options = [answer]
            found.params_input = {}
            ti = session.get_one(TaskInstance, found.ti_id)
            event = TriggerEvent(found.as_resume_event_payload(timedout=False))
            handle_event_submit(event, task_instance=ti, session=session)
