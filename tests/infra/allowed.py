"""Whether policies allow what the emulator of AWS was asked for, as IAM decides it: by an action, a resource and the
conditions of one statement; there are no denials in these."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tests.infra.roots import ACCOUNT
from tidemill.infra.aws.policy import as_json
from tidemill.infra.root import Root

_TESTS: Final = {
    "StringEquals": lambda value, wanted: value == wanted,
    "StringLike": fnmatch.fnmatchcase,
    "Bool": lambda value, wanted: value == wanted,
}


def values_of(root: Root) -> dict[str, str]:
    """The values of the expressions in a root's policies: its variables by their defaults."""
    found = {f"var.{name}": str(variable.default) for name, variable in root.variables.items()}
    kms = f"arn:aws:kms:eu-west-1:{ACCOUNT}:key"
    return {**found, "module.key.arn": f"{kms}/created", "data.aws_kms_key.key_1234.arn": f"{kms}/1234"}


def policies(root: Root, *, of: str) -> dict[str, dict[str, Any]]:
    """The policies of a root by name, whose names begin so: ``airflow_`` or ``role_``."""
    values = values_of(root)
    return {name: as_json(told, values) for name, told in root.policies.items() if name.startswith(of)}


def allows(documents: Iterable[Mapping[str, Any]], asked: Mapping[str, Any]) -> bool:
    """Whether any of these policies allows what was asked."""
    return any(_allows(one, asked) for document in documents for one in document["Statement"])


def _allows(statement: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    return (
        asked["action"] in statement["Action"]
        and any(fnmatch.fnmatchcase(asked["resource"], resource) for resource in statement["Resource"])
        and all(
            key in asked["context"] and any(_TESTS[test](asked["context"][key], wanted) for wanted in values)
            for test, keys in statement.get("Condition", {}).items()
            for key, values in keys.items()
        )
    )
