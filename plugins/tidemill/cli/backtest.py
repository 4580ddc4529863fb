"""``tidemill backtest FILE``: what the retraining policy would have done, beside never and always retraining."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.backtest.engine import backtest
from tidemill.backtest.picture import picture
from tidemill.backtest.result import Backtest, Mean, Story
from tidemill.backtest.world import World
from tidemill.cli.dates import bound
from tidemill.cli.validate import plan_of
from tidemill.plan.ticks import Tick
from tidemill.spec.units import format_instant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.table import Table

    from tidemill.backtest.policies import Policy

_ASKED = {"asset": "the window", "scheduled": "the schedule"}


def backtest_file(
    file: Path,
    since: str | None,
    until: str | None,
    *,
    metric: str = "",
    svg: Path | None = None,
    fresh: bool = False,
    as_json: bool = False,
    row: str | None = None,
) -> None:
    """Backtest one pipeline, with progress; then its tables, or everything as JSON. ``svg``: where to draw it.

    Raises:
        UsageProblem: a bound cannot be read.
        BacktestError, NoTicks: see :func:`tidemill.backtest.engine.backtest`.
    """
    from rich.console import Console

    plan, _, place = plan_of(file, row)
    first, last = bound(since, "--from"), bound(until, "--to")
    console = Console(stderr=as_json)  # standard output belongs to the JSON
    began = time.monotonic()
    world = World.of(plan, place.project, first)
    with world.entered(fresh=fresh), _shown(console) as progress:
        found = backtest(world, progress, first, last, metric)
    if svg is not None:
        svg.parent.mkdir(parents=True, exist_ok=True)
        svg.write_text(picture(found), encoding="utf-8")
    if as_json:
        print(json.dumps(found.to_json(), indent=2, ensure_ascii=False, sort_keys=True))
        return
    render(found, console)
    console.print(f"\n{time.monotonic() - began:.0f} s; kept in {world.project.state}, from which the next one goes on")
    if svg is not None:
        console.print(f"drawn in {svg}", highlight=False)


def render(found: Backtest, console: Console) -> None:
    """The tables of a backtest: window by window, then what each policy adds up to."""
    console.print()
    console.print(_windows(found))
    console.print()
    console.print(_trainings(found))
    console.print()
    console.print(_policies(found))
    for name in ("given", "always"):
        gain = found.gain(name, "never")
        if gain is not None:
            better = "better" if gain >= 0 else "worse"
            console.print(f"{found.story(name).title}: {found.metric} {abs(gain):.4f} {better} than never retrained")
    console.print(f"{found.metric} with its 95 % interval; windows weigh by their labelled rows. docs/backtest.md")
    if found.left_out:
        console.print(f"left out, steps of your own: {', '.join(found.left_out)}", markup=False)


def _windows(found: Backtest) -> Table:
    from rich.table import Table

    table = Table("window", box=None, header_style="bold")
    for story in found.stories:
        table.add_column(story.title)
    for row in zip(*(story.windows for story in found.stories), strict=True):
        cells = []
        for window in row:
            value, interval = window.metrics.get(found.metric), window.intervals.get(found.metric)
            number = "–" if value is None else f"{value:.4f}"
            spread = f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""
            version = f"v{window.version} " if window.version else "no model "
            alarm = f" [bold red]{' + '.join(window.fired)}[/]" if window.fired else ""
            cells.append(f"{version}{number}[dim]{spread.replace('[', chr(92) + '[')}[/]{alarm}")
        table.add_row(f"{row[0].start} – {row[0].end}", *cells)
    return table


def _trainings(found: Backtest) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table("as_of", "policy", "asked by", "outcome", "why", box=None, header_style="bold")
    for story in found.stories:
        for one in story.trainings:
            asked = " and ".join(one.reasons) or _ASKED.get(one.cause, one.cause)
            table.add_row(
                one.as_of,
                story.policy,
                asked,
                f"{one.outcome}{f' v{one.version}' if one.version else ''}",
                Text("" if one.outcome == "promoted" else "; ".join(one.why)),
            )
    return table


def _policies(found: Backtest) -> Table:
    from rich.table import Table

    headers = ("policy", "alarms", "trained", "promoted", "refused", "not trained", "time", "cost", found.metric)
    table = Table(*headers, box=None, header_style="bold")
    for story in found.stories:
        counts = (str(story.count(name)) for name in ("promoted", "refused", "not trained"))
        table.add_row(
            story.title,
            str(story.alarms),
            str(story.trained),
            *counts,
            f"{story.seconds:.0f} s",
            _cost(found, story),
            _mean(story.mean(found.metric)),
        )
    return table


def _cost(found: Backtest, story: Story) -> str:
    if found.price is None:
        return "–"
    amount, currency = found.price.split()
    return f"{story.cost(Decimal(amount))} {currency}"


def _mean(mean: Mean | None) -> str:
    if mean is None or mean.low is None:
        return "–" if mean is None else f"{mean.value:.4f}"
    return f"{mean.value:.4f} \\[{mean.low:.4f}, {mean.high:.4f}]"


class _Lines:
    """A line for each tick of each policy."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._at = self._total = 0

    def begin(self, total: int) -> None:
        self._total = total

    def tick(self, policy: Policy, tick: Tick) -> None:
        self._at += 1

    def step(self, name: str) -> None:
        """Nothing: a line is printed when a tick is done."""

    def done(self, policy: Policy, tick: Tick, said: str) -> None:
        place = f"{self._at:>{len(str(self._total))}}/{self._total}"
        text = f"{place}  {policy.name:<6}  {format_instant(tick.instant)}  {tick.kind}: {said}"
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


class _Live(_Lines):
    """The same, and below it a bar with the step that is under way."""

    def __init__(self, console: Console, bar: Bar) -> None:
        super().__init__(console)
        self._bar = bar
        self._task = bar.add_task("", total=None)
        self._place = ""

    def begin(self, total: int) -> None:
        super().begin(total)
        self._bar.update(self._task, total=total)

    def tick(self, policy: Policy, tick: Tick) -> None:
        super().tick(policy, tick)
        self._place = f"{policy.name} {format_instant(tick.instant)} {tick.kind}"
        self._bar.update(self._task, completed=self._at - 1, description=self._place)

    def step(self, name: str) -> None:
        self._bar.update(self._task, description=f"{self._place}: {name}")


@contextmanager
def _shown(console: Console) -> Iterator[_Lines]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}", markup=False))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        yield _Live(console, bar)
