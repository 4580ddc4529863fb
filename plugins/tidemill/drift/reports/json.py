"""The report for machines: what ``tidemill drift --json`` prints and a monitor stores. ``docs/cli.md`` describes it."""

from __future__ import annotations

import math
from typing import Any

from tidemill.drift.reports.report import Report


def as_json(report: Report) -> dict[str, Any]:
    """The report as a JSON-ready object, worst column first; what is no finite number is ``None``."""
    verdict = report.verdict
    return {
        "drifted": verdict.drifted,
        "why": verdict.why(),
        "rows": {"reference": verdict.rows[0], "current": verdict.rows[1]},
        "share_drifted": _finite(verdict.share_drifted),
        "weighted": verdict.weighted,
        "rules": {
            "distance": verdict.rules.distance,
            "at_least": verdict.rules.of_kind("numeric")[1],
            "categorical": dict(zip(("distance", "at_least"), verdict.rules.of_kind("categorical"), strict=True)),
            "share": verdict.rules.share,
            "alpha": verdict.rules.alpha,
            "min_rows": verdict.rules.min_rows,
        },
        "columns": [{key: _finite(value) for key, value in c.to_json().items()} for c in verdict.worst_first],
        "findings": [finding.to_json() for finding in report.worst_findings],
        "notes": list(verdict.notes),
    }


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
