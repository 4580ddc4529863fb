"""The records of what watches over a model in force: its scores, its drift, its performance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Literal

from tidemill.records.base import Record


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
        whole["of"] = len(self.files)
        return [{**whole, "index": index, "files": list(files)} for index, files in enumerate(self.files)]


@dataclass(frozen=True, kw_only=True)
class SketchPart(Record):
    """The sketch of one part of the judged window, ``of`` so many: a file."""

    kind: ClassVar[str] = "sketch_part"
    version: str
    index: int
    path: str
    rows: int
    of: int


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

    @property
    def text(self) -> str:
        """What was found, and of which column."""
        return self.detail if self.column is None else f"{self.column}: {self.detail}"


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
