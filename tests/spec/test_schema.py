"""The JSON Schemas: the published files are the current ones, good files pass, structural mistakes do not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from tests.spec.test_load import FULL, WHOLE, Path_, changed, identified, leaves, sections
from tidemill.project import Project
from tidemill.spec.load import Sources, load_sources
from tidemill.spec.metrics import METRICS
from tidemill.spec.paths import model_at
from tidemill.spec.reader import read as read_yaml
from tidemill.spec.schema import FILES, Sort, schema
from tidemill.spec.section import keys_of

ROOT = Path(__file__).parents[2]
GOOD = sorted(
    path
    for folder in ("tests/specs/good", "tests/specs/workflows", "dags")
    for path in (ROOT / folder).rglob("*.yaml")
    if path.name != "defaults.yaml" and path.parent.name != "templates"
)
DEFAULTS = sorted((ROOT / "tests/specs").rglob("defaults.yaml"))
TEMPLATES = [path for path in sorted((ROOT / "tests/specs").rglob("templates/*.yaml")) if path.stem != "nested"]
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
    "step_of_no_kind",
    "step_of_two_kinds",
    "step_names",
    "setting_misspelt",
    "setting_wrong",
    "group_",
    "outcome_misspelt",
    "steps_none",
    "schedule_asset",
    "environments_wrong",
    "matrix_not_rows",
    "parameters_of",
)


def validator_of(sort: Sort) -> jsonschema.Draft202012Validator:
    made = schema(sort)
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return validator_of("pipeline")


def read(file: Path) -> dict[str, Any]:
    """What a file and the defaults above it hold, as it is written."""
    dags = next((f for f in file.parents if f.name == "dags"), file.parent)
    own = written(file)
    if not {"uses", "environments", "matrix", "parameters"}.isdisjoint(own) or "${" in file.read_text(encoding="utf-8"):
        return own
    return Sources(load_sources(file, dags, Project.of(ROOT / "dags").root).documents).merged


def written(file: Path) -> dict[str, Any]:
    return dict(read_yaml(file.read_bytes(), file.name).value)


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(below)


@pytest.mark.parametrize("sort", get_args(Sort))
def test_the_published_files_are_what_the_command_prints(sort: Sort, capsys: pytest.CaptureFixture[str]) -> None:
    from tidemill.cli.main import schema as command

    command(defaults=sort == "defaults", template=sort == "template")
    assert (ROOT / "include/schemas" / FILES[sort]).read_text(encoding="utf-8") == capsys.readouterr().out


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_good_specs_pass(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    assert [e.message for e in validator.iter_errors(read(file))] == []


@pytest.mark.parametrize("file", DEFAULTS, ids=lambda file: file.parent.name)
def test_good_defaults_pass_their_own(file: Path) -> None:
    assert [e.message for e in validator_of("defaults").iter_errors(written(file))] == []


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.stem)
def test_good_templates_pass_their_own(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    value = written(file)
    if "parameters" in value and file.parents[1].name == "good":
        assert [e.message for e in validator_of("template").iter_errors(value)] == []
        assert not validator.is_valid(value)


@pytest.mark.parametrize("file", [f for f in BAD if f.name.startswith(STRUCTURAL)], ids=lambda file: file.stem)
def test_structural_mistakes_do_not_pass(file: Path, validator: jsonschema.Draft202012Validator) -> None:
    assert not validator.is_valid(read(file))


@pytest.mark.parametrize(("name", "path"), identified(sections()))
def test_an_unknown_key_does_not_pass(name: str, path: Path_, validator: jsonschema.Draft202012Validator) -> None:
    assert validator.is_valid(WHOLE[name])
    assert not validator.is_valid(changed(name, (*path, "xyzzy"), 1))


@pytest.mark.parametrize(("name", "path"), identified(leaves()))
def test_a_wrong_type_or_no_value_does_not_pass(
    name: str, path: Path_, validator: jsonschema.Draft202012Validator
) -> None:
    assert not validator.is_valid(changed(name, path, [[["odd"]]]))
    assert not validator.is_valid(changed(name, path, None))


@pytest.mark.parametrize(("name", "path"), identified(leaves()))
def test_a_reference_may_stand_for_any_value(
    name: str, path: Path_, validator: jsonschema.Draft202012Validator
) -> None:
    if path != ("tidemill",):
        assert validator.is_valid(changed(name, path, "${vars.anything}"))


def test_what_a_file_lays_over_its_template_need_not_be_whole(validator: jsonschema.Draft202012Validator) -> None:
    part = {"tidemill": 1, "data": {"source": "x.csv"}, "steps": {"load": {"retries": 3}}}
    assert not validator.is_valid(part)
    assert validator.is_valid(part | {"uses": "templates/a.yaml", "with": {"anything": [1]}})
    assert not validator.is_valid(part | {"uses": "templates/a.yaml", "data": {"sauce": "x.csv"}})
    assert validator.is_valid(FULL | {"environments": {"prod": {"data": {"source": "x.csv"}}}})
    assert not validator.is_valid(FULL | {"environments": {"prod": {"matrix": {"a": {}}}}})
    assert validator_of("defaults").is_valid({"train": {"seed": 1}})
    assert not validator_of("defaults").is_valid({"train": {"sed": 1}})
    assert not validator_of("defaults").is_valid({"matrix": {"a": {}}})


def test_steps_are_told_apart_by_their_key(validator: jsonschema.Draft202012Validator) -> None:
    def messages(step: dict[str, Any]) -> list[str]:
        return [e.message for e in validator.iter_errors({"tidemill": 1, "steps": {"a": step}})]

    assert messages({"operator": "EmptyOperator"}) == []
    # One message, and not one for each sort of step that it is not.
    (told,) = messages({"operator": "EmptyOperator", "retrys": 2})
    assert "retrys" in told
    (told,) = messages({"steps": {"b": {"operator": "EmptyOperator", "decorator": "python"}}})
    assert "decorator" in told
    assert messages({"with": {}})


def test_merge_keys_are_what_they_merge(validator: jsonschema.Draft202012Validator) -> None:
    file = ROOT / "tests/specs/good/merge_keys.yaml"
    # Editors resolve `<<` as every reader of YAML does.
    assert [e.message for e in validator.iter_errors(yaml.safe_load(file.read_text()))] == []


@pytest.mark.parametrize("sort", get_args(Sort))
def test_every_property_is_described_and_nothing_has_a_title_of_its_own(sort: Sort) -> None:
    made = schema(sort)
    for node in nodes(made):
        if node is not made and "title" in node:
            assert isinstance(node["title"], dict), node
        assert node.get("default", 0) is not None
    for name, section in {"": made, **made["$defs"]}.items():
        if name.startswith("Whole"):
            continue
        for key, property_ in section.get("properties", {}).items():
            assert property_.get("description"), (name, key)


def test_the_schema_has_every_section_and_every_key() -> None:
    made = schema()
    for name, path in sections():
        model = model_at(path, WHOLE[name])
        assert model is not None
        properties = (made if path == () else made["$defs"][model.__name__])["properties"]
        reuse = {"vars", "environments", "uses", "with", "matrix"} if path == () else set()
        assert properties.keys() == keys_of(model).keys() | reuse


def test_editors_are_offered_the_choices() -> None:
    sections_ = schema()["$defs"]

    def offered(section: str, key: str) -> Any:
        return sections_[section]["properties"][key]["anyOf"][0]

    assert offered("Evaluate", "metrics")["items"]["anyOf"][0]["enum"] == list(METRICS)
    assert offered("Promote", "when")["propertyNames"]["enum"] == list(METRICS)
    assert offered("Monitor", "performance")["propertyNames"]["enum"] == list(METRICS)
    assert "none_failed" in offered("OperatorStep", "trigger_rule")["enum"]
    assert '"quarterly"' in json.dumps(schema()["properties"]["schedule"])
