"""How a replay shows how far it is: a live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tidemill.cli.replay import Replayed
from tidemill.plan.ticks import Tick
from tidemill.spec.units import format_instant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

_MARKS = {"success": "●", "failed": "✗", "skipped": "○", "upstream_failed": "✗", "running": "◐", "awaiting_input": "?"}


class Lines:
    """A line for each run: what it stands at, which DAG, why, what its tasks came to, how long it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._place = ""
        self._states: Mapping[str, str] = {}

    def begin(self, total: int) -> None:
        """Remember how many ticks there are."""
        self._total = total

    def tick(self, number: int, tick: Tick) -> None:
        """Remember where the replay is."""
        self._place = f"{number:>{len(str(self._total))}}/{self._total}  {format_instant(tick.instant)}"

    def watch(self, dag_id: str, run_id: str, caused_by: str | None) -> None:
        """Forget the tasks of the run before."""
        self._states = {}

    def tasks(self, states: Mapping[str, str]) -> None:
        """Remember the tasks' states."""
        self._states = states

    def ended(self, run: Replayed) -> None:
        """Print the line of the run."""
        skipped = [name for name, state in self._states.items() if state == "skipped"]
        # A skipped task skips those after it, so the first is the one that decided.
        what = f"stopped at {skipped[0]}" if skipped else "done"
        why = "  asked for by the monitor" if run.caused_by else ""
        taken = "  (done before)" if run.adopted else f"  {run.seconds:.1f} s"
        self.say(f"{self._place}  {run.dag_id}: {what}{why}{taken}")

    def say(self, text: str) -> None:
        """Print a line, or several."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class Live(Lines):
    """The same lines, and below them a bar that moves: the run that is under way, its task, the time."""

    def __init__(self, console: Console, bar: Bar) -> None:
        super().__init__(console)
        self._bar = bar
        self._began = time.monotonic()

    def begin(self, total: int) -> None:
        """Show the bar."""
        super().begin(total)
        self._task = self._bar.add_task("", total=total)

    def tick(self, number: int, tick: Tick) -> None:
        """Move the bar to the tick."""
        super().tick(number, tick)
        self._bar.update(self._task, completed=number - 1, description=self._place)

    def watch(self, dag_id: str, run_id: str, caused_by: str | None) -> None:
        """Show the run."""
        super().watch(dag_id, run_id, caused_by)
        self._dag = dag_id
        self._bar.update(self._task, description=f"{self._place}  {dag_id}")

    def tasks(self, states: Mapping[str, str]) -> None:
        """Show the tasks and which one runs."""
        super().tasks(states)
        marks = "".join(_MARKS.get(state, "·") for state in states.values())
        now = ", ".join(name for name, state in states.items() if state in {"running", "awaiting_input"})
        self._bar.update(self._task, description=f"{self._place}  {self._dag} {marks} {now}")

    def ended(self, run: Replayed) -> None:
        """Print the line of the run; the bar ends full."""
        super().ended(run)
        if self._place.strip().startswith(f"{self._total}/"):
            self._bar.update(self._task, completed=self._total)


@contextmanager
def shown(console: Console) -> Iterator[Lines]:
    """A progress for one replay, live if the console is a terminal."""
    if not console.is_terminal:
        yield Lines(console)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        yield Live(console, bar)
