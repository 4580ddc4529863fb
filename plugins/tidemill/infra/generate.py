"""Needs to the files of a root."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final, Protocol

from tidemill.infra import connections
from tidemill.infra.elsewhere import calls
from tidemill.infra.hcl import Attribute, Block, Raw, Value, document
from tidemill.infra.needs import Needs
from tidemill.infra.readme import readme
from tidemill.infra.root import MARK, Root

PROVIDERS: Final = {
    "aws": ("hashicorp/aws", "~> 6.25"),
    "gcp": ("hashicorp/google", "~> 6.50"),
    "azure": ("hashicorp/azurerm", "~> 4.55"),
    "kubernetes": ("hashicorp/kubernetes", "~> 2.38"),
}
"""The Terraform provider of each of ours, and the versions whose schema the roots are checked against."""
TERRAFORM: Final = ">= 1.9"


class _Renderer(Protocol):
    render: Callable[[Needs, str], Root]


def root_of(needs: Needs, prefix: str) -> Root:
    """The root of some needs.

    Raises:
        InfraProblem: they fit no root.
    """
    renderer: _Renderer = import_module(f"tidemill.infra.{needs.provider}.render")
    root = renderer.render(needs, prefix)
    root.notes += calls(needs)
    return root


def files_of(needs: Needs, prefix: str) -> dict[str, str]:
    """The files of a root by path, in order.

    Raises:
        InfraProblem: as ``root_of``.
    """
    root = root_of(needs, prefix)
    found = root.files()
    found["versions.tf"] = f"# {MARK}\n\n{_versions(needs.provider)}"
    found["backend.tf"] = _BACKEND[needs.provider]
    connected = connections.files(needs)
    found["README.md"] = readme(needs, root, connected=bool(connected))
    found |= connected
    return dict(sorted(found.items()))


def _versions(provider: str) -> str:
    source, version = PROVIDERS[provider]
    wanted: dict[str, Value] = {"source": source, "version": version}
    needed = Block("required_providers", (), (Attribute(source.partition("/")[2], wanted),))
    return document([Block("terraform", (), (Attribute("required_version", TERRAFORM), needed))])


_S3_BACKEND: Final = document(
    [
        Block(
            "terraform",
            (),
            (
                Block(
                    "backend",
                    ("s3",),
                    (
                        Attribute("bucket", "YOUR-STATE-BUCKET"),
                        Attribute("key", "tidemill.tfstate"),
                        Attribute("region", "YOUR-REGION"),
                        Attribute("encrypt", Raw("true")),
                        Attribute("use_lockfile", Raw("true")),
                    ),
                ),
            ),
        )
    ]
)
_AZURE_BACKEND: Final = document(
    [
        Block(
            "terraform",
            (),
            (
                Block(
                    "backend",
                    ("azurerm",),
                    (
                        Attribute("resource_group_name", "YOUR-STATE-GROUP"),
                        Attribute("storage_account_name", "yourstateaccount"),
                        Attribute("container_name", "tfstate"),
                        Attribute("key", "tidemill.tfstate"),
                        Attribute("use_azuread_auth", Raw("true")),
                    ),
                ),
            ),
        )
    ]
)
_HEAD: Final = """# Written by tidemill infra once, and yours from then on: where Terraform keeps its state.
# Without a backend it is the file terraform.tfstate in this folder, which is for trying out.
"""


def _stub(text: str) -> str:
    return _HEAD + "".join(f"# {line}".rstrip() + "\n" for line in text.splitlines())


_BACKEND: Final = {
    "aws": _stub(_S3_BACKEND),
    "gcp": _stub(
        document(
            [
                Block(
                    "terraform",
                    (),
                    (
                        Block(
                            "backend",
                            ("gcs",),
                            (Attribute("bucket", "YOUR-STATE-BUCKET"), Attribute("prefix", "tidemill")),
                        ),
                    ),
                )
            ]
        )
    ),
    "azure": _stub(_AZURE_BACKEND),
    "kubernetes": _stub(
        document(
            [
                Block(
                    "terraform",
                    (),
                    (
                        Block(
                            "backend",
                            ("kubernetes",),
                            (Attribute("secret_suffix", "tidemill"), Attribute("namespace", "YOUR-NAMESPACE")),
                        ),
                    ),
                )
            ]
        )
    ),
}
