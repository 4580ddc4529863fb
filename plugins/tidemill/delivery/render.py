"""The files of a delivery pipeline."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Final

import tidemill
from tidemill.delivery.model import Delivery, settings
from tidemill.infra.written import Kind

if TYPE_CHECKING:
    from jinja2 import Environment

FILES: Final = {
    "github": ".github/workflows/tidemill.yaml",
    "gitlab": ".gitlab-ci.yml",
    "azure-devops": ".azure-pipelines/tidemill.yml",
}
"""Where each system's pipeline is."""
PYTHON: Final = "3.12"
"""Of the checks and of the image."""
TERRAFORM: Final = "1.11.4"
ASTRO: Final = "1.40.1"
"""Of Astronomer's command line."""
RUNTIME: Final = f"astrocrpublic.azurecr.io/runtime:3.3-8-python-{PYTHON}-base"
"""Astronomer's image of Airflow 3.3, without the instructions that install requirements before a wheel is there."""
ACTIONS: Final = {
    "checkout": "actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1",
    "python": "actions/setup-python@5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0",
    "terraform": "hashicorp/setup-terraform@dfe3c3f87815947d99a8997f908cb6525fc44e9e # v4.0.1",
    "astronomer": "astronomer/deploy-action@7a5226229901e89cadc12d8e208922d133e1f12c # v0.13.0",
    "aws": "aws-actions/configure-aws-credentials@e6de054238d6b7531b4efff3b6587d9aade6a06c # v6.2.3",
    "gcp": "google-github-actions/auth@7c6bc770dae815cd3e89ee6cdf493a5fab2cc093 # v3.0.0",
}
"""Actions by commit: a tag can be moved to other code."""
YOURS: Final = frozenset({"requirements.txt", "Dockerfile", ".astro/config.yaml"})
"""Written once: they are a person's from then on."""


def kind_of(delivery: Delivery) -> Kind:
    """How its files are told apart from those of people."""
    aside = "move it into a file of your own"
    if delivery.system == "gitlab":
        aside = "move its jobs into .gitlab/own.yml, which is included"
    return Kind(f"tidemill ci {delivery.system}", f".tidemill-ci-{delivery.system}.json", YOURS, aside)


def files_of(delivery: Delivery) -> dict[str, str]:
    """The files by path, in order."""
    environment = _environment()

    def script(name: str, indent: int, before: Sequence[str] = ()) -> str:
        """Pieces of shell, one after the other, as a script that ends where anything in it fails."""
        strict = "set -eu" if delivery.system == "gitlab" else "set -euo pipefail"
        values = {"d": delivery, "astro": ASTRO, "terraform": TERRAFORM}
        pieces = [environment.get_template(f"shell/{piece}.sh.j2").render(values) for piece in (*before, name)]
        return textwrap.indent("\n".join([strict, *(piece.strip("\n") for piece in pieces)]), " " * indent)

    def fill(template: str) -> str:
        return environment.get_template(template).render(
            d=delivery,
            script=script,
            settings=list(settings(delivery)),
            actions=ACTIONS,
            python=PYTHON,
            terraform=TERRAFORM,
            astro=ASTRO,
            runtime=RUNTIME,
            airflow=metadata.version("apache-airflow-core"),
            tidemill=tidemill.__version__,
        )

    found = {
        FILES[delivery.system]: fill(f"{delivery.system}.yaml.j2"),
        "requirements.txt": fill("requirements.txt.j2"),
    }
    if delivery.deploy != "sync":
        found["Dockerfile"] = fill("Dockerfile.j2")
    if delivery.deploy == "astronomer":
        found[".astro/config.yaml"] = "project:\n  name: pipelines\n"
    return dict(sorted(found.items()))


@cache
def _environment() -> Environment:
    """Other delimiters than usual: the systems have ``${{ }}`` and ``{% %}`` of their own."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("tidemill.delivery"),
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
