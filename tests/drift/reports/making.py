"""Reports to look at, without data."""

from __future__ import annotations

from typing import Any

from tidemill.drift.critical import Sizes
from tidemill.drift.decide import Evidence, Rules, judge
from tidemill.drift.findings import Finding
from tidemill.drift.reports.picture import Bar, Categories, Histogram, Picture
from tidemill.drift.reports.report import Report

ROWS = (10_000, 8_000)
HISTOGRAM = Histogram((0.0, 1.0, 2.0, 3.0), (0.5, 0.3, 0.1), (0.15, 0.35, 0.4), (Bar("null", 0.1, 0.1, special=True),))


def evidence(name: str, psi: float | None = 0.5, p: float | None = 1e-9, **more: Any) -> Evidence:
    return Evidence(
        name=name,
        kind=more.pop("kind", "numeric"),
        distances={"psi": psi, "js": 0.3, **more},
        p_value=p,
        sizes=Sizes(*ROWS, 11),
        notes={"psi": "no bins"} if psi is None else {},
    )


def report(
    columns: list[Evidence], *found: Finding, pictures: dict[str, Picture] | None = None, **rules: Any
) -> Report:
    drawn = pictures if pictures is not None else {e.name: HISTOGRAM for e in columns}
    verdict = judge(columns, ROWS, Rules(**rules))
    return Report(
        verdict=verdict, findings=found, pictures=drawn, reference="january.parquet", current="february.parquet"
    )


def finding(
    column: str | None = "dest", severity: Any = "severe", detail: str = "missing in the current data"
) -> Finding:
    return Finding(kind="missing_column", column=column, severity=severity, detail=detail)


def categories(*labels: str) -> Categories:
    return Categories(tuple(Bar(label, 1 / len(labels), 0.5 / len(labels)) for label in labels))
