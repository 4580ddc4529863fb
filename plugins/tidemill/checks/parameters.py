"""What a class or function takes, as data; and how much of it can be told from the source of its ``__init__``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tidemill.checks.annotations import ANY, Annotation, from_node, optional

Passing = Literal["either", "named", "positional", "rest"]
"""How an argument is passed: by position or name, only by name, only by position, or as one of any number."""

BASE_OPERATOR = "BaseOperator"
KINDS = {
    BASE_OPERATOR: "operator",
    "BaseSensorOperator": "sensor",
    "BranchMixIn": "branch",
    "ShortCircuitOperator": "short_circuit",
    "BaseNotifier": "notifier",
    "Timetable": "timetable",
    "BaseTimetable": "timetable",
    "BaseTrigger": "trigger",
    "BaseEventTrigger": "event_trigger",
}
"""Airflow's base classes, by which a class is known for what it is."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter; ``type`` is in the language of `tidemill.checks.annotations`."""

    name: str
    type: Annotation = field(default_factory=lambda: ANY, hash=False)
    required: bool = False
    passing: Passing = "either"


@dataclass(frozen=True, slots=True)
class Signature:
    """What a class or function takes.

    name: as a spec may write it in full (``airflow.providers.….BashOperator``, ``include.m:f``).
    kinds: of operator, sensor, branch, short_circuit, deferrable, notifier, timetable, trigger, event_trigger;
        of function, async, generator, mapping (it returns one).
    parameters: its own and those that its ``**kwargs`` hand on to, without Airflow's settings of any operator.
    settings: these; they stand beside ``with``.
    template_fields: what Airflow renders; ``None`` if that cannot be told.
    open: whether it takes arguments that cannot be seen, so that an unknown one is no mistake.
    """

    name: str
    kinds: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    settings: tuple[str, ...] = ()
    template_fields: tuple[str, ...] | None = ()
    open: bool = False
    doc: str | None = None

    def parameter(self, name: str) -> Parameter | None:
        """The parameter that can be given by this name."""
        return next((one for one in self.parameters if one.name == name and one.passing in ("either", "named")), None)

    @property
    def short(self) -> str:
        """The class's or function's own name."""
        return self.name.replace(":", ".").rpartition(".")[2]

    def rendered(self, argument: str) -> bool:
        """Whether templates in an argument are rendered; also if that cannot be told.

        A template field that no parameter is called by is made from one of them, nobody knows which.
        """
        if "function" in self.kinds or self.template_fields is None or argument in self.template_fields:
            return True
        named = {one.name for one in self.parameters}
        return self.open or not named.issuperset(self.template_fields)

    def to_json(self) -> dict[str, Any]:
        """The signature as a JSON object."""
        parameters = [[one.name, one.type, one.required, one.passing] for one in self.parameters]
        fields = None if self.template_fields is None else [*self.template_fields]
        return {
            "name": self.name,
            "kinds": [*self.kinds],
            "parameters": parameters,
            "settings": [*self.settings],
            "template_fields": fields,
            "open": self.open,
            "doc": self.doc,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Signature:
        """The signature of a JSON object. Raises KeyError, TypeError or ValueError if it is none."""
        fields = value["template_fields"]
        return cls(
            name=value["name"],
            kinds=tuple(value["kinds"]),
            parameters=tuple(Parameter(name, type_, needed, how) for name, type_, needed, how in value["parameters"]),
            settings=tuple(value["settings"]),
            template_fields=None if fields is None else tuple(fields),
            open=bool(value["open"]),
            doc=value["doc"],
        )


@dataclass(frozen=True, slots=True)
class SignatureProblem:
    """Why there is no signature: what is wrong with the name, or with what it names."""

    message: str
    hint: str | None = None


@dataclass(frozen=True)
class Init:
    """One ``__init__``: its parameters, and what it does with its ``**kwargs``."""

    owner: str
    parameters: tuple[Parameter, ...] = ()
    keywords: bool = False
    """It takes ``**kwargs``."""
    forwards: bool = False
    """It hands them on to its base."""
    given: frozenset[str] = frozenset()
    """Arguments that it gives its base itself."""
    given_first: int = 0
    """How many it gives by position."""
    relaxed: frozenset[str] = frozenset()
    """Arguments that it takes out of its ``**kwargs``, or adds to them."""


def read_function(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> tuple[tuple[Parameter, ...], bool]:
    """A function's parameters (a method's without its first), and whether it takes ``**kwargs``."""
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults)) + list(given.defaults)
    found: list[Parameter] = []
    for index, (one, default) in enumerate(zip(plain, defaults, strict=True)):
        passing: Passing = "positional" if index < len(given.posonlyargs) else "either"
        found.append(_parameter(one, default, passing))
    if method:
        found = found[1:]
    if given.vararg is not None:
        found.append(Parameter(given.vararg.arg, from_node(given.vararg.annotation), passing="rest"))
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        found.append(_parameter(one, default, "named"))
    return tuple(found), given.kwarg is not None


def read_init(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Init:
    """What the source of a class's ``__init__`` tells."""
    parameters, keywords = read_function(node, method=True)
    # `*args, **kwargs` is how a class hands on everything; the parameters behind it are its base's.
    parameters = tuple(one for one in parameters if one.passing != "rest" or not keywords)
    if node.args.kwarg is None:
        return Init(owner, parameters)
    rest = node.args.kwarg.arg
    calls = [call for call in ast.walk(node) if isinstance(call, ast.Call) and _is_base_init(call)]
    handing = [call for call in calls if any(_is_name(word.value, rest) for word in call.keywords if word.arg is None)]
    given = [frozenset(word.arg for word in call.keywords if word.arg) for call in handing]
    firsts = [sum(not isinstance(arg, ast.Starred) for arg in call.args) for call in handing]
    return Init(
        owner,
        parameters,
        keywords=True,
        forwards=bool(handing),
        given=frozenset.intersection(*given) if given else frozenset(),
        given_first=min(firsts, default=0),
        relaxed=frozenset(_touched(node, rest)),
    )


def merged(inits: Sequence[Init]) -> tuple[tuple[Parameter, ...], tuple[str, ...], bool]:
    """The parameters of a class whose MRO has these ``__init__``; Airflow's settings of any operator; and whether
    it takes arguments that cannot be seen."""
    found: dict[str, Parameter] = {}
    blocked: set[str] = set()
    relaxed: set[str] = set()
    skipped = 0
    for init in inits:
        if init.owner == BASE_OPERATOR:
            settings = tuple(one.name for one in init.parameters if one.name not in found)
            return _relaxed(found, relaxed - {*settings, *blocked}), settings, False
        for index, one in enumerate(init.parameters):
            if one.name not in found and one.name not in blocked and index >= skipped:
                found[one.name] = one
        relaxed |= init.relaxed
        if not init.keywords or not init.forwards:
            return _relaxed(found, relaxed - blocked), (), init.keywords
        blocked |= init.given
        skipped = init.given_first
    return _relaxed(found, relaxed - blocked), (), bool(inits)


def kinds_of(bases: Iterable[str], parameters: Iterable[Parameter]) -> tuple[str, ...]:
    """What a class is, by the names of the classes in its MRO and by its parameters."""
    found = {KINDS[base] for base in bases if base in KINDS}
    if "operator" in found and any(one.name == "deferrable" for one in parameters):
        found.add("deferrable")
    return tuple(sorted(found))


def _relaxed(found: dict[str, Parameter], names: set[str]) -> tuple[Parameter, ...]:
    for name in sorted(names):
        known = found.get(name)
        found[name] = Parameter(name, known.type if known else ANY, False, known.passing if known else "named")
    return tuple(found.values())


def _parameter(node: ast.arg, default: ast.expr | None, passing: Passing) -> Parameter:
    kind = from_node(node.annotation) if node.annotation is not None else ANY
    if isinstance(default, ast.Constant) and default.value is None:
        kind = optional(kind)
    return Parameter(node.arg, kind, default is None, passing)


def _is_base_init(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and call.func.attr == "__init__"


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _touched(node: ast.AST, rest: str) -> Iterable[str]:
    """The keys by which a function uses its ``**kwargs``."""
    for one in ast.walk(node):
        match one:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name)), args=[ast.Constant(value=str(key)), *_]):
                if name == rest:
                    yield key
            case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key))) if name == rest:
                yield key
            case ast.Compare(left=ast.Constant(value=str(key)), comparators=[ast.Name(id=name)]) if name == rest:
                yield key
