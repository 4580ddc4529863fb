"""What a root's README tells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from tidemill.infra.hcl import Value, expression
from tidemill.infra.needs import Needs
from tidemill.infra.root import Made, Root, comment

_NAMES: Final = {"aws": "AWS", "gcp": "Google Cloud", "azure": "Azure", "kubernetes": "Kubernetes"}

_AIRFLOW: Final = (
    "## Airflow",
    "",
    "`airflow/` has the connections that the specs name, without a secret: as entries of `airflow_settings.yaml` and",
    "as environment variables, beside the reference to the secret store for those that have a password.",
    "`terraform output -json > outputs.json` and `tidemill validate SPECS --against FOLDER --outputs outputs.json` say",
    "where specs and this infrastructure disagree.",
)


def readme(needs: Needs, root: Root, *, connected: bool) -> str:
    """The README; ``connected``: there are connections for Airflow beside it."""
    return "\n".join(_lines(needs, root, connected=connected)) + "\n"


def _lines(needs: Needs, root: Root, *, connected: bool) -> Iterator[str]:
    names = [pipeline.name for pipeline in needs.pipelines]
    yield from (
        f"# {_NAMES[needs.provider]} for {names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}",
        "",
        "Terraform for what these pipelines use, and nothing else. Written by `tidemill infra`; write it again when a",
        "spec changes. Files of your own beside these are left alone; set variables in a `*.auto.tfvars` of your own.",
        "",
        "## Apply",
        "",
        "```sh",
        "terraform init",
        "terraform plan -out plan",
        "terraform apply plan",
        "```",
        "",
    )
    if root.notes:
        yield from (*(f"- {note}" for note in root.notes), "")
    yield from ("## What is created", "", "| what | name | asked by |", "| --- | --- | --- |", *_rows(root.made), "")
    if root.used:
        yield from ("## What is used and is there already", "", "| what | name | asked by |", "| --- | --- | --- |")
        yield from (*_rows(root.used), "")
    yield from ("## Variables", "", "| variable | what | by default |", "| --- | --- | --- |")
    for name in sorted(root.variables):
        variable = root.variables[name]
        default = "to be given" if variable.default is None else f"`{shown(variable.default)}`"
        yield f"| `{name}` | {variable.description} | {default} |"
    if connected:
        yield from ("", *_AIRFLOW)
    yield from ("", "## Tear down", "", *root.teardown, "", "```sh", "terraform destroy", "```")


def _rows(made: Iterable[Made]) -> Iterator[str]:
    for one in made:
        places = "<br>".join(comment(one.asked).splitlines())
        yield f"| {one.what} | `{one.name}` | {places} |"


def shown(value: Value) -> str:
    """A variable's default, as a reader of Terraform knows it."""
    return " ".join(expression(value).split())
