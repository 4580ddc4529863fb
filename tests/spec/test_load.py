"""Loading: inheritance down the folder tree, the place of every mistake, what is told when much is wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidemill.spec.errors import SpecError, SpecErrors, dotted
from tidemill.spec.load import Sources, defaults_for, load_sources, merge, parse
from tidemill.spec.models import Spec, Workflow
from tidemill.spec.paths import field_at, model_at
from tidemill.spec.reader import read
from tidemill.spec.section import Section, keys_of

ROOT = Path(__file__).parents[2]
Path_ = tuple[str | int, ...]
FULL: dict[str, Any] = yaml.safe_load((ROOT / "tests/specs/good/full.yaml").read_text(encoding="utf-8"))
FULL |= {"start": "2013-07-01", "end": "2014-01-01"}
WHOLE: dict[str, dict[str, Any]] = {"full": FULL} | {
    name: yaml.safe_load((ROOT / f"tests/specs/workflows/dags/{name}.yaml").read_text(encoding="utf-8"))
    for name in ("workflow", "every")
}
CLOUDS = ("aws", "aws_batch", "gcp", "azure", "kubernetes", "kubernetes_bucket")
WHOLE |= {name: yaml.safe_load((ROOT / f"tests/specs/good/{name}.yaml").read_text(encoding="utf-8")) for name in CLOUDS}
WATCHED: dict[str, Any] = yaml.safe_load((ROOT / "tests/specs/good/watched.yaml").read_text(encoding="utf-8"))
WHOLE["watched"] = WATCHED | {"start": "2013-07-01", "end": "2014-01-01"}
"""Files that hold every key of the language, by name."""
WHOLE["workflow"] |= {"start": "2024-01-01", "end": "2030-01-01"}  # which this reader takes for dates
BASE = """\
tidemill: 1
platform: {provider: local}
data:
  source: include/rows.parquet
  window: {column: time, train: 5 months, holdout: 1 month}
train:
  code: include.train:train
evaluate: {task: classification, target: late, metrics: [roc_auc]}
promote: {when: {roc_auc: {at_least: 0.65}}}
"""


def write(folder: Path, files: dict[str, str]) -> Path:
    """A project in a folder; returns its DAG folder."""
    for name, text in files.items():
        path = folder / "dags" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "dags"


def load(folder: Path, files: dict[str, str], name: str = "a.yaml") -> tuple[Any, list[SpecError], Sources]:
    dags = write(folder, files)
    sources = load_sources(dags / name, dags, folder)
    spec, errors = parse(sources)
    return spec, list(SpecErrors(errors).errors), sources


def told(errors: list[SpecError]) -> list[str]:
    return [error.render().partition("\n")[0] for error in errors]


# Inheritance


def test_mappings_are_merged_key_by_key_and_lists_replaced() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert merge(base, {"a": {"c": [3], "e": 2}}) == {"a": {"b": 1, "c": [3], "e": 2}, "d": 1}
    assert merge(base, {"a": 5}) == {"a": 5, "d": 1}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_nearer_defaults_win_and_the_file_itself_wins_over_all(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": "owner: far\ntrain: {seed: 1, timeout: 2 h}\ntags: [far, away]\n",
        "team/defaults.yaml": "owner: near\ntrain: {seed: 2}\n",
        "team/a.yaml": BASE + "tags: [own]\n",
    }
    spec, errors, sources = load(tmp_path, files, "team/a.yaml")
    assert errors == []
    assert (spec.owner, spec.train.seed, spec.train.timeout.total_seconds()) == ("near", 2, 7200)
    assert spec.train.code == "include.train:train"
    assert spec.tags == ["own"]
    assert [document.file for document in sources.documents] == [
        "dags/team/a.yaml",
        "dags/team/defaults.yaml",
        "dags/defaults.yaml",
    ]


def test_defaults_beside_and_above_count_those_below_and_outside_do_not(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    assert defaults_for(dags / "x" / "y" / "a.yaml", dags) == [
        dags / "x" / "y" / "defaults.yaml",
        dags / "x" / "defaults.yaml",
        dags / "defaults.yaml",
    ]
    assert defaults_for(tmp_path / "else" / "a.yaml", dags) == [tmp_path / "else" / "defaults.yaml"]


def test_a_key_without_a_value_takes_back_what_was_inherited(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": "owner: far\nmonitor: {schedule: monthly, drift: {}}\ntrain: {params: {depth: 3}}\n",
        "a.yaml": BASE.replace("  code:", "  params: {depth: ~}\n  code:") + "owner:\nmonitor:\n",
    }
    spec, errors, _ = load(tmp_path, files)
    assert errors == []
    assert spec.owner is None
    assert spec.monitor is None
    assert spec.train.params == {"depth": None}  # parameters are the user's own: there, nothing is a value


def test_a_key_without_a_value_that_takes_nothing_back_is_a_mistake(tmp_path: Path) -> None:
    _, errors, _ = load(tmp_path, {"a.yaml": BASE + "owner:\n", "defaults.yaml": "monitor:\n"})
    assert told(errors) == ["dags/a.yaml:10:1: owner: no value", "dags/defaults.yaml:1:1: monitor: no value"]


def test_a_mistake_in_defaults_points_into_their_file(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": "# common\ntrain:\n  timeout: 5 m\nretrian: {}\n",
        "team/defaults.yaml": "evaluate:\n  slices: carrier\n",
        "team/a.yaml": BASE,
    }
    _, errors, _ = load(tmp_path, files, "team/a.yaml")
    assert [error.place for error in errors] == [
        ("dags/defaults.yaml", 3, 12),
        ("dags/defaults.yaml", 4, 1),
        ("dags/team/defaults.yaml", 2, 11),
    ]


def test_a_missing_key_of_an_inherited_section_is_told_where_the_section_is(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": "data:\n  window: {column: time, train: 5 months}\n",
        "a.yaml": BASE.replace("  window: {column: time, train: 5 months, holdout: 1 month}\n", ""),
    }
    _, errors, _ = load(tmp_path, files)
    assert told(errors) == ['dags/defaults.yaml:2:3: data.window: missing key "holdout"']


def test_syntax_errors_of_all_files_come_together(tmp_path: Path) -> None:
    dags = write(tmp_path, {"defaults.yaml": "owner: [a\n", "a.yaml": "tidemill: 1\ntidemill: 1\n"})
    with pytest.raises(SpecErrors) as caught:
        load_sources(dags / "a.yaml", dags, tmp_path)
    assert {error.file for error in caught.value.errors} == {"dags/a.yaml", "dags/defaults.yaml"}


def test_the_version_is_each_files_own(tmp_path: Path) -> None:
    files = {"defaults.yaml": "tidemill: 1\n", "a.yaml": BASE.replace("tidemill: 1\n", "")}
    _, errors, _ = load(tmp_path, files)
    assert told(errors) == [
        'dags/a.yaml:1:1: missing key "tidemill"',
        'dags/defaults.yaml:1:1: "tidemill" is not inherited',
    ]


def test_empty_defaults_are_a_mistake_and_not_skipped(tmp_path: Path) -> None:
    dags = write(tmp_path, {"defaults.yaml": "# nothing yet\n", "a.yaml": BASE})
    with pytest.raises(SpecErrors, match="the file holds nothing"):
        load_sources(dags / "a.yaml", dags, tmp_path)


def test_files_are_named_from_the_root_and_absolutely_outside_of_it(tmp_path: Path) -> None:
    dags = write(tmp_path, {"a.yaml": BASE})
    assert load_sources(dags / "a.yaml", dags, tmp_path).file == "dags/a.yaml"
    assert load_sources(dags / "a.yaml", dags, tmp_path / "elsewhere").file == (dags / "a.yaml").as_posix()


# Bytes as editors leave them


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    dags = write(tmp_path, {"a.yaml": BASE, "b.yaml": ""})
    (dags / "b.yaml").write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    plain, windows = (parse(load_sources(dags / name, dags, tmp_path)) for name in ("a.yaml", "b.yaml"))
    assert plain == windows
    assert plain[1] == []


# What is told of many mistakes


def test_a_misspelt_section_is_one_mistake(tmp_path: Path) -> None:
    _, errors, _ = load(tmp_path, {"a.yaml": BASE.replace("evaluate:", "evalaute:")})
    assert told(errors) == ['dags/a.yaml:8:1: unknown key "evalaute"']


def test_what_could_be_read_is_still_there_to_be_checked(tmp_path: Path) -> None:
    broken = BASE.replace("5 months", "5 moons").replace("at_least: 0.65", "at_least: high")
    spec, errors, _ = load(tmp_path, {"a.yaml": broken})
    assert [error.path for error in errors] == ["data.window.train", "promote.when.roc_auc.at_least"]
    assert spec.data is None
    assert spec.evaluate.metrics == ["roc_auc"]
    assert list(spec.promote.when) == ["roc_auc"]


def sections(whole: str | None = None) -> Iterator[tuple[str, Path_]]:
    """Every section of the files that hold all keys: file, and path in it."""

    def below(name: str, value: Any, path: Path_) -> Iterator[tuple[str, Path_]]:
        if isinstance(value, dict):
            if model_at(path, WHOLE[name]) is not None:
                yield name, path
            for key, item in value.items():
                yield from below(name, item, (*path, key))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from below(name, item, (*path, index))

    for name, value in WHOLE.items():
        if whole in (None, name):
            yield from below(name, value, ())


def leaves() -> Iterator[tuple[str, Path_]]:
    """Every key of every kind of section, at one of its places."""
    seen = set()
    for name, path in sections():
        model = model_at(path, WHOLE[name]) if path else _whole_model(name)
        assert model is not None
        if model not in seen:
            yield from ((name, (*path, key)) for key in keys_of(model))
        seen.add(model)


def _whole_model(name: str) -> type[Section]:
    return Spec if name in ("full", "watched", *CLOUDS) else Workflow


def identified(cases: Iterator[tuple[str, Path_]]) -> list[Any]:
    """Parameters of a test, named as messages name paths."""
    return [pytest.param(name, path, id=f"{name}:{dotted(path) or 'top'}") for name, path in cases]


def at(value: Any, path: Path_) -> Any:
    for part in path:
        value = value[part]
    return value


def changed(name: str, path: Path_, value: Any) -> dict[str, Any]:
    spec = copy.deepcopy(WHOLE[name])
    at(spec, path[:-1])[path[-1]] = value
    return spec


def test_the_whole_files_have_every_section_and_every_key_of_the_language() -> None:
    def models(section: type[Section]) -> set[type[Section]]:
        return {section}.union(*(models(sub) for sub in section.__subclasses__()))

    used: dict[Any, set[str]] = {model: set() for model in models(Section) - {Section}}
    for name, path in sections():
        model = model_at(path, WHOLE[name])
        for key in at(WHOLE[name], path):
            # What all steps have in common counts wherever it is used.
            holder = next(m for m in reversed(model.__mro__) if m in used and key in keys_of(m))
            used[holder].add(key)
    own = {m: set(keys_of(m)).difference(*(keys_of(b) for b in m.__mro__[1:] if b in used)) for m in used}
    assert own == used


@pytest.mark.parametrize(("name", "path"), identified(sections()))
def test_an_unknown_key_of_any_section_is_told_at_its_line(name: str, path: Path_, tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(name, (*path, "xyzzy"), 1), sort_keys=False, allow_unicode=True)
    _, errors, _ = load(tmp_path, {"a.yaml": text})
    (error,) = errors
    assert error.message == 'unknown key "xyzzy"'
    assert error.line == line_of(text, (*path, "xyzzy"))
    assert error.hint


def line_of(text: str, path: Path_) -> int:
    """The line of the key, or item, at a path."""
    return read(text.encode(), "a.yaml").mark(path, key=isinstance(path[-1], str))[0]


def _anything(path: Path_, name: str) -> bool:
    """Whether any mapping is a value of the key."""
    field = field_at(path, WHOLE[name])
    return field is not None and "dict[str, typing.Any]" in repr(field.annotation)


@pytest.mark.parametrize(("name", "path"), identified(leaves()))
def test_a_value_of_the_wrong_type_is_told_at_its_line(name: str, path: Path_, tmp_path: Path) -> None:
    mapping = model_at(path, WHOLE[name]) is not None or path[-1] in ("links", "when", "performance", "steps")
    field = field_at(path, WHOLE[name])
    mapping = mapping or (field is not None and "dict[str, str]" in repr(field.annotation))
    wrong: list[Any] = [{"odd": "mapping"}, [[["odd"]]]]
    if path[-1] == "for_each":
        wrong = [5, [[["odd"]]]]
    elif _anything(path, name):
        wrong = [5, [{"odd": ["value"]}]]
    elif mapping:
        wrong = [[{"odd": ["value"]}]]
    for value in wrong:
        text = yaml.safe_dump(changed(name, path, value), sort_keys=False)
        _, errors, _ = load(tmp_path, {"a.yaml": text})
        assert errors, value
        key = line_of(text, path)
        for error in errors:
            assert key <= error.line <= key + 2, error.render()


@pytest.mark.parametrize(("name", "path"), identified(leaves()))
def test_a_key_without_a_value_is_told_at_its_line(name: str, path: Path_, tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(name, path, None), sort_keys=False)
    _, errors, _ = load(tmp_path, {"a.yaml": text})
    assert "no value" in [error.message for error in errors]
    assert {error.path for error in errors} <= {dotted(path), dotted(path[:-1])}
    assert errors[0].hint


@pytest.mark.parametrize("name", WHOLE)
def test_the_whole_files_read_without_mistakes(name: str, tmp_path: Path) -> None:
    spec, errors, _ = load(tmp_path, {"a.yaml": yaml.safe_dump(WHOLE[name])})
    assert errors == []
    assert type(spec) is _whole_model(name)


def test_a_file_with_steps_alone_inherits_no_stages(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": "platform: {provider: local}\nowner: far\nretrain: {triggers: drift}\n",
        "a.yaml": "tidemill: 1\nsteps: {a: {operator: EmptyOperator}}\n",
    }
    spec, errors, _ = load(tmp_path, files)
    assert errors == []
    assert type(spec) is Workflow
    assert spec.owner == "far"


def test_templates_are_refused_everywhere_but_in_the_description(tmp_path: Path) -> None:
    text = BASE.replace("include/rows.parquet", '"include/{{ ds }}.parquet"') + "description: '{{ as is }}'\n"
    text += "tags: [a, '{% if %}']\n"
    _, errors, _ = load(tmp_path, {"a.yaml": text})
    assert [error.path for error in errors] == ["data.source", "tags[1]"]


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_a_parameter_must_have_a_form_in_json(number: str, tmp_path: Path) -> None:
    text = BASE.replace("  code:", f"  params: {{a: [1, {number}]}}\n  code:")
    _, errors, _ = load(tmp_path, {"a.yaml": text})
    assert [(error.path, error.message) for error in errors] == [("train.params.a[1]", "expected a finite number")]


def test_of_many_mistakes_of_one_file_a_hundred_are_told(tmp_path: Path) -> None:
    text = BASE + "tags: [" + ", ".join(str(n) for n in range(300)) + "]\n"
    _, errors, _ = load(tmp_path, {"a.yaml": text})
    assert len(errors) == 100
