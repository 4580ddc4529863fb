"""What pipelines store: the resource group, stores, images, numbers and logs."""

from __future__ import annotations

from typing import Final

from tidemill.infra.azure.base import Azure, addresses, registry_of
from tidemill.infra.hcl import Raw, Value
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import Named, Pipeline
from tidemill.infra.root import Made

_LOGS: Final = Limit("a Log Analytics workspace's name", 63)
""""Naming rules and restrictions for Azure resources", of Azure Resource Manager's documentation, November 2026."""


def group(azure: Azure) -> None:
    """The resource group."""
    (found,) = azure.needs.named("platform.resource_group", lambda p: p.platform.resource_group)
    made = Made("resource group", found.name, found.asked)
    azure.root.variable("resource_group", "string", "The resource group's name.", found.name, found.asked)
    if found.existing:
        azure.root.used.append(made)
        return
    inputs = {"name": Raw("var.resource_group"), "location": Raw("var.location"), "tags": Raw("var.tags")}
    azure.group = f"{azure.root.module('group', 'group', inputs, made)}.name"


def monitoring(azure: Azure) -> None:
    """Application Insights with its logs: of every workspace that is created, and of the monitors."""
    users = [p for p in azure.needs.pipelines if "workspace" not in p.existing or "monitor" in p.tasks]
    asked = tuple(p.asked("monitor" if "monitor" in p.tasks else "platform.workspace") for p in users)
    for found in azure.needs.among("logs", lambda p: [(one.key, "logs") for one in asked if one.pipeline == p.name]):
        name = f"{azure.prefix}-logs"
        made = Made("Application Insights and its logs", name, found.asked)
        if found.existing:
            azure.root.used.append(Made(made.what, "application_insights_id", found.asked))
            azure.insights = azure.root.variable(
                "application_insights_id", "string", "The id of the Application Insights that is there."
            )
            return
        days = azure.root.variable("log_days", "number", "Days for which logs are kept, 30 to 730.", 365)
        checked(name, _LOGS, found.asked)
        inputs = {"prefix": Raw("var.prefix"), **azure.place, "retention_days": days}
        azure.insights = f"{azure.root.module('monitoring', 'monitoring', inputs, made)}.insights_id"


def accounts(azure: Azure) -> None:
    """Every storage account that anything is kept in, with how long."""
    for found in azure.needs.among("bucket", lambda p: [(key, at.account) for key, at in addresses(p)]):
        label = azure.root.label("storage", found.name, found.asked)
        made = Made("storage account", found.name, found.asked)
        if found.existing:
            azure.root.used.append(made)
            azure.accounts[found.name] = azure.id_of(
                "Microsoft.Storage/storageAccounts", label, found.name, found.asked
            )
            continue
        versions = any("versions" in pipeline.tasks for pipeline in found.users)
        containers = sorted({at.container for p in found.users for _, at in addresses(p) if at.account == found.name})
        inputs: dict[str, Value] = {
            "name": azure.root.variable(label, "string", "A storage account's name.", found.name, found.asked),
            **azure.place,
            "containers": [*containers],
            # Azure has versions of blobs or folders, never both.
            "versions": versions,
            "hierarchical": not versions and _by_dfs(found),
            "shared_keys": False,
            "days": _days(azure, found),
            "owns_lifecycle": not any(_ends_versions(pipeline) for pipeline in found.users),
        }
        azure.accounts[found.name] = f"${{{azure.root.module('storage', label, inputs, made)}.id}}"
        if versions and _by_dfs(found):
            azure.root.notes.append(
                f"{found.name} keeps versions of its blobs, for `data.version: object-store`, so it has no "
                "hierarchical namespace: Azure knows no account with both. Whether it has one cannot be changed later."
            )


def _by_dfs(account: Named) -> bool:
    """Whether a spec names the account as Data Lake Storage."""
    told = [uri for p in account.users for uri in (p.platform.bucket, _checkpoint(p)) if uri]
    return any(f"@{account.name}.dfs." in uri for uri in told)


def _checkpoint(pipeline: Pipeline) -> str | None:
    spot = pipeline.spec.train.resources.spot
    return None if spot is None else spot.checkpoint


def _ends_versions(pipeline: Pipeline) -> bool:
    """Whether a pipeline writes rules of its own into the account's one policy: Terraform would remove them."""
    return "versions" in pipeline.tasks and pipeline.spec.data.keep is not None


def _days(azure: Azure, account: Named) -> dict[str, Value]:
    """Container and folder → how long what lies below it is kept. Data versions are not ended by age: they lie between
    the files of jobs, so a folder that has any keeps everything."""
    found: dict[str, Value] = {}
    kept: set[str] = set()
    for pipeline in account.users:
        for key, at in addresses(pipeline):
            if at.account != account.name:
                continue
            path = at.key.strip("/")
            if key == "platform.bucket":
                prefix = "/".join(filter(None, (at.container, path, "tidemill"))) + "/"
                told, days = "Days for which code, data and outputs of jobs are kept.", ("work_days", 180)
            else:
                prefix = f"{at.container}/{path}/" if path else ""
                told, days = "Days for which checkpoints are kept.", ("checkpoint_days", 30)
            if not prefix:  # checkpoints in the container itself, between everything else
                continue
            found[prefix] = azure.root.variable(days[0], "number", told, days[1])
            if "versions" in pipeline.tasks and key == "platform.bucket":
                kept.add(prefix)
    return {prefix: found[prefix] for prefix in sorted(found) if not any(one.startswith(prefix) for one in kept)}


def registries(azure: Azure) -> None:
    """The registries of images in Azure. A name does not tell whose a registry is: one of another subscription is there
    already."""
    for found in azure.needs.among("image", lambda p: [("train.image", name)] if (name := registry_of(p)) else []):
        label = azure.root.label("registry", found.name, found.asked)
        made = Made("image registry", found.name, found.asked)
        if found.existing:
            azure.root.used.append(made)
            kind = "Microsoft.ContainerRegistry/registries"
            azure.registries[found.name] = azure.id_of(kind, label, found.name, found.asked)
            continue
        name = azure.root.variable(label, "string", "A registry's name.", found.name, found.asked)
        called = azure.root.module("registry", label, {"name": name, **azure.place}, made)
        azure.registries[found.name] = f"${{{called}.id}}"
        azure.root.output(f"{label}_server", Raw(f"{called}.server"), "What images are pushed to.")
