"""The needs of pipelines on Azure as a root of Terraform."""

from __future__ import annotations

from typing import Final

from tidemill.infra.azure import access, running, stored
from tidemill.infra.azure.alerts import alerts_of
from tidemill.infra.azure.base import Azure, addresses
from tidemill.infra.hcl import Attribute, Block, Raw, Template, Value, identifier
from tidemill.infra.names import Limit, checked
from tidemill.infra.needs import InfraProblem, Needs, Pipeline
from tidemill.infra.root import Made, Root
from tidemill.platforms.tags import common

_ALERT: Final = Limit("an alert rule's name", 260)
""""Naming rules and restrictions for Azure resources", of Azure Resource Manager's documentation, November 2026."""
_INSIDE: Final = (("compute", "workspace"), ("spot_compute", "workspace"), ("workspace", "resource_group"))
"""What is there, and what then is there, too."""


def render(needs: Needs, prefix: str) -> Root:
    """The root.

    Raises:
        InfraProblem: the specs are of several subscriptions or resource groups, what is there already lies in what is
            not, or a name grows too long.
    """
    azure = Azure(needs, prefix, Root(__package__))
    _place(azure)
    stored.group(azure)
    stored.monitoring(azure)
    stored.accounts(azure)
    stored.registries(azure)
    running.workspaces(azure)
    running.clusters(azure, running.identities(azure))
    access.grant(azure)
    _alerts(azure)
    _outputs(azure)
    _tell(azure)
    return azure.root


def _place(azure: Azure) -> None:
    """The provider, its subscription and region."""
    needs, pipelines = azure.needs, azure.needs.pipelines
    subscription = needs.one("platform.subscription", lambda p: p.platform.subscription, "subscription")
    group = needs.one("platform.resource_group", lambda p: p.platform.resource_group, "resource group")
    if subscription is None or group is None:
        asked = pipelines[0].asked("platform")
        raise InfraProblem(f"{asked}: platform.subscription and platform.resource_group say where: name both")
    for pipeline in pipelines:
        _check(pipeline)
    root = azure.root
    root.variable("prefix", "string", "What names begin with that no spec says.", azure.prefix)
    asked_of = [p.asked("platform.subscription") for p in pipelines]
    root.variable("subscription", "string", "The subscription.", subscription, asked_of)
    root.variable("location", "string", "The region of everything, e.g. westeurope: specs for Azure name none.")
    root.variable("tags", "map(string)", "Tags of everything.", {**common(p.tags for p in azure.needs.pipelines)})
    body = (
        Attribute("subscription_id", Raw("var.subscription")),
        # Stores take no keys: what is made in them is made through the subscription, and nothing else is looked at.
        Block("features", (), (Block("storage", (), (Attribute("data_plane_available", Raw("false")),)),)),
    )
    root.main.append(Block("provider", ("azurerm",), body))


def _check(pipeline: Pipeline) -> None:
    for word, around in _INSIDE:
        if word in pipeline.existing and around not in pipeline.existing:
            raise InfraProblem(
                f"{pipeline.asked('platform.existing')} says that the {word} is there, and not the {around} that it "
                f"lies in: add {around}"
            )
    for key, at in addresses(pipeline):
        if at.suffix != "core.windows.net":
            raise InfraProblem(
                f"{pipeline.asked(key)}: nothing is written for Azure Government and China, whose services have other "
                "addresses"
            )


def _alerts(azure: Azure) -> None:
    for pipeline in azure.needs.pipelines:
        alerts = alerts_of(pipeline)
        if not alerts:
            continue
        groups = azure.root.variable(
            "alarm_groups", "list(string)", "Ids of the action groups that are told of alerts.", []
        )
        for end in alerts:
            checked(f"{azure.prefix}-{pipeline.name}-{end}", _ALERT, (pipeline.asked("monitor"),))
        inputs: dict[str, Value] = {
            "prefix": Raw(f'"${{var.prefix}}-{pipeline.name}"'),
            **azure.place,
            "insights_id": Raw(azure.insights),
            "dimensions": {"dag_id": pipeline.monitor_dag, "model": pipeline.model},
            "alerts": alerts,
            "groups": groups,
        }
        made = Made("alerts", pipeline.name, (pipeline.asked("monitor"),))
        azure.root.module("alerts", azure.root.label("alerts", pipeline.name, made.asked), inputs, made)


def _outputs(azure: Azure) -> None:
    """What each pipeline's ``platform:`` says, as it stands once this root is applied."""
    told: dict[str, Value] = {}
    for pipeline in azure.needs.pipelines:
        platform = pipeline.platform
        values: dict[str, Value] = {
            "subscription": Raw("var.subscription"),
            "resource_group": Raw(azure.group),
            "workspace": Raw(f"var.{identifier(f'workspace_{platform.workspace}')}"),
            "bucket": _bucket(azure, pipeline),
        }
        if platform.identity:
            created = azure.client_ids.get(platform.identity)
            values["identity"] = Raw(created) if created else platform.identity
        told[pipeline.name] = values
    azure.root.output("platform", told, "What the specs' platform: sections say, by pipeline.")


def _bucket(azure: Azure, pipeline: Pipeline) -> Template:
    """A pipeline's container, in an account whose name is a variable where the root creates it."""
    uri = pipeline.platform.bucket or ""
    account = next(at.account for key, at in addresses(pipeline) if key == "platform.bucket")
    label = identifier(f"storage_{account}")
    return Template(uri.replace(f"@{account}.", f"@${{var.{label}}}.") if label in azure.root.variables else uri)


def _tell(azure: Azure) -> None:
    """What a person has to know before applying this."""
    root, modules = azure.root, azure.root.modules
    root.notes.append("`location` has to be given.")
    root.notes.append(
        "`airflow_principals`: the object ids of the service principals or managed identities that Airflow's "
        "connections sign as (`az ad sp show --id APP_ID --query id`); the outputs name the roles, for whoever gives "
        "them otherwise."
    )
    if azure.client_ids:
        root.notes.append(
            "Azure gives the identity of jobs its client id: write the one in the output `platform` into the specs' "
            "`platform.identity` after the first apply. Nothing here depends on it, so nothing is made anew."
        )
    if any("monitor" in p.tasks for p in azure.needs.pipelines):
        root.notes.append(
            "Numbers are written with the connection string of Application Insights, which Airflow's connection has as "
            "`application_insights` in its extra: `az monitor app-insights component show --query connectionString`."
        )
    root.notes.append(
        "Roles are named once in the whole tenant: another root there, of another project or environment, needs "
        "another `--prefix`. Whoever applies this may make roles in the subscription, and give them."
    )
    if "registry" in modules:
        root.notes.append("Push the image before the first training; a tag that was pushed is best not pushed again.")
    if "storage" in modules:
        root.notes.append(
            "Names of storage accounts, key vaults and registries are one for all of Azure: a taken one is refused."
        )
        root.teardown.append("Stores are kept: empty them, and take `prevent_destroy` out of `modules/storage` first.")
    if "workspace" in modules:
        root.teardown.append("Key vaults can be restored, and keep their names, for 90 days.")
