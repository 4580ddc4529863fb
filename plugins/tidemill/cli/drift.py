"""``tidemill drift``: how far one file's rows are from another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidemill.cli.locate import existing


def report(
    reference: Path, current: Path, *, columns: list[str] | None, at_least: float, share: float
) -> dict[str, Any]:
    """What ``tidemill drift --json`` prints; ``docs/cli.md`` describes it. Reads Parquet and CSV.

    Raises:
        UsageProblem: a file does not exist.
        SourceError: a file cannot be read.
        DriftError: ``columns`` names one that a file lacks.
    """
    from tidemill.drift.profile import profile
    from tidemill.drift.report import compare
    from tidemill.tools.source import scan

    before, after = scan(existing(reference)).collect(), scan(existing(current)).collect()
    found = compare(profile(before), after, at_least=at_least, share=share, columns=columns)
    return {
        "drifted": found.drifted,
        "rows": {"reference": before.height, "current": after.height},
        "share_drifted": found.share_drifted,
        "columns": [
            {"name": c.name, "kind": c.type, "psi": c.distance, "drifted": c.drifted, "note": c.note}
            for c in found.columns
        ],
    }
