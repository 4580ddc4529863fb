"""The typed results that pass between steps.

A record is small, frozen and versioned, and JSON on the wire (XCom, ledger, reports). Addresses of data
travel in records, data never does.

>>> AsOf.from_json(AsOf(instant=..., cause="manual").to_json())
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from tidemill.errors import TidemillError

Cause = Literal["scheduled", "asset", "manual"]
Outcome = Literal["promoted", "refused", "superseded"]
_T = TypeVar("_T")


class RecordError(TidemillError, ValueError):
    """A JSON object is not the record it should be (wrong kind, version, field or type)."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of all records: ``to_json`` and ``from_json`` are exact inverses.

    On the wire a record is an object with ``record`` (``kind/version``) and its fields; instants are ISO 8601
    in UTC; a number that is not finite becomes ``null``.
    """

    kind: ClassVar[str]
    version_of_record: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON-ready object."""
        tag = f"{self.kind}/{self.version_of_record}"
        return {"record": tag, **{f.name: _encode(getattr(self, f.name)) for f in dataclasses.fields(self)}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            RecordError: the object is another kind or version of record, or a field is missing or unknown.
        """
        tag = f"{cls.kind}/{cls.version_of_record}"
        if value.get("record") != tag:
            raise RecordError(f"expected a record {tag!r}, got {value.get('record')!r}")
        return _decode_fields(cls, {k: v for k, v in value.items() if k != "record"})


@dataclass(frozen=True, kw_only=True)
class AsOf(Record):
    """The instant a run stands at: nothing in the run reads the wall clock instead.

    ``interval_start`` and ``interval_end`` are the data interval of a scheduled run, else ``None``.
    ``reasons`` are what the triggering events gave (``drift``, ``performance``, ``new_data``, ``asset``), empty
    otherwise; ``assets`` the names of the upstream assets among them; ``findings`` what the monitor found broken
    in the rows that its events are about.
    """

    kind: ClassVar[str] = "as_of"
    instant: datetime
    cause: Cause
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    reasons: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GuardCheck:
    """What one guard of the retraining policy said, in words with numbers.

    ``warn``: it is against the training, and this kind of run is not held back by it.
    """

    guard: str
    verdict: Literal["pass", "refuse", "warn"]
    text: str


@dataclass(frozen=True, kw_only=True)
class Decision(Record):
    """What the retraining guard decided for one run, with what it looked at.

    ``why`` holds every reason: all that are against it for a ``no``, all that speak for it for a ``go``.
    ``warnings`` did not hold this run back. ``checks`` is each guard that was asked. In a ``dry_run`` nothing is
    trained, so that ``decision`` is ``no``, and ``would`` is what it would have been.
    """

    kind: ClassVar[str] = "decision"
    decision: Literal["go", "no"]
    cause: str
    why: tuple[str, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[GuardCheck, ...] = ()
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    would: Literal["go", "no"] | None = None


@dataclass(frozen=True, kw_only=True)
class Cost(Record):
    """What one training cost: ``seconds`` at ``price`` an hour.

    ``training`` names data, code, spec and seed; ``amount`` is a decimal number in ``currency``, as text. An
    attempt that made no model is ``failed``, and was paid for all the same.
    """

    kind: ClassVar[str] = "cost"
    training: str
    outcome: Literal["trained", "failed"]
    seconds: float
    price: str
    amount: str
    currency: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a data version: a Parquet file of ``rows`` rows in [``start``, ``end``)."""

    name: Literal["train", "holdout"]
    rows: int
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class DataVersion(Record):
    """A content-addressed version of the rows that a run's window selects.

    ``version`` is the hash under which the backend (DVC) stores both parts; ``path`` is where the task that
    made it found them, a hint only: other tasks fetch by ``version``.
    """

    kind: ClassVar[str] = "data_version"
    version: str
    backend: Literal["dvc"]
    source: str
    path: str
    train: Part
    holdout: Part
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class FailedExpectation:
    """An expectation that did not hold: ``rows`` of ``of`` rows failed it (``None``: not a row-wise one)."""

    expectation: str
    column: str | None
    rows: int | None
    of: int | None
    detail: str


@dataclass(frozen=True, kw_only=True)
class Validation(Record):
    """The outcome of a Great Expectations suite on one data version."""

    kind: ClassVar[str] = "validation"
    data_version: str
    suite: str
    checked: int
    failed: tuple[FailedExpectation, ...]
    docs: str | None


@dataclass(frozen=True, kw_only=True)
class Reference(Record):
    """The sketch of the training rows that drift is later measured against: a file. ``predictions``: that of what the
    model predicts for the holdout, where it is going to be scored."""

    kind: ClassVar[str] = "reference"
    data_version: str
    path: str
    rows: int
    columns: int
    predictions: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """A finished training: the tracked run and the model it made."""

    kind: ClassVar[str] = "run"
    run_id: str
    experiment: str
    data_version: str
    code_version: str
    spec_hash: str
    seed: int
    params: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    model_uri: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The metrics of the holdout rows in which ``column`` is ``value``; ``unjudged`` says why it is not judged."""

    column: str
    value: str
    rows: int
    metrics: Mapping[str, float | None]
    unjudged: str | None = None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One model's metrics on the holdout, and on its slices. ``None`` is a metric that does not exist there."""

    metrics: Mapping[str, float | None]
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Evaluation(Record):
    """Challenger and champion on the same holdout rows, computed by the same code in one task.

    ``champion`` is ``None`` without a champion; ``not_comparable`` says why a champion could not be compared
    (its training rows overlap the holdout, it could not be loaded).
    """

    kind: ClassVar[str] = "evaluation"
    data_version: str
    run_id: str
    rows: int
    challenger: Scores
    champion_version: str | None = None
    champion: Scores | None = None
    not_comparable: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Record):
    """A registered model version."""

    kind: ClassVar[str] = "model_version"
    model: str
    version: str
    run_id: str
    data_version: str


@dataclass(frozen=True, kw_only=True)
class Approval:
    """A person's answer at the gate."""

    answer: Literal["Approve", "Reject"]
    by: str
    at: datetime | None = None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Promotion(Record):
    """What became of a challenger at the gate, with every reason."""

    kind: ClassVar[str] = "promotion"
    model: str
    version: str
    outcome: Outcome
    reasons: tuple[str, ...]
    champion_before: str | None
    data_version: str
    approval: Approval | None = None


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """The drift of one column, as ``docs/drift.md`` defines each number; ``None`` where it does not exist.

    ``distance`` is the one that decided, ``judged_by`` its name, ``bound`` what it had to reach. ``significant``: it
    changed; ``drifted``: it changed enough to matter. ``weight``: how much it counts in the share of the columns.
    """

    name: str
    type: str
    distance: float | None
    drifted: bool
    note: str = ""
    judged_by: str = "psi"
    bound: float | None = None
    significant: bool = False
    p_value: float | None = None
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Partitions(Record):
    """The files of the judged window [``start``, ``end``), dealt out to tasks that summarise some of them each against
    the reference of the champion ``version``."""

    kind: ClassVar[str] = "partitions"
    version: str
    start: datetime
    end: datetime
    files: tuple[tuple[str, ...], ...]

    def parts(self) -> list[dict[str, Any]]:
        """What each of the mapped tasks is given, as JSON."""
        whole = {k: v for k, v in self.to_json().items() if k not in ("record", "files")}
        return [{**whole, "index": index, "files": list(files)} for index, files in enumerate(self.files)]


@dataclass(frozen=True, kw_only=True)
class SketchPart(Record):
    """The sketch of a part of the judged window: a file."""

    kind: ClassVar[str] = "sketch_part"
    version: str
    index: int
    path: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Scoring(Record):
    """What a model version predicted for the rows of [``start``, ``end``): a folder of ``parts`` Parquet files.

    ``data_version`` is the hash of what the model was given. ``unscored`` rows got no finite score.
    """

    kind: ClassVar[str] = "scoring"
    model: str
    version: str
    data_version: str
    as_of: datetime
    start: datetime
    end: datetime
    rows: int
    parts: int
    path: str
    unscored: int = 0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A confidence interval of a metric at the level ``confidence``; ``method`` names how it was computed."""

    metric: str
    low: float
    high: float
    confidence: float
    method: str


@dataclass(frozen=True, kw_only=True)
class Performance:
    """One model's metrics on ``rows`` labelled rows of the judged window [``start``, ``end``).

    ``predictions`` says where its predictions come from: the log of what it had ``logged``, or ``computed`` by the
    monitor. ``others``: how many rows of the window were scored by other versions, which are left out.
    """

    version: str
    metrics: Mapping[str, float | None]
    intervals: tuple[Interval, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    rows: int | None = None
    predictions: Literal["logged", "computed"] | None = None
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """How the labels of the judged window were joined: ``labelled`` of its ``rows`` have one that can be used.

    ``repeated`` keys have several labels that agree, ``contradicting`` ones several that do not; the rows of these,
    and those whose own key is not theirs alone (``ambiguous``), are left out.
    """

    source: str
    start: datetime
    end: datetime
    rows: int
    labelled: int
    repeated: int = 0
    contradicting: int = 0
    ambiguous: int = 0


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What the metrics of the window [``start``, ``end``) probably are, from ``rows`` calibrated scores without labels.

    Never a measurement: it holds as long as the scores mean what they meant on the holdout. ``intervals`` are where
    the metric will lie then.
    """

    version: str
    metrics: Mapping[str, float | None]
    intervals: tuple[Interval, ...]
    start: datetime
    end: datetime
    rows: int
    calibration: Literal["isotonic", "sigmoid"]


@dataclass(frozen=True, kw_only=True)
class DataFinding:
    """Something odd about the rows of a window as such; ``severe`` ones can forbid to train on them."""

    kind: str
    column: str | None
    severity: Literal["info", "warning", "severe"]
    detail: str


@dataclass(frozen=True, kw_only=True)
class MonitorReport(Record):
    """The verdict on one window [``start``, ``end``) for the champion in force at its start.

    ``version`` is ``None`` when there was no champion yet: then nothing is judged. ``fired`` holds ``drift``,
    ``performance`` and ``new_data`` as they apply, ``why`` a sentence for each. ``new_rows``: how many rows are
    later than the champion's training rows, where that is asked for. ``performance`` may be of an earlier window,
    whose labels have come; ``estimate`` is of this one.

    ``drifted`` is the verdict on the window, which gives an alarm by the rules over time. ``columns`` are at most the
    200 worst of ``judged_columns``; ``outputs`` are target and predictions, which count for nothing. ``path`` and
    ``page``: the whole report as JSON and as a page.
    """

    kind: ClassVar[str] = "monitor_report"
    model: str
    version: str | None
    start: datetime
    end: datetime
    rows: int
    labelled: int
    columns: tuple[ColumnDrift, ...] = ()
    share_drifted: float | None = None
    performance: Performance | None = None
    previous: Performance | None = None
    fired: tuple[str, ...] = ()
    why: tuple[str, ...] = ()
    path: str | None = None
    new_rows: int | None = None
    findings: tuple[DataFinding, ...] = ()
    labels: LabelReport | None = None
    estimate: Estimate | None = None
    drifted: bool | None = None
    outputs: tuple[ColumnDrift, ...] = ()
    judged_columns: int | None = None
    page: str | None = None


@dataclass(frozen=True, kw_only=True)
class RetrainRequest(Record):
    """The event that asks the training DAG for a retraining.

    ``start`` and ``end`` bound the window that the alarm is about, ``findings`` is what was severe in its rows.
    """

    kind: ClassVar[str] = "retrain_request"
    as_of: datetime
    reasons: tuple[str, ...]
    version: str
    start: datetime | None = None
    end: datetime | None = None
    findings: tuple[str, ...] = ()


RECORDS: Mapping[str, type[Record]] = {
    c.kind: c
    for c in (
        AsOf,
        Decision,
        Cost,
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


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RecordError(f"an instant without a time zone: {value!r}")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(v) for v in value]
    return value


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return {k: v for k, v in typing.get_type_hints(cls).items() if typing.get_origin(v) is not ClassVar}


def _decode_fields(cls: type[_T], value: Any) -> _T:
    if not isinstance(value, Mapping):
        raise RecordError(f"{cls.__name__}: expected an object, got {value!r}")
    hints: dict[str, Any] = _hints(cast(Any, cls))
    unknown = value.keys() - hints.keys()
    if unknown:
        raise RecordError(f"{cls.__name__}: unknown field {sorted(unknown)[0]!r}")
    found = {k: _decode(hints[k], v, f"{cls.__name__}.{k}") for k, v in value.items()}
    try:
        return cls(**found)
    except TypeError as e:
        raise RecordError(f"{cls.__name__}: {e}") from None


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in arguments:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_fields(hint, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_decode(arguments[0], v, where) for v in value)
    if hint is datetime and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as e:
            raise RecordError(f"{where}: {e}") from None
    if not _fits(hint, origin, arguments, value):
        raise RecordError(f"{where}: {value!r} is not of its type")
    return value


def _fits(hint: Any, origin: Any, arguments: tuple[Any, ...], value: Any) -> bool:
    if hint is Any:
        return True
    if origin is Literal:
        return value in arguments
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is not None:
        return isinstance(value, Mapping) and origin is not tuple
    return type(value) is hint
