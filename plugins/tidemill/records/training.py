"""The records of a training, from the decision to train to the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from tidemill.records.base import Record

Cause = Literal["scheduled", "asset", "manual"]
Outcome = Literal["promoted", "refused", "superseded"]


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
class RemoteTraining(Record):
    """A job on a cloud's service: that it is going to be submitted, that it was, how it ended.

    ``id`` is the service's own, empty until it has taken the job. ``place`` is the region, the workspace and cluster,
    or the namespace; ``machine`` is ``None`` where the service chooses and has not told yet. ``seconds`` is how long it
    ran, ``billable`` how much of that is paid for, ``interruptions`` how often a spot machine was taken away; as far as
    the service tells.
    """

    kind: ClassVar[str] = "job"
    name: str
    service: str
    attempt: int
    state: Literal["intended", "submitted", "succeeded", "failed", "stopped"]
    id: str = ""
    place: str = ""
    machine: str | None = None
    spot: bool = False
    reason: str = ""
    seconds: float | None = None
    billable: float | None = None
    interruptions: int = 0


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a data version: a Parquet file of ``rows`` rows in [``start``, ``end``)."""

    name: Literal["train", "holdout"]
    rows: int
    start: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A file of a data version in a bucket: its name, its address, the store's own id of the object version (S3:
    ``VersionId``; Cloud Storage: generation; Azure: version id), the SHA-256 and number of its bytes."""

    name: str
    uri: str
    version: str
    sha256: str
    size: int


@dataclass(frozen=True, kw_only=True)
class DataVersion(Record):
    """A content-addressed version of the rows that a run's window selects.

    ``version`` is the hash of both parts' content, by which their backend knows them; ``path`` is where the task that
    made it found them, a hint only: other tasks fetch by ``version``, and with ``object-store`` by ``objects``, which
    say where each part lies. ``source_version`` is the store's own id of the object version that the rows were selected
    from, where the source is an address. ``keep`` is what the spec said of the version's lifecycle.
    """

    kind: ClassVar[str] = "data_version"
    version: str
    backend: Literal["dvc", "object-store"]
    source: str
    path: str
    train: Part
    holdout: Part
    columns: Mapping[str, str]
    source_version: str | None = None
    objects: tuple[StoredObject, ...] = ()
    keep: str | None = None


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
