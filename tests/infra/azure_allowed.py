"""Whether roles allow what the emulator of Azure was asked for, as Azure's RBAC decides it: by an action of one role,
and a place that the resource lies in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tidemill.infra.azure.rights import Role
from tidemill.infra.root import Root

_EXPRESSION: Final = re.compile(r"\$\{([^}]+)\}")
_KINDS: Final = {
    "storage": "Microsoft.Storage/storageAccounts",
    "registry": "Microsoft.ContainerRegistry/registries",
    "workspace": "Microsoft.MachineLearningServices/workspaces",
}
_MADE: Final = re.compile(r"module\.((storage|registry|workspace)_\w+)\.id")


def roles(root: Root, *, of: str) -> list[Role]:
    """The roles of a root whose names begin so: ``airflow_`` or ``jobs_``; their places as Azure names them."""
    found = [role for name, role in root.policies.items() if name.startswith(of)]
    return [
        Role(one.name, one.told, one.rights, tuple((name, _plain(root, at)) for name, at in one.scopes))
        for one in found
    ]


def _plain(root: Root, scope: str) -> str:
    """An id, its expressions replaced by the values of variables, and by the ids of what would be made."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name.startswith("var."):
            return str(root.variables[name.removeprefix("var.")].default)
        if name == "module.group.name":
            return str(root.variables["resource_group"].default)
        made = _MADE.fullmatch(name)
        assert made is not None, name
        group = f"/subscriptions/{root.variables['subscription'].default}/resourceGroups/"
        group += str(root.variables["resource_group"].default)
        return f"{group}/providers/{_KINDS[made[2]]}/{root.variables[made[1]].default}"

    return _EXPRESSION.sub(value, scope)


def allows(given: Iterable[Role], asked: Mapping[str, Any]) -> bool:
    """Whether any of these roles allows what was asked."""
    return any(
        asked["action"] in (right.data if asked["data"] else right.actions)
        and f"{asked['resource']}/".lower().startswith(f"{at}/".lower())
        for role in given
        for right in role.rights
        for _, at in role.scopes
    )
