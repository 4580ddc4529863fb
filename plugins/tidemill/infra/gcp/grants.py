"""Rights on Google Cloud as data: permissions, which are a custom role, and what it is granted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from tidemill.infra.gcp.using import Folder
from tidemill.infra.hcl import Attribute, Block, Raw, Template, Value

Kind = Literal["project", "bucket", "account"]
"""What a role is granted on: the project, a bucket, a service account."""

_OBJECTS: Final = "storage.googleapis.com/objectListPrefix"


@dataclass(frozen=True, order=True)
class On:
    """Something that a role is granted on; ``told``: in words, unique in its grant; ``condition``: in IAM's language,
    empty for none. ``name`` and ``condition`` may hold expressions of Terraform."""

    told: str
    kind: Kind
    name: str
    condition: str = ""


@dataclass(frozen=True)
class Grant:
    """A custom role and what it is granted on. ``what``: what it is for, in a word; ``reason`` says why where a grant
    is not narrow."""

    what: str
    permissions: tuple[str, ...]
    on: tuple[On, ...]
    reason: str = ""


def objects(folder: Folder) -> On:
    """The objects in a folder."""
    return On(_told(folder), "bucket", folder.bucket, _below(folder))


def one(file: Folder) -> On:
    """One object, by its whole name."""
    condition = f"resource.name == 'projects/_/buckets/{file.name}/objects/{_literal(file.path)}'"
    return On(_told(file), "bucket", file.bucket, condition)


def outputs(folder: Folder) -> On:
    """The objects in the output of any job in a folder."""
    told = f"outputs of jobs in {_told(folder)}"
    condition = f"{_below(folder)} && resource.name.extract('/jobs/{{job}}/output/') != ''"
    return On(told, "bucket", folder.bucket, condition)


def listing(folder: Folder) -> On:
    """Lists of what is in a folder: they are the bucket's, whose name they are asked by; the prefix is the call's."""
    condition = f"api.getAttribute('{_OBJECTS}', '').startsWith('{_literal(folder.path)}')" if folder.path else ""
    return On(_told(folder), "bucket", folder.bucket, condition)


def _below(folder: Folder) -> str:
    return f"resource.name.startsWith('projects/_/buckets/{folder.name}/objects/{_literal(folder.path)}')"


def _told(folder: Folder) -> str:
    return f"{folder.plain}/{folder.path}"


def _literal(path: str) -> str:
    """A path in a text of IAM's conditions, in a template of Terraform."""
    return path.replace("\\", "\\\\").replace("'", "\\'").replace("${", "$${").replace("%{", "%%{")


def merged(grants: Iterable[Grant]) -> tuple[Grant, ...]:
    """The grants of several pipelines as one's: each role once, on all that any of them has it on."""
    found: dict[str, Grant] = {}
    for one in grants:
        before = found.get(one.what)
        found[one.what] = replace(one, on=tuple(sorted({*one.on, *(before.on if before else ())})))
    return tuple(found.values())


def local(name: str, grants: Iterable[Grant], comment: str) -> Block:
    """The rights of a step as a local value, for the module that makes roles and bindings of it."""
    body = [Attribute(name, {one.what: _written(one) for one in grants}, _reasons(grants))]
    return Block("locals", (), tuple(body), comment)


def _reasons(grants: Iterable[Grant]) -> str:
    return "\n".join(f"{one.what}: {one.reason}" for one in grants if one.reason)


def _written(grant: Grant) -> Value:
    on: dict[str, Value] = {}
    for one in grant.on:
        told: dict[str, Value] = {"kind": one.kind, "name": expression_of(one.name)}
        if one.condition:
            told["condition"] = Template(one.condition)
        on[one.told] = told
    return {"permissions": sorted(grant.permissions), "on": on}


def expression_of(text: str) -> Template | Raw:
    """A text with expressions in it, or the one expression that it is."""
    alone = text.startswith("${") and text.endswith("}") and text.count("${") == 1
    return Raw(text[2:-1]) if alone else Template(text)


def plain(text: str, values: Mapping[str, str]) -> str:
    """A text whose expressions are replaced by their values.

    Raises:
        KeyError: an expression that has none.
    """
    parts = text.replace("$${", "\0").split("${")
    found = parts[0] + "".join(values[name] + rest for name, _, rest in (part.partition("}") for part in parts[1:]))
    return found.replace("\0", "${").replace("%%{", "%{")
