"""Verdicts: what becomes of a file, whatever is wrong with it, and which files it depends on."""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.spec.test_load import BASE, FULL
from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.spec.errors import SpecErrors
from tidemill.verdict import Verdict, judge


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project whose one pipeline, ``dags/flights.yaml``, is sound."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "flights.yaml").write_text(BASE)
    return Project(tmp_path, tmp_path / ".tidemill")


def judged(project: Project, name: str = "flights.yaml", text: str | None = None) -> Verdict:
    file = project.root / "dags" / name
    if text is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return judge(file, project.root / "dags", project)


def messages(verdict: Verdict) -> list[str]:
    assert bool(verdict.plans) is not bool(verdict.errors)
    return [error.message for error in verdict.errors]


def test_a_sound_file_has_a_plan_of_its_name(project: Project) -> None:
    verdict = judged(project)
    assert messages(verdict) == []
    (plan,) = verdict.plans
    assert (plan.pipeline, plan.file) == ("flights", "dags/flights.yaml")


def test_it_depends_on_its_code_and_on_every_defaults_it_could_inherit(project: Project) -> None:
    judged(project, "a/b/flights.yaml", BASE.replace("  source:", "  expect: include/x.yaml\n  source:"))
    verdict = judged(project, "a/b/flights.yaml")
    root = project.root
    assert set(verdict.files) == {
        *(root / "dags" / at / "defaults.yaml" for at in ("a/b", "a", ".")),
        root / "include" / "train.py",
        root / "include" / "x.yaml",
    }


@pytest.mark.parametrize("name", ["two words", "dots.in.it", "ünïcode", "a" * 201, "semi;colon"])
def test_a_name_that_can_be_no_id_is_refused(project: Project, name: str) -> None:
    (message,) = messages(judged(project, f"{name}.yaml", BASE))
    assert "cannot be a pipeline's id" in message


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "0", "a" * 200])
def test_every_other_name_will_do(project: Project, name: str) -> None:
    verdict = judged(project, f"{name}.yaml", BASE)
    assert [plan.dags[0].dag_id for plan in verdict.plans] == [name]


def test_a_file_that_is_gone_or_a_folder_is_an_error_with_a_place(project: Project) -> None:
    (project.root / "dags" / "folder.yaml").mkdir()
    assert messages(judged(project, "gone.yaml")) == ["cannot be read: No such file or directory"]
    assert messages(judged(project, "folder.yaml")) == ["cannot be read: Is a directory"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_an_error_with_a_place(project: Project) -> None:
    (project.root / "dags" / "flights.yaml").chmod(0)
    assert messages(judged(project)) == ["cannot be read: Permission denied"]


def test_defaults_are_no_pipeline_and_have_one_name(project: Project) -> None:
    assert messages(judged(project, "defaults.yaml", "owner: a\n")) == [
        "this is no pipeline, but what the pipelines of its folder inherit"
    ]
    assert messages(judged(project, "defaults.yml", "owner: a\n")) == [
        "inherited values are only read from defaults.yaml"
    ]


def test_mistakes_of_every_kind_come_in_one_go_in_the_order_of_the_lines(project: Project) -> None:
    text = BASE.replace("include.train:train", "include.train:trian")
    text = "tidemill: 1\nschedule: dayly\n" + text.removeprefix("tidemill: 1\n")
    text = text.replace("  source:", "  expect: include/none.yaml\n  source:") + "monitor: {}\nextra: 1\n"
    verdict = judged(project, text=text)
    assert [error.path for error in verdict.errors] == [
        "schedule", "data.expect", "train.code", "monitor", "monitor", "",
    ]  # fmt: skip
    lines = [error.line for error in verdict.errors]
    assert lines == sorted(lines)


def test_a_mistake_behind_an_anchor_is_told_once(project: Project) -> None:
    text = BASE.replace("{when: {roc_auc: {at_least: 0.65}}}", "\n  when:\n    roc_auc: &a {at_lest: 1}\n    brier: *a")
    text = text.replace("[roc_auc]", "[roc_auc, brier]")
    assert messages(judged(project, text=text)).count('unknown key "at_lest"') == 1


def test_the_suite_of_expectations_is_checked_with_the_spec(project: Project) -> None:
    (project.root / "include" / "suite.yaml").write_text("expectations:\n- {type: expect_nothing}\n")
    verdict = judged(project, text=BASE.replace("  source:", "  expect: include/suite.yaml\n  source:"))
    assert [error.place for error in verdict.errors] == [("include/suite.yaml", 2, 10)]


def test_a_defect_of_ours_is_an_error_of_that_file_and_not_of_the_others(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("tidemill.checks.meaning.check", breaks)
    assert messages(judged(project)) == ["Tidemill failed on this file: RecursionError: too deep"]


def test_content_that_was_read_already_is_not_read_again(project: Project) -> None:
    file = project.root / "dags" / "flights.yaml"
    verdict = judge(file, file.parent, project, b"tidemill: 2\n")
    assert "the file is written in a later version of the language, 2" in messages(verdict)


ODD: list[Any] = [
    None, True, 0, -1, 2**62, -5.5, 1e300, float("nan"), "", " ", "x", "[", "{{ a }}", "2013-07-01", "9999-12-31",
    "1 month", "0 d", "30%", "rmse", "daily", "* * * * *", "0 0 29 2 *", "H H * * *", "Australia/Lord_Howe", "🦩",
    "\u202e", "a\nb", "https://[", "http://a:99999/", "include.train:train", "include..x:y", "..", "4 per year",
    [], {}, [None], {"a": None}, [[]], ["roc_auc"] * 2, {"roc_auc": {}}, {"cron": "0 0 * * *"}, 10**18,
]  # fmt: skip


def mutated(value: Any, random: Random) -> Any:
    """A spec with a few things replaced, removed or added at places that chance takes."""
    spec = deepcopy(value)
    for _ in range(random.randint(1, 4)):
        at, part = spec, random.choice(list(spec))
        while isinstance(at[part], dict) and at[part] and random.random() < 0.7:
            at, part = at[part], random.choice(list(at[part]))
        what = random.random()
        if what < 0.6:
            at[part] = deepcopy(random.choice(ODD))
        elif what < 0.8 and len(at) > 1:
            del at[part]
        else:
            at[random.choice(["x", "at_least", "schedule", "key", "🦩"])] = deepcopy(random.choice(ODD))
    return spec


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_whatever_is_written_there_is_a_plan_or_there_are_mistakes_in_our_words(
    project: Project, random: Random
) -> None:
    text = yaml.safe_dump(mutated(FULL, random), allow_unicode=True, sort_keys=False)
    verdict = judged(project, text=text)
    for message in messages(verdict):
        assert "Tidemill failed" not in message
        assert "Input should" not in message
    assert SpecErrors(verdict.errors).render() or verdict.plans
    for plan in verdict.plans:
        assert Plan.from_json(plan.to_json()) == plan


# A matrix


MATRIX = BASE.replace("roc_auc: {at_least: 0.65}", "roc_auc: {at_least: '${row.least}'}")


def lines(verdict: Verdict) -> list[str]:
    return [error.render().partition("\n")[0] for error in verdict.errors]


def test_every_row_of_a_matrix_has_a_plan(project: Project) -> None:
    verdict = judged(project, text=MATRIX + "matrix: {eu: {least: 0.6}, us: {least: 0.7}}\n")
    assert verdict.errors == ()
    assert [plan.pipeline for plan in verdict.plans] == ["flights.eu", "flights.us"]
    assert [dag.dag_id for plan in verdict.plans for dag in plan.dags] == ["flights.eu", "flights.us"]
    assert len({plan.model for plan in verdict.plans}) == 2


def test_a_wrong_row_is_told_at_its_place_and_the_others_have_their_plans(project: Project) -> None:
    rows = "matrix:\n  eu: {least: 0.6}\n  us: {least: high}\n  de: {}\n  fr: {least: 0.8}\n"
    verdict = judged(project, text=MATRIX + rows)
    assert [plan.pipeline for plan in verdict.plans] == ["flights.eu", "flights.fr"]
    assert lines(verdict) == [
        'dags/flights.yaml:12:15: promote.when.roc_auc.at_least: expected a number, got "high"'
        " (used at dags/flights.yaml:9:38)",
        'dags/flights.yaml:13:3: matrix: row "de" has no "least" for ${row.least} at dags/flights.yaml:9',
    ]


def test_what_only_some_rows_suffer_from_is_told_at_them(project: Project) -> None:
    """Nothing is wrong with the line of the body but in these rows."""
    text = BASE + "start: '${row.start}'\nend: 2014-01-01\nschedule: monthly\n"
    rows = "matrix:\n  early: {start: 2013-01-01}\n  late: {start: 2015-01-01}\n"
    verdict = judged(project, text=text + rows)
    assert [plan.pipeline for plan in verdict.plans] == ["flights.early"]
    (error,) = verdict.errors
    assert error.line == 15
    assert error.path.startswith("matrix.late") or error.path == "start"


def test_what_all_rows_suffer_from_is_told_once_where_it_is_written(project: Project) -> None:
    verdict = judged(project, text=MATRIX + "extra: 1\nmatrix: {eu: {least: 0.6}, us: {least: 0.7}}\n")
    assert verdict.plans == ()
    assert lines(verdict) == ['dags/flights.yaml:10:1: unknown key "extra"']


def test_one_row_alone_is_judged_when_only_that_is_asked_for(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from tidemill.plan import compile as compiler

    compiled: list[str] = []
    real = compiler.compile_plan

    def counting(pipeline: str, *rest: Any) -> Plan:
        compiled.append(pipeline)
        return real(pipeline, *rest)

    monkeypatch.setattr(compiler, "compile_plan", counting)
    rows = "matrix:\n" + "".join(f"  r{n}: {{least: {'high' if n == 7 else 0.6}}}\n" for n in range(100))
    file = project.root / "dags" / "flights.yaml"
    file.write_text(MATRIX + rows)
    verdict = judge(file, file.parent, project, row="r5")
    assert ([plan.pipeline for plan in verdict.plans], verdict.errors) == (["flights.r5"], ())
    assert compiled == ["flights.r5"]
    assert len(judge(file, file.parent, project, row="r7").errors) == 1
    assert judge(file, file.parent, project, row="r100") == Verdict(files=verdict.files[:1])


def test_rows_that_would_share_a_model_are_refused(project: Project) -> None:
    text = MATRIX.replace("promote: {", "promote: {model: '${row.model}', ")
    rows = "matrix:\n  a: {least: 0.6, model: m}\n  b: {least: 0.6, model: n}\n  c: {least: 0.7, model: m}\n"
    verdict = judged(project, text=text + rows)
    assert [plan.pipeline for plan in verdict.plans] == ["flights.b"]
    assert lines(verdict) == [
        'dags/flights.yaml:11:3: matrix.a: row "c" makes the model "m", too',
        'dags/flights.yaml:13:3: matrix.c: row "a" makes the model "m", too',
    ]


def test_a_rows_name_must_leave_room_in_the_pipelines_id(project: Project) -> None:
    verdict = judged(project, text=MATRIX + f"matrix: {{eu: {{least: 0.6}}, {'x' * 195}: {{least: 0.6}}}}\n")
    assert [plan.pipeline for plan in verdict.plans] == ["flights.eu"]
    assert "is longer than the 200 characters of a pipeline's id" in lines(verdict)[0]


def test_a_thousand_mistakes_are_a_hundred_and_a_number(project: Project) -> None:
    rows = "matrix:\n" + "".join(f"  r{n}: {{}}\n" for n in range(1000))
    verdict = judged(project, text=MATRIX + rows)
    assert len(verdict.errors) == 101
    assert "the first 100 rows are all broken; 900 were not read" in [error.message for error in verdict.errors]


def test_it_depends_on_the_template_it_uses_even_if_there_is_none(project: Project) -> None:
    verdict = judged(project, text="tidemill: 1\nuses: templates/t.yaml\n")
    assert project.root / "dags" / "templates" / "t.yaml" in verdict.files
    (project.root / "dags" / "templates").mkdir()
    (project.root / "dags" / "templates" / "t.yaml").write_text(BASE)
    verdict = judged(project, text="tidemill: 1\nuses: templates/t.yaml\n")
    assert project.root / "dags" / "templates" / "t.yaml" in verdict.files
    assert [plan.pipeline for plan in verdict.plans] == ["flights"]
