"""The language's values as pydantic field types: units read by :mod:`tidemill.spec.units` and written back as
text, names of one form, and what an editor is told of each in the JSON Schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic_core import core_schema

from tidemill.spec import units
from tidemill.spec.metrics import METRICS

_CODE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
_NAME = r"^[A-Za-z0-9_-]{1,200}$"
_ALIAS = r"^[A-Za-z][A-Za-z0-9_-]{0,99}$"
_ADDRESS = r"^(https?://|mailto:)\S+$"
_CLOCK = r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
_CLASS = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"

FORMS: Mapping[str, str] = {
    _CODE: "module:function, such as include.flights.train:train",
    _NAME: 'a name of letters, digits, "_" and "-" (at most 200)',
    _ALIAS: 'a name of letters, digits, "_" and "-" that begins with a letter (at most 100)',
    _CLOCK: 'a time of day in quotes, such as "08:00"',
    _ADDRESS: "an address that begins with https://, http:// or mailto:",
    _CLASS: "a class with its module, such as airflow.providers.standard.operators.bash.BashOperator",
}
"""What a text must look like, in words, by the pattern that asks for it."""

_NUMBER = r"^[0-9]+(\.[0-9]+)? *"


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("expected a finite number")
    return value


def _unit(
    read: Callable[[Any], Any], write: Callable[[Any], str], pattern: str, *examples: str, number: bool = False
) -> Any:
    shape: dict[str, Any] = {"type": "string", "pattern": pattern, "examples": list(examples)}
    if number:
        shape = {"anyOf": [shape, {"type": "number", "minimum": 0, "maximum": 1}]}
    return (
        PlainValidator(read),
        PlainSerializer(write, return_type=str, when_used="json"),
        WithJsonSchema(shape),
    )


def text_or_mapping(section: Any, text: Mapping[str, Any]) -> Any:
    """A value that is either text or a section: the shape decides, so that an error speaks of that one only.

    ``text``: what the JSON Schema says of the text.
    """
    return Annotated[
        Annotated[str, Tag("text"), WithJsonSchema({"type": "string", **text})] | Annotated[section, Tag("mapping")],
        Discriminator(_shape_of),
    ]


def _shape_of(value: Any) -> str | None:
    return "text" if isinstance(value, str) else "mapping" if isinstance(value, Mapping | BaseModel) else None


class Deferred:
    """A part of the language whose models are made when a file first has it: most files do without most parts, and
    making them takes longer than reading a file. Its errors are as if it were part of the whole."""

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    @cached_property
    def annotation(self) -> Any:
        """What the part is."""
        return getattr(import_module(self._module), self._name)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        is_model = hasattr(self.annotation, "model_config")
        return TypeAdapter(self.annotation, config=None if is_model else ConfigDict(strict=True))

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(lambda value: self._adapter.validate_python(value))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return handler(self._adapter.core_schema)


def one_or_many(item: Any) -> Any:
    """A value, or a list of such values: the shape decides, so that an error speaks of that one only."""
    return Annotated[
        Annotated[item, Tag("one")] | Annotated[list[item], Tag("many"), Field(min_length=1)],
        Discriminator(lambda value: "many" if isinstance(value, list) else "one"),
    ]


Number = Annotated[float, AfterValidator(_finite)]

if TYPE_CHECKING:
    Duration = timedelta
    Span = units.Span
    Size = int
    Share = float
    Quota = units.Quota
    Price = units.Money
    BudgetQuota = units.Budget
    Instant = datetime
    Code = str
    Name = str
    Alias = str
    Address = str
    ClassName = str
    Clock = str
    Metric = str
else:
    Duration = Annotated[
        timedelta, *_unit(units.duration, units.format_duration, _NUMBER + "(s|min|h|d|w)$", "2 h", "7 d")
    ]
    Span = Annotated[
        units.Span,
        *_unit(
            units.calendar, str, _NUMBER + "(s|min|h|d|w|months?|quarters?|years?)$", "5 months", "1 quarter", "30 d"
        ),
    ]
    Size = Annotated[int, *_unit(units.size, units.format_size, _NUMBER + "(k|M|G|T|Ki|Mi|Gi|Ti)B$", "4 GiB")]
    Share = Annotated[
        float, *_unit(units.share, units.format_share, r"^[0-9]{1,3}(\.[0-9]+)? *%?$", "30%", number=True)
    ]
    Quota = Annotated[
        units.Quota, *_unit(units.quota, str, "^[0-9]+ *per *(day|week|month|quarter|year)$", "4 per year")
    ]
    Price = Annotated[units.Money, *_unit(units.money, str, _NUMBER + "[A-Z]{3}$", "0.50 USD")]
    BudgetQuota = Annotated[
        units.Budget,
        *_unit(units.budget, str, _NUMBER + "[A-Z]{3} per (day|week|month|quarter|year)$", "25 USD per month"),
    ]
    Instant = Annotated[
        datetime,
        *_unit(
            units.instant,
            units.format_instant,
            r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|[+-]\d{2}:\d{2}))?)?$",
            "2013-07-01",
        ),
    ]
    Code = Annotated[str, StringConstraints(pattern=_CODE)]
    Name = Annotated[str, StringConstraints(pattern=_NAME)]
    Alias = Annotated[str, StringConstraints(pattern=_ALIAS)]
    Address = Annotated[str, StringConstraints(pattern=_ADDRESS)]
    ClassName = Annotated[str, StringConstraints(pattern=_CLASS)]
    Clock = Annotated[str, StringConstraints(pattern=_CLOCK)]
    # Which metrics there are is a check of meaning, which knows the task; the schema lists them for editors.
    Metric = Annotated[str, WithJsonSchema({"type": "string", "enum": list(METRICS)})]
