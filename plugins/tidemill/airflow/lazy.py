"""A user's function that is looked up when it is called, and until then known by its source alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from tidemill.project import Project


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
        return self.__wrapped__(*args, **kwargs)

    @cached_property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.__wrapped__)
