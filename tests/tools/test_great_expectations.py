"""Suites: mistakes with their places, without the library; runs, with it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from tidemill.tools import great_expectations as tool

KNOWN = Path(tool.__file__).with_suffix(".json")
NOT_ARGUMENTS = {
    "id", "meta", "notes", "result_format", "catch_exceptions", "rendered_content", "severity", "windows",
    "batch_id", "description", "library_metadata",
    "row_condition", "condition_parser",  # an expression that pandas would evaluate: a spec holds no code
}  # fmt: skip
KINDS = {
    "StrictStr": "text",
    "str": "text",
    "bool": "boolean",
    "bool|str": "boolean",
    "float": "number",
    "int": "integer",
    "ConstrainedFloatValue": "share",
    "date|datetime|float": "bound",
    "datetime|int": "integer",
    "List": "values",
    "list|set": "texts",
    "List[StrictStr]": "texts",
    "List[str]": "texts",
    "Sequence[str]": "texts",
    "List[Tuple[Any, Any]]": "pairs",
    "dict": "mapping",
    "QuantileRange": "mapping",
}


def derive() -> dict[str, Any]:
    """What the installed library says, in the form of `great_expectations.json`."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    from great_expectations.expectations import registry

    expectations, unusable = {}, {}
    for name in sorted(registry.list_registered_expectation_implementations()):
        cls: Any = registry.get_expectation_impl(name)
        if why := _unusable(name, cls, registry._registered_metrics):
            unusable[name] = why
            continue
        fields = {k: f for k, f in cls.__fields__.items() if k not in NOT_ARGUMENTS}
        expectations[name] = {
            "arguments": {k: _kind(k, f._type_display()) for k, f in fields.items()},
            "required": [k for k, f in fields.items() if f.required],
        }
    return {"great_expectations": gx.__version__, "expectations": expectations, "unusable": unusable}


def _unusable(name: str, cls: Any, metrics: Any) -> str | None:
    if "other_table" in name:
        return "a data version is one table"
    needed = [f"{cls.map_metric}.condition"] if getattr(cls, "map_metric", None) else cls.metric_dependencies or ()
    engines = [metrics[metric]["providers"] for metric in needed]
    return None if all("PandasExecutionEngine" in e for e in engines) else "it works on SQL databases only"


def _kind(name: str, shown: str) -> str:
    text = re.sub(r"^(Union|Optional)\[(.*)\]$", r"\2", shown)
    if match := re.search(r"Literal\[(.*?)\]", text):
        return "|".join(word.strip(" '") for word in match[1].split(","))
    parts = re.split(r", (?![^\[]*\])", text)
    plain = "|".join(sorted(p for p in parts if p not in ("NoneType", "dict"))) or "dict"
    kind = "number" if name == "multiplier" else KINDS[plain]
    if name.startswith("regex"):
        return {"text": "regex", "texts": "regexes"}[kind]
    return kind


if __name__ == "__main__":  # after an upgrade of the library: PYTHONPATH=plugins python <this file>
    KNOWN.write_text(json.dumps(derive(), indent=1) + "\n", encoding="utf-8")
    sys.exit()
