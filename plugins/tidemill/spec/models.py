"""The language: one pydantic model a section, strict keys, units read by one grammar.

Docstrings and field descriptions are what users read: the JSON Schema and the language reference come from
them. A value keeps its unit (``5 months``) in ``model_dump(mode="json")`` and is a typed quantity in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field

from tidemill.spec.fields import Duration, Instant, Number, Quota, Share, Size, Span, text_or_mapping

Metric = str
Trigger = Literal["drift", "performance"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are what they are written as."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)


class Owner(Section):
    """Who answers for the pipeline, and where to reach them."""

    name: str = Field(min_length=1, description="Shown as the owner in Airflow.")
    link: str = Field(pattern=r"^(https?://|mailto:)\S+$", description="`https://…` or `mailto:…`.")


class Cron(Section):
    """A cron expression in a time zone."""

    cron: str = Field(description="Five fields: minute, hour, day of month, month, day of week.")
    timezone: str = Field(default="UTC", description="An IANA time zone, e.g. `Europe/Berlin`.")


if TYPE_CHECKING:
    Schedule = str | Cron
    Owned = str | Owner
else:
    Schedule = text_or_mapping(Cron)
    Owned = text_or_mapping(Owner)


class Platform(Section):
    """Where the pipeline's work runs."""

    provider: Literal["local"] = Field(description="`local`: processes on the machine that runs the task.")


class Window(Section):
    """Which rows a run sees: the holdout is the span before `as_of`, the training rows are the span before that."""

    column: str = Field(min_length=1, description="The time column of the source.")
    train: Span = Field(description="How long the training rows reach back from the holdout, e.g. `5 months`.")
    holdout: Span = Field(description="How long the holdout reaches back from `as_of`, e.g. `1 month`.")


class Data(Section):
    """The source, the rows of it that a run sees, how they are versioned and what is expected of them."""

    source: str = Field(
        min_length=1,
        description="A Parquet or CSV file, or a folder of Parquet files; relative to the project.",
    )
    key: list[str] = Field(default_factory=list, description="The columns that identify a row.")
    window: Window
    version: Literal["dvc"] = Field(default="dvc", description="What versions the rows: `dvc`.")
    expect: str | None = Field(
        default=None,
        description="A Great Expectations suite (YAML) that the rows must pass; relative to the project.",
    )


class Resources(Section):
    """What the training process may use."""

    cpu: int | None = Field(default=None, ge=1, description="Processors.")
    memory: Size | None = Field(default=None, description="Memory, e.g. `4 GiB`; beyond it the training fails.")


class Train(Section):
    """The user's training function and what it is given."""

    code: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`module:function`, found from the project's root, e.g. `include.flights.train:train`.",
    )
    params: dict[str, Any] = Field(default_factory=dict, description="Given to the function as `context.params`.")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="Given as `context.seed`; `random` and NumPy are seeded with it.",
    )
    timeout: Duration | None = Field(
        default=None, description="After this the training is stopped and fails, e.g. `2 h`."
    )
    resources: Resources = Field(default_factory=Resources)
    track: Literal["mlflow"] = Field(default="mlflow", description="Where runs are tracked: `mlflow`.")


class Evaluate(Section):
    """What the model is asked to do and how well it does it."""

    task: Literal["classification", "regression"]
    target: str = Field(min_length=1, description="The column that the model predicts.")
    metrics: list[Metric] = Field(min_length=1, description="Computed for challenger and champion on the same rows.")
    slices: list[str] = Field(default_factory=list, description="Columns: each of their values is judged by itself.")


class Gain(Section):
    """The improvement over the champion; positive is better, whatever the metric's direction."""

    at_least: Number
    without_champion: Literal["pass", "refuse"] = Field(
        default="refuse",
        description="What the gain does while there is no champion; `pass` needs an absolute bound beside it.",
    )


class WorstSlice(Section):
    """A bound on the worst slice of `evaluate.slices` that has enough rows to be judged."""

    at_least: Number | None = None
    at_most: Number | None = None
    min_rows: int = Field(default=100, ge=1, description="A slice with fewer rows is listed as not judged.")


class Gate(Section):
    """The conditions on one metric; all of them must hold."""

    at_least: Number | None = None
    at_most: Number | None = None
    gain: Gain | None = None
    worst_slice: WorstSlice | None = None


class Promote(Section):
    """The registered model, and the gate a version passes before the alias moves to it."""

    model: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The registered model's name; the pipeline's id if absent.",
    )
    registry: Literal["mlflow"] = Field(default="mlflow", description="Where models are registered: `mlflow`.")
    alias: str = Field(
        default="champion",
        pattern=r"^[A-Za-z][A-Za-z0-9_-]*$",
        description="The alias of the model in force.",
    )
    when: dict[Metric, Gate] = Field(min_length=1, description="Metric → conditions.")
    approval: Literal["automatic", "manual"] = Field(
        default="automatic", description="`manual`: a person approves in Airflow."
    )


class Drift(Section):
    """When the judged window counts as drifted from the champion's training rows."""

    distance: Literal["psi"] = Field(default="psi", description="Population stability index on fixed reference bins.")
    at_least: Number = Field(default=0.2, gt=0, description="A column has drifted from this distance on.")
    share: Share = Field(default=0.3, description="The window has drifted when this share of the columns has.")
    columns: list[str] | None = Field(
        default=None,
        min_length=1,
        description="The columns to watch; all but key, target and time column if absent.",
    )


class Bound(Section):
    """An absolute bound on a metric."""

    at_least: Number | None = None
    at_most: Number | None = None


class Monitor(Section):
    """The watch over the model in force, in a DAG of its own."""

    schedule: Schedule | None = Field(default=None, description="As the pipeline's `schedule`; by hand if absent.")
    window: Span | None = Field(
        default=None,
        description="The judged span before `as_of` for runs without a data interval; needed without a schedule.",
    )
    min_rows: int = Field(default=100, ge=1, description="A window with fewer rows is not judged.")
    drift: Drift | None = None
    performance: dict[Metric, Bound] | None = Field(
        default=None, min_length=1, description="Metric → bound, on the window's rows that have a target."
    )
    compare_previous: bool = Field(default=False, description="Score the champion before the one in force, too.")


class Retrain(Section):
    """Which signals start a training besides the schedule, and what holds them back."""

    triggers: list[Trigger] = Field(default_factory=list)
    cooldown: Duration | None = Field(default=None, description="From the last training started, promoted or refused.")
    at_most: Quota | None = Field(default=None, description="Trainings in a UTC calendar period, e.g. `4 per year`.")
    count_scheduled: bool = Field(default=False, description="Scheduled runs count towards `at_most`.")
    min_rows: int | None = Field(default=None, ge=1, description="Fewer training rows than this: no training.")


class Spec(Section):
    """One pipeline: the whole of a file under `dags/`."""

    tidemill: Literal[1] = Field(description="The language's version.")
    description: str = Field(default="", description="One or more sentences, shown in Airflow.")
    owner: Owned | None = Field(default=None, description="Who answers for the pipeline.")
    tags: list[str] = Field(default_factory=list, description="Shown and searchable in Airflow.")
    links: dict[str, str] = Field(default_factory=dict, description="Name → address, shown in the DAG's documentation.")
    schedule: Schedule | None = Field(
        default=None,
        description="A preset (`hourly`, `daily`, `weekly`, `monthly`, `quarterly`, `yearly`), cron, or `{cron, timezone}`.",
    )
    start: Instant | None = Field(default=None, description="The first `as_of`, inclusive, e.g. `2013-07-01`.")
    end: Instant | None = Field(default=None, description="The last `as_of`, inclusive.")
    catchup: bool = Field(default=False, description="Run the intervals that were missed.")
    platform: Platform
    data: Data
    train: Train
    evaluate: Evaluate
    promote: Promote
    monitor: Monitor | None = None
    retrain: Retrain | None = None


def model_at(path: tuple[str | int, ...]) -> type[Section] | None:
    """The section that a path of keys leads to; ``None`` where it leads to no section."""
    at: Any = Spec
    for part in path:
        if _is_section(at):
            field = at.model_fields.get(str(part))
            at = _structure(field.annotation) if field else None
        elif get_origin(at) is dict:
            at = _structure(get_args(at)[1])
        else:
            return None
    return at if _is_section(at) else None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _structure(annotation: Any) -> Any:
    """The section or mapping among the alternatives of an annotation (``Schedule | None`` → ``Cron``)."""
    if _is_section(annotation) or get_origin(annotation) is dict:
        return annotation
    return next((found for a in get_args(annotation) if (found := _structure(a))), None)
