"""Policies of AWS IAM as data: what may be done with what, and why where that is not narrow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tidemill.infra.hcl import Attribute, Block, Raw, Template

_EXPRESSION: Final = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True, order=True)
class Condition:
    """``test`` (``StringEquals``) of a key of the request against some values."""

    test: str
    variable: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """Actions that are allowed on resources, which may hold expressions of Terraform. ``reason`` is needed where a
    resource is ``*``."""

    sid: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    reason: str = ""


def merged(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """The statements of several pipelines as one policy's: those that differ in their resources alone become one."""
    found: dict[tuple[Any, ...], Statement] = {}
    for one in statements:
        key = (one.sid, one.actions, one.conditions, one.reason)
        before = found.get(key)
        resources = sorted({*one.resources, *(before.resources if before else ())})
        found[key] = replace(one, resources=tuple(resources))
    told: dict[str, int] = {}
    named = []
    for one in found.values():
        # A sid is unique in its policy.
        told[one.sid] = told.get(one.sid, 0) + 1
        named.append(one if told[one.sid] == 1 else replace(one, sid=f"{one.sid}{told[one.sid]}"))
    return tuple(named)


def document(name: str, statements: Iterable[Statement], comment: str) -> Block:
    """The data source that makes a policy's JSON."""
    body = tuple(Block("statement", (), tuple(_statement(one)), one.reason) for one in statements)
    return Block("data", ("aws_iam_policy_document", name), body, comment)


def _statement(one: Statement) -> Iterable[Attribute | Block]:
    yield Attribute("sid", one.sid)
    yield Attribute("actions", sorted(one.actions))
    yield Attribute("resources", [_written(resource) for resource in one.resources])
    for condition in one.conditions:
        yield Block(
            "condition",
            (),
            (
                Attribute("test", condition.test),
                Attribute("variable", condition.variable),
                Attribute("values", [_written(value) for value in condition.values]),
            ),
        )


def _written(text: str) -> Template | Raw:
    """A text with expressions in it, or the one expression that it is."""
    alone = _EXPRESSION.fullmatch(text)
    return Raw(alone[1]) if alone else Template(text)


def as_json(statements: Iterable[Statement], values: Mapping[str, str]) -> dict[str, Any]:
    """The policy as IAM reads it, its expressions replaced by their values.

    Raises:
        KeyError: an expression that has none.
    """

    def plain(text: str) -> str:
        return _EXPRESSION.sub(lambda found: values[found[1]], text)

    made = []
    for one in statements:
        told: dict[str, Any] = {
            "Sid": one.sid,
            "Effect": "Allow",
            "Action": sorted(one.actions),
            "Resource": [plain(resource) for resource in one.resources],
        }
        for condition in one.conditions:
            values_of = told.setdefault("Condition", {}).setdefault(condition.test, {})
            values_of[condition.variable] = [plain(value) for value in condition.values]
        made.append(told)
    return {"Version": "2012-10-17", "Statement": made}
