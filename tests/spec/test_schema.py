"""The JSON Schema: the published file is the current one, good specs pass, structural mistakes do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.spec.test_load import FULL, changed, leaves, sections
from tidemill.project import Project
from tidemill.spec.load import Sources, load_sources
from tidemill.spec.metrics import METRICS
from tidemill.spec.models import model_at
from tidemill.spec.schema import schema
from tidemill.spec.section import keys_of

ROOT = Path(__file__).parents[2]
NO_PIPELINES = ("defaults.yaml", "gated.yaml")
GOOD = sorted(p for p in (ROOT / "tests/specs/good").rglob("*.yaml") if p.name not in NO_PIPELINES)
BAD = sorted((ROOT / "tests/specs/bad").glob("*.yaml"))
STRUCTURAL = (
    "unknown_key",
    "wrong_type",
    "missing_",
    "version_of",
    "choice_",
    "later_",
    "range_seed",
    "range_cpu",
    "unit_bare",
    "unit_m",
    "unit_of",
    "unit_unk",
    "schedule_misspelt",
    "date_european",
    "metric_misspelt",
    "metric_unknown",
    "code_a_path",
    "name_model",
    "no_value",
    "empty_values",
    "bool_yes",
    "owner_link",
    "links_address",
)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    made = schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def read(file: Path) -> Sources:
    dags = next((f for f in file.parents if f.name == "dags"), file.parent)
    return load_sources(file, dags, Project.of(ROOT / "dags").root)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(below)


def test_the_published_file_is_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from tidemill.cli.main import schema as command

    command()
    assert (ROOT / "include/schemas/tidemill-1.json").read_text(encoding="utf-8") == capsys.readouterr().out


@pytest.mark.parametrize("file", [*GOOD, ROOT / "dags/flight_delays.yaml"], ids=lambda file: file.stem)
def test_good_specs_pass(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    assert [e.message for e in validator.iter_errors(read(file).merged)] == []


@pytest.mark.parametrize("file", [f for f in BAD if f.name.startswith(STRUCTURAL)], ids=lambda file: file.stem)
def test_structural_mistakes_do_not_pass(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(read(file).merged)


@pytest.mark.parametrize("path", [pytest.param(p, id=".".join(p) or "top") for p in sections()])
def test_an_unknown_key_does_not_pass(path: tuple[str, ...], validator: jsonschema.Draft202012Validator) -> None:
    assert validator.is_valid(FULL)
    assert not validator.is_valid(changed((*path, "xyzzy"), 1))


@pytest.mark.parametrize("path", [pytest.param(p, id=".".join(p)) for p in leaves()])
def test_a_wrong_type_or_no_value_does_not_pass(
    path: tuple[str, ...], validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(changed(path, [[["odd"]]]))
    assert not validator.is_valid(changed(path, None))


def test_every_property_is_described_and_nothing_has_a_title_of_its_own() -> None:
    made = schema()
    for node in nodes(made):
        for name, property_ in node.get("properties", {}).items():
            section = made["$defs"][property_["$ref"].rpartition("/")[2]] if "$ref" in property_ else {}
            assert property_.get("description") or section.get("description"), name
        assert node is made or "title" not in node
        assert node.get("default", 0) is not None


def test_the_schema_has_every_section_and_every_key() -> None:
    made = schema()
    for path in sections():
        model = model_at(path)
        assert model is not None
        properties = (made if path == () else made["$defs"][model.__name__])["properties"]
        assert properties.keys() == keys_of(model).keys()


def test_editors_are_offered_the_metrics_and_the_presets() -> None:
    made = schema()
    text = json.dumps(made)
    assert made["$defs"]["Evaluate"]["properties"]["metrics"]["items"]["enum"] == list(METRICS)
    assert made["$defs"]["Promote"]["properties"]["when"]["propertyNames"]["enum"] == list(METRICS)
    assert made["$defs"]["Monitor"]["properties"]["performance"]["propertyNames"]["enum"] == list(METRICS)
    assert '"quarterly"' in text
