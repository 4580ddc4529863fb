"""What every form of the report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.drift.decide import ColumnDrift, Verdict
from tidemill.drift.findings import SEVERITIES, Finding
from tidemill.drift.reports.picture import Picture


@dataclass(frozen=True, kw_only=True)
class Report:
    """A verdict with its findings and pictures. ``reference`` and ``current`` say what was compared."""

    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    reference: str = "reference"
    current: str = "current"

    @property
    def worst_findings(self) -> list[Finding]:
        """The findings, severe ones first."""
        return sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))

    @property
    def sound(self) -> bool:
        """Whether nothing speaks against the data: judged, not drifted, and nothing severe was found."""
        severe = any(finding.severity == "severe" for finding in self.findings)
        return self.verdict.share_drifted is not None and not self.verdict.drifted and not severe


def state_of(column: ColumnDrift) -> str:
    """A column's verdict in two words at most."""
    if not column.judged:
        return "not judged"
    return "drifted" if column.drifted else "changed" if column.significant else "stable"


def headline(verdict: Verdict) -> str:
    """The verdict in two words at most."""
    if verdict.share_drifted is None:
        return "Not judged"
    return "Drift" if verdict.drifted else "No drift"
