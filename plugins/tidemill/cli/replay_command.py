"""``tidemill replay FILE``: finds the live Airflow, replays, tells what happened."""

from __future__ import annotations

import json
from pathlib import Path

from tidemill.cli.airflow_api import connect
from tidemill.cli.dates import bound
from tidemill.cli.registry import ledger_of, state_project
from tidemill.cli.replay import replay
from tidemill.cli.replay_progress import shown
from tidemill.cli.summary import render, summarise
from tidemill.cli.validate import plan_of


def replay_file(
    file: Path, since: str | None, until: str | None, state: Path | None, as_json: bool, row: str | None = None
) -> None:
    """Replay the schedules of one spec file, with progress; then the summary, or everything as JSON.

    Raises:
        UsageProblem: a bound cannot be read.
        NoTicks, ReplayError, ApiError: see :func:`tidemill.cli.replay.replay`.
    """
    from rich.console import Console

    plan, _, place = plan_of(file, row)
    project = state_project(place.project, state)
    first, last = bound(since, "--from"), bound(until, "--to")
    api = connect(project.state)
    console = Console(stderr=as_json)  # standard output belongs to the JSON
    try:
        with ledger_of(project) as ledger:
            with shown(console) as progress:
                result = replay(plan, api, ledger, first, last, progress)
            summary = summarise(ledger.entries(plan.model), plan.model)
    finally:
        api.close()
    if as_json:
        print(json.dumps({**result.to_json(), "summary": summary}, indent=2, ensure_ascii=False, sort_keys=True))
    else:
        console.print()
        render(summary, console)
