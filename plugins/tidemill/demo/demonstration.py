"""The demonstration: the data prepared, the servers started, a year replayed, the story told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.cli.airflow_api import connect
from tidemill.cli.local_stack import LocalStack, password_file
from tidemill.cli.registry import ledger_of
from tidemill.cli.replay import replay
from tidemill.cli.replay_progress import shown
from tidemill.cli.summary import render, summarise
from tidemill.cli.validate import plan_of
from tidemill.demo.stack import AIRFLOW, MLFLOW, Stack
from tidemill.errors import TidemillError
from tidemill.locks import Taken, held
from tidemill.project import Project

if TYPE_CHECKING:
    from rich.console import Console

    from tidemill.plan.model import Plan


class DemoError(TidemillError):
    """The demonstration cannot go on; the message says what to do."""


def up(project: Project, spec: Path) -> None:
    """Prepare, start, replay, tell. What was done before is found and not done again; the servers stay up.

    Raises:
        DemoError: there is no such spec, the data cannot be prepared, or another demonstration is under way here.
        SpecErrors, StackError, ReplayError, ApiError: as their modules say.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if not spec.is_file():
        raise DemoError(f"there is no {spec}: start this in the project's folder")
    with _alone(project.state):
        began = time.monotonic()
        _prepare(project, console)
        plan, _, _ = plan_of(spec)
        prepared = time.monotonic()
        started = Stack(project, say=lambda text: _say(console, text)).up()
        _say(console, f"Airflow is at {started.address.airflow} ({started.seconds:.0f} s)")
        replayed = time.monotonic()
        _replay(project, plan, console)
        ended = time.monotonic()
    _where(console, started.address, plan, project)
    phases = f"data {prepared - began:.0f} s, servers {replayed - prepared:.0f} s, replay {ended - replayed:.0f} s"
    _say(console, f"{ended - began:.0f} s in all: {phases}")


def down(project: Project) -> None:
    """Stop the servers; what they know stays in the state folder."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    stopped = Stack(project, say=lambda text: _say(console, text)).down()
    _say(console, f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(project: Project) -> int:
    """Say what runs; the exit code is 0 if everything does."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    running, address = Stack(project).servers(), LocalStack.read(project.state)
    for name in (MLFLOW, *AIRFLOW):
        _say(console, f"{name}: {f'process {running[name].pid}' if name in running else 'not running'}")
    if address and running:
        _say(console, f"Airflow: {address.airflow}  MLflow: {address.mlflow}")
    return 0 if len(running) == 1 + len(AIRFLOW) else 1


def _prepare(project: Project, console: Console) -> None:
    """Let the demonstration's own code build its data; it knows whether there is anything to do."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    # Another project's pipelines bring their data themselves.
    for name in sorted(file.parent.name for file in project.root.glob("include/*/prepare.py")):
        _say(console, f"preparing the data of {name}")
        command = [sys.executable, "-m", f"include.{name}.prepare"]
        if subprocess.run(command, cwd=project.root, env=environment, check=False).returncode:
            raise DemoError("The data could not be prepared; what stands above says why.")


def _replay(project: Project, plan: Plan, console: Console) -> None:
    api = connect(project.state, url=_local(project).airflow)
    try:
        with ledger_of(project) as ledger:
            _say(console, f"replaying {plan.file} through Airflow's scheduler; each line is a finished run")
            with shown(console) as progress:
                replay(plan, api, ledger, progress=progress)
            console.print()
            render(summarise(ledger.entries(plan.model), plan.model), console)
    finally:
        api.close()


def _local(project: Project) -> LocalStack:
    address = LocalStack.read(project.state)
    assert address is not None  # up() has just noted it
    return address


def _where(console: Console, address: LocalStack, plan: Plan, project: Project) -> None:
    folder = password_file(project.state)
    console.print()
    for line in (
        "Where to look:",
        f"  Airflow   {address.airflow}/dags/{plan.pipeline}",
        f"            user {address.user}, password {address.password}  (kept in {_shown(folder, project)})",
        f"  MLflow    {address.mlflow}/#/models/{plan.model}",
        f"  ledger    tidemill history {plan.model} --verify",
        "The servers stay up: `make stop` ends them, `make run` finds everything as it is now.",
    ):
        _say(console, line)


def _shown(path: Path, project: Project) -> str:
    return str(path.relative_to(project.root)) if path.is_relative_to(project.root) else str(path)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """One demonstration at a time in a project: two would press the same buttons."""
    (state / "stack").mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(held(state / "stack" / "up.lock"))
        except Taken as taken:
            who = taken.who or "unknown"
            text = f"Another `make run` is at work in this project: process {who}. Wait for it, or end it (kill {who})."
            raise DemoError(text) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
