"""The signature of a class that is already imported, from its MRO. Imports nothing of its own accord."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from tidemill.checks.annotations import ANY, from_text, optional
from tidemill.checks.parameters import (
    BASE_OPERATOR,
    Init,
    Parameter,
    Passing,
    Signature,
    kinds_of,
    merged,
    read_init,
)

_PASSING: dict[Any, Passing] = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_POSITIONAL: "rest",
}


def signature_of(cls: type, name: str) -> Signature:
    """The signature of a class that a spec names ``name``."""
    inits = []
    for base in cls.__mro__:
        if base is not object and "__init__" in vars(base):
            inits.append(_init(base))
            if base.__name__ == BASE_OPERATOR:
                break
    parameters, settings, is_open = merged(inits)
    fields = getattr(cls, "template_fields", ())
    known = isinstance(fields, list | tuple | set | frozenset) and all(isinstance(one, str) for one in fields)
    return Signature(
        name=name,
        kinds=kinds_of([base.__name__ for base in cls.__mro__], parameters),
        parameters=parameters,
        settings=settings,
        template_fields=tuple(fields) if known else None,
        open=is_open or (not inits and any("__new__" in vars(base) for base in cls.__mro__[:-1])),
        doc=(inspect.getdoc(cls) or "").strip().partition("\n")[0] or None,
    )


def _init(base: type) -> Init:
    function = inspect.unwrap(vars(base)["__init__"])
    code = getattr(function, "__code__", None)
    if code is not None and code.co_filename.startswith("<"):
        # What attrs and dataclasses generate has a source of its own, without annotations.
        return _from_inspect(base.__name__, function)
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return read_init(base.__name__, node)
    except (OSError, TypeError, SyntaxError, ValueError, IndexError):
        pass  # generated, or written in C
    return _from_inspect(base.__name__, function)


def _from_inspect(owner: str, function: Any) -> Init:
    try:
        found = [*inspect.signature(function).parameters.values()][1:]
    except (TypeError, ValueError):
        return Init(owner, keywords=True)
    parameters = []
    for one in found:
        if one.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        kind = ANY
        if one.annotation is not inspect.Parameter.empty:
            text = one.annotation if isinstance(one.annotation, str) else inspect.formatannotation(one.annotation)
            kind = from_text(text)
        if one.default is None:
            kind = optional(kind)
        needed = one.default is inspect.Parameter.empty and one.kind is not inspect.Parameter.VAR_POSITIONAL
        parameters.append(Parameter(one.name, kind, needed, _PASSING[one.kind]))
    return Init(owner, tuple(parameters), keywords=len(parameters) < len(found))
