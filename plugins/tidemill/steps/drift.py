"""Whether the judged window has drifted from what its champion learned from, and what else is odd about its rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill.ledger.views import DRIFT
from tidemill.records import ColumnDrift, DataFinding, MonitorReport
from tidemill.spec.units import format_instant
from tidemill.steps.context import StepContext, StepError
from tidemill.steps.reference import ARTIFACTS, FILE, IMPORTANCES, PREDICTION, PREDICTIONS
from tidemill.steps.sources import source_path

if TYPE_CHECKING:
    from tidemill.drift.decide import ColumnDrift as Judged
    from tidemill.drift.decide import Rules, Verdict
    from tidemill.drift.reports.report import Report
    from tidemill.drift.sketch import Sketch
    from tidemill.ledger import Entry
    from tidemill.spec.monitoring import Drift
    from tidemill.steps.computing import Models

KEPT = 200
"""So many columns, the worst first, stand in the ledger; all of them stand in the report's files."""


def judge(
    ctx: StepContext, settings: Drift, report: MonitorReport, entries: Sequence[Entry], in_force: Entry, mlflow: Models
) -> tuple[MonitorReport, Report]:
    """The report with the drift of the window, and the alarm if the rules over time give it; and all that was found
    of the columns.

    ``entries`` are those of the model's ledger, ``in_force`` the promotion of the champion that is judged.

    Raises:
        StepError: the rows cannot be read or lack a column that is to be watched; the champion has no reference.
    """
    from tidemill.drift.decide import Rules, decide
    from tidemill.drift.findings import findings
    from tidemill.drift.reports.pictures import pictures
    from tidemill.drift.reports.report import Report

    assert report.version is not None
    whole = reference_of(ctx, mlflow, report.version)
    watched = _watched(ctx, settings, whole)
    reference = _only(whole, watched)
    current_whole = _current(ctx, whole, report)
    # New columns are findings, those that nobody watches are none.
    there = [n for n in current_whole.columns if n in watched or (settings.columns is None and n not in whole.columns)]
    current = _only(current_whole, there)
    rules = Rules.of(settings, min_rows=ctx.spec.monitor.min_rows if ctx.spec.monitor else 0)
    importances = whole.meta.get(IMPORTANCES) if settings.weights == "importance" else None
    verdict = decide(reference, current, rules, importances)
    made = Report(
        verdict=verdict,
        findings=tuple(findings(reference, current)),
        pictures=pictures(reference, current),
        reference=f"version {report.version}'s training rows",
        current=f"{ctx.pipeline}, {format_instant(report.start)} to {format_instant(report.end)}",
    )
    report = _told(report, verdict, made, _outputs(ctx, report, whole, current_whole, rules, mlflow))
    return _alarm(settings, report, entries, in_force), made


def reference_of(ctx: StepContext, mlflow: Models, version: str, name: str = FILE) -> Sketch:
    """A sketch that a version keeps.

    Raises:
        StepError: it has none, or it is damaged.
    """
    from tidemill.drift.errors import DriftError
    from tidemill.drift.sketch import Sketch

    try:
        return Sketch.read(mlflow.download(ctx.model, version, f"{ARTIFACTS}/{name}"))
    except DriftError as error:
        raise StepError(
            f"drift of version {version}: {error}; train a new version to have a reference again"
        ) from error


def summary(
    ctx: StepContext, reference: Sketch, start: datetime, end: datetime, files: Sequence[str] | None = None
) -> Sketch:
    """The sketch of the source's rows in [``start``, ``end``), counted on the reference's edges; of some of its files
    if given.

    Raises:
        StepError: they cannot be read.
    """
    from tidemill.drift.errors import DriftError
    from tidemill.drift.sources import open_source
    from tidemill.drift.summarise import summarise

    data = ctx.spec.data
    try:
        source = open_source(source_path(ctx, data.source), where=(data.window.column, start, end), files=files)
        return summarise(source, reference=reference, exclude={*data.key, data.window.column})
    except DriftError as error:
        raise StepError(f"the window's rows cannot be summarised: {error}") from error


def _current(ctx: StepContext, reference: Sketch, report: MonitorReport) -> Sketch:
    """The sketch of the window: of its parts where mapped tasks made them, else made here, with the same numbers."""
    from tidemill.drift.errors import DriftError
    from tidemill.drift.merging import merge
    from tidemill.drift.sketch import Sketch

    parts = sorted((part for part in ctx.parts if part.version == report.version), key=lambda part: part.index)
    if not parts:
        return summary(ctx, reference, report.start, report.end)
    if missing := sorted(set(range(parts[0].of)) - {part.index for part in parts}):
        # Airflow counts a mapped task as done that somebody has marked so.
        raise StepError(
            f"the window has {parts[0].of} parts, and those of the tasks `sketch` {missing} were not summarised: "
            "clear these tasks to have them made"
        )
    try:
        return merge([Sketch.read(Path(part.path)) for part in parts])
    except DriftError as error:
        raise StepError(
            f"the sketches of the window's parts cannot be put together: {error}; do all workers share the state "
            "folder? Clear the task `sketch` to make them again"
        ) from error


def _watched(ctx: StepContext, settings: Drift, reference: Sketch) -> set[str]:
    """The columns that count.

    Raises:
        StepError: one was named that the reference lacks.
    """
    from tidemill.spec.errors import suggest

    if settings.columns is None:
        return set(reference.columns) - {ctx.spec.evaluate.target}
    for name in settings.columns:
        if name not in reference.columns:
            near = suggest(name, list(reference.columns))
            meant = f' Did you mean "{near}"?' if near else f" There are: {', '.join(list(reference.columns)[:20])}."
            raise StepError(f'monitor.drift.columns names "{name}", which the champion\'s training rows lack.{meant}')
    return set(settings.columns)


def _only(sketch: Sketch, names: set[str] | list[str]) -> Sketch:
    return dataclasses.replace(sketch, columns={n: c for n, c in sketch.columns.items() if n in names})


def _outputs(
    ctx: StepContext, report: MonitorReport, reference: Sketch, current: Sketch, rules: Rules, mlflow: Models
) -> tuple[Judged, ...]:
    """How far target and predictions have moved. They count for nothing: their change is an effect, not a cause."""
    from tidemill.drift.decide import decide

    target = ctx.spec.evaluate.target
    found: list[Judged] = []
    if target in reference.columns and target in current.columns and current.columns[target].present:
        found += decide(_only(reference, [target]), _only(current, [target]), rules).columns
    predictions = _predictions(ctx, report, mlflow)
    if predictions is not None:
        found += decide(*predictions, rules).columns
    return tuple(found)


def _predictions(ctx: StepContext, report: MonitorReport, mlflow: Models) -> tuple[Sketch, Sketch] | None:
    """What the champion predicted for its holdout and, by its log, for the window."""
    import polars as pl

    from tidemill.drift.summarise import summarise_table
    from tidemill.steps.performance import logged_in
    from tidemill.steps.predictions import probability

    logged = logged_in(ctx, report.start, report.end)
    if logged is None or logged.version != report.version or logged.frame.is_empty():
        return None
    try:
        reference = reference_of(ctx, mlflow, logged.version, PREDICTIONS)
    except StepError as error:
        if error.retry:
            raise
        ctx.log.warning(
            "predictions are not compared: version %s was made before `score` was asked for", report.version
        )
        return None
    values = logged.frame[PREDICTION]
    if logged.classes is not None:
        values = values.cast(pl.String)  # as the reference has them, whatever the classes are
        likely = probability(logged.classes[-1])
        if len(logged.classes) == 2 and likely in logged.frame.columns:
            values = logged.frame[likely]
    return reference, summarise_table(values.alias(PREDICTION).to_frame(), reference=reference)


def _told(report: MonitorReport, verdict: Verdict, made: Report, outputs: tuple[Judged, ...]) -> MonitorReport:
    odd = tuple(
        DataFinding(kind=f.kind, column=f.column, severity=f.severity, detail=f.detail) for f in made.worst_findings
    )
    severe = [finding.text for finding in odd if finding.severity == "severe"]
    moved = [f"{c.name} ({c.judged_by} {c.value:.3f})" for c in outputs if c.significant and c.value is not None]
    why = [verdict.why(), *severe[:5]]
    if moved:
        why.append(f"of what comes out, {' and '.join(moved)} changed")
    return dataclasses.replace(
        report,
        columns=tuple(map(_recorded, verdict.worst_first[:KEPT])),
        judged_columns=len(verdict.judged),
        share_drifted=verdict.share_drifted,
        drifted=None if verdict.share_drifted is None else verdict.drifted,
        outputs=tuple(map(_recorded, outputs)),
        findings=(*report.findings, *odd),
        why=(*report.why, *why),
    )


def _recorded(column: Judged) -> ColumnDrift:
    return ColumnDrift(
        name=column.name,
        type=column.kind,
        distance=column.value,
        drifted=column.drifted,
        note=column.note,
        judged_by=column.judged_by,
        bound=column.bound,
        significant=column.significant,
        p_value=column.p_value,
        weight=column.weight,
    )


def _alarm(settings: Drift, report: MonitorReport, entries: Sequence[Entry], in_force: Entry) -> MonitorReport:
    """The alarm, by the rules over time: windows in a row, and the time after the promotion."""
    from tidemill.drift.alarm import JudgedWindow, alarm

    earlier = [
        JudgedWindow(
            start=datetime.fromisoformat(e.body["start"]),
            end=datetime.fromisoformat(e.body["end"]),
            drifted=e.body["drifted"],
        )
        for e in entries
        if e.kind == DRIFT and str(e.body.get("version")) == report.version and "drifted" in e.body
    ]
    found = alarm(
        JudgedWindow(start=report.start, end=report.end, drifted=report.drifted),
        earlier,
        consecutive=settings.consecutive,
        promoted=in_force.as_of,
        warm_up=settings.warm_up,
    )
    why = (*report.why, found.why) if found.why else report.why
    fired = (*report.fired, "drift") if found.fired else report.fired
    return dataclasses.replace(report, why=why, fired=fired)
