"""What steps run: whether the classes and functions they name are there and allowed, and take the arguments given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path as FilePath
from typing import Any

from tidemill.checks.allowed import Use, full_name
from tidemill.checks.annotations import ANY
from tidemill.checks.arguments import check_arguments, named, unknown
from tidemill.checks.parameters import Parameter, Signature, SignatureProblem
from tidemill.checks.signatures import Lookup, files_of
from tidemill.checks.typed import typed, typed_arguments
from tidemill.plan.graph import Step
from tidemill.plan.own import each_of
from tidemill.plan.placing import full_graph
from tidemill.project import Project
from tidemill.spec.document import Path
from tidemill.spec.errors import MAX_ERRORS, SpecError
from tidemill.spec.load import Sources
from tidemill.spec.models import Workflow
from tidemill.spec.steps import Callback, DeadlineSection, FunctionStep, Group, OperatorStep, Settings
from tidemill.spec.timing import AssetExpression, Timing

_DECORATED = {
    "python": "PythonOperator",
    "branch": "BranchPythonOperator",
    "short_circuit": "ShortCircuitOperator",
    "sensor": "PythonSensor",
    "virtualenv": "PythonVirtualenvOperator",
    "external_python": "ExternalPythonOperator",
    "branch_virtualenv": "BranchPythonVirtualenvOperator",
    "branch_external_python": "BranchExternalPythonOperator",
    "bash": "BashOperator",
    "docker": "airflow.providers.docker.operators.docker.DockerOperator",
    "kubernetes": "airflow.providers.cncf.kubernetes.operators.pod.KubernetesPodOperator",
}
"""The operator that each decorator makes, whose arguments the decorator takes."""
_BY_DECORATOR = frozenset({"python_callable", "op_args", "op_kwargs", "bash_command"})
"""What a decorator gives its operator itself."""
_AT_ONCE = 200
"""Names that are looked at together, by one process: in a file of thousands of wrong ones, the first of them do."""
_ON = ("on_execute", "on_success", "on_failure", "on_retry", "on_skipped")


@dataclass(frozen=True)
class _Asked:
    """A name that the spec gives, and the arguments beside it."""

    name: str
    use: Use
    at: Path
    arguments: Mapping[str, Any]
    arguments_at: Path
    mapped: Mapping[str, Any] = field(default_factory=dict)
    supplied: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    any_arguments: bool = False
    asynchronous: bool = False


@dataclass
class Found:
    """What is wrong; else the arguments in the plan's form, by the place where they are written, and the full names
    of operators, by theirs. ``files``: the sources of the project that were looked at."""

    errors: list[SpecError] = field(default_factory=list)
    typed: dict[Path, Any] = field(default_factory=dict)
    files: list[FilePath] = field(default_factory=list)


def check(spec: Workflow, sources: Sources, project: Project, task: str | None = None) -> Found:
    """Look at everything that a spec names to be run besides its training.

    ``task``: look at what this task runs alone, in its own process, where its classes are imported anyway.
    """
    asked = list(_asked(spec))
    if task is not None:
        node = full_graph(spec).nodes.get(task)
        asked = [one for one in asked if _is_of(node.path if node is not None else (), one.at)]
    found = Found()
    macros = spec.user_defined_macros or {}
    if not asked and not macros:
        return found
    look = Lookup(project, here=task is not None)
    nested = [*named(macros)]
    look.prepare(nested)
    for start in range(0, len(asked), _AT_ONCE):
        some = asked[start : start + _AT_ONCE]
        inside = [pair for one in some for value in (one.arguments, one.mapped) for pair in named(value)]
        nested += inside
        look.prepare([*((one.name, one.use) for one in some), *inside])
        for one in some:
            _judge(one, look, sources, found)
        if len(found.errors) >= MAX_ERRORS:
            break
    holder = Signature("user_defined_macros", parameters=tuple(Parameter(name, ANY) for name in macros))
    found.errors += check_arguments(holder, macros, ("user_defined_macros",), sources, look=look)
    if not found.errors:
        found.typed[("user_defined_macros",)] = {name: typed(value, ANY, look) for name, value in macros.items()}
    everything = dict.fromkeys((*((one.name, one.use) for one in asked), *nested))
    found.files = [file for name, use in everything for file in files_of(name, use, project)]
    return found


def _judge(one: _Asked, look: Lookup, sources: Sources, found: Found) -> None:
    signature = look(one.name, one.use)
    if isinstance(signature, SignatureProblem):
        found.errors.append(sources.error(one.at, signature.message, signature.hint))
        return
    if one.asynchronous and "async" not in signature.kinds and "unknown" not in signature.kinds:
        hint = f"write `async def {signature.short}(…)`: it runs in the triggerer"
        found.errors.append(sources.error(one.at, f'"{signature.short}" is not async', hint))
    supplied = one.supplied
    if one.use == "trigger" and not {"event_trigger", "unknown"} & set(signature.kinds):
        hint = "one derived from BaseEventTrigger, e.g. airflow.providers.standard.triggers.file.FileDeleteTrigger"
        found.errors.append(sources.error(one.at, f'"{one.name}" is no trigger for events', hint))
        return
    if one.any_arguments or (not one.mapped and sources.wrote(*one.at[:-1], "for_each")):
        supplied |= {parameter.name for parameter in signature.parameters}
    at = one.arguments_at if sources.wrote(*one.arguments_at) else one.at
    wrong = [
        sources.error((*one.arguments_at, name), f'"{name}" is given by the decorator', "remove it", key=True)
        for name in one.arguments
        if name in one.refused
    ]
    given = {name: value for name, value in one.arguments.items() if name not in one.refused}
    checked = check_arguments(signature, given, at, sources, look=look, mapped=frozenset(one.mapped), supplied=supplied)
    wrong += islice(checked, MAX_ERRORS)
    for name in one.mapped:
        if (told := unknown(signature, name)) is not None:
            wrong.append(sources.error((*one.at[:-1], "for_each", name), *told, key=True))
    # Item by item these become arguments, and are rendered as such; of which type, only the run knows.
    each = tuple(Parameter(name, ANY) for name in one.mapped)
    items = Signature(signature.name, parameters=each, template_fields=None)
    wrong += islice(check_arguments(items, one.mapped, (*one.at[:-1], "for_each"), sources, look=look), MAX_ERRORS)
    found.errors += wrong
    if not wrong:
        found.typed[one.arguments_at] = typed_arguments(signature, one.arguments, look)
        if one.use == "operator":
            found.typed[one.at] = full_name(one.name, one.use)


def _is_of(step: Path, at: Path) -> bool:
    """Whether what is named at a place belongs to a step (of a stage: an empty path): to itself, to the defaults around
    it, or to what templates use."""
    if at[0] in ("defaults", "user_defined_filters"):
        return True
    if not step or at[0] != "steps":
        return False
    # Keys stand at even places of a path into steps, names at odd ones: a step may be called `defaults`.
    around = next((depth for depth in range(2, len(at), 2) if at[depth] == "defaults"), None)
    return at[: len(step)] == step or (around is not None and step[:around] == at[:around])


def _asked(spec: Workflow) -> Iterator[_Asked]:
    yield from _of_settings(spec.defaults, ("defaults",))
    for name in ("on_success", "on_failure"):
        yield from _callbacks(getattr(spec, name), (name,))
    for path, deadline in each_of(spec.deadline or [], ("deadline",)):
        yield from _of_callback(deadline, path, asynchronous=True)
    for name, function in (spec.user_defined_filters or {}).items():
        yield _Asked(function, "callable", ("user_defined_filters", name), {}, (), any_arguments=True)
    if isinstance(spec.schedule, Timing):
        yield from _of_schedule(spec.schedule, ("schedule",))
    yield from _of_steps(spec.steps or {}, ("steps",))


def _of_steps(steps: Mapping[str, Step], path: Path) -> Iterator[_Asked]:
    for name, step in steps.items():
        at = (*path, name)
        if isinstance(step, Group):
            yield from _of_settings(step.defaults, (*at, "defaults"))
            yield from _of_steps(step.steps, (*at, "steps"))
            continue
        yield from _of_settings(step, at)
        for key in ("inlets", "outlets"):
            for index, item in enumerate(getattr(step, key) or ()):
                yield from _watchers(item, (*at, key, index))
        yield from _of_step(step, at)


def _of_step(step: OperatorStep | FunctionStep, at: Path) -> Iterator[_Asked]:
    mapped = step.for_each if isinstance(step.for_each, Mapping) else {}
    if isinstance(step.for_each, list):
        mapped = {key: None for item in step.for_each for key in item}
    unknown = isinstance(step.for_each, str)
    if isinstance(step, OperatorStep):
        yield _Asked(
            step.operator, "operator", (*at, "operator"), step.with_, (*at, "with"), mapped, any_arguments=unknown
        )
        return
    yield _Asked(step.python, "callable", (*at, "python"), step.with_, (*at, "with"), mapped, any_arguments=unknown)
    own = {name: value for name, value in step.options.items() if name != "multiple_outputs"}
    if own or step.decorator not in ("python", "branch", "short_circuit", "sensor"):
        name, place = _DECORATED[step.decorator], (*at, "decorator" if step.decorator != "python" else "options")
        yield _Asked(name, "operator", place, own, (*at, "options"), supplied=_BY_DECORATOR, refused=_BY_DECORATOR)


def _of_settings(settings: Settings | None, path: Path) -> Iterator[_Asked]:
    for name in _ON if settings is not None else ():
        yield from _callbacks(getattr(settings, name), (*path, name))


def _callbacks(value: Callback | list[Callback] | None, path: Path) -> Iterator[_Asked]:
    for at, one in each_of(value or [], path):
        yield from _of_callback(one, at)


def _of_callback(one: Callback | DeadlineSection, at: Path, *, asynchronous: bool = False) -> Iterator[_Asked]:
    if one.callback is not None and one.notifier is not None:
        return  # which of them is meant, is told elsewhere
    if one.callback is not None:
        supplied = frozenset({"context"})
        yield _Asked(
            one.callback,
            "callable",
            (*at, "callback"),
            one.with_,
            (*at, "with"),
            supplied=supplied,
            asynchronous=asynchronous,
        )
    elif one.notifier is not None:
        yield _Asked(one.notifier, "notifier", (*at, "notifier"), one.with_, (*at, "with"))


def _of_schedule(schedule: Timing, path: Path) -> Iterator[_Asked]:
    if schedule.timetable is not None:
        yield _Asked(schedule.timetable, "timetable", (*path, "timetable"), schedule.with_, (*path, "with"))
    for at, item in each_of(schedule.assets or [], (*path, "assets")):
        yield from _watchers(item, at)


def _watchers(item: str | AssetExpression | None, path: Path) -> Iterator[_Asked]:
    if not isinstance(item, AssetExpression):
        return
    for index, watcher in enumerate(item.watch):
        at = (*path, "watch", index)
        yield _Asked(watcher.trigger, "trigger", (*at, "trigger"), watcher.with_, (*at, "with"))
    for key, parts in (("any", item.any), ("all", item.all)):
        for index, part in enumerate(parts or ()):
            yield from _watchers(part, (*path, key, index))
