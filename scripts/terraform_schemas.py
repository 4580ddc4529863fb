"""Writes the schemas that the generated Terraform is checked against: tests/infra/schemas/PROVIDER.json.

    python scripts/terraform_schemas.py [PROVIDER …]

They are read out of the npm packages that HashiCorp generated from the providers' own schemas (`@cdktf/provider-…`),
reduced to the resources and data sources that the modules and renderers name. Needs npm and its registry. From the same
schemas, where Terraform's registry can be reached: `terraform providers schema -json`.

What those packages do not tell: sets are lists in them, and whether a value is one that the provider takes.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "plugins/tidemill/infra"
TARGET = ROOT / "tests/infra/schemas"
PACKAGES = {
    "aws": ("@cdktf/provider-aws", "21.22.1"),
    "gcp": ("@cdktf/provider-google", "16.12.1"),
    "azure": ("@cdktf/provider-azurerm", "14.23.1"),
    "kubernetes": ("@cdktf/provider-kubernetes", "12.1.1"),
}
_LINK = re.compile(r"/docs(?:/(?P<kind>resources|data-sources)/(?P<name>\w+))?#(?P<attribute>\w+) ")
_KINDS = {"resources": "resource", "data": "data"}
_PRIMITIVES = {"string": "string", "number": "number", "boolean": "bool"}

Types = dict[str, Any]


def main() -> None:
    """Write the schemas that are asked for, by default all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("providers", nargs="*", choices=[*PACKAGES, []], metavar="PROVIDER")
    for provider in parser.parse_args().providers or PACKAGES:
        package, version = PACKAGES[provider]
        with tempfile.TemporaryDirectory() as scratch:
            types, of = fetched(package, version, Path(scratch))
        written = {"source": f"{package} {version}", "provider": of, **reduced(provider, of, types)}
        file = TARGET / f"{provider}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_lines(written) + "\n")
        print(f"{file.relative_to(ROOT)}: {len(written['resources'])} resources, {len(written['data'])} data sources")


def _lines(value: Any, depth: int = 2) -> str:
    """JSON with a line for each resource."""
    if depth == 0 or not isinstance(value, dict) or not value:
        return json.dumps(value, sort_keys=True)
    return "{\n" + ",\n".join(f'"{key}": {_lines(value[key], depth - 1)}' for key in sorted(value)) + "\n}"


def fetched(package: str, version: str, folder: Path) -> tuple[Types, str]:
    """The package's types, and the provider and version that it was made of."""
    subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=folder, check=True, capture_output=True)
    (file,) = folder.glob("*.tgz")
    with tarfile.open(file) as tar:
        found = {name: json.load(tar.extractfile(f"package/{name}") or b"") for name in (".jsii", "package.json")}
    of = found["package.json"]["cdktf"]["provider"]
    return found[".jsii"]["types"], f"{of['name']} {of['version']}"


def reduced(provider: str, of: str, types: Types) -> dict[str, Any]:
    """The schemas of the provider itself, and of the resources and data sources that are used; ``of``: what Terraform
    calls it, whose last part its resources' names begin with (``google`` for ``gcp``)."""
    prefix = of.split()[0].rpartition("/")[2]
    text = "".join(
        file.read_text() for file in sorted((SOURCES / provider).rglob("*")) if file.suffix in (".tf", ".py")
    )
    # As modules write them (`data "aws_subnet" "this"`), and renderers (`Block("data", ("aws_kms_key", label))`).
    used = {kind: set(re.findall(rf'"?{word}"?,? \(?"({prefix}_\w+)"', text)) for kind, word in _KINDS.items()}
    found: dict[str, Any] = {"resources": {}, "data": {}}
    for name, one in types.items():
        if not name.endswith("Config") or one["kind"] != "interface":
            continue
        links = [link for p in one.get("properties", ()) if (link := _LINK.search(_told(p)))]
        if name.endswith("Provider.Config") or re.search(r"\.provider\.\w+ProviderConfig$", name):
            found["configuration"] = _block(one, types)
            continue
        if not links or links[0]["name"] is None:
            continue
        kind = "data" if links[0]["kind"] == "data-sources" else "resources"
        full = f"{prefix}_{links[0]['name']}"
        made = name.removesuffix("Config")
        if full in used[kind] and made in types:  # a block may be called config, too
            block = _block(one, types)
            _computed(block, types[made])
            found[kind][full] = block
    missing = {name for kind, names in used.items() for name in names - found[kind].keys()}
    if missing:
        raise SystemExit(f"{provider}: no schema of {', '.join(sorted(missing))}")
    return found


def _told(item: dict[str, Any]) -> str:
    docs = item.get("docs", {})
    return f"{docs.get('summary', '')} {docs.get('remarks', '')}"


def _block(one: dict[str, Any], types: Types) -> dict[str, Any]:
    """Attributes by name, ``[type, "required" | "optional"]``, and blocks, with how many of each there may be."""
    found: dict[str, Any] = {"attributes": {}, "blocks": {}}
    for item in one.get("properties", ()):
        told = _told(item)
        link = _LINK.search(told)
        if link is None:  # a meta-argument of the packages' own
            continue
        name, required = link["attribute"], not item.get("optional", False)
        shape, many = _shape(item["type"])
        if " block." in told and shape in types:
            inner = _block(types[shape], types)
            _computed(inner, types.get(f"{shape}OutputReference", {}))
            found["blocks"][name] = {"least": int(required), "most": 0 if many else 1, **inner}
        else:
            found["attributes"][name] = [_type(item["type"]), "required" if required else "optional"]
    return found


def _shape(kind: dict[str, Any]) -> tuple[str, bool]:
    """The structure that a type is, or is a list of."""
    for one in kind.get("union", {}).get("types", [kind]):
        if "collection" in one:
            return _shape(one["collection"]["elementtype"])[0], True
        if one.get("fqn", "cdktf.").startswith("cdktf."):
            continue
        return one["fqn"], False
    return "", False


def _type(kind: dict[str, Any]) -> Any:
    """A type as Terraform's JSON has it; ``dynamic`` for structures."""
    for one in kind.get("union", {}).get("types", [kind]):
        if "primitive" in one and one["primitive"] in _PRIMITIVES:
            return _PRIMITIVES[one["primitive"]]
        if "collection" in one:
            inner = _type(one["collection"]["elementtype"])
            return "dynamic" if inner == "dynamic" else [{"array": "list"}.get(one["collection"]["kind"], "map"), inner]
    return "dynamic"


def _computed(block: dict[str, Any], made: dict[str, Any]) -> None:
    """Add what only reading tells: the attributes of a resource, or of a block of it, that are no arguments."""
    for item in made.get("properties", ()):
        name = item["name"]
        if item.get("static") or not item.get("immutable") or name.endswith("Input"):
            continue
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if snake not in block["attributes"] and snake not in block["blocks"]:
            block["attributes"][snake] = [_type(item["type"]), "computed"]


if __name__ == "__main__":
    main()
