"""A root of Terraform as it is made: its files, its variables, its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from tidemill.infra.hcl import Attribute, Block, Raw, Value, document, identifier
from tidemill.infra.needs import Asked, InfraProblem

MARK = "Written by tidemill infra: a change here is found by its --check, and lost with --force."
"""The first line of every file that is written."""


@dataclass(frozen=True)
class Made:
    """A module's call or a policy, told in the README: what it is, and who asked for it."""

    what: str
    name: str
    asked: tuple[Asked, ...]


@dataclass(frozen=True)
class Variable:
    """A variable of the root. Without a default it has to be given.

    ``asked``: where specs say its value; nowhere, if that is a matter of taste.
    """

    name: str
    kind: str
    description: str
    default: Value = None
    asked: tuple[Asked, ...] = ()

    def block(self) -> Block:
        """Its declaration."""
        body = [Attribute("type", Raw(self.kind)), Attribute("description", self.description)]
        if self.default is not None:
            body.append(Attribute("default", self.default))
        return Block("variable", (self.name,), tuple(body), comment(self.asked))


@dataclass
class Root:
    """The parts of a root, in the order in which they are added. ``package``: where its modules' texts are."""

    package: str
    main: list[Block | Attribute] = field(default_factory=list)
    access: list[Block | Attribute] = field(default_factory=list)
    outputs: list[Block] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    used: list[Made] = field(default_factory=list)
    variables: dict[str, Variable] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)
    labels: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    teardown: list[str] = field(default_factory=list)
    policies: dict[str, Any] = field(default_factory=dict)

    def label(self, kind: str, name: str, asked: Sequence[Asked]) -> str:
        """What something is called in Terraform: made of its own name, so that it stays when specs come and go.

        Raises:
            InfraProblem: something else is called so.
        """
        label = identifier(f"{kind}_{name}")
        other = self.labels.setdefault(label, name)
        if other != name:
            raise InfraProblem(
                f"{asked[0]}: {name} and {other} would both be {label} in Terraform: rename one, or write two roots"
            )
        return label

    def variable(
        self, name: str, kind: str, description: str, default: Value = None, asked: Sequence[Asked] = ()
    ) -> Raw:
        """Declare a variable; without a default it has to be given. Returns the expression for it."""
        self.variables.setdefault(name, Variable(name, kind, description, default, tuple(asked)))
        return Raw(f"var.{name}")

    def module(self, kind: str, label: str, inputs: Mapping[str, Value], what: Made) -> Raw:
        """Call a module; returns the expression for the call."""
        self.modules.add(kind)
        self.made.append(what)
        body = (Attribute("source", f"./modules/{kind}"), *(Attribute(name, value) for name, value in inputs.items()))
        self.main.append(Block("module", (label,), body, comment(what.asked)))
        return Raw(f"module.{label}")

    def output(self, name: str, value: Value, description: str) -> None:
        """Declare an output."""
        self.outputs.append(
            Block("output", (name,), (Attribute("value", value), Attribute("description", description)))
        )

    def files(self) -> dict[str, str]:
        """The files that are made of these parts, by path; the modules that are used are among them."""
        found = {
            "main.tf": document(self.main),
            "variables.tf": document(variable.block() for variable in self.variables.values()),
            "outputs.tf": document(self.outputs),
        }
        if self.access:
            found["access.tf"] = document(self.access)
        for module in sorted(self.modules):
            found[f"modules/{module}/main.tf"] = _text(self.package, module)
        return {path: f"# {MARK}\n\n{text}" for path, text in found.items() if text}


def comment(asked: Sequence[Asked]) -> str:
    """Who asked for something, as a comment: a line for each place."""
    places: dict[tuple[str, int, str], list[str]] = {}
    for one in sorted(asked):
        places.setdefault((one.file, one.line, one.key), []).append(one.pipeline)
    return "\n".join(f"{file}:{line} {key}" for file, line, key in sorted(places))


def _text(package: str, module: str) -> str:
    found = resources.files(package).joinpath("modules", module, "main.tf")
    return found.read_text(encoding="utf-8")
