"""What ``tidemill drift`` does: two sources to sketches, sketches to a report, and the report to where it is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.cli.locate import UsageProblem
from tidemill.drift.findings import listed
from tidemill.spec.errors import printable, suggest
from tidemill.spec.units import UnitError, instant
from tidemill.spec.units import share as share_of

if TYPE_CHECKING:
    from tidemill.drift.decide import Rules
    from tidemill.drift.reports.report import Report
    from tidemill.drift.sketch import Sketch
    from tidemill.drift.sources import Source

_PATIENCE = 2.0
"""Seconds of silence before a progress is shown."""
_WIDTH = 150
"""Columns of a table that goes to a file or another program."""

Window = tuple[str, datetime, datetime]


@dataclass(frozen=True)
class Side:
    """One of the two tables: where it is, and the time column with [start, end) if not all rows are meant."""

    address: str
    window: Window | None = None

    @property
    def path(self) -> Path | None:
        """The local path; ``None`` for an address in an object store."""
        return None if "://" in self.address else Path(self.address)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What was asked for on the command line."""

    reference: Side
    current: Side | None
    columns: tuple[str, ...] | None
    exclude: tuple[str, ...]
    rules: Rules
    sketch: Path | None
    html: Path | None


def side(address: str, column: str | None, since: str | None, until: str | None, *options: str) -> Side:
    """One side from what was typed; ``options`` are the names of the two options of its window.

    Raises:
        UsageProblem: there is no such file, or the window makes no sense.
    """
    if since is None and until is None:
        window = None
    elif column is None:
        raise UsageProblem(f"{options[0] if since is not None else options[1]} needs --time: the column of the times")
    else:
        start = _instant(since, options[0], datetime.min.replace(tzinfo=UTC))
        end = _instant(until, options[1], datetime.max.replace(tzinfo=UTC))
        if start >= end:
            raise UsageProblem(f"{options[0]} {since} is not before {options[1]} {until}: there is no row between them")
        window = (column, start, end)
    found = Side(address, window)
    if found.path is not None and not found.path.exists():
        raise UsageProblem(f"there is no {address}")
    return found


def _instant(text: str | None, option: str, absent: datetime) -> datetime:
    if text is None:
        return absent
    try:
        return instant(text)
    except UnitError as error:
        raise UsageProblem(f"{option}: {error}") from None


def names(texts: Sequence[str] | None) -> tuple[str, ...] | None:
    """Column names from options that may be repeated and may each name several, with commas between them."""
    if not texts:
        return None
    return tuple(dict.fromkeys(name.strip() for text in texts for name in text.split(",") if name.strip()))


def rules(distance: Any, at_least: float | None, share: str, alpha: str) -> Rules:
    """The rules from what was typed.

    Raises:
        UsageProblem: a value makes no sense.
    """
    from tidemill.drift.decide import Rules

    try:
        part = _share("--share", share)
        return Rules(distance=distance, at_least=at_least, share=part, alpha=_share("--alpha", alpha))
    except ValueError as error:
        raise UsageProblem(f"{error}") from None


def _share(option: str, text: str) -> float:
    try:
        return share_of(text)
    except UnitError as error:
        raise UsageProblem(f"{option}: {error}") from None


def check(question: Question, column: str | None, *, as_json: bool) -> None:
    """Refuse what is asked for in vain, before anything is read.

    Raises:
        UsageProblem: two options exclude each other, or one is missing.
    """
    if question.current is None:
        if question.sketch is None:
            raise UsageProblem("name a second table to judge, or --sketch FILE to store the first one's sketch")
        if question.html is not None or as_json:
            raise UsageProblem("--html and --json need a second table to judge")
    windows = [side.window for side in (question.reference, question.current) if side is not None]
    if column is not None and not any(windows):
        raise UsageProblem("--time needs a time to begin or end with: --from, --to, --reference-from, --reference-to")
    if question.columns is not None and not question.columns:
        raise UsageProblem("--columns names no column")
    for file in (question.sketch, question.html):
        if file is not None and not file.absolute().parent.is_dir():
            raise UsageProblem(f"{file} cannot be written: there is no folder {file.parent}")
        if file is not None and file.is_dir():
            raise UsageProblem(f"{file} is a folder; name a file")


def answer(question: Question) -> Report | None:
    """Read both sides and judge; ``None`` where only a sketch was to be stored, and was.

    Raises:
        DriftError: a side cannot be read.
        UsageProblem: a column that was named is on neither side, or a file cannot be written.
    """
    from tidemill.drift.decide import decide
    from tidemill.drift.findings import findings
    from tidemill.drift.reports.pictures import pictures
    from tidemill.drift.reports.report import Report

    # Both are opened before either is read: a mistake in the second name is told at once.
    opened = [_open(side, first) for side, first in ((question.reference, True), (question.current, False)) if side]
    _known(question, opened)
    reference = _sketch(opened[0], question, None)
    if question.sketch is not None:
        with _written(question.sketch):
            reference.write(question.sketch)
    if question.current is None:
        size = question.sketch.stat().st_size if question.sketch is not None else 0
        print(f"wrote {question.sketch}: {reference.rows:,} rows, {len(reference.columns):,} columns, {size:,} bytes")
        return None
    current = _sketch(opened[1], question, reference)
    report = Report(
        verdict=decide(reference, current, question.rules),
        findings=tuple(findings(reference, current)),
        pictures=pictures(reference, current),
        reference=question.reference.address,
        current=question.current.address,
    )
    if question.html is not None:
        from tidemill.drift.reports.html import page

        with _written(question.html):
            question.html.write_text(page(report), encoding="utf-8")
    return report


def _open(side: Side, is_reference: bool) -> Source | Sketch:
    """What is behind a side: rows, or a stored sketch."""
    from tidemill.drift.sketch import Sketch, is_sketch
    from tidemill.drift.sources import open_source

    if side.path is None or not is_sketch(side.path):
        return open_source(side.address, where=side.window)
    if not is_reference:
        raise UsageProblem(f"{side.address} is a stored sketch, which can only be the reference: name it first")
    if side.window is not None:
        raise UsageProblem(f"{side.address} is a stored sketch, of which no span of time can be taken any more")
    return Sketch.read(side.path)


def _names(side: Source | Sketch) -> list[str]:
    from tidemill.drift.sketch import Sketch

    return list(side.columns if isinstance(side, Sketch) else side.schema.names)


def _known(question: Question, opened: Sequence[Source | Sketch]) -> None:
    """Refuse names of columns that neither side has, and a time column that a side lacks."""
    known = list(dict.fromkeys(name for side in opened for name in _names(side)))
    for option, asked in (("--columns", question.columns or ()), ("--exclude", question.exclude)):
        for name in asked:
            if name not in known:
                raise UsageProblem(f"{option}: there is no {_meant(name, known)}")
    for side, rows in zip((question.reference, question.current), opened, strict=False):
        if side is not None and side.window is not None and side.window[0] not in _names(rows):
            raise UsageProblem(f"--time: {side.address} has no {_meant(side.window[0], _names(rows))}")


def _meant(name: str, known: list[str]) -> str:
    near = suggest(name, known)
    return f'column "{name}".' + (f' Did you mean "{near}"?' if near else f" There are: {listed(known, 20)}.")


def _sketch(side: Source | Sketch, question: Question, reference: Sketch | None) -> Sketch:
    """The sketch of a side, of the columns that were asked for."""
    from tidemill.drift.sketch import Sketch
    from tidemill.drift.summarise import summarise

    windows = (s.window for s in (question.reference, question.current) if s is not None)
    # The column of the times tells the sides apart by itself.
    left_out = {*question.exclude, *(window[0] for window in windows if window is not None)}
    chosen = [n for n in (question.columns or _names(side)) if n not in left_out or n in (question.columns or ())]
    chosen = [name for name in chosen if name in set(_names(side))]
    if isinstance(side, Sketch):
        return replace(side, columns={name: side.columns[name] for name in chosen})
    with _progress(side, len(chosen)) as progress:
        return summarise(side, reference=reference, columns=chosen, progress=progress)


@contextmanager
def _progress(source: Source, columns: int) -> Iterator[Callable[[str, int], None] | None]:
    """A bar on the terminal for what takes longer than a moment."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from tidemill.drift.reports.numbers import short

    rows, began = source.rows(), time.monotonic()
    text = TextColumn("{task.description}", markup=False)
    bar = Progress(
        SpinnerColumn(), text, BarColumn(bar_width=30), TaskProgressColumn(), TimeElapsedColumn(),
        console=console, transient=True,
    )  # fmt: skip
    task = bar.add_task("", total=rows * columns if rows else None)

    def tell(file: str, values: int) -> None:
        if not bar.live.is_started and time.monotonic() - began > _PATIENCE:
            bar.start()
        where = printable(file.rpartition("/")[2])
        bar.update(task, description=f"reading {where}: {short(values)} values", completed=values)

    try:
        yield tell
    finally:
        bar.stop()


@contextmanager
def _written(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageProblem(f"{file} cannot be written: {error.strerror or error}") from None


def show(report: Report, question: Question) -> None:
    """Print the report, and what was written."""
    from rich.console import Console

    from tidemill.cli.drift_table import show as draw

    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    draw(report, console)
    for file in (question.sketch, question.html):
        if file is not None:
            print(f"wrote {file}")
