"""The user's own steps as Airflow's tasks and groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, AssetAll, AssetAny, TaskGroup

from tidemill.airflow.macros import MACROS
from tidemill.airflow.operators import Placeholder
from tidemill.airflow.values import Reader, Unbuildable, named
from tidemill.checks.allowed import refused
from tidemill.plan.model import DagPlan, GroupPlan, StepPlan, TaskPlan, Value
from tidemill.project import Project


@dataclass
class Builder:
    """Builds the groups and tasks of one DAG, in the order of the plan. ``lazy``: as in :class:`Reader`."""

    project: Project
    lazy: bool
    dag: DAG | None = None
    tasks: dict[str, Any] = field(default_factory=dict)
    groups: dict[str, TaskGroup] = field(default_factory=dict)
    _mapped: dict[str, dict[str, Any]] = field(default_factory=dict)
    _plans: dict[str, GroupPlan] = field(default_factory=dict)

    def of_dag(self, plan: DagPlan, arguments: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
        """Airflow's arguments of a DAG for what its plan sets, besides ``arguments``. ``whole``: also what is called
        about a run, which a task's process has no part in."""
        reader = self._reader(None)
        found: dict[str, Any] = {"default_args": {**arguments["default_args"], **self.settings(plan.defaults, reader)}}
        for name, value in plan.settings.items():
            if name == "deadline" or name.endswith("_callback"):
                if whole:
                    is_late = name == "deadline"
                    found[name] = [deadline(one, reader) for one in value] if is_late else reader.callbacks(value)
            elif name == "template_searchpath":
                found[name] = [str(self.project.path(p)) for p in ([value] if isinstance(value, str) else value)]
            elif name == "user_defined_filters":
                found[name] = {key: reader.function(item) for key, item in value.items()}
            elif name == "access_control":
                found[name] = value
            elif name != "doc_md":
                found[name] = reader.value(value)
        return found

    def open(self, dag: DAG, groups: Iterable[GroupPlan]) -> None:
        """Begin with the DAG itself; a group is built when the first of its tasks is, since it may be mapped over the
        result of a task."""
        self.dag = dag
        self._plans = {group.group_id: group for group in groups}
        dag.user_defined_macros = {**MACROS, **(dag.user_defined_macros or {})}

    def timetable(self, plan: Mapping[str, Value]) -> Any:
        """The timetable of a plan whose schedule is not made of data intervals by one cron expression."""
        from airflow import sdk

        if "preset" in plan:
            return plan["preset"]
        if "class" in plan:
            return named(plan["class"], "timetable", self.project)(**self._reader(None).value(plan["with"]))
        if "every" in plan:
            delta = timedelta(seconds=plan["every"])
            return sdk.DeltaDataIntervalTimetable(delta) if plan["data_interval"] else sdk.DeltaTriggerTimetable(delta)
        crons, timezone = plan["crons"], plan["timezone"]
        if len(crons) == 1:
            return sdk.CronTriggerTimetable(crons[0], timezone=timezone)
        return sdk.MultipleCronTriggerTimetable(*crons, timezone=timezone)

    def _group(self, plan: GroupPlan) -> None:
        with self._inside(plan.parent):
            arguments: dict[str, Any] = {
                "group_id": plan.group_id.removeprefix(self._prefix(plan.parent)),
                "prefix_group_id": plan.prefix,
                "default_args": self.settings(plan.defaults, self._reader(plan.parent)),
                "tooltip": plan.tooltip,
                "group_display_name": plan.display_name,
            }
            if plan.expand is None:
                self.groups[plan.group_id] = TaskGroup(**arguments)
            else:
                self._mapped_group(plan, arguments)

    def _mapped_group(self, plan: GroupPlan, arguments: dict[str, Any]) -> None:
        # What `task_group(...).expand(...)` does, without a function that would have to make all tasks at once.
        from airflow.sdk.definitions._internal.expandinput import (
            DictOfListsExpandInput,
            ListOfDictsExpandInput,
            MappedArgument,
        )
        from airflow.sdk.definitions.taskgroup import MappedTaskGroup

        values = self._reader(plan.parent).mapped_over(plan.expand)
        by_name = isinstance(values, Mapping)
        source: Any = DictOfListsExpandInput(values) if by_name else ListOfDictsExpandInput(values)
        group = MappedTaskGroup(expand_input=source, **arguments)
        with group:  # leaving it connects what it is mapped over
            pass
        self.groups[plan.group_id] = group
        names = values if by_name else _keys(values)
        self._mapped[plan.group_id] = {name: MappedArgument(input=source, key=name) for name in names}

    def task(self, plan: TaskPlan, *, real: bool) -> Any:
        """Build a task, or its placeholder.

        Raises:
            Unbuildable: its class or function is not there, or refuses the arguments.
        """
        own = plan.own
        assert own is not None
        try:
            with self._inside(plan.group):
                built = self._real(plan, own) if real else self._placeholder(plan, own)
                self._mark(built, own)
        except Unbuildable as error:
            error.task = plan
            raise
        except Exception as e:
            # Whatever an operator makes of its arguments is about this step, and said with its place.
            unbuildable = Unbuildable(f"{own.target.rpartition('.')[2]} refuses its arguments: {type(e).__name__}: {e}")
            unbuildable.task = plan
            raise unbuildable from e
        self.tasks[plan.task_id] = built
        return built

    def _mark(self, built: Any, own: StepPlan) -> None:
        if own.setup:
            built.as_setup()
        if own.teardown:
            setups = [self.tasks[name] for name in own.of]
            built.as_teardown(setups=setups or None, on_failure_fail_dagrun=own.fail_run)

    def _placeholder(self, plan: TaskPlan, own: StepPlan) -> Any:
        arguments: dict[str, Any] = {"task_id": self._task_id(plan)}
        if "trigger_rule" in own.settings and not own.teardown:
            arguments["trigger_rule"] = own.settings["trigger_rule"]
        if own.expand is None:
            return Placeholder(**arguments)
        values = self._reader(plan.group).mapped_over(own.expand)
        # That it is mapped matters here, not over how much: instances are counted where the real task was built.
        return Placeholder.partial(**arguments).expand(
            stub=next(iter(values.values())) if isinstance(values, Mapping) else values
        )

    def _real(self, plan: TaskPlan, own: StepPlan) -> Any:
        reader = self._reader(plan.group)
        settings = self.settings(own.settings, reader)
        settings["task_id"] = self._task_id(plan)
        for name, assets in (("inlets", own.inlets), ("outlets", own.outlets)):
            if assets:
                settings[name] = [asset_of(item, self.project) for item in assets]
        arguments = reader.value(own.arguments)
        if own.decorator is not None:
            make, given = decorated(own, {**reader.value(own.options), **settings}, reader), arguments
        else:
            make, given = named(own.target, "operator", self.project), {**settings, **arguments}
        if own.expand is None:
            return _operator(make(**given))
        values = reader.mapped_over(own.expand)
        partial = make.partial(**given)
        return _operator(partial.expand(**values) if isinstance(values, Mapping) else partial.expand_kwargs(values))

    def settings(self, settings: Mapping[str, Value], reader: Reader) -> dict[str, Any]:
        """Airflow's own arguments of a task."""
        found: dict[str, Any] = {}
        for name, value in settings.items():
            if name.endswith("_callback"):
                found[name] = reader.callbacks(value)
            elif name == "executor_config":
                found[name] = executor_config(value)
            elif name == "params":
                found[name] = dict(value)  # plain values, whatever keys they have
            else:
                found[name] = reader.value(value)
        return found

    def _reader(self, group: str | None) -> Reader:
        # An argument of a group is known in the groups inside it, too.
        mapped: dict[str, Any] = {}
        at = group
        while at is not None:
            mapped = {**self._mapped.get(at, {}), **mapped}
            at = self._plans[at].parent
        return Reader(self.project, self.tasks, mapped, self.lazy)

    @contextmanager
    def _inside(self, group: str | None) -> Iterator[None]:
        with ExitStack() as stack:
            assert self.dag is not None
            stack.enter_context(self.dag)
            if group is not None:
                if group not in self.groups:
                    self._group(self._plans[group])
                stack.enter_context(self.groups[group])
            yield

    def _task_id(self, plan: TaskPlan) -> str:
        return plan.task_id.removeprefix(self._prefix(plan.group))

    def _prefix(self, group: str | None) -> str:
        """What Airflow puts before the ids inside a group."""
        if group is None:
            return ""
        return str(self.groups[group].child_id(""))


def _operator(made: Any) -> Any:
    """The task itself, where a decorator gives its output."""
    return getattr(made, "operator", made)


def decorated(own: StepPlan, arguments: dict[str, Any], reader: Reader) -> Any:
    """A function of the user's as Airflow's task decorators make it."""
    from airflow.sdk import task

    if str(own.decorator).startswith("_"):
        raise Unbuildable(f'"{own.decorator}" is no decorator')
    decorator = task if own.decorator == "python" else getattr(task, str(own.decorator))
    return decorator(**arguments)(reader.function(own.target))


def deadline(plan: Mapping[str, Value], reader: Reader) -> Any:
    """A deadline of the plan."""
    from airflow.sdk.definitions.callback import AsyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    reference = {
        "queued": DeadlineReference.DAGRUN_QUEUED_AT,
        "logical_date": DeadlineReference.DAGRUN_LOGICAL_DATE,
        "average_runtime": None,
    }[plan["reference"]] or DeadlineReference.AVERAGE_RUNTIME()
    # Airflow imports the name at once, wherever the plan comes from.
    name: str = plan["notifier"] or plan["callback"]
    if wrong := refused(name, "notifier" if plan["notifier"] else "callable"):
        raise Unbuildable("; ".join(filter(None, wrong)))
    target = name.replace(":", ".")
    return DeadlineAlert(
        reference=reference,
        interval=timedelta(seconds=plan["interval"]),
        callback=AsyncCallback(target, kwargs=reader.value(plan["with"])),
        name=plan["name"],
    )


def executor_config(value: Mapping[str, Any]) -> dict[str, Any]:
    """An executor's configuration; ``pod_override`` is read as Kubernetes reads its own YAML.

    Raises:
        Unbuildable: the package for Kubernetes is not installed.
    """
    if not isinstance(value.get("pod_override"), Mapping):
        return dict(value)
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    return {**value, "pod_override": PodGenerator.deserialize_model_dict(dict(value["pod_override"]))}


def asset_of(value: Mapping[str, Value], project: Project) -> Any:
    """The asset, alias or condition of the plan."""
    if "alias" in value:
        return AssetAlias(value["alias"], **({"group": value["group"]} if "group" in value else {}))
    for key, kind in (("any", AssetAny), ("all", AssetAll)):
        if key in value:
            return kind(*(asset_of(part, project) for part in value[key]))
    asset = dict(value["asset"])
    watchers = asset.pop("watchers", None)
    if watchers:
        from airflow.sdk import AssetWatcher

        reader = Reader(project)
        asset["watchers"] = [
            AssetWatcher(name=w["name"], trigger=named(w["trigger"], "trigger", project)(**reader.value(w["with"])))
            for w in watchers
        ]
    return Asset(**asset)


def _keys(values: Any) -> tuple[str, ...]:
    """The arguments that a list of mappings gives; those of another task's output are known when it has run."""
    return tuple(dict.fromkeys(key for item in values for key in item)) if isinstance(values, list) else ()
