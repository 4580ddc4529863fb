"""The plan's values as Python objects: durations, functions, objects of allow-listed classes, tasks' outputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tidemill.airflow.signatures import load_class, load_function
from tidemill.checks.allowed import Use
from tidemill.errors import TidemillError
from tidemill.plan.model import TaskPlan, Value
from tidemill.project import Project


class Unbuildable(TidemillError):
    """What a spec asks for cannot be made in this environment; ``task`` is the one that asks, if it is one."""

    task: TaskPlan | None = None


@dataclass(frozen=True)
class Reader:
    """Reads the plan's values. ``tasks``: those built so far; ``mapped``: the arguments of the groups around.

    ``lazy``: functions are looked up when they are called, so that nothing of the user's is imported before.
    """

    project: Project
    tasks: Mapping[str, Any] = field(default_factory=dict)
    mapped: Mapping[str, Any] = field(default_factory=dict)
    lazy: bool = False

    def value(self, value: Value) -> Any:
        """The object that a value stands for.

        Raises:
            Unbuildable: a class or function is not there.
        """
        if isinstance(value, list):
            return [self.value(item) for item in value]
        if not isinstance(value, Mapping):
            return value
        if "$timedelta" in value:
            return timedelta(seconds=value["$timedelta"])
        if "$datetime" in value:
            return datetime.fromisoformat(value["$datetime"])
        if "$function" in value:
            return self.function(value["$function"])
        if "$object" in value:
            made = named(value["$object"], "object", self.project)
            return made(*self.value(value.get("args", [])), **self.value(value.get("with", {})))
        if "$output" in value:
            from tidemill.airflow.macros import Field, Result

            task, key = value["$output"]
            return Result(self.tasks[task]) if key is None else Field(self.tasks[task], key)
        if "$each" in value:
            return self.mapped[value["$each"]]
        return {key: self.value(item) for key, item in value.items()}

    def mapped_over(self, value: Value) -> Any:
        """What a step or group is repeated for; Airflow wants its own reference to a task's output there."""
        if isinstance(value, Mapping) and "$output" in value:
            return self.tasks[value["$output"][0]].output
        if isinstance(value, Mapping) and not _is_object(value):
            return {key: self.mapped_over(item) for key, item in value.items()}
        return self.value(value)

    def function(self, name: str) -> Any:
        """A function of the user's, by ``module:function``."""
        if self.lazy:
            from tidemill.airflow.lazy import lazy_function

            return lazy_function(name, self.project)
        return function(name, self.project)

    def callbacks(self, given: list[dict[str, Any]]) -> list[Callable[..., Any]]:
        """What Airflow calls when something happens."""
        found: list[Any] = []
        for one in given:
            arguments = self.value(one["with"])
            if one["notifier"] is not None:
                found.append(named(one["notifier"], "notifier", self.project)(**arguments))
            else:
                found.append(Call(one["callback"], self.project, arguments))
        return found


def _is_object(value: Mapping[str, Value]) -> bool:
    return any(key.startswith("$") for key in value)


class Call:
    """A callback of the user's with its arguments; the function is looked up when it is called."""

    def __init__(self, name: str, project: Project, arguments: Mapping[str, Any]) -> None:
        self._name = name
        self._project = project
        self._arguments = arguments
        self.__name__ = name.partition(":")[2]
        self.__qualname__ = self.__name__
        self.__module__ = name.partition(":")[0]

    def __call__(self, context: Any) -> Any:
        """Call the function with Airflow's context and the arguments. Raises Unbuildable if it is not there."""
        return function(self._name, self._project)(context, **self._arguments)

    def __repr__(self) -> str:
        return f"<{self._name}>"


def named(name: str, use: Use, project: Project) -> Any:
    """The class of a dotted name; the allow-list is asked once more. Raises Unbuildable."""
    return _loaded(load_class, (name, use), project)


def function(name: str, project: Project) -> Any:
    """The function of ``module:function``; the allow-list is asked once more. Raises Unbuildable."""
    return _loaded(load_function, (name,), project)


def _loaded(load: Callable[..., Any], arguments: tuple[str, ...], project: Project) -> Any:
    root = str(project.root)
    if root not in sys.path:
        sys.path.append(root)
    try:
        return load(*arguments)
    except TidemillError as e:
        raise Unbuildable(str(e)) from e
