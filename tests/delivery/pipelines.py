"""Delivery pipelines of every kind, and what stands in them."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from tidemill.delivery.model import BUCKETS, DEPLOYS, SYSTEMS, Delivery
from tidemill.delivery.render import FILES, files_of

PLAIN: Final = Delivery(
    system="github",
    deploy="image",
    provider="aws",
    specs="dags",
    dags="dags",
    include="include",
    tests="tests",
    known=(),
    environments=("dev", "prod"),
    branch="main",
    infra="infra",
)
_SCHEMAS: Final = {
    "github": ("vendor.github-workflows",),
    "gitlab": ("vendor.gitlab-ci", "--data-transform", "gitlab-ci"),
    "azure-devops": ("vendor.azure-pipelines", "--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"),
}


def every_kind(system: str | None = None) -> Iterator[Delivery]:
    """Each system, provider and way to deploy that go together, with Terraform and without."""
    providers = ("local", *BUCKETS, "kubernetes")
    for of, provider, deploy, infra in itertools.product(SYSTEMS, providers, DEPLOYS, ("infra", None)):
        possible = (deploy != "sync" or provider in BUCKETS) and (infra is None or provider != "local")
        if possible and system in (None, of):
            kind = replace(PLAIN, system=of, provider=provider, deploy=deploy, infra=infra)
            yield kind
            if infra and deploy == "image":
                yield replace(kind, known=kind.environments)


def pipeline_of(delivery: Delivery) -> str:
    """The text of its pipeline."""
    return files_of(delivery)[FILES[delivery.system]]


def name_of(delivery: Delivery) -> str:
    """What a kind is called in a test."""
    parts = (
        delivery.system,
        delivery.provider,
        delivery.deploy,
        "overlays" if delivery.known else delivery.infra or "plain",
    )
    return "-".join(parts)


def tool(name: str, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment, or of the machine."""
    found = Path(sys.executable).with_name(name)
    command = str(found) if found.exists() else shutil.which(name) or name
    return subprocess.run([command, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def against_schema(system: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Files before the published schema of their system."""
    schema, *options = _SCHEMAS[system]
    return tool("check-jsonschema", "--builtin-schema", schema, *options, *files)


def scripts_of(delivery: Delivery) -> list[str]:
    """Every piece of shell in a pipeline, as the system runs it."""
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, list):
            for one in node:
                look(one)
        elif isinstance(node, dict):
            for key, value in node.items():
                if key in ("run", "bash", "inlineScript") and isinstance(value, str):
                    found.append(value)
                elif key == "script":
                    found.append("\n".join(value))
                else:
                    look(value)

    look(yaml.safe_load(pipeline_of(delivery)))
    return found


def script_of(delivery: Delivery, holding: str) -> str:
    """The one script that holds some words."""
    (found,) = {script for script in scripts_of(delivery) if holding in script}
    return found


def told(delivery: Delivery) -> set[str]:
    """The variables that the head of a pipeline asks for."""
    head = pipeline_of(delivery).partition("\n\n")[0]
    return set(re.findall(r"^#     ([A-Z_]+) ", head, re.MULTILINE))
