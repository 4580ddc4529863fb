"""What trainings run on: workspaces of Azure ML, clusters, and the identities that jobs have."""

from __future__ import annotations

import hashlib
import re
from functools import partial
from typing import Final

from tidemill.infra.azure.base import Azure, clusters_of, registry_of, workspace_of, written
from tidemill.infra.hcl import Attribute, Block, Raw, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import InfraProblem, Named, Pipeline
from tidemill.infra.root import Made, comment

_WORKSPACE: Final = Limit("a workspace's name", 33)
_CLUSTER: Final = Limit("a cluster's name", 32)
""""Naming rules and restrictions for Azure resources", of Azure Resource Manager's documentation, November 2026."""
_ML: Final = "Microsoft.MachineLearningServices/workspaces"
_SIZE: Final = "Standard_D4s_v3"


def workspaces(azure: Azure) -> None:
    """The workspaces, each with the store and the key vault that Azure ML wants for it."""
    for found in azure.needs.named("platform.workspace", lambda p: p.platform.workspace):
        label = azure.root.label("workspace", found.name, found.asked)
        made = Made("workspace", found.name, found.asked)
        name = azure.root.variable(label, "string", "A workspace's name.", found.name, found.asked)
        if found.existing:
            azure.root.used.append(made)
            azure.workspaces[found.name] = f"{azure.group_id}/providers/{_ML}/${{{name}}}"
            continue
        checked(found.name, _WORKSPACE, found.asked)
        inputs: dict[str, Value] = {
            "name": name,
            **azure.place,
            "vault": azure.root.variable(
                f"{label}_vault", "string", "A key vault's name, which nobody else in Azure may have.",
                _within(24, azure.prefix, found.name),
            ),
            "storage_id": Raw(f"{_store(azure, found, label)}.id"),
            "insights_id": Raw(azure.insights),
            "registry_id": _registry(azure, found),
        }  # fmt: skip
        azure.workspaces[found.name] = f"${{{azure.root.module('workspace', label, inputs, made)}.id}}"


def _store(azure: Azure, found: Named, label: str) -> Raw:
    """The workspace's own storage account, for logs: Azure ML takes none with a hierarchical namespace."""
    plain = _within(24, azure.prefix, found.name, between="")
    told = "A storage account's name, which nobody else in Azure may have."
    name = azure.root.variable(f"{label}_storage", "string", told, plain, found.asked)
    inputs: dict[str, Value] = {
        "name": name,
        **azure.place,
        "containers": [],
        "versions": False,
        "hierarchical": False,
        "shared_keys": True,
        "days": {},
        "owns_lifecycle": False,
    }
    made = Made("storage account of the workspace", plain, found.asked)
    return azure.root.module("storage", azure.root.label("storage_of", found.name, found.asked), inputs, made)


def _registry(azure: Azure, found: Named) -> Value:
    names = sorted({name for p in found.users if (name := registry_of(p)) is not None})
    return written(azure.registries[names[0]]) if names else Raw("null")


def _within(most: int, *parts: str, between: str = "-") -> str:
    """A name of at most so many letters and digits, with ``between`` for everything else: of what is longer, the
    beginning and a hash of the whole."""
    whole = re.sub(r"[^a-z0-9]+", between, "-".join(parts).lower()).strip("-")
    if len(whole) <= most:
        return whole
    end = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{whole[: most - len(between) - len(end)].rstrip('-')}{between}{end}"


def identities(azure: Azure) -> dict[str, tuple[str, str]]:
    """The identities that specs name, by their client ids: the expressions for id and object id.

    Raises:
        InfraProblem: several are to be created; Azure gives client ids, so they cannot be told apart by them.
    """
    made: dict[str, tuple[str, str]] = {}
    new: list[Named] = []
    for found in azure.needs.named("platform.identity", lambda p: p.platform.identity):
        if not found.existing:
            new.append(found)
            continue
        label = azure.root.label("identity", found.name.partition("-")[0], found.asked)
        azure.root.used.append(Made("identity", found.name, found.asked))
        group = azure.needs.pipelines[0].platform.resource_group
        body = (
            Attribute("name", azure.root.variable(f"{label}_name", "string", f"The name of identity {found.name}.")),
            Attribute(
                "resource_group_name",
                azure.root.variable(f"{label}_group", "string", "The resource group of that identity.", group),
            ),
        )
        block = Block("data", ("azurerm_user_assigned_identity", label), body, comment(found.asked))
        azure.root.main.append(block)
        at = f"data.azurerm_user_assigned_identity.{label}"
        made[found.name] = (f"{at}.id", f"{at}.principal_id")
    if len(new) > 1:
        told = ", ".join(f"{one.name} ({one.asked[0]})" for one in new[:2])
        raise InfraProblem(
            f"{told}: Azure gives an identity its client id, so a root creates one, and these are several; give them "
            "the same one, or add identity to platform.existing of those that are there"
        )
    for one in new:
        what = Made("identity of jobs", f"{azure.prefix}-jobs", one.asked)
        inputs = {"name": Raw('"${var.prefix}-jobs"'), **azure.place}
        called = azure.root.module("identity", "identity", inputs, what)
        made[one.name] = (f"{called}.id", f"{called}.principal_id")
        azure.client_ids[one.name] = f"{called}.client_id"
    return made


def clusters(azure: Azure, made: dict[str, tuple[str, str]]) -> None:
    """The clusters, and who runs on each."""
    for pipeline in azure.needs.pipelines:
        named = pipeline.platform.identity
        found: dict[str, str] = {}
        if named:
            found["identity" if named in azure.client_ids else named] = made[named][1]
        azure.principals[pipeline.name] = found
    for word in ("compute", "spot_compute"):
        for cluster in azure.needs.among(word, partial(_clusters, f"platform.{word}")):
            _cluster(azure, cluster, made, spot=word == "spot_compute")


def _clusters(asked: str, pipeline: Pipeline) -> list[tuple[str, str]]:
    return [(key, f"{workspace_of(pipeline)}/{name}") for key, name in clusters_of(pipeline) if key == asked]


def _cluster(azure: Azure, found: Named, made: dict[str, tuple[str, str]], *, spot: bool) -> None:
    workspace, _, name = found.name.partition("/")
    told = Made("cluster of low-priority machines" if spot else "cluster", found.name, found.asked)
    label = identifier(f"cluster_{found.name}")
    if label in azure.root.labels:
        raise InfraProblem(
            f"{found.asked[0]}: {name} is named for both tiers, or another name is the same in Terraform; a cluster "
            "has one tier: give it another name"
        )
    azure.root.label("cluster", found.name, found.asked)
    own = [pipeline for pipeline in found.users if not pipeline.platform.identity]
    if found.existing:
        azure.root.used.append(told)
        if own:
            given = azure.root.variable(
                f"{label}_principals", "set(string)", f"Object ids of the identity that the cluster {name} has.", []
            )
            _runs_as(azure, own, found.name, f"{{ for id in {given} : id => id }}")
        return
    checked(name, _CLUSTER, found.asked)
    ids = sorted({made[p.platform.identity][0] for p in found.users if p.platform.identity})
    if own and ids:
        other = next(p for p in found.users if p.platform.identity)
        raise InfraProblem(
            f"{other.asked('platform.identity')}: the jobs of {own[0].name} run as {name}'s own identity, and Azure ML "
            f"lets a cluster have either that or named ones: name one in {own[0].asked('platform')}, too"
        )
    nodes = sum(pipeline.spec.train.resources.count for pipeline in found.users)
    inputs: dict[str, Value] = {
        "name": azure.root.variable(label, "string", "A cluster's name.", name, found.asked),
        "location": Raw("var.location"),
        "tags": Raw("var.tags"),
        "workspace_id": written(azure.workspaces[workspace]),
        "priority": "LowPriority" if spot else "Dedicated",
        "size": azure.root.variable(f"{label}_size", "string", "The machines' size.", _SIZE),
        "nodes": azure.root.variable(
            f"{label}_nodes", "number", "Machines at most: at first, each training once.", nodes
        ),
        "identities": [Raw(one) for one in ids],
    }
    called = azure.root.module("cluster", label, inputs, told)
    _runs_as(azure, own, found.name, f"{called}.principal_id")


def _runs_as(azure: Azure, pipelines: list[Pipeline], cluster: str, expression: str) -> None:
    for pipeline in pipelines:
        azure.principals[pipeline.name][cluster] = expression
