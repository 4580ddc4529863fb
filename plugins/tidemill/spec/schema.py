"""The JSON Schema of the language, made from the models, as editors like it."""

from __future__ import annotations

from typing import Any

_ID = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """The schema of a spec file (JSON Schema draft 2020-12): of one that inherits nothing, since what
    ``defaults.yaml`` files add is not in the file that an editor looks at."""
    from tidemill.spec.models import Spec

    made = _plain(Spec.model_json_schema(mode="validation"))
    return {"$schema": _ID, "title": "Tidemill pipeline, language 1", **made}


def _plain(value: Any) -> Any:
    """Without what an editor would show and nobody would read: the titles that pydantic makes of names, and the
    ``null`` of keys that may be absent, which the language does not take for a value."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {key: _plain(item) for key, item in value.items() if not (key == "title" and isinstance(item, str))}
    if found.get("default", ...) is None:
        del found["default"]
    choices = [choice for choice in found.pop("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return choices[0] | found
    return found | {"anyOf": choices} if choices else found
