"""A small part of a pipeline's data: rows of its source, in the form that its steps see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tidemill.plan.model import Plan
from tidemill.project import Project

if TYPE_CHECKING:
    import polars as pl

    from tidemill.spec.models import Spec
    from tidemill.steps.data import Spans


def spec_of(plan: Plan) -> Spec:
    """The typed spec of a pipeline with a model.

    Raises:
        AssertionError: it is a workflow of steps alone.
    """
    __tracebackhide__ = True
    if not plan.model:
        raise AssertionError(f"{plan.pipeline} ({plan.file}) has steps alone: there is nothing to train, nor data")
    from tidemill.spec.models import Spec

    return Spec.model_validate(plan.spec)


def instant_of(spec: Spec, as_of: str | datetime | None) -> datetime:
    """The instant that a run stands at, in UTC: the one given, else the spec's ``end``, or now if that is earlier.

    Raises:
        AssertionError: the text is no instant.
    """
    __tracebackhide__ = True
    from tidemill.spec.units import instant

    if as_of is not None:
        try:
            return instant(as_of)
        except ValueError as e:
            raise AssertionError(f"as_of: {e}") from None
    now = datetime.now(UTC)
    return now if spec.end is None else min(now, spec.end)


def spans_of(plan: Plan, as_of: str | datetime | None) -> Spans:
    """The window of a run at ``as_of``."""
    __tracebackhide__ = True
    from tidemill.steps.data import Spans

    spec = spec_of(plan)
    return Spans.of(spec.data.window, instant_of(spec, as_of))


def sample(plan: Plan, project: Project, rows: int, as_of: str | datetime | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """About so many rows of the window, spread evenly over it, with their columns' types: those to train on, and those
    to be judged on. Both parts have at least one row, so that a run finds none of them empty.

    Raises:
        AssertionError: the source cannot be read, or has no rows in a part; or ``rows`` is no positive number.
    """
    __tracebackhide__ = True
    from tidemill.steps.context import StepError
    from tidemill.tools import source

    if rows < 1:
        raise AssertionError(f"a sample has at least one row, not {rows}")
    spec, spans = spec_of(plan), spans_of(plan, as_of)
    if "://" in spec.data.source:
        raise AssertionError(f"{plan.file}: {spec.data.source} is an address: a sample is of a file of the project")
    path, column = project.path(spec.data.source), spec.data.window.column
    try:
        train, holdout = (
            source.window(path, column, start, end, order=spec.data.key)
            for start, end in ((spans.start, spans.middle), (spans.middle, spans.end))
        )
    except StepError as e:
        raise AssertionError(f"{plan.file}: {e}") from None
    share = rows / (train.height + holdout.height)
    return _spread(train, share), _spread(holdout, share)


def _spread(part: pl.DataFrame, share: float) -> pl.DataFrame:
    """A share of a part's rows, in equal steps from its first one on."""
    count = min(max(round(part.height * share), 1), part.height)
    return part[[number * part.height // count for number in range(count)]]
