"""The drift report on a terminal: a table with the worst columns first, the findings, the verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.drift.reports.numbers import distance, p_value
from tidemill.drift.reports.report import headline, state_of
from tidemill.spec.errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tidemill.drift.decide import ColumnDrift
    from tidemill.drift.reports.report import Report

SHOWN = 30
"""Columns of a long table that are shown; all that have drifted are."""
SHOWN_FINDINGS = 20

_STYLE = {"drifted": "bold red", "changed": "yellow", "stable": "green", "not judged": "dim"}
_SIGN = {"drifted": "▲", "changed": "●", "stable": "✓", "not judged": "–"}
_FINDING_STYLE = {"severe": "bold red", "warning": "yellow", "info": "dim"}
_NAMES = ("psi", "js", "ks", "wasserstein")
_BAR = 8
_WIDE, _MEDIUM = 128, 100
"""Columns of a terminal from which on there is room for the bars, and for the pictures."""


def show(report: Report, console: Console) -> None:
    """Print the report."""
    columns = report.verdict.worst_first
    drifted = sum(c.drifted for c in columns)
    shown = columns[: max(SHOWN, drifted)]
    if shown:
        console.print(_table(report, shown, console.width))
    if len(columns) > len(shown):
        rest = len(columns) - len(shown)
        console.print(f"and {rest:,} more; --columns, --html and --json show them", style="dim")
    _notes(shown, console)
    _findings(report, console)
    _verdict(report, console)


def _table(report: Report, columns: list[ColumnDrift], width: int) -> Table:
    """The table, with what fits into the width."""
    from rich.table import Table
    from rich.text import Text

    from tidemill.drift.reports.spark import sparks

    bars, pictures = width >= _WIDE, width >= _MEDIUM
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("column", overflow="fold", max_width=40)
    for head, fits in (("", True), ("reference", pictures), ("current", pictures), ("of the bound", bars)):
        if fits:
            table.add_column(head, no_wrap=True)
    deciding = [c.judged_by for c in columns]
    names = list(dict.fromkeys([*deciding, *_NAMES])) if width < _MEDIUM else list(dict.fromkeys([*_NAMES, *deciding]))
    names = names[:2] if width < _MEDIUM else names
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    for column in columns:
        state = state_of(column)
        picture = report.pictures.get(column.name)
        before, now = sparks(picture) if picture is not None else ("", "")
        distances = [
            Text(distance(getattr(column, name)), style="bold" if name == column.judged_by else "") for name in names
        ]
        cells = [Text(printable(column.name)), Text(f"{_SIGN[state]} {state}", style=_STYLE[state])]
        cells += [Text(before, style="dim"), Text(now)] if pictures else []
        cells += [_bar(column, _STYLE[state])] if bars else []
        table.add_row(*cells, *distances, p_value(column.p_value))
    return table


def _bar(column: ColumnDrift, style: str) -> Text:
    """The distance as a bar that ends at twice the bound, whose place is marked."""
    from rich.text import Text

    if column.value is None or not column.bound:
        return Text("")
    filled = min(2 * _BAR, round(column.value / column.bound * _BAR))
    cells = "█" * filled + "·" * (2 * _BAR - filled)
    return Text.assemble((cells[:_BAR], style), "│", (cells[_BAR:], style))


def _notes(columns: list[ColumnDrift], console: Console) -> None:
    from rich.text import Text

    noted = [c for c in columns if c.note]
    if not noted:
        return
    console.print()
    for column in noted[:SHOWN_FINDINGS]:
        console.print(Text(f"{printable(column.name)}: {printable(column.note)}", style="dim"), soft_wrap=True)
    if len(noted) > SHOWN_FINDINGS:
        console.print(f"and {len(noted) - SHOWN_FINDINGS:,} more notes; --html and --json show them", style="dim")


def _findings(report: Report, console: Console) -> None:
    from rich.text import Text

    found = report.worst_findings
    if not found:
        return
    console.print()
    for finding in found[:SHOWN_FINDINGS]:
        what = f"{printable(finding.column)}: " if finding.column is not None else ""
        label = f"{finding.severity:<8}"
        line = Text.assemble((label, _FINDING_STYLE[finding.severity]), f" {what}{printable(finding.detail)}")
        console.print(line, soft_wrap=True)
    if len(found) > SHOWN_FINDINGS:
        console.print(f"and {len(found) - SHOWN_FINDINGS:,} more findings; --html and --json show them", style="dim")


def _verdict(report: Report, console: Console) -> None:
    from rich.text import Text

    verdict = report.verdict
    tone = "bold red" if verdict.drifted else "bold" if verdict.share_drifted is None else "bold green"
    console.print()
    for note in verdict.notes if verdict.share_drifted is not None else ():
        console.print(Text(printable(note), style="dim"), soft_wrap=True)
    why = verdict.why().removeprefix("drift is not judged: ")
    console.print(Text.assemble((headline(verdict), tone), f": {printable(why)}"), soft_wrap=True)
