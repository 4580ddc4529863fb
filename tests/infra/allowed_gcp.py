"""Whether custom roles allow what the emulator of Google Cloud was asked for, as IAM decides it: by a permission, the
resource that the role was granted on, and the grant's condition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tidemill.infra.gcp.grants import Grant, plain
from tidemill.infra.root import Root

_BELOW: Final = {"project": "projects/", "bucket": "projects/_/buckets/", "account": ""}


def values_of(root: Root) -> dict[str, str]:
    """The values of the expressions in a root's grants: its variables by their defaults."""
    told = {name: str(variable.default) for name, variable in root.variables.items()}
    found = {f"var.{name}": value for name, value in told.items()}
    found["module.services.project"] = told["project"]
    for name, value in told.items():
        found[f"module.{name}.name"] = value
        found[f"module.{name}.email"] = f"{value}@{told['project']}.iam.gserviceaccount.com"
    return found


def grants(root: Root, *, of: str) -> list[Grant]:
    """The grants of a root whose steps' names begin so: ``airflow_`` or ``account_access_``."""
    return [one for name, told in root.policies.items() if name.startswith(of) for one in told]


def allows(root: Root, told: Iterable[Grant], asked: Mapping[str, Any]) -> bool:
    """Whether any of these grants allows what was asked."""
    values = values_of(root)
    return any(
        asked["action"] in one.permissions
        and _on(_BELOW[on.kind] + plain(on.name, values), asked["resource"])
        and (not on.condition or _holds(plain(on.condition, values), asked))
        for one in told
        for on in one.on
    )


def _on(resource: str, asked: str) -> bool:
    return asked == resource or asked.startswith(f"{resource}/")


class _Text(str):
    """A text with the functions that IAM's conditions have."""

    def startsWith(self, prefix: str) -> bool:
        return self.startswith(prefix)

    def extract(self, template: str) -> str:
        """What stands where the template has ``{…}``; empty if the text has no such part."""
        before, _, after = re.split(r"(\{\w+\})", template)
        found = re.search(f"{re.escape(before)}(.*?){re.escape(after)}", self)
        return found[1] if found else ""


@dataclass(frozen=True)
class _Resource:
    name: _Text


@dataclass(frozen=True)
class _Api:
    attributes: Mapping[str, str] = field(default_factory=dict)

    def getAttribute(self, name: str, otherwise: str) -> _Text:
        return _Text(self.attributes.get(name, otherwise))


def _holds(condition: str, asked: Mapping[str, Any]) -> bool:
    """A condition's value. What it consists of means the same in Python, but for the name of *and*."""
    names = {"resource": _Resource(_Text(asked["resource"])), "api": _Api(asked["context"]), "__builtins__": {}}
    return bool(eval(condition.replace("&&", "and"), names))
