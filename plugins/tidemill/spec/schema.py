"""The JSON Schemas of the language, made from the models, as editors like them: of a pipeline's file, of a
``defaults.yaml`` and of a template.

All share definitions in which nothing is required, since a value may be inherited, come from a template or be laid
over. What a whole file needs stands beside them (``Whole…``): requirements alone, in the same shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

Schema = dict[str, Any]
Sort = Literal["pipeline", "defaults", "template"]

FILES: Final[Mapping[Sort, str]] = {
    "pipeline": "tidemill-1.json",
    "defaults": "tidemill-1-defaults.json",
    "template": "tidemill-1-template.json",
}
"""The files below ``include/schemas/`` in which they are published."""

_ID: Final = "https://json-schema.org/draft/2020-12/schema"
_TITLES: Final[Mapping[Sort, str]] = {
    "pipeline": "Tidemill pipeline, language 1",
    "defaults": "Defaults of Tidemill pipelines, language 1",
    "template": "Template of Tidemill pipelines, language 1",
}
_NOT_IN: Final[Mapping[Sort, tuple[str, ...]]] = {
    "pipeline": ("parameters",),
    "defaults": ("tidemill", "uses", "with", "matrix", "parameters"),
    "template": ("uses", "with", "matrix"),
}
_NOT_IN_OVERLAYS: Final = ("tidemill", "environments", "uses", "matrix", "parameters")
_KINDS: Final = {"operator": "OperatorStep", "python": "FunctionStep", "steps": "Group"}
_SHOWN: Final = ("description", "examples", "default")
_NAME: Final = r"^[A-Za-z0-9_-]+$"
_WITHIN: Final = r"\$\{(vars|with|row)\.[^{}]+\}"


def schema(sort: Sort = "pipeline") -> Schema:
    """The schema of one sort of file (JSON Schema draft 2020-12).

    A pipeline's file is taken for one that inherits nothing but from its template: an editor does not look at
    ``defaults.yaml`` files.
    """
    from tidemill.spec.models import Spec

    made = _plain(Spec.model_json_schema(mode="validation"))
    strict: dict[str, Schema] = made.pop("$defs")
    for section in (made, *strict.values()):
        _describe(section, strict)
    sections = {name: _open(section) for name, section in strict.items()}
    keys = _open(made)["properties"] | _reuse()
    found: Schema = {
        "$schema": _ID,
        "title": _TITLES[sort],
        "description": made["description"],
        "type": "object",
        "additionalProperties": False,
        "properties": {name: key for name, key in keys.items() if name not in _NOT_IN[sort]},
    }
    if sort != "defaults":
        found["required"] = ["tidemill"]
    if sort == "pipeline":
        whole = _Whole(strict)
        found |= whole.file(made)
        sections |= whole.sections
    overlay = {name: key for name, key in found["properties"].items() if name not in _NOT_IN_OVERLAYS}
    definitions = sections | {
        "Environment": {"type": "object", "additionalProperties": False, "properties": overlay},
        "Reference": {"type": "string", "pattern": f"^{_WITHIN}$"},
        "Step": _step(),
    }
    return found | {"$defs": dict(sorted(definitions.items()))}


def _reuse() -> Schema:
    """The keys that are gone when the models see a file; ``docs/reuse.md`` explains them."""
    free = {"type": "object", "propertyNames": {"pattern": _NAME}}
    parameter = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "type": {
                "enum": ["text", "number", "integer", "boolean", "list", "mapping"],
                "description": "What the value is.",
            },
            "default": {"description": "The value of a file that gives none."},
            "description": {"type": "string", "description": "What it is for."},
            "choices": {"type": "array", "minItems": 1, "description": "The values it may have."},
        },
        "required": ["type"],
    }
    return {
        "vars": free | {"description": "Values to refer to by `${vars.name}`.", "examples": [{"bucket": "s3://acme"}]},
        "environments": {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"$ref": "#/$defs/Environment"},
            "description": "Environment → the keys that differ there.",
            "examples": [{"prod": {"schedule": "daily"}}],
        },
        "uses": {
            "type": "string",
            "minLength": 1,
            "description": "A template, from the DAG folder: a file in a folder called `templates`.",
            "examples": ["templates/churn.yaml"],
        },
        "with": {"type": "object", "description": "The template's parameters.", "examples": [{"gate": 0.65}]},
        "matrix": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": {"type": "object"},
            "description": "Row → its values, referred to by `${row.name}`: a pipeline for each.",
            "examples": [{"AA": {"gate": 0.65}, "UA": {"gate": 0.7}}],
        },
        "parameters": {
            "type": "object",
            "propertyNames": {"pattern": _NAME},
            "additionalProperties": parameter,
            "description": "What files that use the template give it, referred to by `${with.name}`.",
            "examples": [{"gate": {"type": "number", "default": 0.6}}],
        },
    }


def _step() -> Schema:
    """A step, told by the key that says what it is; one without any may be a part that is laid over another."""
    chosen: Schema = {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in _KINDS.values()]}
    for key, name in reversed(_KINDS.items()):
        chosen = {"if": {"required": [key]}, "then": {"$ref": f"#/$defs/{name}"}, "else": chosen}
    return {"type": "object", "description": "An operator, a function of the user's, or a group."} | chosen


def _plain(value: Any) -> Any:
    """Without what an editor would show and nobody would read: the titles that pydantic makes of names, and the
    ``null`` of keys that may be absent, which the language does not take for a value."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("oneOf") == [{"$ref": f"#/$defs/{name}"} for name in _KINDS.values()]:
        return {"$ref": "#/$defs/Step"}
    found = {key: _plain(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if found.get("default", ...) is None:
        del found["default"]
    choices = [choice for choice in found.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | found
    return found | {"anyOf": choices} if choices else found


def _describe(section: Schema, strict: Mapping[str, Schema]) -> None:
    """Give keys that say nothing of themselves the description of the section that they hold."""
    for key in section.get("properties", {}).values():
        if "$ref" in key and "description" not in key:
            key["description"] = strict[key["$ref"].rpartition("/")[2]]["description"]


def _open(section: Schema) -> Schema:
    """A section of which nothing is required, and in which references may stand for values."""
    found = {key: item for key, item in section.items() if key != "required"}
    if "properties" in found:
        found["properties"] = {
            name: item if name == "tidemill" else _referable(item) for name, item in found["properties"].items()
        }
    return found


def _referable(value: Schema) -> Schema:
    """A value's schema with a reference beside it, which text that may be anything needs not."""
    shown = {key: value[key] for key in _SHOWN if key in value}
    inner = _inside({key: item for key, item in value.items() if key not in _SHOWN})
    choices = inner.pop("oneOf", None) or inner.pop("anyOf", None)
    choices = [_inside(choice) for choice in choices] if choices else [inner]
    texts = [choice for choice in choices if _is_text(choice)]
    if any(choice.keys() <= {"type", "minLength"} for choice in texts) or choices == [{}]:
        return shown | ({"anyOf": choices} if len(choices) > 1 else choices[0])
    reference = {"type": "string", "pattern": _WITHIN} if texts else {"$ref": "#/$defs/Reference"}
    return shown | {"anyOf": [*choices, reference]}


def _is_text(choice: Schema) -> bool:
    return choice.get("type") == "string" or all(isinstance(item, str) for item in choice.get("enum", [None]))


def _inside(value: Schema) -> Schema:
    """A schema with references beside the values in it."""
    found = dict(value)
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _referable(found[key])
    if "patternProperties" in found:
        found["patternProperties"] = {name: _referable(item) for name, item in found["patternProperties"].items()}
        found["additionalProperties"] = False
    return found


class _Whole:
    """What sections require, without anything else. ``sections``: those that require something, as definitions.

    A requirement of a mapping or of a list says nothing of other values, so those of alternatives hold side by side.
    """

    def __init__(self, strict: Mapping[str, Schema]) -> None:
        self._strict = strict
        self.sections: dict[str, Schema] = {"WholeStep": self._step()}
        for name in strict:
            self._section(name)

    def file(self, strict: Schema) -> Schema:
        """What a file needs that uses no template: `steps` alone, or the sections about a model."""
        from tidemill.spec.models import STAGES

        stages = [{"required": [name]} for name in strict["properties"] if name in STAGES]
        of_steps = {"properties": {"steps": {"minProperties": 1}}}
        inner = self._of({key: item for key, item in strict.items() if key != "required"}) or {}
        return {
            "if": {"required": ["uses"]},
            "else": inner
            | {
                "if": {"required": ["steps"], "not": {"anyOf": stages}},
                "then": of_steps,
                "else": {"required": strict["required"]},
            },
        }

    def _step(self) -> Schema:
        kinds = [{"required": [key]} for key in _KINDS]
        whole = [{"if": {"required": [key]}, "then": {"$ref": f"#/$defs/Whole{name}"}} for key, name in _KINDS.items()]
        return {"anyOf": kinds, "allOf": whole}

    def _section(self, name: str) -> Schema | None:
        whole = f"Whole{name}"
        if whole not in self.sections and name in self._strict:
            self.sections[whole] = {}  # a section may hold itself
            needed = self._of(self._strict[name])
            if needed is None:
                del self.sections[whole]
            else:
                self.sections[whole] = needed
        return {"$ref": f"#/$defs/{whole}"} if whole in self.sections else None

    def _of(self, value: Any) -> Schema | None:
        if not isinstance(value, dict):
            return None
        if "$ref" in value:
            return self._section(value["$ref"].rpartition("/")[2])
        parts: Schema = {"required": value["required"]} if "required" in value else {}
        for key in ("properties", "patternProperties"):
            inner = {name: needed for name, item in value.get(key, {}).items() if (needed := self._of(item))}
            if inner:
                parts[key] = inner
        for key in ("items", "additionalProperties"):
            if needed := self._of(value.get(key)):
                parts[key] = needed
        choices = [n for key in ("oneOf", "anyOf") for item in value.get(key, ()) if (n := self._of(item))]
        return parts | ({"allOf": choices} if choices else {}) or None
