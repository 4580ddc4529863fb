"""How a replay shows how far it is, in a terminal and elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO

from rich.console import Console

from tidemill.cli.replay import Replayed
from tidemill.cli.replay_progress import Lines, shown
from tidemill.plan.ticks import Tick

JULY, JUNE = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 6, 1, tzinfo=UTC)


def tell(progress: Lines) -> None:
    progress.begin(12)
    progress.tick(3, Tick(JULY, JUNE, "flights.monitor", "monitor"))
    progress.watch("flights.monitor", "r", None)
    progress.tasks({"as_of": "success", "monitor": "running", "request": ""})
    progress.tasks({"as_of": "success", "monitor": "success", "request": "skipped"})
    progress.ended(Replayed("flights.monitor", "r", "2013-07-01", False, None, 12.34))
    progress.watch("flights", "c", "r")
    progress.tasks({"as_of": "success"})
    progress.ended(Replayed("flights", "c", "2013-07-01", True, "r", 1))
    progress.say("a [bracket] is no markup")


def test_outside_of_a_terminal_a_line_a_run() -> None:
    out = StringIO()
    with shown(Console(file=out, width=40)) as progress:
        tell(progress)
    assert out.getvalue().splitlines() == [
        " 3/12  2013-07-01  flights.monitor: stopped at request  12.3 s",
        " 3/12  2013-07-01  flights: done  asked for by the monitor  (done before)",
        "a [bracket] is no markup",
    ]


def test_in_a_terminal_the_task_that_runs_is_seen_too() -> None:
    out = StringIO()
    with shown(Console(file=out, force_terminal=True, width=120, color_system=None)) as progress:
        progress.begin(12)
        progress.tick(3, Tick(JULY, JUNE, "flights.monitor", "monitor"))
        progress.watch("flights.monitor", "r", None)
        progress.tasks({"as_of": "success", "monitor": "running", "request": ""})
        progress._bar.refresh()  # type: ignore[attr-defined]
        text = out.getvalue()
        progress.ended(Replayed("flights.monitor", "r", "2013-07-01", False, None, 12.34))
    assert "3/12  2013-07-01  flights.monitor ●◐· monitor" in text
    assert "flights.monitor: done  12.3 s" in out.getvalue()
