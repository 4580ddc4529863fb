"""Reuse: variables, environments, templates, matrices; where every value and every mistake comes from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spec.test_load import BASE, write
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.load import Pipelines, Sources, load_pipelines, parse

TEMPLATE = """\
tidemill: 1
parameters:
  depth: {type: integer, default: 3}
  target: {type: text, description: The column to predict.}
platform: {provider: local}
data:
  source: include/rows.parquet
  window: {column: time, train: 5 months, holdout: 1 month}
train:
  code: include.train:train
  params: {depth: "${with.depth}"}
evaluate: {task: classification, target: "${with.target}", metrics: [roc_auc]}
promote: {when: {roc_auc: {at_least: 0.65}}}
"""
USER = "tidemill: 1\nuses: templates/t.yaml\nwith: {target: late}\n"


def pipelines(folder: Path, files: dict[str, str], name: str = "a.yaml") -> Pipelines:
    dags = write(folder, files)
    return load_pipelines(dags / name, dags, folder)


def read(folder: Path, text: str, row: str | None = None, **more: str) -> tuple[Any, list[SpecError], Sources]:
    """The spec of ``a.yaml`` beside other files (``template__t``: ``templates/t.yaml``), its errors and sources."""
    files = {name.replace("__", "s/") + ".yaml": content for name, content in more.items()}
    sources = pipelines(folder, files | {"a.yaml": text}).sources(row)
    spec, errors = parse(sources)
    return spec, list(SpecErrors(errors).errors), sources


def refused(folder: Path, text: str, row: str | None = None, **more: str) -> list[str]:
    """The first line of each error, whether or not it keeps the rest from being read."""
    try:
        _, errors, _ = read(folder, text, row, **more)
    except SpecErrors as e:
        errors = list(e.errors)
    return [error.render().partition("\n")[0] for error in errors]


def hints(folder: Path, text: str, row: str | None = None, **more: str) -> list[str | None]:
    try:
        _, errors, _ = read(folder, text, row, **more)
    except SpecErrors as e:
        errors = list(e.errors)
    return [error.hint for error in errors]


# Variables


def test_a_value_that_is_only_a_reference_keeps_its_type_and_text_takes_scalars(tmp_path: Path) -> None:
    variables = "vars: {n: 3, f: 0.5, b: true, l: [a, 1], m: {x: {y: deep}}, t: 'c d'}\n"
    params = (
        "  params: {n: '${vars.n}', l: '${vars.l}', m: '${ vars.m }', y: '${vars.m.x.y}', "
        "in: ['${vars.f}', 'x${vars.n}-${vars.f}-${vars.b}-${vars.t}y']}\n"
    )
    spec, errors, _ = read(tmp_path, variables + BASE.replace("  code:", params + "  code:"))
    assert errors == []
    assert spec.train.params == {
        "n": 3, "l": ["a", 1], "m": {"x": {"y": "deep"}}, "y": "deep", "in": [0.5, "x3-0.5-true-c dy"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("$${vars.n}", "${vars.n}"),
        ("$${", "${"),
        ("a$${b.c}d${vars.n}", "a${b.c}d3"),
        ("${HOME}", "${HOME}"),
        ("${HOME:-a.b}", "${HOME:-a.b}"),
        ("$vars.n", "$vars.n"),
        ("${}", "${}"),
        ("$$${vars.n}", "$${vars.n}"),
        ("{{ ds }}${vars.n}", "{{ ds }}3"),
    ],
)
def test_what_is_a_reference_and_what_is_not(tmp_path: Path, written: str, read_as: str) -> None:
    text = f"vars: {{n: 3}}\ndescription: '{written}'\n" + BASE
    spec, errors, _ = read(tmp_path, text)
    assert (spec.description, errors) == (read_as, [])


def test_a_reference_that_is_written_with_escapes_is_one(tmp_path: Path) -> None:
    spec, errors, _ = read(tmp_path, 'vars: {n: x}\ndescription: "\\x24{vars.n}"\n' + BASE)
    assert (spec.description, errors) == ("x", [])


def test_variables_are_inherited_and_nearer_ones_win_in_every_file(tmp_path: Path) -> None:
    far = "vars: {a: far, b: far, m: {x: 1, y: 1}}\ndescription: '${vars.a} ${vars.b} ${vars.m.x}${vars.m.y}'\n"
    spec, errors, sources = read(tmp_path, "vars: {a: near, m: {x: 2}}\n" + BASE, defaults=far)
    assert (spec.description, errors) == ("near far 21", [])
    assert "vars" not in sources.merged


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("vars: {name: 1}\ntags: ['${vars.nmae}']\n", "dags/a.yaml:2:9: tags[0]: there is no vars.nmae",
         'did you mean "name"?'),
        ("tags: ['${vars.x}']\n", "dags/a.yaml:1:9: tags[0]: there is no vars.x", "add `x:` to `vars:`"),
        ("vars: {m: {x: 1}}\ntags: ['a ${vars.m.z}']\n", "dags/a.yaml:2:11: tags[0]: there is no vars.m.z",
         "known: x"),
        ("vars: {m: 1}\ntags: ['${vars.m.z}']\n", "dags/a.yaml:2:9: tags[0]: there is no vars.m.z",
         "add `m.z:` to `vars:`"),
        ("tags: ['${var.x}']\n", 'dags/a.yaml:1:9: tags[0]: there is no "var" to refer to',
         "did you mean ${vars.x}?"),
        ("tags: ['${os.environ}']\n", 'dags/a.yaml:1:9: tags[0]: there is no "os" to refer to',
         "write $${ for a literal ${"),
        ("tags: ['${row.x}']\n",
         "dags/a.yaml:1:9: tags[0]: there are no rows here, which only a file with a `matrix:` has",
         "use a variable: ${vars.name}"),
        ("tags: ['${with.x}']\n",
         "dags/a.yaml:1:9: tags[0]: there are no parameters here, which only a template has",
         "use a variable: ${vars.name}"),
        ("vars: {l: [a]}\ntags: ['x${vars.l}']\n",
         "dags/a.yaml:2:10: tags[0]: ${vars.l} is a list, which cannot stand inside text",
         "let it stand alone, or refer to a part of it"),
        ("vars: {a: '${vars.b}', b: '${vars.a}'}\n",
         "dags/a.yaml:1:12: vars.a: a variable cannot refer to another value", "write the value out"),
        ("vars: {a: }\n", "dags/a.yaml:1:8: vars.a: no value", "write one, or remove the key"),
        ("vars: {'a b': 1}\n", 'dags/a.yaml:1:8: vars: "a b" cannot be a name to refer to',
         'letters, digits, "_" and "-"'),
        ("vars: [a]\n", "dags/a.yaml:1:7: vars: expected a mapping of names to values",
         "e.g. {name: value}; or remove the key"),
        ("vars:\n", "dags/a.yaml:1:1: vars: no value", "e.g. {name: value}; or remove the key"),
        ("vars: {a: x}\nlinks: {'${vars.a}': 'https://a.example'}\n",
         "dags/a.yaml:2:9: links.${vars.a}: references stand in values, not in keys", "write the key out"),
    ],
)  # fmt: skip
def test_a_reference_that_names_nothing_is_told_at_its_place(tmp_path: Path, text: str, told: str, hint: str) -> None:
    found = refused(tmp_path, text + BASE)
    assert found[0] == told
    assert hints(tmp_path, text + BASE)[0] == hint


def test_a_reference_that_names_nothing_hides_no_other_mistake_and_makes_none(tmp_path: Path) -> None:
    text = BASE.replace("[roc_auc]", "['${vars.x}']").replace("5 months", "5 moons").replace("late", '"${vars.y}"')
    assert [line.split(": ")[1] for line in refused(tmp_path, text)] == [
        "data.window.train", "evaluate.target", "evaluate.metrics[0]",
    ]  # fmt: skip


def test_a_wrong_value_is_shown_where_it_is_written_and_where_it_is_used(tmp_path: Path) -> None:
    text = "vars: {span: 5 moons, n: x}\n" + BASE.replace("5 months", "'${vars.span}'").replace("1 month}", "1 m}")
    (first, second) = refused(tmp_path, text)
    assert first.startswith("dags/a.yaml:1:14: data.window.train: ")
    assert first.endswith("(used at dags/a.yaml:6:33)")
    assert second.startswith("dags/a.yaml:6:")


def test_a_wrong_text_with_a_variable_in_it_is_shown_where_the_text_stands(tmp_path: Path) -> None:
    text = "vars: {unit: moons}\n" + BASE.replace("5 months", "'5 ${vars.unit}'")
    (told,) = refused(tmp_path, text)
    assert told.startswith("dags/a.yaml:6:33: data.window.train: ")
    assert told.endswith("(with ${vars.unit} from dags/a.yaml:1:14)")


def test_mistakes_inside_a_variable_are_shown_inside_it(tmp_path: Path) -> None:
    text = "vars:\n  gate:\n    roc_auc:\n      at_lest: 1\n" + BASE.replace(
        "{roc_auc: {at_least: 0.65}}", '"${vars.gate}"'
    )
    told = refused(tmp_path, text)
    assert told[0].startswith('dags/a.yaml:4:7: promote.when.roc_auc: unknown key "at_lest" (used at dags/a.yaml:13:')


# Bombs


def test_short_files_do_not_become_large_plans(tmp_path: Path) -> None:
    big = "x" * 60_000
    many = ", ".join(["'${vars.big}'"] * 1000)
    (told,) = refused(tmp_path, f"vars: {{big: {big}}}\n" + BASE + f"tags: [{many}]\n")[:1]
    assert "the references of this pipeline make it too large" in told
    (told,) = refused(tmp_path, f"vars: {{big: {big}}}\n" + BASE + "description: '${vars.big} ${vars.big}'\n")
    assert "this text becomes longer than 64 KiB" in told
    wide, one = ", ".join(map(str, range(5000))), "'${vars.l}'"
    (told,) = refused(tmp_path, f"vars: {{l: [{wide}]}}\n" + BASE + f"tags: [{', '.join([one] * 50)}]\n")[:1]
    assert "the references of this pipeline make it too large" in told


def test_references_nest_no_deeper_than_what_is_written(tmp_path: Path) -> None:
    deep = "[" * 40 + "]" * 40
    params = f"  params: {{p: {'[' * 40}'${{vars.d}}'{']' * 40}}}\n  code:"
    text = f"vars: {{d: {deep}}}\n" + BASE.replace("  code:", params)
    (told,) = refused(tmp_path, text)
    assert "${vars.d} nests more than 64 deep here" in told


# Environments


ENVIRONMENTS = "environments:\n  prod: {owner: ops, tags: [live], vars: {n: 2}}\n  dev: {schedule: ~}\n"


@pytest.mark.parametrize(
    ("chosen", "owner", "tags", "schedule", "n"),
    [
        (None, None, ["a"], "daily", "1"),
        ("prod", "ops", ["live"], "daily", "2"),
        ("dev", None, ["a"], None, "1"),
        ("other", None, ["a"], "daily", "1"),
    ],
)
def test_an_environments_overlay_is_laid_over_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str | None, owner: Any, tags: Any, schedule: Any, n: str
) -> None:
    monkeypatch.delenv("TIDEMILL_ENVIRONMENT", raising=False)
    if chosen:
        monkeypatch.setenv("TIDEMILL_ENVIRONMENT", chosen)
    text = BASE + "tags: [a]\nschedule: daily\nvars: {n: 1}\ndescription: 'n${vars.n}'\n" + ENVIRONMENTS
    spec, errors, _ = read(tmp_path, text)
    assert errors == []
    assert (spec.owner, spec.tags, spec.schedule, spec.description) == (owner, tags, schedule, f"n{n}")


def test_overlays_count_in_their_own_file_and_nearer_files_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_ENVIRONMENT", "prod")
    far = "tags: [far]\nowner: far\nenvironments: {prod: {tags: [far-live], owner: far-live}}\n"
    spec, errors, sources = read(tmp_path, BASE + "owner: own\n", defaults=far)
    assert (spec.tags, spec.owner, errors) == (["far-live"], "own", [])
    assert sources.place(("tags",)) == ("dags/defaults.yaml", 3, 29)


def test_a_mistake_in_an_overlay_is_told_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMILL_ENVIRONMENT", "prod")
    text = BASE + "environments:\n  prod:\n    shcedule: daily\n    data: {source: 5}\n"
    assert refused(tmp_path, text) == [
        'dags/a.yaml:12:5: unknown key "shcedule"',
        "dags/a.yaml:13:20: data.source: expected text, got the number 5",
    ]


@pytest.mark.parametrize(
    ("overlay", "told"),
    [
        ("{prod: {tidemill: 1}}", 'environments.prod: "tidemill" is the same in every environment'),
        ("{prod: {uses: x}}", 'environments.prod: "uses" is the same in every environment'),
        ("{prod: {matrix: {}}}", 'environments.prod: "matrix" is the same in every environment'),
        ("{prod: {environments: {}}}", 'environments.prod: "environments" is the same in every environment'),
        ("{prod: [a]}", "environments.prod: expected a mapping of the keys that differ there"),
        ("{prod: }", "environments.prod: no value"),
        ("[prod]", "environments: expected a mapping"),
        ("{'a b': {}}", 'environments: "a b" cannot be the name of an environment'),
        ("{prod: {vars: 1}}", "environments.prod.vars: expected a mapping of names to values"),
    ],
)
def test_overlays_are_checked_whichever_is_chosen(tmp_path: Path, overlay: str, told: str) -> None:
    (line,) = refused(tmp_path, BASE + f"environments: {overlay}\n")
    assert line.partition(": ")[2] == told


# Templates


def test_a_template_is_the_rest_of_the_file(tmp_path: Path) -> None:
    text = USER + "train: {params: {more: 1}}\ntags: [own]\n"
    spec, errors, sources = read(tmp_path, text, template__t=TEMPLATE + "tags: [template]\nowner: template\n")
    assert errors == []
    assert (spec.tags, spec.owner, spec.train.params) == (["own"], "template", {"depth": 3, "more": 1})
    assert spec.evaluate.target == "late"
    assert sources.place(("train", "code")) == ("dags/templates/t.yaml", 10, 9)
    assert sources.place(("evaluate", "target")) == ("dags/a.yaml", 3, 16)
    assert [document.file for document in sources.documents] == ["dags/a.yaml", "dags/templates/t.yaml"]


def test_the_template_lies_over_the_defaults(tmp_path: Path) -> None:
    defaults = "tags: [far]\nowner: far\nvars: {v: far}\ndescription: '${vars.v}'\n"
    template = TEMPLATE + "tags: [template]\nvars: {v: template}\n"
    spec, errors, _ = read(tmp_path, USER, template__t=template, defaults=defaults)
    assert (spec.tags, spec.owner, spec.description, errors) == (["template"], "far", "template", [])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{target: late, dept: 4}", 'dags/a.yaml:3:22: with: unknown parameter "dept"'),
        ("{depth: 4}", 'dags/a.yaml:3:1: with: missing parameter "target" of dags/templates/t.yaml'),
        ("{target: 5}", "dags/a.yaml:3:16: with.target: expected text, got the number 5"),
        ("{target: late, depth: deep}", 'dags/a.yaml:3:29: with.depth: expected a whole number, got "deep"'),
        ("{target: late, depth: true}", "dags/a.yaml:3:29: with.depth: expected a whole number, got true"),
        ("{target: late, depth: 1.5}", "dags/a.yaml:3:29: with.depth: expected a whole number, got the number 1.5"),
        ("[late]", "dags/a.yaml:3:7: with: expected a mapping of names to values"),
        ("{target: '${with.depth}'}",
         "dags/a.yaml:3:17: with.target: there are no parameters here, which only a template has"),
    ],
)  # fmt: skip
def test_parameters_are_checked_where_they_are_given(tmp_path: Path, given: str, told: str) -> None:
    text = USER.replace("{target: late}", given)
    assert refused(tmp_path, text, template__t=TEMPLATE) == [told]


def test_a_wrong_value_given_to_a_template_is_shown_in_the_users_file(tmp_path: Path) -> None:
    template = TEMPLATE.replace("at_least: 0.65", "'${with.gate}'").replace("roc_auc: {'", "roc_auc: {at_least: '")
    template = template.replace("parameters:", "parameters:\n  gate: {type: text}")
    text = USER.replace("late}", "late, gate: high}")
    (told,) = refused(tmp_path, text, template__t=template)
    assert told.startswith("dags/a.yaml:3:28: promote.when.roc_auc.at_least: ")
    assert told.endswith("(used at dags/templates/t.yaml:14:38)")


def test_a_mistake_of_the_template_itself_is_shown_in_it(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, USER, template__t=TEMPLATE.replace("5 months", "5 moons"))
    assert told.startswith("dags/templates/t.yaml:8:33: data.window.train: ")


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("[depth]", "parameters: expected a mapping, got a list"),
        ("{a: integer}", 'parameters.a: expected a mapping, got "integer"'),
        ("{a: {}}", 'parameters.a: missing key "type"'),
        (
            "{a: {type: int}}",
            'parameters.a.type: expected text or number or integer or boolean or list or mapping, got "int"',
        ),
        ("{a: {type: text, defualt: x}}", 'parameters.a: unknown key "defualt"'),
        ("{a: {type: text, default: 5}}", "parameters.a.default: expected text, got the number 5"),
        ("{a: {type: text, default: z, choices: [x, y]}}", 'parameters.a.default: expected x or y, got "z"'),
        ("{a: {type: text, choices: []}}", "parameters.a.choices: expected a list of values, got a list"),
        ("{a: {type: text, choices: [x, 1]}}", "parameters.a.choices[1]: expected text, got the number 1"),
        ("{a: {type: text, description: 1}}", "parameters.a.description: expected text, got the number 1"),
        ("{'a b': {type: text}}", 'parameters: "a b" cannot be a parameter\'s name'),
    ],
)
def test_what_a_template_declares_is_checked(tmp_path: Path, parameters: str, told: str) -> None:
    rest = TEMPLATE.partition("platform:")[2]
    template = f"tidemill: 1\nparameters: {parameters}\nplatform:{rest}"
    (line,) = refused(tmp_path, "tidemill: 1\nuses: templates/t.yaml\n", template__t=template)
    assert line.startswith("dags/templates/t.yaml:2:")
    assert line.partition(": ")[2] == told


@pytest.mark.parametrize(("given", "sound"), [("AA", True), ("DL", True), ("UA", False)])
def test_choices_are_kept_to(tmp_path: Path, given: str, sound: bool) -> None:
    template = TEMPLATE.replace("{type: text,", "{type: text, choices: [AA, DL],")
    told = refused(tmp_path, USER.replace("late}", given + "}"), template__t=template)
    assert told == ([] if sound else ['dags/a.yaml:3:16: with.target: expected AA or DL, got "UA"'])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("uses: templates/u.yaml\n", 'dags/templates/t.yaml:14:1: "uses" cannot stand in a template'),
        ("with: {a: 1}\n", 'dags/templates/t.yaml:14:1: "with" cannot stand in a template'),
        ("matrix: {a: {}}\n", 'dags/templates/t.yaml:14:1: "matrix" cannot stand in a template'),
        ("tags: ['${row.id}']\n",
         "dags/templates/t.yaml:14:9: tags[0]: there are no rows here, which only a file with a `matrix:` has"),
    ],
)  # fmt: skip
def test_a_template_uses_no_other_and_has_no_rows(tmp_path: Path, more: str, told: str) -> None:
    assert refused(tmp_path, USER, template__t=TEMPLATE + more)[:1] == [told]


def test_a_template_that_uses_itself_is_refused(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, USER, template__t=TEMPLATE + "uses: templates/t.yaml\n")
    assert '"uses" cannot stand in a template' in told


def test_a_template_says_that_it_is_one(tmp_path: Path) -> None:
    for text, place in ((TEMPLATE.replace("tidemill: 1\n", ""), "1:1"), (TEMPLATE.replace(": 1\n", ": 2\n"), "1:1")):
        (told,) = refused(tmp_path, USER, template__t=text)
        assert told == f"dags/templates/t.yaml:{place}: tidemill: a template begins with `tidemill: 1`"


def test_a_template_that_cannot_be_read_is_told_in_it(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, USER, template__t="tidemill: 1\n\tx\n")
    assert told.startswith("dags/templates/t.yaml:2:")


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("templates/tt.yaml", 'there is no file "templates/tt.yaml" in the DAG folder'),
        ("../templates/t.yaml", '"../templates/t.yaml" leads out of the DAG folder'),
        ("templates/../../secret.yaml", '"templates/../../secret.yaml" leads out of the DAG folder'),
        ("/etc/templates/t.yaml", '"/etc/templates/t.yaml" leads out of the DAG folder'),
        ("defaults.yaml", '"defaults.yaml" is in no folder called templates, where templates are kept apart from '
         "pipelines"),
        ("templates/link.yaml", '"templates/link.yaml" is a link that leads out of the DAG folder'),
        ("templates/folder/templates/t.yaml",
         '"templates/folder/templates/t.yaml" is a link that leads out of the DAG folder'),
        ("templates", '"templates" is in no folder called templates, where templates are kept apart from pipelines'),
        ("templates/templates", 'there is no file "templates/templates" in the DAG folder'),
        ("'templates/${vars.x}.yaml'", "the template is the same for all environments and rows"),
        ("5", "expected the path of a template"),
        ("", "expected the path of a template"),
        ("[templates/t.yaml]", "expected the path of a template"),
        ('"templates/t.yaml\\0"', "this text holds a character that YAML does not allow"),
    ],
)  # fmt: skip
def test_a_template_is_a_file_in_its_folder_of_the_dag_folder(tmp_path: Path, written: str, told: str) -> None:
    dags = write(tmp_path, {"templates/t.yaml": TEMPLATE, "../outside/templates/t.yaml": TEMPLATE})
    (dags / "templates" / "link.yaml").symlink_to(tmp_path / "outside" / "templates" / "t.yaml")
    (dags / "templates" / "folder").symlink_to(tmp_path / "outside")
    found = refused(tmp_path, f"tidemill: 1\nuses: {written}\nwith: {{target: late}}\n")
    if "\\0" in written:
        assert found[0].startswith("dags/a.yaml:2:7: uses: ")
        return
    assert found == [f"dags/a.yaml:2:{1 if not written else 7}: uses: {told}"]


def test_a_misspelt_template_is_guessed(tmp_path: Path) -> None:
    found = hints(tmp_path, "tidemill: 1\nuses: templates/chrun.yaml\n", template__churn=TEMPLATE)
    assert found == ["did you mean templates/churn.yaml?"]


def test_a_template_may_be_deeper_and_the_same_one_serves_every_folder(tmp_path: Path) -> None:
    files = {"team/templates/t.yaml": TEMPLATE, "other/a.yaml": USER.replace("uses: ", "uses: team/")}
    spec, errors = parse(pipelines(tmp_path, files, "other/a.yaml").sources())
    assert (spec.evaluate.target, errors) == ("late", [])


def test_values_without_a_template_are_a_mistake(tmp_path: Path) -> None:
    assert refused(tmp_path, BASE + "with: {a: 1}\n") == [
        "dags/a.yaml:10:1: with: there is no template to give values to"
    ]


def test_a_pipeline_has_no_parameters(tmp_path: Path) -> None:
    (told,) = refused(tmp_path, BASE + "parameters: {a: {type: text}}\n")
    assert told == 'dags/a.yaml:10:1: "parameters" belong to a template, and this is a pipeline'


@pytest.mark.parametrize("key", ["uses: templates/t.yaml", "with: {a: 1}", "matrix: {a: {}}", "parameters: {}"])
def test_defaults_hand_on_no_template_and_no_rows(tmp_path: Path, key: str) -> None:
    found = refused(tmp_path, "vars: {a: 1}\n" + BASE, defaults=f"owner: a\n{key}\n")
    assert found == [f'dags/defaults.yaml:2:1: "{key.partition(":")[0]}" is not inherited']


def test_defaults_alone_can_be_wrong(tmp_path: Path) -> None:
    assert refused(tmp_path, BASE, defaults="matrix: {a: {}}\n") == [
        'dags/defaults.yaml:1:1: "matrix" is not inherited'
    ]


# Matrices


MATRIX = "matrix:\n  eu: {carrier: AA, depth: 3}\n  us: {carrier: UA, depth: 4}\n"
ROWS = "vars: {all: [x]}\n" + BASE.replace("  code:", "  params: {depth: '${row.depth}'}\n  code:").replace(
    "rows.parquet", "${row.carrier}.parquet"
)


def test_every_row_is_a_spec_of_its_own(tmp_path: Path) -> None:
    found = pipelines(tmp_path, {"a.yaml": ROWS + "description: of ${row.id}\n" + MATRIX})
    assert found.rows == ("eu", "us")
    specs = [parse(found.sources(row)) for row in ("eu", "us")]
    assert [errors for _, errors in specs] == [[], []]
    assert [
        (spec.train.params, spec.data.source, spec.description) for spec, _ in specs
    ] == [
        ({"depth": 3}, "include/AA.parquet", "of eu"),
        ({"depth": 4}, "include/UA.parquet", "of us"),
    ]  # fmt: skip


def test_rows_reach_a_template_by_what_is_given_to_it_and_take_variables(tmp_path: Path) -> None:
    text = USER.replace("late}", "'${row.target}', depth: '${row.depth}'}") + "vars: {deep: 9}\n"
    text += "matrix: {eu: {target: late, depth: '${vars.deep}'}}\n"
    spec, errors, sources = read(tmp_path, text, "eu", template__t=TEMPLATE)
    assert (spec.evaluate.target, spec.train.params, errors) == ("late", {"depth": 9}, [])
    # From the template to `with`, to the row, to the variable.
    assert sources.place(("train", "params", "depth")) == ("dags/a.yaml", 4, 14)


def test_a_value_that_a_row_lacks_is_told_at_the_row(tmp_path: Path) -> None:
    text = ROWS + MATRIX.replace("us: {carrier: UA, depth: 4}", "us: {carrier: UA, dpeth: 4}")
    assert refused(tmp_path, text, "eu") == []
    assert refused(tmp_path, text, "us") == [
        'dags/a.yaml:14:3: matrix: row "us" has no "depth" for ${row.depth} at dags/a.yaml:8'
    ]
    assert hints(tmp_path, text, "us") == ['did you mean "dpeth"?']


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        ("{}", "matrix: expected a mapping of rows, each with its values"),
        ("[eu]", "matrix: expected a mapping of rows, each with its values"),
        ("", "matrix: expected a mapping of rows, each with its values"),
        ("{eu: }", "matrix.eu: expected a mapping of the row's values"),
        ("{eu: [a]}", "matrix.eu: expected a mapping of the row's values"),
        ("{monitor: {}}", 'matrix: "monitor" is what another DAG of a pipeline is called'),
        ("{score: {}}", 'matrix: "score" is what another DAG of a pipeline is called'),
        ("{e.u: {}}", 'matrix.e.u: "e.u" cannot be a row: it becomes part of a pipeline\'s id'),
        ("{eu: {id: 1}}", "matrix.eu.id: `id` is the row's own name"),
        ("{eu: {a b: 1}}", 'matrix.eu: "a b" cannot be a name to refer to'),
        ("{eu: {a: '${row.b}'}}", "matrix.eu.a: there are no rows here, which only a file with a `matrix:` has"),
        ("{eu: {a: }}", "matrix.eu.a: no value"),
    ],
)
def test_what_rows_may_be_called_and_hold(tmp_path: Path, matrix: str, told: str) -> None:
    (line,) = refused(tmp_path, BASE + f"matrix: {matrix}\n", "eu")
    assert line.startswith("dags/a.yaml:10:")
    assert line.partition(": ")[2].replace("matrix.monitor", "matrix") == told


def test_ten_thousand_rows_are_the_most(tmp_path: Path) -> None:
    rows = "".join(f"  r{n}: {{}}\n" for n in range(10_001))
    assert refused(tmp_path, BASE + "matrix:\n" + rows, "r0") == [
        "dags/a.yaml:10:1: matrix: 10,001 rows are more than 10,000"
    ]


def test_the_pipelines_of_a_matrix_are_bounded_together(tmp_path: Path) -> None:
    text = BASE + f"description: {'x' * 60_000}\n" + "matrix:\n" + "".join(f"  r{n}: {{}}\n" for n in range(1000))
    found = pipelines(tmp_path, {"a.yaml": text})
    assert found.rows is not None
    with pytest.raises(SpecErrors, match="the pipelines of this matrix are too large together"):
        all(map(found.sources, found.rows))


def test_a_file_without_any_of_it_pays_nothing(tmp_path: Path) -> None:
    assert pipelines(tmp_path, {"a.yaml": BASE}).reuse is None


# Whatever is written


PIECES = [
    "${vars.a}", "${vars.m}", "${vars.m.x}", "${vars.l}", "${vars.none}", "${row.id}", "${row.v}", "${with.p}", "$${",
    "${", "}", "x", "${vars.}", "${.a}", "${a.b.c}", "$", " ", "${vars.a", "{{ ds }}", "${ vars.a }", "é", "\n",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)
values = st.recursive(
    texts | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts.filter(bool), below, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=values, variables=values, given=values, row=values, own=values)
def test_whatever_is_written_every_value_has_a_place_and_every_mistake_too(
    tmp_path: Path, body: Any, variables: Any, given: Any, row: Any, own: Any
) -> None:
    template = yaml.safe_load(TEMPLATE) | {"train": {"code": "include.train:train", "params": {"p": body}}}
    template["parameters"]["p"] = {"type": "text", "default": given}
    text = {
        "tidemill": 1, "uses": "templates/t.yaml", "with": {"target": given, "p": given}, "description": own,
        "vars": {"a": 1, "m": {"x": variables}, "l": [1, "b"], "v": variables}, "matrix": {"r": {"v": row}},
        "tags": [own, own],
    }  # fmt: skip
    files = {"a.yaml": yaml.safe_dump(text), "templates/t.yaml": yaml.safe_dump(template)}
    try:
        sources = pipelines(tmp_path, files).sources("r")
        _, errors = parse(sources)
    except SpecErrors as e:
        errors = list(e.errors)
    else:
        for path in leaves(sources.merged, ()):
            file, line, column = sources.place(path)
            assert file in ("dags/a.yaml", "dags/templates/t.yaml")
            assert (line, column) >= (1, 1)
    for error in errors:
        assert error.file in ("dags/a.yaml", "dags/templates/t.yaml")
        assert error.render()


def leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    yield path
    for key, item in below:
        yield from leaves(item, (*path, key))
