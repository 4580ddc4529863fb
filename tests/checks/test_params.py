"""Parameters of runs: schemas that Airflow will validate with, and none that fetches or never ends."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from tidemill.checks.params import check
from tidemill.spec.load import Sources, parse
from tidemill.spec.reader import read


def told(params: dict[str, Any], **others: Any) -> list[str]:
    value = {"tidemill": 1, "steps": {"a": {"operator": "EmptyOperator"}}, "params": params, **others}
    sources = Sources((read(yaml.safe_dump(value).encode(), "dags/a.yaml"),))
    spec, errors = parse(sources)
    assert errors == []
    return [f"{error.path}: {error.message}" for error in check(spec, sources)]


@pytest.mark.parametrize(
    "value",
    [
        5, "x", None, [1], True,
        {"type": "string", "default": "x", "minLength": 1},
        {"type": ["string", "null"], "default": None, "description_md": "**x**", "section": "S"},
        {"type": "object", "default": {"a": 1}, "properties": {"a": {"type": "integer"}, "$x": {"type": "string"}}},
        {"enum": [1, 2], "default": 1, "values_display": {"1": "one"}},
        {"type": "string", "pattern": "^[a-z]+(-[a-z]+)*$", "default": "a-b"},
        {"type": "string"},
        {"type": "array", "items": {"type": "number"}, "default": [1, 2.5]},
    ],
)  # fmt: skip
def test_what_airflow_takes(value: Any) -> None:
    from tests.airflow_home import import_airflow

    assert told({"x": value}) == []
    import_airflow()
    from airflow.sdk.definitions.param import Param

    if isinstance(value, dict) and "default" in value:
        # The same schema, asked of the library as Airflow asks it.
        Param(value["default"], **{k: v for k, v in value.items() if k != "default"}).resolve()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": 1}, "expected a value, or a JSON Schema with `default`"),
        ({"type": "string", "default": 1}, "the default does not keep to the schema: expected string"),
        ({"type": "strin", "default": "a"}, "not a valid JSON Schema"),
        ({"$ref": "file:///etc/passwd", "type": "string"}, '"$ref" is not read here'),
        ({"allOf": [{"$ref": "http://127.0.0.1:1/x"}], "default": 1}, '"$ref" is not read here'),
        ({"properties": {"a": {"$dynamicRef": "#x"}}, "default": {}}, '"$dynamicRef" is not read here'),
        ({"$schema": "http://127.0.0.1:1/x", "type": "string", "default": ""}, '"$schema" is not read here'),
        ({"type": "string", "source": "task", "default": "a"}, 'unknown key "source"'),
        ({"type": "string", "pattern": "(", "default": "a"}, "not a valid JSON Schema"),
    ],
)
def test_what_is_refused(value: Any, message: str) -> None:
    (error,) = told({"x": value})
    assert message in error


@pytest.mark.parametrize(
    "value",
    [
        {"type": "string", "pattern": "^(a+)+$", "default": "a" * 40 + "!"},
        {"type": "string", "pattern": "^(a|a)*$", "default": "a" * 40 + "!"},
        {"type": "string", "pattern": "a*a*a*a*a*b", "default": "a" * 500},
        {"patternProperties": {"^(a+)+$": {}}, "default": {"a" * 40 + "!": 1}},
        {"type": "array", "items": {"pattern": "^(a+)+$"}, "default": ["a" * 40 + "!"]},
        {"type": "array", "uniqueItems": True, "default": [{"a": n} for n in range(5_000)]},
        {"anyOf": [{"const": n} for n in range(5_000)], "default": list(range(500))},
    ],
)
def test_what_would_take_forever_is_refused_at_once(value: Any) -> None:
    begin = time.process_time()
    assert len(told({"x": value})) == 1
    assert time.process_time() - begin < 10  # what takes forever takes minutes


def test_a_scheduled_run_has_nobody_to_ask() -> None:
    assert told({"x": {"type": "string"}}) == []
    assert told({"x": {"type": "string"}}, schedule="daily") == ['params.x: a scheduled run needs a default for "x"']
