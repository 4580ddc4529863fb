"""What all records share: exact JSON there and back."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

from tidemill.errors import TidemillError

_T = TypeVar("_T")


class RecordError(TidemillError, ValueError):
    """A JSON object is not the record it should be (wrong kind, version, field or type)."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """Base of all records: ``to_json`` and ``from_json`` are exact inverses.

    On the wire a record is an object with ``record`` (``kind/version``) and its fields; instants are ISO 8601
    in UTC; a number that is not finite becomes ``null``.
    """

    kind: ClassVar[str]
    version_of_record: ClassVar[int] = 1

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON-ready object."""
        tag = f"{self.kind}/{self.version_of_record}"
        return {"record": tag, **{f.name: _encode(getattr(self, f.name)) for f in dataclasses.fields(self)}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what ``to_json`` wrote.

        Raises:
            RecordError: the object is another kind or version of record, or a field is missing or unknown.
        """
        tag = f"{cls.kind}/{cls.version_of_record}"
        if value.get("record") != tag:
            raise RecordError(f"expected a record {tag!r}, got {value.get('record')!r}")
        return _decode_fields(cls, {k: v for k, v in value.items() if k != "record"})


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise RecordError(f"an instant without a time zone: {value!r}")
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        return {f.name: _encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _encode(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(v) for v in value]
    return value


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return {k: v for k, v in typing.get_type_hints(cls).items() if typing.get_origin(v) is not ClassVar}


def _decode_fields(cls: type[_T], value: Any) -> _T:
    if not isinstance(value, Mapping):
        raise RecordError(f"{cls.__name__}: expected an object, got {value!r}")
    hints: dict[str, Any] = _hints(cast(Any, cls))
    unknown = value.keys() - hints.keys()
    if unknown:
        raise RecordError(f"{cls.__name__}: unknown field {sorted(unknown)[0]!r}")
    found = {k: _decode(hints[k], v, f"{cls.__name__}.{k}") for k, v in value.items()}
    try:
        return cls(**found)
    except TypeError as e:
        raise RecordError(f"{cls.__name__}: {e}") from None


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType or origin is typing.Union:
        if value is None and type(None) in arguments:
            return None
        return _decode(next(a for a in arguments if a is not type(None)), value, where)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _decode_fields(hint, value)
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_decode(arguments[0], v, where) for v in value)
    if hint is datetime and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as e:
            raise RecordError(f"{where}: {e}") from None
    if not _fits(hint, origin, arguments, value):
        raise RecordError(f"{where}: {value!r} is not of its type")
    return value


def _fits(hint: Any, origin: Any, arguments: tuple[Any, ...], value: Any) -> bool:
    if hint is Any:
        return True
    if origin is Literal:
        return value in arguments
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is not None:
        return isinstance(value, Mapping) and origin is not tuple
    return type(value) is hint
