"""The monitor DAG's last step: asks the training DAG for a retraining if the report gives a reason for one."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.records import MonitorReport, RetrainRequest
from tidemill.steps.context import StepContext, StepSkipped


def run(ctx: StepContext) -> RetrainRequest:
    """The request that goes with the asset event: ``as_of``, what fired among ``retrain.triggers``, and what was severe
    in the rows of the window.

    Raises:
        StepSkipped: nothing fired that ``retrain.triggers`` names.
    """
    report = ctx.result(MonitorReport)
    triggers: Sequence[str] = ctx.spec.retrain.triggers if ctx.spec.retrain is not None else ()
    reasons = tuple(reason for reason in report.fired if reason in triggers)
    if not reasons or report.version is None:
        raise StepSkipped(_why_not(report, triggers))
    return RetrainRequest(
        as_of=ctx.as_of.instant,
        reasons=reasons,
        version=report.version,
        start=report.start,
        end=report.end,
        findings=tuple(finding.text for finding in report.findings if finding.severity == "severe"),
    )


def _why_not(report: MonitorReport, triggers: Sequence[str]) -> str:
    said = f": {'; '.join(report.why)}" if report.why else ""
    if not report.fired:
        return f"no alarm{said}"
    asked = " and ".join(triggers) or "nothing"
    return f"{' and '.join(report.fired)} fired, but retrain.triggers names {asked}{said}"
