"""The language: one pydantic model a section, strict keys, units read by one grammar.

Docstrings and field descriptions are what users read: the JSON Schema and the language reference come from
them. A value keeps its unit (``5 months``) in ``model_dump(mode="json")`` and is a typed quantity in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from tidemill.spec.fields import (
    Address,
    Alias,
    Code,
    Duration,
    Instant,
    Metric,
    Name,
    Number,
    Quota,
    Share,
    Size,
    Span,
    text_or_mapping,
)

PRESETS = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 */3 *",
    "yearly": "0 0 1 1 *",
}
"""The schedules that have a name, as cron expressions."""

Trigger = Literal["drift", "performance"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are what they are written as."""

    # Built when first used: each section by itself at import, and again as a part of the spec, takes longer.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, defer_build=True)


class Owner(Section):
    """Who answers for the pipeline, and where to reach them."""

    name: str = Field(min_length=1, description="Shown as the owner in Airflow.", examples=["ops-research"])
    link: Address = Field(description="`https://…` or `mailto:…`.", examples=["https://example.org/ops"])


class Cron(Section):
    """A cron expression in a time zone."""

    cron: str = Field(
        description="Five fields: minute, hour, day of month, month, day of week.", examples=["0 3 * * 1"]
    )
    timezone: str = Field(default="UTC", description="An IANA time zone, e.g. `Europe/Berlin`.")


if TYPE_CHECKING:
    Schedule = str | Cron
    Owned = str | Owner
else:
    Schedule = text_or_mapping(Cron, {"anyOf": [{"enum": list(PRESETS)}, {"pattern": r"^\S+( +\S+){4}$"}]})
    Owned = text_or_mapping(Owner, {"minLength": 1})


class Platform(Section):
    """Where the pipeline's work runs."""

    provider: Literal["local"] = Field(description="`local`: processes on the machine that runs the task.")


class Window(Section):
    """Which rows a run sees: the holdout is the span before `as_of`, the training rows are the span before that."""

    column: str = Field(min_length=1, description="The time column of the source.", examples=["time"])
    train: Span = Field(description="How long the training rows reach back from the holdout.", examples=["5 months"])
    holdout: Span = Field(description="How long the holdout reaches back from `as_of`.", examples=["1 month"])


class Data(Section):
    """The source, the rows of it that a run sees, how they are versioned and what is expected of them."""

    source: str = Field(
        min_length=1,
        description="A Parquet or CSV file, or a folder of Parquet files; relative to the project.",
        examples=["include/flights/departures.parquet"],
    )
    key: list[str] = Field(
        default_factory=list, description="The columns that identify a row.", examples=[["flight_id"]]
    )
    window: Window = Field(
        description="Which rows a run sees.", examples=[{"column": "time", "train": "5 months", "holdout": "1 month"}]
    )
    version: Literal["dvc"] = Field(default="dvc", description="What versions the rows: `dvc`.")
    expect: str | None = Field(
        default=None,
        min_length=1,
        description="A Great Expectations suite (YAML) that the rows must pass; relative to the project.",
        examples=["include/flights/expectations.yaml"],
    )


class Resources(Section):
    """What the training process may use."""

    cpu: int | None = Field(default=None, ge=1, description="Processors.")
    memory: Size | None = Field(default=None, description="Memory, e.g. `4 GiB`; beyond it the training fails.")


class Train(Section):
    """The user's training function and what it is given."""

    code: Code = Field(
        description="`module:function`, found from the project's root.", examples=["include.flights.train:train"]
    )
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Given to the function as `context.params`.",
        examples=[{"learning_rate": 0.1, "max_iter": 200}],
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="Given as `context.seed`; `random` and NumPy are seeded with it.",
    )
    timeout: Duration | None = Field(
        default=None, description="After this the training is stopped and fails, e.g. `2 h`."
    )
    resources: Resources = Field(default_factory=Resources, description="What the training may use.")
    track: Literal["mlflow"] = Field(default="mlflow", description="Where runs are tracked: `mlflow`.")


class Evaluate(Section):
    """What the model is asked to do and how well it does it."""

    task: Literal["classification", "regression"] = Field(description="What the model predicts: a class, or a number.")
    target: str = Field(min_length=1, description="The column that the model predicts.", examples=["late"])
    metrics: list[Metric] = Field(
        min_length=1,
        description="Computed for challenger and champion on the same rows.",
        examples=[["roc_auc", "log_loss"]],
    )
    slices: list[str] = Field(
        default_factory=list, description="Columns: each of their values is judged by itself.", examples=[["carrier"]]
    )


class Gain(Section):
    """The improvement over the champion; positive is better, whatever the metric's direction."""

    at_least: Number = Field(description="The least improvement, in the metric's unit.", examples=[0.0])
    without_champion: Literal["pass", "refuse"] = Field(
        default="refuse",
        description="What the gain does while there is no champion; `pass` needs an absolute bound beside it.",
    )


class WorstSlice(Section):
    """A bound on the worst slice of `evaluate.slices` that has enough rows to be judged."""

    at_least: Number | None = Field(default=None, description="The worst slice's metric must be at least this.")
    at_most: Number | None = Field(default=None, description="The worst slice's metric must be at most this.")
    min_rows: int = Field(default=100, ge=1, description="A slice with fewer rows is listed as not judged.")


class Gate(Section):
    """The conditions on one metric; all of them must hold."""

    at_least: Number | None = Field(default=None, description="The metric must be at least this.")
    at_most: Number | None = Field(default=None, description="The metric must be at most this.")
    gain: Gain | None = Field(default=None, description="The improvement over the champion.")
    worst_slice: WorstSlice | None = Field(default=None, description="A bound on the worst slice.")


class Promote(Section):
    """The registered model, and the gate a version passes before the alias moves to it."""

    model: Name | None = Field(
        default=None,
        description="The registered model's name; the pipeline's id if absent.",
        examples=["flight_delays"],
    )
    registry: Literal["mlflow"] = Field(default="mlflow", description="Where models are registered: `mlflow`.")
    alias: Alias = Field(default="champion", description="The alias of the model in force.")
    when: dict[Metric, Gate] = Field(
        min_length=1,
        description="Metric → conditions, all of which must hold.",
        examples=[{"roc_auc": {"at_least": 0.65}}],
    )
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

    at_least: Number | None = Field(default=None, description="The metric must be at least this.")
    at_most: Number | None = Field(default=None, description="The metric must be at most this.")


class Monitor(Section):
    """The watch over the model in force, in a DAG of its own."""

    schedule: Schedule | None = Field(default=None, description="As the pipeline's `schedule`; by hand if absent.")
    window: Span | None = Field(
        default=None,
        description="The judged span before `as_of` for runs without a data interval; needed without a schedule.",
    )
    min_rows: int = Field(default=100, ge=1, description="A window with fewer rows is not judged.")
    drift: Drift | None = Field(default=None, description="Watch how far the rows are from the champion's.")
    performance: dict[Metric, Bound] | None = Field(
        default=None,
        min_length=1,
        description="Metric → bound, on the window's rows that have a target.",
        examples=[{"roc_auc": {"at_least": 0.68}}],
    )
    compare_previous: bool = Field(default=False, description="Score the champion before the one in force, too.")


class Retrain(Section):
    """Which signals start a training besides the schedule, and what holds them back."""

    triggers: list[Trigger] = Field(
        default_factory=list,
        description="The monitor's signals that start a training.",
        examples=[["drift", "performance"]],
    )
    cooldown: Duration | None = Field(default=None, description="From the last training started, promoted or refused.")
    at_most: Quota | None = Field(default=None, description="Trainings in a UTC calendar period, e.g. `4 per year`.")
    count_scheduled: bool = Field(default=False, description="Scheduled runs count towards `at_most`.")
    min_rows: int | None = Field(default=None, ge=1, description="Fewer training rows than this: no training.")


class Spec(Section):
    """One pipeline: the whole of a file under `dags/`."""

    tidemill: Literal[1] = Field(description="The language's version.")
    description: str = Field(default="", description="One or more sentences, shown in Airflow.")
    owner: Owned | None = Field(default=None, description="Who answers for the pipeline.", examples=["ops-research"])
    tags: list[str] = Field(
        default_factory=list, description="Shown and searchable in Airflow.", examples=[["flights"]]
    )
    links: dict[str, Address] = Field(
        default_factory=dict,
        description="Name → address, shown in the DAG's documentation.",
        examples=[{"data": "https://example.org/data"}],
    )
    schedule: Schedule | None = Field(
        default=None,
        description=f"A preset ({', '.join(PRESETS)}), a cron expression, or `{{cron, timezone}}`.",
        examples=["monthly", "0 3 * * 1"],
    )
    start: Instant | None = Field(default=None, description="The first `as_of`, inclusive.")
    end: Instant | None = Field(default=None, description="The last `as_of`, inclusive.")
    catchup: bool = Field(default=False, description="Run the intervals that were missed.")
    platform: Platform = Field(description="Where the pipeline's work runs.", examples=[{"provider": "local"}])
    data: Data = Field(
        description="The source, the rows of it that a run sees, and what is expected of them.",
        examples=[
            {
                "source": "include/flights/departures.parquet",
                "window": {"column": "time", "train": "5 months", "holdout": "1 month"},
            }
        ],
    )
    train: Train = Field(
        description="The training function and what it is given.", examples=[{"code": "include.flights.train:train"}]
    )
    evaluate: Evaluate = Field(
        description="What the model is asked to do, and how well it does it.",
        examples=[{"task": "classification", "target": "late", "metrics": ["roc_auc"]}],
    )
    promote: Promote = Field(
        description="The registered model, and the gate before its alias.",
        examples=[{"when": {"roc_auc": {"at_least": 0.65}}}],
    )
    monitor: Monitor | None = Field(
        default=None,
        description="The watch over the model in force.",
        examples=[{"schedule": "monthly", "drift": {"at_least": 0.2, "share": "30%"}}],
    )
    retrain: Retrain | None = Field(
        default=None,
        description="Which signals start a training besides the schedule, and what holds them back.",
        examples=[{"triggers": ["drift"], "cooldown": "14 d"}],
    )


def model_at(path: tuple[str | int, ...]) -> type[Section] | None:
    """The section that a path of keys leads to; ``None`` where it leads to no section."""
    at = _at(path)
    return at if _is_section(at) else None


def field_at(path: tuple[str | int, ...]) -> FieldInfo | None:
    """The field that a path of keys leads to; ``None`` where it leads to none."""
    model = model_at(path[:-1])
    return model.model_fields.get(str(path[-1])) if model is not None and path else None


def _at(path: tuple[str | int, ...]) -> Any:
    at: Any = Spec
    for part in path:
        if _is_section(at):
            field = at.model_fields.get(str(part))
            at = _structure(field.annotation) if field else None
        elif get_origin(at) is dict:
            at = _structure(get_args(at)[1])
        else:
            return None
    return at


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _structure(annotation: Any) -> Any:
    """The section or mapping among the alternatives of an annotation (``Schedule | None`` → ``Cron``)."""
    if _is_section(annotation) or get_origin(annotation) is dict:
        return annotation
    return next((found for a in get_args(annotation) if (found := _structure(a))), None)
