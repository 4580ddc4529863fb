"""The language's ``steps``: operators and functions of the user's choice, in any place, in groups, and mapped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tidemill.spec.fields import ClassName, Code, Duration, Name, Number, one_or_many
from tidemill.spec.section import Section
from tidemill.spec.timing import AssetItem

TriggerRule = Literal[
    "all_success",
    "all_failed",
    "all_done",
    "all_done_min_one_success",
    "all_done_setup_success",
    "one_success",
    "one_failed",
    "one_done",
    "none_failed",
    "none_failed_min_one_success",
    "none_skipped",
    "all_skipped",
    "always",
]
"""Airflow's own; a test compares them."""

Decorator = Literal[
    "python",
    "branch",
    "short_circuit",
    "sensor",
    "virtualenv",
    "external_python",
    "branch_virtualenv",
    "branch_external_python",
    "bash",
    "docker",
    "kubernetes",
]
"""Airflow's task decorators; ``python`` is the plain one."""

Outcome = Literal["promoted", "refused", "superseded"]


class Callback(Section):
    """What is called when something happens: the user's function, or a notifier; exactly one of them."""

    callback: Code | None = Field(
        default=None,
        description="The user's function; it gets Airflow's context and the arguments below `with`.",
        examples=["include.alerts:page"],
    )
    notifier: ClassName | None = Field(
        default=None,
        description="A notifier class, e.g. of Slack, Teams, PagerDuty or SMTP.",
        examples=["airflow.providers.smtp.notifications.smtp.SmtpNotifier"],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="Its arguments.", examples=[{"to": "ops@example.org"}]
    )


class DeadlineSection(Section):
    """When a run counts as late, and who is told; it goes on all the same."""

    name: str | None = Field(default=None, min_length=1, description="Shown in Airflow.")
    reference: Literal["queued", "logical_date", "average_runtime"] = Field(
        default="queued", description="What the time counts from."
    )
    interval: Duration = Field(description="How long after the reference a run is late.", examples=["2 h"])
    callback: Code | None = Field(
        default=None,
        description="The user's `async` function; it gets the arguments below `with`, and `context`.",
        examples=["include.alerts:late"],
    )
    notifier: ClassName | None = Field(default=None, description="A notifier class that can notify asynchronously.")
    with_: dict[str, Any] = Field(default_factory=dict, alias="with", description="Its arguments.")


class Settings(Section):
    """What Airflow keeps for a task beside its operator's own arguments, by Airflow's names."""

    owner: str | None = Field(default=None, min_length=1, description="Who answers for the task.")
    retries: int | None = Field(default=None, ge=0, description="How often a failed try is repeated.")
    retry_delay: Duration | None = Field(default=None, description="The time between two tries, e.g. `5 min`.")
    retry_exponential_backoff: Number | None = Field(
        default=None, ge=0, description="The factor by which that time grows with each try; 0: it does not."
    )
    max_retry_delay: Duration | None = Field(default=None, description="The longest time between two tries.")
    execution_timeout: Duration | None = Field(default=None, description="After this a try is stopped and fails.")
    depends_on_past: bool | None = Field(default=None, description="Waits for the same task of the run before.")
    ignore_first_depends_on_past: bool | None = Field(default=None, description="The first run does not wait.")
    wait_for_downstream: bool | None = Field(
        default=None, description="Waits, too, for the tasks right after that task of the run before."
    )
    wait_for_past_depends_before_skipping: bool | None = Field(
        default=None, description="Is skipped only when it no longer waits for the run before."
    )
    trigger_rule: TriggerRule | None = Field(
        default=None, description="Which states of the tasks before it let it run; `all_success` if absent."
    )
    pool: str | None = Field(default=None, min_length=1, description="The pool whose slots it takes.")
    pool_slots: int | None = Field(default=None, ge=1, description="How many slots it takes.")
    queue: str | None = Field(default=None, min_length=1, description="The executor's queue.")
    priority_weight: int | None = Field(default=None, description="The greater, the earlier it is given to a worker.")
    weight_rule: Literal["downstream", "upstream", "absolute"] | None = Field(
        default=None, description="How weights add up along the DAG."
    )
    executor: str | None = Field(default=None, min_length=1, description="One of Airflow's configured executors.")
    executor_config: dict[str, Any] | None = Field(
        default=None,
        description="For the executor; with Kubernetes `pod_override`, a pod as in its own YAML.",
        examples=[{"pod_override": {"spec": {"containers": [{"name": "base", "image": "acme/etl:2"}]}}}],
    )
    run_as_user: str | None = Field(default=None, min_length=1, description="The worker's user for the task.")
    max_active_tis_per_dag: int | None = Field(
        default=None, ge=1, description="How many instances of the task may run at once."
    )
    max_active_tis_per_dagrun: int | None = Field(
        default=None, ge=1, description="How many instances of the task may run at once in one run."
    )
    do_xcom_push: bool | None = Field(default=None, description="What the task returns is kept; true if absent.")
    email: CallbackText | None = Field(default=None, description="Who is written to when it fails or is repeated.")
    email_on_failure: bool | None = Field(default=None, description="Write when it fails.")
    email_on_retry: bool | None = Field(default=None, description="Write when it is repeated.")
    on_execute: Callbacks | None = Field(default=None, description="Called when it starts.")
    on_success: Callbacks | None = Field(default=None, description="Called when it has succeeded.")
    on_failure: Callbacks | None = Field(
        default=None, description="Called when it has failed.", examples=[{"callback": "include.alerts:page"}]
    )
    on_retry: Callbacks | None = Field(default=None, description="Called when it will be tried again.")
    on_skipped: Callbacks | None = Field(default=None, description="Called when it skips itself.")


class Placed(Section):
    """What steps and groups have in common: their place, and what they are repeated for."""

    after: After | None = Field(
        default=None,
        description="What comes before: a step, a stage of the pipeline or a group, or several; "
        "`{promote: refused}` asks for an outcome.",
        examples=[["promote"]],
    )
    before: Names | None = Field(default=None, description="What comes after.", examples=[["train"]])
    for_each: ForEach | None = Field(
        default=None,
        description="Repeated at run time: argument → list, mapping or `{{ steps.NAME }}` (several: each with each); "
        "or a list of such mappings, each the arguments of one.",
        examples=[{"country": ["dk", "no", "se"]}],
    )


class Single(Settings, Placed):
    """What operators and functions have in common."""

    task_display_name: str | None = Field(default=None, min_length=1, description="Shown instead of the step's name.")
    doc_md: str | None = Field(default=None, min_length=1, description="Documentation, as Markdown.")
    inlets: list[AssetItem] | None = Field(default=None, description="Assets that the step reads.")
    outlets: list[AssetItem] | None = Field(
        default=None, description="Assets that the step updates when it succeeds.", examples=[["flights"]]
    )
    map_index_template: str | None = Field(
        default=None, min_length=1, description="The name of each repetition.", examples=["{{ country }}"]
    )
    params: dict[str, Any] | None = Field(
        default=None,
        description="Values that the step finds among the run's `params`, in place of the DAG's: name → value.",
        examples=[{"country": "dk"}],
    )
    setup: bool = Field(default=False, description="Prepares what a teardown takes away.")
    teardown: TeardownItem = Field(
        default=False, description="Runs whatever happened after its setups; `{of: [NAME]}` names them."
    )


class Teardown(Section):
    """A step that takes away what setups made."""

    of: Names | None = Field(default=None, description="The setups; those right before it if absent.")
    fail_run: bool = Field(default=False, description="The run fails if the teardown does.")


class OperatorStep(Single):
    """A step by an operator or a sensor."""

    operator: ClassName = Field(
        description="A class of a provider or of `include`, with its module; the standard provider's by name alone.",
        examples=["BashOperator"],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="The operator's arguments; checked against its signature.",
        examples=[{"bash_command": "echo hello"}],
    )


class FunctionStep(Single):
    """A step by a function of the user's."""

    python: Code = Field(description="`module:function`, found from the project's root.", examples=["include.etl:load"])
    decorator: Decorator = Field(default="python", description="The task decorator that Airflow would apply.")
    with_: dict[str, Any] = Field(
        default_factory=dict, alias="with", description="The function's arguments.", examples=[{"year": 2013}]
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description="The decorator's arguments.", examples=[{"requirements": ["polars"]}]
    )


class Group(Placed):
    """Steps that stand together, drawn as one box; ids of its steps begin with its name."""

    steps: dict[Name, Step] = Field(min_length=1, description="The group's steps and groups.")
    defaults: Settings | None = Field(
        default=None, description="Settings for all steps of the group.", examples=[{"retries": 2}]
    )
    prefix: bool = Field(default=True, description="The steps' ids begin with the group's.")
    display_name: str | None = Field(default=None, min_length=1, description="Shown instead of the group's name.")
    tooltip: str | None = Field(default=None, min_length=1, description="Shown when the mouse is over the group.")


STEP_KINDS = {"operator": "an operator", "python": "a function", "steps": "a group"}
"""The key that says what a step is, and what it then is."""


def kind_of(value: Any) -> str | None:
    """Which sort of step a mapping is, by the key that makes it one; ``None`` if it has none of them."""
    if isinstance(value, Section):
        value = type(value).model_fields
    if not isinstance(value, Mapping):
        return None
    return next((kind for key, kind in STEP_KINDS.items() if key in value), None)


def _shape(value: Any) -> str | None:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, Mapping | Section) else None


if TYPE_CHECKING:
    Step = OperatorStep | FunctionStep | Group
    Callbacks = Callback | list[Callback]
    CallbackText = str | list[str]
    Names = str | list[str]
    After = str | list[str] | dict[str, Outcome]
    TeardownItem = bool | Teardown
    Deadlines = DeadlineSection | list[DeadlineSection]
    Steps = dict[Name, Step]
    ForEach = str | list[dict[str, Any]] | dict[str, Any]
else:
    Step = Annotated[
        Annotated[OperatorStep, Tag("an operator")]
        | Annotated[FunctionStep, Tag("a function")]
        | Annotated[Group, Tag("a group")],
        Discriminator(kind_of),
    ]
    Callbacks = one_or_many(Callback)
    Deadlines = one_or_many(DeadlineSection)
    Steps = dict[Name, Step]
    CallbackText = Names = one_or_many(Annotated[str, Field(min_length=1)])
    TeardownItem = Annotated[Annotated[bool, Tag("flag")] | Annotated[Teardown, Tag("mapping")], Discriminator(_shape)]
    After = Annotated[
        Annotated[str, Tag("text"), Field(min_length=1)]
        | Annotated[list[str], Tag("list"), Field(min_length=1)]
        | Annotated[dict[str, Outcome], Tag("mapping"), Field(min_length=1)],
        Discriminator(_shape),
    ]
    ForEach = Annotated[
        Annotated[str, Tag("text")]
        | Annotated[list[dict[str, Any]], Tag("list"), Field(min_length=1)]
        | Annotated[dict[str, Any], Tag("mapping"), Field(min_length=1)],
        Discriminator(_shape),
    ]
