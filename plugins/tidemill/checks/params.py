"""The parameters of runs: JSON Schemas that can be read safely, and defaults that keep to them.

Airflow validates them with ``jsonschema``, when a run is started and for each of its tasks; a schema that fetches
another one, or takes forever to try, is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, printable, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow

_OWN = ("as_of", "scheduled")
"""What every run of a pipeline of models is given."""

_WORDS = (
    "default", "type", "enum", "const", "title", "description", "description_md", "section", "values_display",
    "examples", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "items", "prefixItems", "contains", "minContains", "maxContains", "minItems",
    "maxItems", "uniqueItems", "properties", "patternProperties", "additionalProperties", "propertyNames",
    "required", "dependentRequired", "dependentSchemas", "minProperties", "maxProperties", "allOf", "anyOf", "oneOf",
    "not", "if", "then", "else", "contentEncoding", "contentMediaType", "deprecated", "readOnly",
)  # fmt: skip
"""The words of JSON Schema that a parameter may use, and those that Airflow's form adds."""
_TAKEN = ("schema", "source")
"""Names that Airflow's own class of parameters has other uses for."""
_VALUES = frozenset({"default", "enum", "const", "examples", "values_display"})
"""Words whose values are data and not schemas."""
_MAX_DEFAULT, _MAX_WORK = 1_000, 100_000
"""Values in a default; values in it times values in its schema: what is checked in well under a second."""
_MAX_SCHEMAS = 5_000
"""Values in all schemas of a file: what the library holds against its own schema in well under a second."""
_MAX_TRIES = 10_000_000


def check(spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """Every mistake in a file's ``params``."""
    if sum(_size(value) for value in (spec.params or {}).values() if isinstance(value, Mapping)) > _MAX_SCHEMAS:
        message = f"the schemas of the parameters hold more than {_MAX_SCHEMAS:,} values"
        yield sources.error(("params",), message, "give fewer, or simpler ones", key=True)
        return
    for name, value in (spec.params or {}).items():
        path: Path = ("params", name)
        if isinstance(spec, Spec) and name in _OWN:
            message = f'"{name}" is a parameter that every pipeline of models has'
            yield sources.error(path, message, "give it another name", key=True)
        elif isinstance(value, Mapping):
            wrong = next(_shape(value, path, sources), None) or next(_meaning(value, path, spec, sources), None)
            if wrong is not None:
                yield wrong


def _shape(schema: Mapping[str, Any], path: Path, sources: Sources) -> Iterator[SpecError]:
    """What is wrong with the form of a schema, before anything is made of it."""
    taken = next((key for key in _TAKEN if key in schema), None)
    if taken is not None:
        yield sources.error((*path, taken), f'unknown key "{taken}"', "remove it", key=True)
    if not any(key in _WORDS for key in schema):
        near = next(((key, word) for key in schema if (word := suggest(str(key), _WORDS))), None)
        hint = f'did you mean "{near[1]}" for "{near[0]}"?' if near else "for a mapping: {type: object, default: {…}}"
        yield sources.error(path, "expected a value, or a JSON Schema with `default`", hint, key=True)
    for at, word in _words(schema, path):
        near_word = suggest(word, _WORDS)
        if word.startswith("$"):
            yield sources.error(at, f'"{printable(word)[:40]}" is not read here', "write the schema out", key=True)
        elif word not in _WORDS and near_word:
            yield sources.error(at, f'unknown key "{printable(word)[:40]}"', f'did you mean "{near_word}"?', key=True)
    if _size(schema.get("default")) > _MAX_DEFAULT or _size(schema.get("default")) * _size(schema) > _MAX_WORK:
        yield sources.error((*path, "default"), "too much to be checked", "give a smaller default, and read the rest")


def _words(schema: Any, path: Path, named: bool = False) -> Iterator[tuple[Path, str]]:
    """The words of a schema and of those inside it, with their places. ``named``: its keys are the user's names."""
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _words(item, (*path, index))
    elif isinstance(schema, Mapping):
        for key, value in schema.items():
            if named:
                yield from _words(value, (*path, key))
            else:
                yield (*path, key), str(key)
                if key not in _VALUES:
                    names = key in ("properties", "patternProperties", "dependentSchemas")
                    yield from _words(value, (*path, key), names)


def _meaning(schema: Mapping[str, Any], path: Path, spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """What the library says of a schema and of its default."""
    from jsonschema import Draft202012Validator, FormatChecker, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as e:
        yield sources.error((*path, *e.absolute_path), f"not a valid JSON Schema: {_said(e)}")
        return
    if "default" not in schema:
        if spec.schedule is not None:
            message = f'a scheduled run needs a default for "{path[-1]}"'
            yield sources.error(path, message, "add `default:`; with type: [string, 'null'] it may be null", key=True)
        return
    slow = next((at for at, pattern in _patterns(schema, path) if _takes_long(pattern, schema["default"])), None)
    if slow is not None:
        yield sources.error(slow, "the pattern could take forever to try", "write it without nested repetitions")
        return
    try:
        wrong = next(Draft202012Validator(schema, format_checker=FormatChecker()).iter_errors(schema["default"]), None)
    except RecursionError:
        yield sources.error(path, "the schema is nested too deeply", key=True)
        return
    if wrong is not None:
        message = f"the default does not keep to the schema: {_said(wrong)}"
        yield sources.error((*path, "default", *wrong.absolute_path), message)


def _said(error: Any) -> str:
    """A message of the library's in the language's words."""
    word, value = str(error.validator), error.validator_value
    if word == "type":
        kinds = value if isinstance(value, list) else [value]
        return f"expected {' or '.join(map(str, kinds))}"
    if word == "anyOf" and error.absolute_path and error.absolute_path[-1] == "type":
        return "expected string, number, integer, boolean, array, object or null, or a list of them"
    if word == "enum":
        return f"expected {' or '.join(map(str, value))}"[:200]
    text = printable(str(error.message))
    return text if len(text) <= 200 else f"it breaks `{word}`"


def _patterns(schema: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                yield (*path, key), value
            elif key == "patternProperties" and isinstance(value, Mapping):
                yield from (((*path, key, pattern), str(pattern)) for pattern in value)
                yield from _patterns(list(value.values()), (*path, key))
            elif key not in _VALUES:
                yield from _patterns(value, (*path, key))
    elif isinstance(schema, list):
        for index, item in enumerate(schema):
            yield from _patterns(item, (*path, index))


_REPEAT = re.compile(r"(?<!\\)(?:[*+]|\{\d+,\d*\})")
_NESTED = re.compile(r"\)(?:[*+]|\{\d*,?\d*\})")


def _takes_long(pattern: str, default: Any) -> bool:
    """Whether trying a pattern on the texts of a default could take very long, by the number of its repetitions:
    with each one the work grows by the text's length, and with a repeated group it may double by the letter."""
    longest = max((len(text) for text in _texts(default)), default=0)
    # A repetition of a group twice over is more than doubling: the length counts for as many.
    nested = len(_NESTED.findall(pattern))
    if nested and (1 << min(longest * nested, 64)) > _MAX_TRIES:
        return True
    return float(max(longest, 1)) ** min(len(_REPEAT.findall(pattern)) + 1, 40) > _MAX_TRIES


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _size(value: Any) -> int:
    """How many values there are in a value, itself included."""
    if isinstance(value, Mapping):
        return 1 + sum(map(_size, value.values()))
    return 1 + sum(map(_size, value)) if isinstance(value, list) else 1
