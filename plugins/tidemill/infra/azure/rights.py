"""Roles of Azure as data: what may be done, where, and why where a call of ours does not show it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tidemill.infra.hcl import Attribute, Block, Raw, Template

ML: Final = "Microsoft.MachineLearningServices/workspaces"
STORAGE: Final = "Microsoft.Storage/storageAccounts"
BLOBS: Final = f"{STORAGE}/blobServices/containers/blobs"


@dataclass(frozen=True)
class Right:
    """Actions on resources, and on the data in them. ``reason`` is told where they stand."""

    actions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Role:
    """Rights at some places: ``scopes`` is what each place is called → its id, which may hold expressions."""

    name: str
    told: str
    rights: tuple[Right, ...]
    scopes: tuple[tuple[str, str], ...]


def united(rights: Iterable[Right]) -> tuple[Right, ...]:
    """The rights of several pipelines, each once."""
    return tuple(dict.fromkeys(rights))


def definition(label: str, role: Role, comment: str) -> Block:
    """The custom role. Azure lets a role be given in the subscriptions or groups that it names: what is there already
    may lie in another group."""
    subscription = Template("/subscriptions/${var.subscription}")
    body = (
        Attribute("name", Template(f"${{var.prefix}} {role.name}")),
        Attribute("scope", subscription),
        Attribute("description", role.told),
        Attribute("assignable_scopes", [subscription]),
        Block("permissions", (), tuple(_permissions(role.rights)), _reasons(role.rights)),
    )
    return Block("resource", ("azurerm_role_definition", label), body, comment)


def reference(label: str) -> Raw:
    """The expression for the role's id."""
    return Raw(f"azurerm_role_definition.{label}.role_definition_resource_id")


def _permissions(rights: Iterable[Right]) -> Iterable[Attribute]:
    for name in ("actions", "data"):
        found = sorted({action for right in rights for action in getattr(right, name)})
        if found:
            yield Attribute("actions" if name == "actions" else "data_actions", found)


def _reasons(rights: Iterable[Right]) -> str:
    return "\n".join(line for right in rights for line in textwrap.wrap(right.reason, 116))
