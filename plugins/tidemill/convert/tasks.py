"""Tasks and groups as steps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from tidemill.checks.parameters import Signature
from tidemill.convert.arguments import Arguments, function_of, parameters_of
from tidemill.convert.assets import listed
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import (
    decorator_name,
    operator_name,
    permitted,
)
from tidemill.convert.params import params_of
from tidemill.convert.settings import OWN, defaults_of, settings_of
from tidemill.convert.values import text_of, value_of

_PLACED = frozenset({"operator", "decorator", "dependencies", "task_group_name", "parent_group_name", "task_id"})
_XCOM = re.compile(r"\+(\w+)(?:\[['\"](.*)['\"]\])?")
_OUTPUT = re.compile(r"(.+?)\.output")
_XCOMARG = re.compile(r"XcomArg\(+(.*?)\)")


@dataclass
class Place:
    """A task or group of the source: its name in the spec, the groups around it from the outside in, and its
    settings."""

    name: str
    item: Item
    around: tuple[str, ...] = ()

    @property
    def full(self) -> tuple[str, ...]:
        """The names that lead to it."""
        return (*self.around, self.name)


@dataclass
class Tree:
    """The tasks and groups by their names in the source."""

    tasks: dict[str, Place] = field(default_factory=dict)
    groups: dict[str, Place] = field(default_factory=dict)

    def find(self, name: str) -> Place | None:
        """What a dependency names: a group goes first, as with dag-factory."""
        return self.groups.get(name) or self.tasks.get(name)

    def called(self, target: Place, around: tuple[str, ...]) -> str:
        """The shortest name by which a step inside some groups reaches another."""
        names = [place.full for place in (*self.tasks.values(), *self.groups.values())]
        for size in range(1, len(target.full) + 1):
            wanted = target.full[-size:]
            scope = next((around[:n] for n in range(len(around), -1, -1) if (*around[:n], wanted[0]) in names), None)
            if scope is not None and (*scope, *wanted) == target.full:
                return ".".join(wanted)
        return ".".join(target.full)


class Steps:
    """Makes the steps of one DAG. ``inherited``: arguments of operators in its `default_args`."""

    def __init__(self, tree: Tree, inherited: Items, conversion: Conversion) -> None:
        self._tree = tree
        self._inherited = inherited
        self._of_group: dict[str, Items] = {}
        self._conversion = conversion
        self.used: set[str] = set()

    def made(self) -> dict[str, Any]:
        """The value of ``steps``; a group stands where the first of its tasks does."""
        found: dict[str, Any] = {}
        groups = {place.full: self._group(source, place) for source, place in self._tree.groups.items()}
        for source, place in self._tree.tasks.items():
            step = self._task(source, place)
            if step is None:
                continue
            steps = found
            for depth, name in enumerate(place.around):
                steps = steps.setdefault(name, groups[place.around[: depth + 1]])["steps"]
            steps[place.name] = step
        for name, group in self._tree.groups.items():
            if not groups[group.full]["steps"]:
                message = f'the group "{name}" holds no task, and a group of the language holds some'
                self._conversion.lost(group.item, f"task_groups.{name}", message, "leave it out")
        return found

    def _group(self, source: str, place: Place) -> dict[str, Any]:
        conversion = self._conversion
        path = f"task_groups.{source}"
        items: Items = {k: v for k, v in place.item.value.items() if k not in _PLACED and k != "group_name"}
        found: dict[str, Any] = self._order(place, path)
        for key, name in (("tooltip", "tooltip"), ("group_display_name", "display_name")):
            if key in items and (value := items.pop(key)).value:
                found[name] = text_of(value, f"{path}.{key}", conversion)
        if "prefix_group_id" in items and items.pop("prefix_group_id").value is False:
            found["prefix"] = False
        given = items.pop("default_args", None)
        outer = next((self._of_group[key] for key, g in self._tree.groups.items() if g.full == place.around), {})
        defaults, rest = defaults_of(_dict(given), f"{path}.default_args.", conversion)
        self._of_group[source] = {**outer, **rest}
        if defaults:
            found["defaults"] = defaults
        for key, item in items.items():
            if item.value is not None:
                conversion.lost(item, f"{path}.{key}", f'groups of the language have no "{key}"', "leave it out")
        return {**found, "steps": {}}

    def _order(self, place: Place, path: str) -> dict[str, Any]:
        written = place.item.value.get("dependencies")
        listed = written.value if written is not None and isinstance(written.value, list) else []
        after = []
        for one in listed:
            target = self._tree.find(one.text)
            if target is None:
                self._conversion.lost(one, f"{path}.dependencies", f'there is no task "{one.text}"', "name another one")
            elif (name := self._tree.called(target, place.around)) not in after:
                after.append(name)
        return {"after": after[0] if len(after) == 1 else after} if after else {}

    def _task(self, source: str, place: Place) -> dict[str, Any] | None:
        path = f"tasks.{source}"
        items: Items = {k: v for k, v in place.item.value.items() if k not in _PLACED}
        operator, decorator = place.item.value.get("operator"), place.item.value.get("decorator")
        mapped = {**_dict(items.pop("expand", None))}
        fixed = _dict(items.pop("partial", None))
        if operator is not None and operator.value:
            items |= fixed
            head, rest = self._common(items, place, path)
            return self._operator(operator, head, rest, mapped, place, path)
        if decorator is not None and decorator.value:
            return self._function(decorator, items, fixed, mapped, place, path)
        message = "the task has neither operator nor decorator"
        self._conversion.lost(place.item, path, message, "write the step: operator or python")
        return None

    def _common(self, items: Items, place: Place, path: str) -> tuple[dict[str, Any], Items]:
        """What all steps have in common, and the values that are left for the operator."""
        conversion = self._conversion
        rest = dict(items)
        found = self._order(place, path)
        for key in ("inlets", "outlets"):
            if key in rest and (item := rest.pop(key)).value is not None:
                assets = listed(item, f"{path}.{key}", conversion)
                if assets:
                    found[key] = assets
        for key in OWN:
            if key in rest and (item := rest.pop(key)).value:
                found[key] = text_of(item, f"{path}.{key}", conversion)
        if "params" in rest and (item := rest.pop("params")).value:
            found["params"] = params_of(item, f"{path}.params", conversion)
        settings, rest = settings_of(rest, f"{path}.", conversion)
        return {**found, **settings}, rest

    # Operators

    def _operator(
        self, item: Item, head: dict[str, Any], rest: Items, mapped: Items, place: Place, path: str
    ) -> dict[str, Any]:
        conversion = self._conversion
        name = operator_name(item.text)
        permitted(name, "operator", item, f"{path}.operator", conversion)
        signature = conversion.look(name, "operator")
        known = signature if isinstance(signature, Signature) else None
        rest = {**self._defaults_for(name, known, rest, mapped, place), **rest}
        given = Arguments(name, known, path, conversion).made(rest)
        found: dict[str, Any] = {"operator": name, **head}
        if given:
            found["with"] = given
        if mapped:
            found["for_each"] = self._mapped(mapped, place, path)
        return found

    def _defaults_for(self, name: str, known: Signature | None, own: Items, mapped: Items, place: Place) -> Items:
        """The arguments of ``default_args`` that an operator takes."""
        inherited = self._inherited
        for key, group in self._tree.groups.items():
            if group.full == place.around:
                inherited = {**inherited, **self._of_group.get(key, {})}
        found: Items = {}
        for key, item in inherited.items():
            if known is not None and known.parameter(key) is not None:
                self.used.add(key)
                if key not in own and key not in mapped:
                    found[key] = item
            elif known is None and key not in ("catchup", "schedule", "schedule_interval", "timezone"):
                self.used.add(key)
                message = f'whether {name.rpartition(".")[2]} takes the default argument "{key}" cannot be seen'
                self._conversion.lost(item, f"default_args.{key}", message, "write it below the step's `with:`")
        return found

    def _mapped(self, mapped: Items, place: Place, path: str) -> dict[str, Any]:
        """``for_each`` of an operator: lists, mappings, and the results of tasks."""
        found: dict[str, Any] = {}
        for key, item in mapped.items():
            named = None
            if isinstance(item.value, str):
                match = _OUTPUT.match(item.value) or _XCOMARG.search(item.value) or _XCOM.fullmatch(item.value)
                named = self._tree.tasks.get(match[1]) if match else None
            found[key] = (
                self._result(named, None, place) if named else value_of(item, f"{path}.expand.{key}", self._conversion)
            )
        return found

    def _result(self, target: Place, key: str | None, place: Place) -> str:
        names = [*self._tree.called(target, place.around).split("."), *([key] if key else [])]
        return "{{ steps" + "".join(f".{n}" if n.isidentifier() else f"[{n!r}]" for n in names) + " }}"

    # Functions

    def _function(
        self, decorator: Item, items: Items, fixed: Items, mapped: Items, place: Place, path: str
    ) -> dict[str, Any] | None:
        conversion = self._conversion
        kind = decorator_name(decorator.text)
        if kind is None:
            message = f'the decorator "{decorator.text}" is not in the language'
            conversion.lost(decorator, f"{path}.decorator", message, "write the step with an operator")
            return None
        function = function_of(items, "python_callable", path, conversion)
        if function is None:
            conversion.lost(place.item, path, "the task names no function", "add `python: include.module:function`")
            return None
        parameters = parameters_of(function, conversion)
        arguments = {key: item for key, item in items.items() if parameters is not None and key in parameters}
        head, rest = self._common({k: v for k, v in items.items() if k not in arguments}, place, path)
        if parameters is None:  # what is neither a setting nor a known option is the function's
            arguments = {key: item for key, item in rest.items() if not _is_option(kind, key, conversion)}
        options = {k: value_of(v, f"{path}.{k}", conversion) for k, v in rest.items() if k not in arguments}
        if mapped:
            for key, item in arguments.items():
                message = f'dag-factory gives a mapped task\'s function only `expand` and `partial`, not "{key}"'
                conversion.told(item, f"{path}.{key}", message)
            arguments = fixed
        found: dict[str, Any] = {"python": function}
        if kind != "python":
            found["decorator"] = kind
        found |= head
        given = {key: self._argument(item, f"{path}.{key}", place) for key, item in arguments.items()}
        if given:
            found["with"] = given
        if options:
            found["options"] = options
        if mapped:
            found["for_each"] = {k: self._argument(v, f"{path}.expand.{k}", place) for k, v in mapped.items()}
        return found

    def _argument(self, item: Item, path: str, place: Place) -> Any:
        match = _XCOM.fullmatch(item.value) if isinstance(item.value, str) else None
        target = self._tree.tasks.get(match[1]) if match else None
        if match is None:
            return value_of(item, path, self._conversion)
        if target is None:
            self._conversion.lost(item, path, f'there is no task "{match[1]}"', "name another one")
            return item.value
        return self._result(target, match[2], place)


def _is_option(kind: str, key: str, conversion: Conversion) -> bool:
    from tidemill.checks.steps import _DECORATED

    if key == "multiple_outputs":
        return True
    signature = conversion.look(_DECORATED[kind], "operator")
    return isinstance(signature, Signature) and signature.parameter(key) is not None


def _dict(item: Item | None) -> Items:
    return dict(item.value) if item is not None and isinstance(item.value, dict) else {}


__all__ = ["Place", "Steps", "Tree"]
