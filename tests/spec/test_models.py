"""The models: what values become, which defaults hold, that a spec written back is the same spec."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any, get_args, get_origin

import pytest
import yaml
from pydantic import ValidationError

from tests.airflow_home import import_airflow
from tests.spec.test_load import BASE, FULL, WHOLE
from tidemill.spec import steps
from tidemill.spec.fields import Deferred
from tidemill.spec.models import Owner, Spec, Workflow, model_for
from tidemill.spec.paths import field_at, model_at
from tidemill.spec.section import Section, keys_of
from tidemill.spec.steps import FunctionStep, Group, OperatorStep
from tidemill.spec.timing import PRESETS, Timing
from tidemill.spec.units import Quota, Span

MINIMAL: dict[str, Any] = yaml.safe_load(BASE)


def spec(**sections: Any) -> Spec:
    return Spec.model_validate(MINIMAL | sections)


def sections() -> list[type[Section]]:
    found: list[type[Section]] = []
    todo: list[type[Section]] = [Section]
    while todo:
        below = todo.pop().__subclasses__()
        found += below
        todo += below
    return found


def test_values_become_quantities() -> None:
    full = Spec.model_validate(FULL)
    assert full.train.timeout == timedelta(minutes=90)
    assert full.train.resources.memory == 1.5 * 1024**3
    assert full.data.window.train == Span(delta=timedelta(weeks=20))
    assert full.monitor is not None
    assert full.monitor.window == Span(months=1)
    assert full.monitor.drift is not None
    assert full.monitor.drift.share == 0.125
    assert full.retrain is not None
    assert full.retrain.at_most == Quota(4, "year")
    assert full.start == datetime(2013, 7, 1, tzinfo=UTC)
    assert isinstance(full.schedule, Timing)
    assert isinstance(full.owner, Owner)


def test_defaults_are_the_ones_that_are_documented() -> None:
    found = spec(monitor={"schedule": "monthly", "drift": {}}, retrain={})
    assert found.promote.alias == "champion"
    assert found.promote.approval == "automatic"
    assert found.promote.registry == "mlflow"
    assert (found.data.version, found.data.key, found.data.expect) == ("dvc", [], None)
    assert (found.train.seed, found.train.timeout, found.train.track) == (0, None, "mlflow")
    assert found.catchup is False
    assert found.monitor is not None
    assert found.monitor.drift is not None
    drift = found.monitor.drift
    assert (drift.distance, drift.at_least, drift.share, drift.alpha) == ("psi", None, 0.3, 0.05)
    assert (drift.weights, drift.consecutive, drift.warm_up, drift.categorical) == ("equal", 1, None, None)
    assert found.retrain is not None
    assert (found.retrain.triggers, found.retrain.count_scheduled) == ([], False)


@pytest.mark.parametrize("value", [MINIMAL, *WHOLE.values()], ids=["minimal", *WHOLE])
def test_a_spec_written_back_is_the_same_spec(value: dict[str, Any]) -> None:
    model = model_for(value)
    read = model.model_validate(value)
    back = read.model_dump(mode="json", exclude_none=True, by_alias=True)
    assert model.model_validate(back) == read
    assert model.model_validate(back).model_dump(mode="json", exclude_none=True, by_alias=True) == back


def test_a_file_is_a_workflow_if_it_has_steps_and_no_stage() -> None:
    assert model_for({"tidemill": 1, "steps": {}}) is Workflow
    assert model_for({"tidemill": 1, "steps": {}, "retrain": None}) is Spec
    assert model_for({"tidemill": 1}) is Spec


def test_a_parameter_without_a_value_reaches_the_training() -> None:
    params = {"depth": None, "nested": {"note": None}, "list": [None]}
    read = spec(train={"code": "include.train:train", "params": params})
    assert read.model_dump(mode="json", exclude_none=True)["train"]["params"] == params


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("catchup",), "true"),
        (("catchup",), 1),
        (("train", "seed"), "7"),
        (("train", "seed"), True),
        (("train", "seed"), 7.0),
        (("train", "seed"), 2**32),
        (("promote", "when", "roc_auc", "at_least"), True),
        (("promote", "when", "roc_auc", "at_least"), "0.5"),
        (("evaluate", "target"), 3),
        (("evaluate", "metrics"), "roc_auc"),
        (("train", "code"), "include.train:train()"),
        (("train", "code"), "include.train:train\n"),
        (("train", "code"), "../train:train"),
        (("promote", "model"), "a/b"),
        (("promote", "model"), "a" * 201),
        (("promote", "alias"), "a.b"),
    ],
)
def test_nothing_is_converted_and_names_are_kept_to_what_others_take(path: tuple[str, ...], value: Any) -> None:
    changed = copy.deepcopy(FULL)
    at = changed
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    with pytest.raises(ValidationError):
        Spec.model_validate(changed)


def test_whole_numbers_are_numbers_too() -> None:
    found = spec(promote={"when": {"roc_auc": {"at_least": 1}}})
    assert found.promote.when["roc_auc"].at_least == 1.0


def test_sections_are_strict_and_frozen() -> None:
    for section in sections():
        assert section.model_config["extra"] == "forbid", section
        assert section.model_config["strict"], section
    with pytest.raises(ValidationError):
        spec().promote.alias = "other"


def test_every_section_and_every_key_is_described() -> None:
    for section in sections():
        assert (section.__doc__ or "").endswith("."), section
        for name, field in section.model_fields.items():
            assert (field.description or "").endswith("."), (section, name)


def wrong(section: type[Section], value: dict[str, Any]) -> set[str]:
    """The kinds of mistakes in a value."""
    try:
        section.model_validate(value)
    except ValidationError as e:
        return {error["type"] for error in e.errors()}
    return set()


def test_examples_are_values_of_their_key() -> None:
    for section in sections():
        for name, field in keys_of(section).items():
            for example in field.examples or []:
                assert wrong(section, {name: example}) <= {"missing"}, (section, name, example)


def test_presets_are_cron_expressions_of_their_name() -> None:
    from tidemill.plan.schedule import next_tick

    begin = datetime(2012, 12, 31, 23, 59, tzinfo=UTC)
    first = {name: next_tick(cron, "UTC", begin) for name, cron in PRESETS.items()}
    second = {name: next_tick(PRESETS[name], "UTC", tick) for name, tick in first.items()}
    assert {name for name, tick in first.items() if tick == datetime(2013, 1, 1, tzinfo=UTC)} == {*PRESETS} - {"weekly"}
    assert {name: (second[name] - first[name]).total_seconds() / 86400 for name in PRESETS} == {
        "hourly": 1 / 24,
        "daily": 1,
        "weekly": 7,
        "monthly": 31,
        "quarterly": 90,
        "yearly": 365,
    }


def test_a_path_leads_to_its_section_and_its_field() -> None:
    assert model_at(()) is Spec
    assert model_at(("schedule",)) is Timing
    section = model_at(("promote", "when", "anything", "gain"))
    assert section is not None
    assert section.__name__ == "Gain"
    assert model_at(("train", "params", "x")) is None
    assert model_at(("data", "nothing", "below")) is None
    assert model_at(("tags", 0)) is None
    field = field_at(("monitor", "drift", "share"))
    assert field is not None
    assert field.default == 0.3
    assert field_at(("nothing",)) is None
    assert field_at(()) is None


def test_the_kind_of_a_step_is_told_by_its_key() -> None:
    value = {"steps": {"a": {"operator": "X"}, "g": {"steps": {"b": {"python": "include.m:f"}}}}}
    assert model_at(("steps", "a"), value) is OperatorStep
    assert model_at(("steps", "g"), value) is Group
    assert model_at(("steps", "g", "steps", "b"), value) is FunctionStep
    assert model_at(("steps", "g", "steps", "b", "with"), value) is None
    field = field_at(("steps", "g", "tooltip"), value)
    assert field is not None
    assert "mouse" in str(field.description)


def test_trigger_rules_and_weight_rules_are_airflows() -> None:
    import_airflow()
    from airflow.sdk import TriggerRule, WeightRule

    assert {rule.value for rule in TriggerRule} == set(get_args(steps.TriggerRule))
    (weights,) = (get_args(a) for a in get_args(steps.Settings.model_fields["weight_rule"].annotation) if get_args(a))
    assert {rule.value for rule in WeightRule} == set(weights)


def test_decorators_are_airflows() -> None:
    import_airflow()
    from airflow.sdk import task

    for name in set(get_args(steps.Decorator)) - {"python", "docker"}:
        assert callable(getattr(task, name))


def test_where_just_anything_is_taken_it_is_the_users_own() -> None:
    def anything(annotation: Any) -> bool:
        deferred = next((a for a in get_args(annotation) if isinstance(a, Deferred)), None)
        if deferred is not None:
            return anything(deferred.annotation)
        return annotation is Any or any(anything(a) for a in get_args(annotation) if get_origin(annotation) is not None)

    loose = {(s.__name__, n) for s in sections() for n, f in s.model_fields.items() if anything(f.rebuild_annotation())}
    of_steps = {("OperatorStep", "with_"), ("FunctionStep", "with_"), ("FunctionStep", "options")}
    of_steps |= {(s, "params") for s in ("Single", "OperatorStep", "FunctionStep")}
    of_settings = {(s, "executor_config") for s in ("Settings", "Single", "OperatorStep", "FunctionStep")}
    of_places = {(s, "for_each") for s in ("Placed", "Single", "OperatorStep", "FunctionStep", "Group")}
    of_file = {(s, n) for s in ("Workflow", "Spec") for n in ("params", "user_defined_macros", "access_control")}
    called = {(s, "with_") for s in ("Callback", "DeadlineSection", "Watcher", "Timing")}
    others = {("Train", "params"), ("AssetExpression", "extra")}
    assert loose == of_steps | of_settings | of_places | of_file | called | others
