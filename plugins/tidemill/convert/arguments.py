"""The arguments of operators, with what dag-factory makes of some of them; and the functions that tasks name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.checks.annotations import members
from tidemill.checks.parameters import Signature
from tidemill.convert.kubernetes import pod_argument
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import function_in_file, function_name
from tidemill.convert.values import duration_of, type_of, value_of


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


def function_of(items: Items, key: str, path: str, conversion: Conversion) -> str | None:
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
            function = function_of(rest, key, self.path, self.conversion)
            if function is not None:
                found[target] = self._callable(target, function)
        for key in [*rest]:
            if key.endswith("_lambda"):
                item = rest.pop(key)
                message = f'"{key}" holds Python code, which no spec has'
                self.conversion.lost(
                    item, f"{self.path}.{key}", message, "make it a function below include/, and name it"
                )
        if "execution_delta_secs" in rest:
            rest["execution_delta"] = rest.pop("execution_delta_secs")
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
        if key == "execution_delta" and item.value is not None:
            return duration_of(item, path, self.conversion)
        if type_of(item) == "datetime.timedelta" and "duration" in self._types(key):
            return duration_of(item, path, self.conversion)
        if key == "data" and self._sends_json(items):
            import json

            message = "dag-factory hands a function that returns this JSON; the spec has the JSON itself, which is sent"
            self.conversion.told(item, path, message)
            return item.value if isinstance(item.value, str) else json.dumps(item.plain)
        if self.operator.rpartition(".")[2] == "KubernetesPodOperator":
            item = pod_argument(key, item)
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
