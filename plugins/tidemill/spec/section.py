"""What all sections of the language share."""

from __future__ import annotations

from functools import cache

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values are what they are written as."""

    # Built when first used: each section by itself at import, and again as a part of the spec, takes longer.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True, defer_build=True)


@cache
def keys_of(model: type[Section]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written (``with`` is no name in Python, its field is ``with_``)."""
    model.model_rebuild()  # sections that hold themselves know their fields only then
    return {field.alias or name: field for name, field in model.model_fields.items()}
