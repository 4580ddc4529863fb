"""The JSON Schema of the language, made from the models."""

from __future__ import annotations

from typing import Any


def schema() -> dict[str, Any]:
    """The schema of a spec file (JSON Schema draft 2020-12)."""
    from tidemill.spec.models import Spec

    made = Spec.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tidemill pipeline, language 1",
        **{key: value for key, value in made.items() if key != "title"},
    }
