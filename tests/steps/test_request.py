"""When the monitor asks for a retraining."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tidemill.records import DataFinding, MonitorReport, RetrainRequest
from tidemill.steps import request
from tidemill.steps.context import StepContext, StepSkipped

Make = Callable[..., StepContext]
AS_OF = datetime(2013, 7, 1, tzinfo=UTC)


def asked(make: Make, report: dict[str, Any], triggers: list[str] | None) -> RetrainRequest:
    record = MonitorReport(
        **{"model": "flights", "version": "3", "start": AS_OF, "end": AS_OF, "rows": 9, "labelled": 9, **report}
    )
    retrain = None if triggers is None else {"triggers": triggers}
    return request.run(make("request", results={"monitor": record}, retrain=retrain))


def test_the_request_carries_as_of_the_reasons_among_the_triggers_and_the_version(make_context: Make) -> None:
    found = asked(make_context, {"fired": ("drift", "performance")}, ["performance"])
    assert found == RetrainRequest(as_of=AS_OF, reasons=("performance",), version="3", start=AS_OF, end=AS_OF)


def test_the_request_carries_what_was_severe_in_the_rows(make_context: Make) -> None:
    findings = (
        DataFinding(kind="new_column", column="b", severity="info", detail="not in the reference"),
        DataFinding(kind="missing_column", column="a", severity="severe", detail="missing in the current data"),
        DataFinding(kind="empty", column=None, severity="severe", detail="the current data has no rows"),
    )
    found = asked(make_context, {"fired": ("drift",), "findings": findings}, ["drift"])
    assert found.findings == ("a: missing in the current data", "the current data has no rows")


@pytest.mark.parametrize(
    ("report", "triggers", "said"),
    [
        (
            {"why": ("0 of 9 columns drifted (0%)",)},
            ["drift"],
            "no alarm: 0 of 9 columns drifted",
        ),
        ({"fired": ("drift",)}, ["performance"], "drift fired, but retrain.triggers names performance"),
        ({"fired": ("drift",)}, [], "drift fired, but retrain.triggers names nothing"),
        ({"fired": ("drift",)}, None, "drift fired, but retrain.triggers names nothing"),
        ({"version": None, "why": ("no champion",)}, ["drift"], "no champion"),
    ],
)
def test_without_a_reason_the_step_is_skipped_and_says_why(
    make_context: Make, report: dict[str, Any], triggers: list[str] | None, said: str
) -> None:
    with pytest.raises(StepSkipped) as skipped:
        asked(make_context, report, triggers)
    assert said in str(skipped.value)
