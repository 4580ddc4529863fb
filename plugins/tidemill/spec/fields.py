"""The units of the language as pydantic field types: read by :mod:`tidemill.spec.units`, written back as text."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Discriminator, PlainSerializer, PlainValidator, Tag, WithJsonSchema

from tidemill.spec import units


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("a finite number is needed")
    return value


def _unit(read: Callable[[Any], Any], write: Callable[[Any], str], *examples: str, number: bool = False) -> Any:
    shape: dict[str, Any] = {"type": ["string", "number"] if number else "string", "examples": list(examples)}
    return (
        PlainValidator(read),
        PlainSerializer(write, return_type=str, when_used="json"),
        WithJsonSchema(shape),
    )


def text_or_mapping(section: Any) -> Any:
    """A value that is either text or a section: the shape decides, so that an error speaks of that one only."""
    return Annotated[
        Annotated[str, Tag("text")] | Annotated[section, Tag("mapping")],
        Discriminator(lambda value: "text" if isinstance(value, str) else "mapping"),
    ]


Number = Annotated[float, AfterValidator(_finite)]

if TYPE_CHECKING:
    Duration = timedelta
    Span = units.Span
    Size = int
    Share = float
    Quota = units.Quota
    Instant = datetime
else:
    Duration = Annotated[timedelta, *_unit(units.duration, units.format_duration, "2 h", "7 d")]
    Span = Annotated[units.Span, *_unit(units.calendar, str, "5 months", "30 d")]
    Size = Annotated[int, *_unit(units.size, units.format_size, "4 GiB")]
    Share = Annotated[float, *_unit(units.share, units.format_share, "30%", number=True)]
    Quota = Annotated[units.Quota, *_unit(units.quota, str, "4 per year")]
    Instant = Annotated[datetime, *_unit(units.instant, units.format_instant, "2013-07-01")]
