"""The typed results that pass between steps.

A record is small, frozen and versioned, and JSON on the wire (XCom, ledger, reports). Addresses of data
travel in records, data never does.

>>> AsOf.from_json(AsOf(instant=..., cause="manual").to_json())
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidemill.records.base import Record, RecordError
from tidemill.records.training import (
    Approval,
    AsOf,
    Cause,
    Cost,
    DataVersion,
    Decision,
    Evaluation,
    FailedExpectation,
    GuardCheck,
    ModelVersion,
    Outcome,
    Part,
    Promotion,
    Reference,
    RemoteTraining,
    Run,
    Scores,
    Slice,
    StoredObject,
    Validation,
)
from tidemill.records.watching import (
    ColumnDrift,
    DataFinding,
    Estimate,
    Interval,
    LabelReport,
    MonitorReport,
    Partitions,
    Performance,
    RetrainRequest,
    Scoring,
    SketchPart,
)

__all__ = [
    "RECORDS",
    "Approval",
    "AsOf",
    "Cause",
    "ColumnDrift",
    "Cost",
    "DataFinding",
    "DataVersion",
    "Decision",
    "Estimate",
    "Evaluation",
    "FailedExpectation",
    "GuardCheck",
    "Interval",
    "LabelReport",
    "ModelVersion",
    "MonitorReport",
    "Outcome",
    "Part",
    "Partitions",
    "Performance",
    "Promotion",
    "Record",
    "RecordError",
    "Reference",
    "RemoteTraining",
    "RetrainRequest",
    "Run",
    "Scores",
    "Scoring",
    "SketchPart",
    "Slice",
    "StoredObject",
    "Validation",
    "from_json",
]

RECORDS: Mapping[str, type[Record]] = {
    c.kind: c
    for c in (
        AsOf,
        Decision,
        Cost,
        RemoteTraining,
        DataVersion,
        Validation,
        Reference,
        Run,
        Evaluation,
        ModelVersion,
        Promotion,
        Scoring,
        MonitorReport,
        Partitions,
        RetrainRequest,
        SketchPart,
    )
}


def from_json(value: Mapping[str, Any]) -> Record:
    """Read a record of any kind.

    Raises:
        RecordError: the object names no known record.
    """
    kind = str(value.get("record", "")).partition("/")[0]
    if kind not in RECORDS:
        raise RecordError(f"not a record: {value.get('record')!r}")
    return RECORDS[kind].from_json(value)
