"""The language: one pydantic model a section, strict keys, units read by one grammar.

Docstrings and field descriptions are what users read: the JSON Schema and the language reference come from
them. A value keeps its unit (``5 months``) in ``model_dump(mode="json")`` and is a typed quantity in Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from tidemill.spec.fields import (
    Address,
    Alias,
    Code,
    Deferred,
    Duration,
    Instant,
    Metric,
    Name,
    Number,
    Span,
    text_or_mapping,
)
from tidemill.spec.monitoring import Monitor, Retrain, Score
from tidemill.spec.platform import Platform, Resources, Service, Track
from tidemill.spec.section import Section
from tidemill.spec.timing import NAMED, Schedule, Timing


class Owner(Section):
    """Who answers for the pipeline, and where to reach them."""

    name: str = Field(min_length=1, description="Shown as the owner in Airflow.", examples=["ops-research"])
    link: Address = Field(description="`https://…` or `mailto:…`.", examples=["https://example.org/ops"])


if TYPE_CHECKING:
    from tidemill.spec.steps import Callbacks, Deadlines, Names, Settings, Steps

    Owned = str | Owner
else:
    Owned = text_or_mapping(Owner, {"minLength": 1})
    Callbacks, Deadlines, Names, Settings, Steps = (
        Annotated[Any, Deferred("tidemill.spec.steps", name)]
        for name in ("Callbacks", "Deadlines", "Names", "Settings", "Steps")
    )


class Window(Section):
    """Which rows a run sees: the holdout is the span before `as_of`, the training rows are the span before that."""

    column: str = Field(min_length=1, description="The time column of the source.", examples=["time"])
    train: Span = Field(description="How long the training rows reach back from the holdout.", examples=["5 months"])
    holdout: Span = Field(description="How long the holdout reaches back from `as_of`.", examples=["1 month"])


class Data(Section):
    """The source, the rows of it that a run sees, how they are versioned and what is expected of them."""

    source: str = Field(
        min_length=1,
        description="A Parquet or CSV file, or a folder of Parquet files; relative to the project. Or the address of "
        "such a file in the platform's store (`s3://…`, `gs://…`, `abfss://…`).",
        examples=["include/flights/departures.parquet"],
    )
    key: list[str] = Field(
        default_factory=list, description="The columns that identify a row.", examples=[["flight_id"]]
    )
    window: Window = Field(
        description="Which rows a run sees.", examples=[{"column": "time", "train": "5 months", "holdout": "1 month"}]
    )
    version: Literal["dvc", "object-store"] = Field(
        default="dvc",
        description="What versions the rows: `dvc`, in the project's state folder; or `object-store`: the object "
        "versions of `platform.bucket`.",
    )
    keep: Span | None = Field(
        default=None,
        description="How long versions are kept after newer ones have taken their place, by a lifecycle rule of the "
        "bucket (`object-store`); for ever without it. What a champion was trained on stays.",
        examples=["1 year"],
    )
    expect: str | None = Field(
        default=None,
        min_length=1,
        description="A Great Expectations suite (YAML) that the rows must pass; relative to the project.",
        examples=["include/flights/expectations.yaml"],
    )


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
    service: Service | None = Field(
        default=None, description="The platform's service that trains; needed where it has several (`aws`)."
    )
    image: str | None = Field(
        default=None,
        min_length=1,
        description="The container image that the training runs in, with Python 3.9 or newer and what the function "
        "imports.",
        examples=["123456789012.dkr.ecr.eu-west-1.amazonaws.com/flights:1.4"],
    )
    requirements: str | None = Field(
        default=None,
        min_length=1,
        description="A requirements file; the training runs in an environment of its own made of it (`local` only).",
        examples=["include/flights/requirements.txt"],
    )
    resources: Resources = Field(default_factory=Resources, description="What the training may use.")
    track: Track = Field(
        default="mlflow", description="Where runs are tracked: `mlflow`; or beside it the platform's own experiments."
    )


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


class Workflow(Section):
    """A DAG of steps alone: the whole of a file under `dags/`."""

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
        description=f"A word ({', '.join(NAMED)}), a cron expression, or a mapping of time and assets.",
        examples=["monthly", "0 3 * * 1"],
    )
    start: Instant | None = Field(default=None, description="The first `as_of`, inclusive.")
    end: Instant | None = Field(default=None, description="The last `as_of`, inclusive.")
    catchup: bool = Field(default=False, description="Run the intervals that were missed.")
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="What a person may set when a run is started by hand: name → default, or a JSON Schema with "
        "`default`.",
        examples=[{"country": {"type": "string", "default": "dk", "enum": ["dk", "no"]}}],
    )
    defaults: Settings | None = Field(
        default=None, description="Settings for all tasks.", examples=[{"retries": 2, "retry_delay": "5 min"}]
    )
    steps: Steps = Field(
        default_factory=dict,
        description="Operators and functions of your own, by name.",
        examples=[{"notify": {"operator": "BashOperator", "with": {"bash_command": "echo hello"}}}],
    )
    max_active_runs: int | None = Field(default=None, ge=1, description="How many runs may be under way at once.")
    max_active_tasks: int | None = Field(default=None, ge=1, description="How many tasks of it may run at once.")
    max_consecutive_failed_dag_runs: int | None = Field(
        default=None, ge=1, description="After this many failed runs in a row the DAG is paused."
    )
    dagrun_timeout: Duration | None = Field(default=None, description="After this a run is stopped and fails.")
    deadline: Deadlines | None = Field(
        default=None,
        description="When a run is late, and who is told.",
        examples=[{"interval": "2 h", "callback": "include.alerts:late"}],
    )
    on_success: Callbacks | None = Field(default=None, description="Called when a run has succeeded.")
    on_failure: Callbacks | None = Field(
        default=None, description="Called when a run has failed.", examples=[{"callback": "include.alerts:page"}]
    )
    fail_fast: bool = Field(default=False, description="The first failed task stops the run.")
    render_template_as_native_obj: bool = Field(
        default=False, description="Templates give numbers, lists and mappings instead of text."
    )
    template_searchpath: Names | None = Field(
        default=None,
        description="Folders in which files of templates (SQL, scripts) are looked for; relative to the project.",
        examples=[["include/sql"]],
    )
    user_defined_macros: dict[str, Any] = Field(
        default_factory=dict,
        description="Names for templates: name → value, or `{$function: module:function}`.",
        examples=[{"greeting": "hello"}],
    )
    user_defined_filters: dict[str, Code] = Field(
        default_factory=dict,
        description="Filters for templates: name → `module:function`.",
        examples=[{"euro": "include.format:euro"}],
    )
    dag_display_name: str | None = Field(default=None, min_length=1, description="Shown instead of the id.")
    doc_md: str | None = Field(default=None, min_length=1, description="More documentation, as Markdown.")
    is_paused_upon_creation: bool | None = Field(default=None, description="Whether a new DAG waits to be switched on.")
    access_control: dict[str, Any] | None = Field(
        default=None,
        description="Role → permissions, where the auth manager reads them from the DAG.",
        examples=[{"analysts": ["can_read"]}],
    )

    @property
    def is_plain(self) -> bool:
        """Whether it has stages and a schedule alone, as most pipelines: nothing but its training is looked at."""
        return self.model_fields_set <= _PLAIN and not isinstance(self.schedule, Timing)


class Spec(Workflow):
    """One pipeline: the whole of a file under `dags/`."""

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
    score: Score | None = Field(
        default=None,
        description="The model in force over new rows.",
        examples=[{"schedule": "monthly"}],
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


STAGES = frozenset({"platform", "data", "train", "evaluate", "promote", "score", "monitor", "retrain"})
"""The sections that make a file a pipeline of models instead of a workflow."""


_PLAIN = STAGES | {"tidemill", "description", "owner", "tags", "links", "schedule", "start", "end", "catchup"}


def model_for(own: Mapping[str, Any]) -> type[Workflow]:
    """The model of a file, by what is written in the file itself: a workflow has `steps` and no stage."""
    return Workflow if "steps" in own and STAGES.isdisjoint(own) else Spec
