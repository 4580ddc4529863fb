"""A user's function that is looked up when it is called, and until then known by its source alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tidemill.project import Project

if TYPE_CHECKING:
    from tidemill.checks.parameters import Parameter, Signature


class LazyFunction:
    """Stands for ``module:function`` where nothing of the user's may be imported.

    Its name, documentation and parameters are those that the source shows, so that Airflow makes of it what it
    would make of the function; ``__wrapped__`` is the function itself, for whoever wants its source.
    """

    def __init__(self, name: str, project: Project) -> None:
        module, _, function = name.partition(":")
        self._tidemill_name = name
        self._tidemill_project = project
        self.__module__ = module
        self.__name__ = self.__qualname__ = function

    @cached_property
    def __wrapped__(self) -> Callable[..., Any]:
        from tidemill.airflow.values import function

        found: Callable[..., Any] = function(self._tidemill_name, self._tidemill_project)
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function. Raises Unbuildable if it is not there."""
        if self._tidemill_source is not None and self._tidemill_source.open:
            # Airflow gave its whole context to what may take anything; a decorated function may take less.
            takes = inspect.signature(self.__wrapped__).parameters
            if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in takes.values()):
                kwargs = {name: value for name, value in kwargs.items() if name in takes}
        return self.__wrapped__(*args, **kwargs)

    @cached_property
    def _tidemill_source(self) -> Signature | None:
        from tidemill.checks.parameters import Signature
        from tidemill.checks.written import function_signature, is_written

        name = self._tidemill_name
        found = function_signature(name, self._tidemill_project.root) if is_written(name) else None
        return found if isinstance(found, Signature) else None

    @cached_property
    def __signature__(self) -> inspect.Signature:
        source = self._tidemill_source
        if source is None:
            return inspect.signature(self.__wrapped__)
        found = [_parameter(parameter) for parameter in source.parameters]
        if source.open:
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
