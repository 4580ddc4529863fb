"""A root of Azure as it grows: what was added to it, by name, for what refers to it later."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tidemill.infra.hcl import Raw, Template, Value
from tidemill.infra.needs import Asked, Needs, Pipeline
from tidemill.infra.root import Root
from tidemill.platforms.azure.storage import Address, address_of

_IMAGE: Final = re.compile(r"(?P<name>[a-z0-9]{5,50})\.azurecr\.io/.+")


def addresses(pipeline: Pipeline) -> list[tuple[str, Address]]:
    """Where a pipeline keeps anything: the spec's key, and the address."""
    found = [("platform.bucket", pipeline.platform.bucket)]
    spot = pipeline.spec.train.resources.spot
    if spot is not None:
        found.append(("train.resources.spot.checkpoint", spot.checkpoint))
    return [(key, address_of(uri)) for key, uri in found if uri]


def registry_of(pipeline: Pipeline) -> str | None:
    """The registry of a pipeline's image in Azure; ``None`` if it lies elsewhere."""
    found = _IMAGE.fullmatch(pipeline.spec.train.image or "")
    return None if found is None else found["name"]


def workspace_of(pipeline: Pipeline) -> str:
    """The workspace's name."""
    return str(pipeline.platform.workspace)


def clusters_of(pipeline: Pipeline) -> list[tuple[str, str]]:
    """The clusters that a pipeline's jobs run on, each with the spec's key: the low-priority one, where it is used."""
    platform = pipeline.platform
    found = [("platform.compute", platform.compute), ("platform.spot_compute", platform.spot_compute)]
    return [(key, name) for key, name in found if name]


@dataclass
class Azure:
    """The needs and the root.

    ``groups``: the expression for the resource group's name, once it is there; ``accounts``, ``registries``: name → its
    id; ``workspaces``: name → its id; ``insights``: the id of Application Insights. Ids are texts that may hold
    expressions. ``principals``: pipeline → who its jobs run as, each with the expression for its object id.
    """

    needs: Needs
    prefix: str
    root: Root
    group: str = "var.resource_group"
    accounts: dict[str, str] = field(default_factory=dict)
    registries: dict[str, str] = field(default_factory=dict)
    workspaces: dict[str, str] = field(default_factory=dict)
    insights: str = ""
    principals: dict[str, dict[str, str]] = field(default_factory=dict)
    client_ids: dict[str, str] = field(default_factory=dict)

    @property
    def group_id(self) -> str:
        """The resource group's id."""
        return f"/subscriptions/${{var.subscription}}/resourceGroups/${{{self.group}}}"

    @property
    def place(self) -> dict[str, Value]:
        """What every module takes."""
        return {"resource_group": Raw(self.group), "location": Raw("var.location"), "tags": Raw("var.tags")}

    def id_of(self, kind: str, label: str, name: str, asked: tuple[Asked, ...]) -> str:
        """The id of something that is there already: in the specs' resource group, unless its variable says where."""
        first = self.needs.pipelines[0].platform
        told = f"/subscriptions/{first.subscription}/resourceGroups/{first.resource_group}/providers/{kind}/{name}"
        variable = self.root.variable(f"{label}_id", "string", f"Where {name} is.", told, asked)
        return f"${{{variable}}}"


def written(text: str) -> Template | Raw:
    """A text with expressions in it, or the one expression that it is."""
    alone = re.fullmatch(r"\$\{([^}]+)\}", text)
    return Raw(alone[1]) if alone else Template(text)
