"""A user's function that is looked up when it is called, and until then known by its source alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.checks.parameters import Parameter, Signature


def lazy_function(name: str, project: Project) -> Callable[..., Any]:
    """What stands for ``module:function`` where nothing of the user's may be imported.

    A function, since some operators take nothing else. Its name, documentation, parameters and whether it returns a
    mapping are those that the source shows, so that Airflow makes of it what it would make of the user's own.
    """
    from tidemill.airflow.values import function

    source = _source(name, project)

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        found = function(name, project)
        if source is None or source.open:
            # Airflow gave its whole context to what may take anything; a decorated function may take less.
            takes = inspect.signature(found).parameters
            if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in takes.values()):
                kwargs = {key: value for key, value in kwargs.items() if key in takes}
        return found(*args, **kwargs)

    stand_in.__module__, _, stand_in.__name__ = name.partition(":")
    stand_in.__qualname__ = stand_in.__name__
    stand_in.__doc__ = source.doc if source is not None else None
    stand_in.__annotations__ = {"return": dict} if source is not None and "mapping" in source.kinds else {}
    stand_in.__signature__ = _signature(source)  # type: ignore[attr-defined] # `inspect` looks for it
    return stand_in


def _source(name: str, project: Project) -> Signature | None:
    """What the project's files say of a function; ``None`` if it is not of the project."""
    from tidemill.checks.parameters import Signature
    from tidemill.checks.written import function_signature, is_written

    found = function_signature(name, project.root) if is_written(name) else None
    return found if isinstance(found, Signature) else None


def _signature(source: Signature | None) -> inspect.Signature:
    found = [_parameter(parameter) for parameter in source.parameters] if source is not None else []
    if source is None or source.open:
        found.append(inspect.Parameter("_tidemill_rest", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(found)


def _parameter(parameter: Parameter) -> inspect.Parameter:
    kind = _KINDS[parameter.passing]
    if parameter.required or kind is inspect.Parameter.VAR_POSITIONAL:
        return inspect.Parameter(parameter.name, kind)
    return inspect.Parameter(parameter.name, kind, default=None)


_KINDS = {
    "either": inspect.Parameter.POSITIONAL_OR_KEYWORD,
    "named": inspect.Parameter.KEYWORD_ONLY,
    "positional": inspect.Parameter.POSITIONAL_ONLY,
    "rest": inspect.Parameter.VAR_POSITIONAL,
}
