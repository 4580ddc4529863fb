"""The sections that watch over a model in force: its scores, its drift and performance, and when to retrain it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tidemill.spec.fields import BudgetQuota, Clock, Duration, Metric, Number, Quota, Share, Span, text_or_mapping
from tidemill.spec.section import Section
from tidemill.spec.timing import Schedule

Trigger = Literal["drift", "performance", "new_data", "asset"]
Distance = Literal["psi", "js", "wasserstein", "ks", "hellinger", "linf", "chi2"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Columns = Annotated[list[str], Field(min_length=1)]

PREDICTED = ("prediction", "model_version", "data_version", "as_of")
"""The columns that the log of predictions adds to those of the source, besides those of probabilities."""
PROBABILITY = "probability_"
"""What the names of the log's columns of probabilities begin with; the class follows."""


class Score(Section):
    """The model in force over new rows, in a DAG of its own; what it predicted is kept as a log."""

    source: str | None = Field(
        default=None, min_length=1, description="As `data.source`, which it is if absent; it needs no target."
    )
    schedule: Schedule | None = Field(
        default=None, description="As the pipeline's `schedule`, assets too; by hand if absent."
    )
    window: Span | None = Field(
        default=None,
        description="The scored span before `as_of` for runs without a data interval; needed without a calendar.",
    )
    output: str | None = Field(
        default=None,
        min_length=1,
        description="The folder of the log, relative to the project; in the state folder if absent.",
        examples=["include/flights/predictions"],
    )
    rows: int = Field(default=100_000, ge=1, description="Rows of one batch, a file each: a retry keeps what is done.")
    columns: list[str] = Field(
        default_factory=list,
        description="Columns of the source that the log keeps besides key and time.",
        examples=[["carrier"]],
    )


class Rule(Section):
    """How far a column may be from the reference."""

    distance: Distance = Field(description="The measure; docs/drift.md defines each.")
    at_least: Number | None = Field(
        default=None,
        gt=0,
        description="A column has drifted from this distance on; by default 0.2 for `psi`, else 0.1.",
    )


class Drift(Section):
    """When the judged window counts as drifted from the champion's training rows."""

    distance: Distance = Field(
        default="psi", description="The measure of a column's change; docs/drift.md defines each."
    )
    at_least: Number | None = Field(
        default=None,
        gt=0,
        description="A column has drifted from this distance on; by default 0.2 for `psi`, else 0.1.",
    )
    categorical: Rule | None = Field(
        default=None,
        description="Another rule for categorical columns; `js` from 0.1 on where `distance` exists for numbers only.",
        examples=[{"distance": "linf", "at_least": 0.1}],
    )
    share: Share = Field(default=0.3, description="The window has drifted when this share of the columns has.")
    weights: Literal["equal", "importance"] = Field(
        default="equal",
        description="`importance`: a column counts towards the share by how much the model's metric depends on it.",
    )
    columns: Columns | None = Field(
        default=None, description="The columns to watch; all but key, target and time column if absent."
    )
    alpha: Share = Field(
        default=0.05,
        description="A column's change is significant at this false discovery rate over all columns; "
        "what is not significant has not drifted.",
    )
    consecutive: int = Field(
        default=1, ge=1, description="The alarm is given when so many windows in a row have drifted."
    )
    warm_up: Duration | None = Field(
        default=None, description="No alarm for windows that begin within this time after the champion's promotion."
    )


class Labels(Section):
    """Labels that arrive later than the rows: they are joined to the predictions by key."""

    source: str = Field(
        min_length=1,
        description="A Parquet or CSV file, or a folder of Parquet files, with the key and the target.",
        examples=["include/flights/arrivals.parquet"],
    )
    key: list[str] = Field(
        default_factory=list,
        description="The columns that identify a row; `data.key` if absent.",
        examples=[["flight_id"]],
    )
    delay: Duration | None = Field(
        default=None,
        description="How long after a row its label may come: the window whose performance is judged is moved back "
        "by it.",
        examples=["7 d"],
    )


class Bound(Section):
    """A bound on a metric: the alarm is given when the whole confidence interval lies beyond it."""

    at_least: Number | None = Field(default=None, description="The metric must be at least this.")
    at_most: Number | None = Field(default=None, description="The metric must be at most this.")
    confidence: Share = Field(default=0.95, description="The level of the interval.")

    @property
    def says(self) -> bool:
        """Whether there is a bound at all."""
        return self.at_least is not None or self.at_most is not None

    def met(self, value: float) -> bool:
        """Whether a value lies within."""
        return not self.beyond(value, value)

    def beyond(self, low: float, high: float) -> bool:
        """Whether all from ``low`` to ``high`` lies beyond one of the bounds."""
        under = self.at_least is not None and high < self.at_least
        return under or (self.at_most is not None and low > self.at_most)


class Monitor(Section):
    """The watch over the model in force, in a DAG of its own."""

    schedule: Schedule | None = Field(default=None, description="As the pipeline's `schedule`; by hand if absent.")
    window: Span | None = Field(
        default=None,
        description="The judged span before `as_of` for runs without a data interval; needed without a schedule.",
    )
    min_rows: int = Field(default=100, ge=1, description="A window with fewer rows is not judged.")
    partitions: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="The window is summarised by up to this many mapped tasks, on whatever executor Airflow has.",
    )
    drift: Drift | None = Field(default=None, description="Watch how far the rows are from the champion's.")
    labels: Labels | None = Field(
        default=None,
        description="Where the labels come from if not with the rows.",
        examples=[{"source": "include/flights/arrivals.parquet", "delay": "7 d"}],
    )
    performance: dict[Metric, Bound] | None = Field(
        default=None,
        min_length=1,
        description="Metric → bound, on the window's rows that have a target.",
        examples=[{"roc_auc": {"at_least": 0.68}}],
    )
    estimate: bool = Field(
        default=False,
        description="Estimate the metrics of a classification from its scores while labels are missing; "
        "an estimate gives no alarm.",
    )
    compare_previous: bool = Field(default=False, description="Score the champion before the one in force, too.")


class QuietHours(Section):
    """Hours in which no training starts."""

    from_: Clock = Field(alias="from", description="The first minute.", examples=["08:00"])
    to: Clock = Field(description="The minute after the last; before `from`: on the next day.", examples=["18:00"])
    days: list[Day] = Field(
        default_factory=list,
        description="The days on which they begin; all if absent.",
        examples=[["mon", "tue", "wed", "thu", "fri"]],
    )
    timezone: str = Field(default="UTC", min_length=1, description="An IANA name.", examples=["Europe/Berlin"])


class Upstream(Section):
    """An asset of somebody else's whose name is not its URI: both, as the DAG that updates it has them."""

    name: str = Field(min_length=1, description="The asset's name.", examples=["orders"])
    uri: str = Field(min_length=1, description="The asset's URI.", examples=["s3://acme/orders"])


if TYPE_CHECKING:
    UpstreamItem = str | Upstream
else:
    UpstreamItem = text_or_mapping(Upstream, {"minLength": 1, "examples": ["s3://acme/orders"]})


class Retrain(Section):
    """Which signals start a training besides the schedule, and what holds them back."""

    triggers: list[Trigger] = Field(
        default_factory=list,
        description="The signals that start a training: the monitor's, or new data upstream.",
        examples=[["drift", "performance"]],
    )
    new_data: int | None = Field(
        default=None,
        ge=1,
        description="The trigger `new_data`: so many rows later than the champion's training rows.",
        examples=[50_000],
    )
    assets: list[UpstreamItem] = Field(
        default_factory=list,
        description="The trigger `asset`: the assets whose updates ask for a training, each by its name or URI, or by "
        "both where they differ.",
        examples=[["orders", "s3://acme/prices"]],
    )
    cooldown: Duration | None = Field(default=None, description="From the last training started, promoted or refused.")
    at_most: Quota | None = Field(default=None, description="Trainings in a UTC calendar period, e.g. `4 per year`.")
    count_scheduled: bool = Field(default=False, description="Scheduled runs count towards `at_most`.")
    budget: BudgetQuota | None = Field(
        default=None,
        description="What trainings may cost in a UTC calendar period: what was paid, and what the next one "
        "will cost if it costs what the last one did.",
    )
    min_rows: int | None = Field(default=None, ge=1, description="Fewer training rows than this: no training.")
    quiet_hours: list[QuietHours] = Field(
        default_factory=list,
        description="When no training that a signal asked for starts.",
        examples=[[{"from": "08:00", "to": "18:00", "timezone": "Europe/Berlin"}]],
    )
    veto: list[Literal["data_quality"]] = Field(
        default_factory=list,
        description="`data_quality`: rows that are broken (a column missing or of another type, many more nulls) "
        "start no training.",
        examples=[["data_quality"]],
    )
    stop_after: int | None = Field(
        default=None, ge=1, description="After so many refused challengers in a row no signal starts a training."
    )
    dry_run: bool = Field(default=False, description="Decide and record, and train nothing that a signal asked for.")
