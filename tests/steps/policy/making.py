"""What the tests of the guards share: entries as the steps write them, in a ledger of no database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tidemill.ledger import Entry
from tidemill.records import AsOf, Cause, Decision
from tidemill.spec.monitoring import Retrain
from tidemill.steps.policy import Facts, decide


def day(month: int, day: int = 1, hour: int = 0, minute: int = 0, year: int = 2013) -> datetime:
    """An instant of 2013."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


class History:
    """A pipeline's entries, one behind the other."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def add(self, kind: str, at: datetime, run: str, **body: Any) -> None:
        """Add any entry of a run."""
        seq = len(self.entries) + 1
        about = {"dag_id": "flights", "dag_run": run, "pipeline": "flights", "spec_hash": "now", **body}
        self.entries.append(Entry("flights", seq, kind, None, at, at, about, None, f"{seq}", b""))

    def decided(self, decision: Decision, at: datetime, run: str) -> None:
        """A decision as the step records it."""
        self.add("decision", at, run, **decision.to_json())

    def went(self, at: datetime, run: str = "", cause: Cause = "asset", **body: Any) -> str:
        """A decision to train."""
        run = run or f"{cause} {len(self.entries)}"
        self.add("decision", at, run, decision="go", cause=cause, **body)
        return run

    def ended(self, at: datetime, run: str, outcome: str, version: str, **body: Any) -> None:
        """What became of a challenger."""
        self.add("promotion", at, run, outcome=outcome, version=version, **body)

    def paid(self, at: datetime, amount: str, run: str = "", **body: Any) -> None:
        """What a training cost."""
        about = {"outcome": "trained", "currency": "USD", **body}
        self.add("cost", at, run or f"bill {len(self.entries)}", amount=amount, **about)

    def decide(
        self,
        at: datetime,
        cause: Cause = "asset",
        *,
        reasons: tuple[str, ...] = ("drift",),
        rows: int | None = None,
        findings: tuple[str, ...] = (),
        upstream: tuple[str, ...] = (),
        **policy: Any,
    ) -> Decision:
        """The decision on a run that stands at an instant."""
        read = Retrain.model_validate({"triggers": ["drift"], **policy})
        given = reasons if cause == "asset" else ()
        as_of = AsOf(instant=at, cause=cause, reasons=given, findings=findings, assets=upstream)
        return decide(Facts(read, as_of, self.entries, rows, "now"))


def against(decision: Decision) -> list[str]:
    """The guards that refuse."""
    return [check.guard for check in decision.checks if check.verdict == "refuse"]
