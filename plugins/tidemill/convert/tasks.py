"""Tasks and groups as steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from tidemill.checks.annotations import members
from tidemill.checks.parameters import Signature
from tidemill.convert.assets import listed
from tidemill.convert.callbacks import callbacks_in
from tidemill.convert.executor import executor_config
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import (
    decorator_name,
    function_in_file,
    function_name,
    operator_name,
    permitted,
)
from tidemill.convert.params import params_of
from tidemill.convert.values import duration_of, length_of, text_of, type_of, value_of
from tidemill.spec.steps import Settings, TriggerRule
from tidemill.spec.units import format_duration

_DURATIONS = ("retry_delay", "max_retry_delay", "execution_timeout")
_SECONDS = {"retry_delay_sec": "retry_delay", "execution_timeout_secs": "execution_timeout"}
"""Keys of dag-factory 0.x that count seconds."""
_RULES = {"none_failed_or_skipped": "none_failed_min_one_success", "dummy": "always"}
_OWN = ("task_display_name", "doc_md", "map_index_template")
_PLACED = frozenset({"operator", "decorator", "dependencies", "task_group_name", "parent_group_name", "task_id"})
_NOT_THERE = {
    "sla": "write `deadline:` at the top of the file",
    "sla_secs": "write `deadline:` at the top of the file",
    "start_date": "write `start:` at the top of the file",
    "end_date": "write `end:` at the top of the file",
    **dict.fromkeys(
        ("resources", "pre_execute", "post_execute", "logger_name", "doc", "doc_json", "doc_yaml", "doc_rst"),
        "leave it out, or write it as `doc_md:` if it is documentation",
    ),
}
"""Arguments of any operator that steps do not have."""
_XCOM = re.compile(r"\+(\w+)(?:\[['\"](.*)['\"]\])?")
_OUTPUT = re.compile(r"(.+?)\.output")
_XCOMARG = re.compile(r"XcomArg\(+(.*?)\)")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


@dataclass
class Place:
    """A task or group of the source: its name in the spec, the groups around it from the outside in, and its
    settings."""

    name: str
    item: Item
    around: tuple[str, ...] = ()
    is_group: bool = False

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


def settings_of(items: Items, path: str, conversion: Conversion) -> tuple[dict[str, Any], Items]:
    """The settings of any task among some values, as a spec writes them, and what is left."""
    found, rest = callbacks_in(items, path, conversion)
    for key in [*rest]:
        item, at = rest[key], f"{path}{key}"
        if key in _SECONDS:
            length = length_of(rest.pop(key))
            if length is not None:
                found[_SECONDS[key]] = format_duration(length)
        elif key in _DURATIONS:
            if rest.pop(key).value is not None and (written := duration_of(item, at, conversion)) is not None:
                found[key] = written
        elif key in Settings.model_fields or key == "task_concurrency":
            if rest.pop(key).value is not None:
                name = "max_active_tis_per_dag" if key == "task_concurrency" else key
                value = _setting(name, item, at, conversion)
                if value is not None:
                    found[name] = value
        elif key in _NOT_THERE and rest.pop(key).value is not None:
            conversion.lost(item, at, f'"{key}" is a setting that steps do not have', _NOT_THERE[key])
    order = {name: index for index, name in enumerate(Settings.model_fields)}
    return dict(sorted(found.items(), key=lambda pair: order[pair[0]])), rest


def _setting(name: str, item: Item, path: str, conversion: Conversion) -> Any:
    value = item.value
    if name == "executor_config":
        return executor_config(item, path, conversion)
    if name == "trigger_rule":
        rule = _RULES.get(str(value), str(value))
        if rule in get_args(TriggerRule):
            return rule
        conversion.lost(item, path, f'unknown trigger rule "{value}"', f"one of {', '.join(get_args(TriggerRule))}")
        return None
    if name == "weight_rule" and value not in ("downstream", "upstream", "absolute"):
        conversion.lost(
            item, path, f'the weight rule "{value}" is not in the language', "downstream, upstream, absolute"
        )
        return None
    if name == "retry_exponential_backoff" and isinstance(value, bool):
        return 2 if value else 0
    if name == "retries" and isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return value_of(item, path, conversion)


class Steps:
    """Makes the steps of one DAG. ``inherited``: arguments of operators in its `default_args`."""

    def __init__(self, tree: Tree, inherited: Items, conversion: Conversion) -> None:
        self._tree = tree
        self._inherited = inherited
        self._of_group: dict[str, Items] = {}
        self._conversion = conversion
        self.used: set[str] = set()

    def made(self) -> dict[str, Any]:
        """The value of ``steps``."""
        found: dict[str, Any] = {}
        for source, place in self._tree.tasks.items():
            step = self._task(source, place)
            if step is not None:
                self._into(found, place)[place.name] = step
        for name, group in self._tree.groups.items():
            if self._group_in(found, group) is None:
                message = f'the group "{name}" holds no task, and a group of the language holds some'
                self._conversion.lost(group.item, f"task_groups.{name}", message, "leave it out")
        return found

    def _group_in(self, steps: Mapping[str, Any], group: Place) -> Any:
        for name in group.around:
            steps = steps.get(name, {}).get("steps", {})
        return steps.get(group.name)

    def _into(self, steps: dict[str, Any], place: Place) -> dict[str, Any]:
        """The mapping of steps that a place belongs into; groups are made when the first of their tasks is."""
        for depth, name in enumerate(place.around):
            if name not in steps:
                source = next(key for key, g in self._tree.groups.items() if g.full == place.around[: depth + 1])
                steps[name] = self._group(source)
            steps = steps[name]["steps"]
        return steps

    def _group(self, source: str) -> dict[str, Any]:
        place, conversion = self._tree.groups[source], self._conversion
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
        defaults, rest = settings_of(_dict(given), f"{path}.default_args.", conversion)
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
            target = self._tree.find(str(one.value))
            if target is None:
                self._conversion.lost(
                    one, f"{path}.dependencies", f'there is no task "{one.value}"', "name another one"
                )
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
        for key in _OWN:
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
        name = operator_name(str(item.value))
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
        kind = decorator_name(str(decorator.value))
        if kind is None:
            message = f'the decorator "{decorator.value}" is not in the language'
            conversion.lost(decorator, f"{path}.decorator", message, "write the step with an operator")
            return None
        function = _function(items, "python_callable", path, conversion)
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


def parameters_of(function: str, conversion: Conversion) -> list[str] | None:
    """The names of a function's parameters, by its source; ``None`` if that cannot be seen."""
    import ast

    from tidemill.checks.code import origin
    from tidemill.checks.parameters import read_function

    module, _, name = function.partition(":")
    for root in (conversion.project.root, conversion.home, conversion.folder):
        try:
            found = origin(module, name, root)
        except (SyntaxError, ValueError, OSError):
            continue
        if isinstance(found.node, ast.FunctionDef | ast.AsyncFunctionDef):
            return [one.name for one in read_function(found.node, method=False)[0]]
    return None


def _function(items: Items, key: str, path: str, conversion: Conversion) -> str | None:
    """The function that ``key``, or ``key_name`` and ``key_file``, name; they are taken out of ``items``."""
    own, name, file = (items.pop(part, None) for part in (key, f"{key}_name", f"{key}_file"))
    if own is not None and isinstance(own.value, str):
        return function_name(own, f"{path}.{key}", conversion)
    if name is not None and name.value and file is not None and file.value:
        return function_in_file(file, name, f"{path}.{key}_file", conversion)
    if file is not None and isinstance(file.value, str) and "/" not in file.value:
        return function_name(file, f"{path}.{key}_file", conversion)  # a name, as !!python/name: wrote it
    return None


@dataclass(frozen=True)
class Arguments:
    """The arguments of one operator, with what dag-factory makes of some of them."""

    operator: str
    signature: Signature | None
    path: str
    conversion: Conversion

    def made(self, items: Items) -> dict[str, Any]:
        """The value of ``with``."""
        rest = dict(items)
        found: dict[str, Any] = {}
        variables = rest.pop("variables_as_arguments", None)
        for key, target in self._functions(rest):
            function = _function(rest, key, self.path, self.conversion)
            if function is not None:
                found[target] = self._callable(target, function)
        for key in [*rest]:
            if key.endswith("_lambda"):
                item = rest.pop(key)
                message = f'"{key}" holds Python code, which no spec has'
                self.conversion.lost(
                    item, f"{self.path}.{key}", message, "make it a function below include/, and name it"
                )
        for key, item in rest.items():
            found[key] = self._value(key, item, rest)
        if variables is not None and isinstance(variables.value, list):
            self._variables(variables, found)
        return {key: found[key] for key in _in_order(found, items)}

    def _functions(self, rest: Items) -> Iterator[tuple[str, str]]:
        for key, target in (
            ("python_callable", "python_callable"),
            ("execution_date_fn", "execution_date_fn"),
            ("response_check", "response_check"),
            ("success_check", "success"),
            ("failure_check", "failure"),
        ):
            if (key in rest and isinstance(rest[key].value, str)) or (
                f"{key}_file" in rest and (f"{key}_name" in rest or key == "python_callable")
            ):
                yield key, target

    def _callable(self, name: str, function: str) -> Any:
        return function if "callable" in self._types(name) else {"$function": function}

    def _types(self, name: str) -> set[str]:
        parameter = self.signature.parameter(name) if self.signature is not None else None
        return {one["type"] for one in members(parameter.type)} if parameter is not None else set()

    def _value(self, key: str, item: Item, items: Items) -> Any:
        path = f"{self.path}.{key}"
        if key in ("execution_delta", "execution_delta_secs") and item.value is not None:
            return duration_of(item, path, self.conversion)
        if type_of(item) == "datetime.timedelta" and "duration" in self._types(key):
            return duration_of(item, path, self.conversion)
        if key == "data" and self._sends_json(items):
            import json

            message = "dag-factory hands a function that returns this JSON; the spec has the JSON itself, which is sent"
            self.conversion.told(item, path, message)
            return item.value if isinstance(item.value, str) else json.dumps(item.plain)
        return value_of(item, path, self.conversion)

    def _sends_json(self, items: Items) -> bool:
        if self.operator.rpartition(".")[2] != "HttpOperator":
            return False
        headers = items.get("headers")
        kind = str((headers.get("Content-Type") if headers is not None else None) or "")
        return "application/json" in kind.lower()

    def _variables(self, item: Item, found: dict[str, Any]) -> None:
        """Airflow's variables as arguments: read when the task runs, not at every parse."""
        fields = (self.signature.template_fields if self.signature is not None else None) or ()
        for one in item.value:
            variable, attribute = str(one.get("variable")), str(one.get("attribute"))
            path = f"{self.path}.variables_as_arguments"
            if attribute not in fields:
                message = (
                    f'"{attribute}" is not rendered by {self.operator.rpartition(".")[2]}, so no variable can be put in'
                )
                self.conversion.lost(one, path, message, "write the value")
                continue
            fallback = found.get(attribute)
            given = f", {fallback!r}" if isinstance(fallback, str) else ""
            found[attribute] = f"{{{{ var.value.get({variable!r}{given}) }}}}"
            self.conversion.told(one, path, f'the variable "{variable}" is read when the task runs, not at each parse')


def _in_order(found: Mapping[str, Any], items: Items) -> list[str]:
    """The arguments in the order of the source."""
    order = {key: index for index, key in enumerate(items)}
    return sorted(found, key=lambda key: order.get(key, -1))


def _dict(item: Item | None) -> Items:
    return dict(item.value) if item is not None and isinstance(item.value, dict) else {}


__all__ = ["Place", "Steps", "Tree", "settings_of"]
