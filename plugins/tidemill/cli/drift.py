"""``tidemill drift`` as it is typed: its arguments and options. What it does is in ``drift_compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

EXAMPLE = "Example: tidemill drift january.parquet february.parquet --html drift.html"

_Distance = Literal["psi", "js", "wasserstein", "ks", "hellinger", "linf", "chi2"]
_WHAT = "Parquet, CSV, Arrow or Delta: a file, a folder, or an address as s3://bucket/path"


def drift(
    reference: Annotated[str, typer.Argument(help=f"The rows to compare with: {_WHAT}; or a stored sketch of them.")],
    current: Annotated[str | None, typer.Argument(help="The rows to judge; with --sketch they may be absent.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page with charts.")] = None,
    sketch: Annotated[
        Path | None, typer.Option(help="Store the reference's sketch: it stands for the reference from then on.")
    ] = None,
    columns: Annotated[list[str] | None, typer.Option(help="Only these columns: a,b; may be repeated.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="All columns but these: a,b; may be repeated.")] = None,
    distance: Annotated[_Distance, typer.Option(help="The distance by which columns are judged.")] = "psi",
    at_least: Annotated[
        float | None, typer.Option(help="From this distance on a column has drifted; by default 0.2 for psi, else 0.1.")
    ] = None,
    share: Annotated[str, typer.Option(help="The data has drifted when this share of the columns has.")] = "30%",
    alpha: Annotated[str, typer.Option(help="The share of false alarms among the columns that changed.")] = "5%",
    time: Annotated[str | None, typer.Option(help="The column of times that the next four options are about.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="Judge the rows from this time on.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Judge the rows before this time.")] = None,
    reference_since: Annotated[str | None, typer.Option("--reference-from", help="The same of the reference.")] = None,
    reference_until: Annotated[str | None, typer.Option("--reference-to", help="The same of the reference.")] = None,
    fail_on_drift: Annotated[
        bool,
        typer.Option(
            "--fail-on-drift", help="Exit with 1 if the data drifted, could not be judged, or has a severe finding."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Compare two tables: which columns changed, which drifted, what else is odd.

    A column has changed if chance does not explain the difference;
    it has drifted if the difference is also large enough to matter.
    Both sides are read in parts, whatever their size.

    One table at two times: --time COLUMN with --reference-to, --from and so on.
    """
    from tidemill.cli import drift_compare as command

    question = command.Question(
        reference=command.side(reference, time, reference_since, reference_until, "--reference-from", "--reference-to"),
        current=None if current is None else command.side(current, time, since, until, "--from", "--to"),
        columns=command.names(columns),
        exclude=command.names(exclude) or (),
        rules=command.rules(distance, at_least, share, alpha),
        sketch=sketch,
        html=html,
    )
    command.check(question, time, as_json=as_json)
    report = command.answer(question)
    if report is None:
        return
    if as_json:
        from tidemill.drift.reports.json import as_json as values_of

        print(json.dumps(values_of(report), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        command.show(report, question)
    if fail_on_drift and not report.sound:
        raise SystemExit(1)
