"""YAML 1.2's core schema: what an unquoted word means (https://yaml.org/spec/1.2.2/#103-core-schema)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

Scalar = str | int | float | bool | None

_WORDS: Final[Mapping[str, Scalar]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
    ".nan": math.nan,
    ".NaN": math.nan,
    ".NAN": math.nan,
} | {
    sign + word: -math.inf if sign == "-" else math.inf for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
}
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NUMBER_STARTS: Final = frozenset("-+.0123456789")
_INT_BITS: Final = 64

TAGS: Final[dict[str, tuple[type, ...]]] = {
    "tag:yaml.org,2002:str": (str,),
    "tag:yaml.org,2002:int": (int,),
    "tag:yaml.org,2002:float": (float, int),
    "tag:yaml.org,2002:bool": (bool,),
    "tag:yaml.org,2002:null": (type(None),),
}
"""The core schema's scalar tags, with the types that the text below each may resolve to."""


def plain(text: str) -> Scalar:
    """The value of an unquoted scalar.

    Raises ValueError, with the reason, for a number that cannot be held.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INT.fullmatch(text):
        return _integer(text)
    if _FLOAT.fullmatch(text):
        return _float(text)
    return text


def tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar under one of `TAGS`.

    Raises ValueError, with the reason, if the text is not of that type.
    """
    if tag.endswith(":str"):
        return text
    value = plain(text)
    # bool is a subclass of int in Python and must not pass for one.
    if type(value) not in TAGS[tag]:
        raise ValueError(f"this is not a value of the tag !!{tag.rpartition(':')[2]}")
    return float(value) if tag.endswith(":float") and isinstance(value, int) else value


def unusable(text: str) -> str | None:
    """Why no path, log or database could take `text`: what only an escape can have written into it."""
    if "\0" in text:
        return "this text holds a NUL character"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "this text holds half of a surrogate pair"
    return None


def _integer(text: str) -> int:
    # Longer than any 64-bit number in any base but for leading zeros; Python would refuse 4,300 digits.
    if len(text) > 4000:
        raise ValueError("this integer is too large to hold in 64 bits")
    value = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if value.bit_length() >= _INT_BITS and value != -(2 ** (_INT_BITS - 1)):
        raise ValueError("this integer is too large to hold in 64 bits")
    return value


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("this number is too large to hold")
    if value == 0.0 and text.lower().partition("e")[0].strip("+-.0"):
        raise ValueError("this number is too small to hold")
    return value
