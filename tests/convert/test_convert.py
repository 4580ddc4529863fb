"""What becomes of dag-factory's values, and what is said of those that have no place in a spec."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.convert.compare import look_at_all
from tests.convert.conftest import HARBOUR, Convert
from tidemill.convert.dag import spec_of
from tidemill.convert.file import _default_block
from tidemill.convert.kubernetes import camel
from tidemill.convert.model import Conversion, Converted, Item
from tidemill.convert.names import decorator_name, operator_name
from tidemill.convert.source import joined, load, merged, scalar
from tidemill.convert.write import to_yaml
from tidemill.project import Project
from tidemill.spec.errors import SpecErrors
from tidemill.spec.reader import read

One = Callable[[str], Converted]
EMPTY = "airflow.operators.empty.EmptyOperator"
BASH = "airflow.operators.bash.BashOperator"


def dag(*lines: str, task: str = f"{{operator: {EMPTY}}}") -> str:
    return "\n".join(["d:", *(f"  {line}" for line in lines), f"  tasks: {{t: {task}}}", ""])


def lost(made: Converted) -> dict[str, str]:
    return {note.path: note.message for note in made.notes if note.lost}


# Reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", False),
        ("On", True),
        ("1:30", 90),
        ("0o17", "0o17"),
        ("017", 15),
        ("1_000", 1000),
        ("12e3", "12e3"),
        ("2024-03-01", dt.date(2024, 3, 1)),
        ("2024-13-01", "2024-13-01"),
        ("~", None),
        ("text", "text"),
        ("=", "="),
    ],
)
def test_unquoted_words_are_what_yaml_1_1_reads(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_words_stay_texts(one: One) -> None:
    made = one(dag("description: 'no'", "catchup: no", "max_active_runs: 1_0"))
    assert (made.spec["description"], made.spec["max_active_runs"]) == ("no", 10)
    assert "catchup" not in made.spec
    assert made.errors == ()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [touch ran]", "!!python/object/new:os.system [ls]", "!env X", "!!set {a}"]
)
def test_tags_are_refused_at_their_place(converted: Convert, project: Project, tag: str) -> None:
    with pytest.raises(SpecErrors) as caught:
        converted(dag(f"description: {tag}"))
    assert caught.value.errors[0].line == 2
    assert "is not allowed here" in caught.value.errors[0].message
    assert not list(project.root.rglob("ran"))


def test_names_in_tags_are_texts(one: One) -> None:
    operator = "airflow.operators.python.PythonOperator"
    made = one(dag(task=f"{{operator: {operator}, python_callable: !!python/name:os.system }}"))
    assert made.spec["steps"]["t"]["with"] == {"python_callable": "os:system"}
    assert "Python's own library" in lost(made)["tasks.t.python_callable"]
    assert made.allow == ()
    assert made.errors


def test_nothing_named_is_run(one: One, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = project.root / "ran"
    (project.root / "dags" / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\ndef f(): ...\nclass C: ...\n")
    (project.root / "include" / "evil.py").write_text(f"open({str(ran)!r}, 'w').close()\ndef f(): ...\nclass C: ...\n")
    monkeypatch.syspath_prepend(str(project.root / "dags"))
    text = f"""
    d:
      schedule: {{__type__: subprocess.getoutput, __args__: ["touch {ran}"]}}
      on_failure_callback: evil.f
      on_success_callback: {{callback: include.evil.C}}
      user_defined_macros: {{m: evil.f, n: include.evil.f}}
      params: {{p: {{__type__: subprocess.getoutput, __args__: ["touch {ran}"]}}}}
      doc_md_python_callable_name: f
      doc_md_python_callable_file: {project.root}/dags/evil.py
      tasks:
        a: {{operator: evil.C}}
        b: {{operator: {BASH}, bash_command: {{__type__: subprocess.getoutput, cmd: "touch {ran}"}}}}
        c: {{decorator: airflow.decorators.task, python_callable: include.evil.f}}
        e: {{operator: airflow.providers.http.sensors.http.HttpSensor, endpoint: /,
             response_check_lambda: "lambda r: open('{ran}', 'w')"}}
        f: {{operator: {BASH}, bash_command: "$(touch {ran})", outlets: {{file: /dev/zero, datasets: [a]}}}}
    """
    made = one("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    assert not ran.exists()
    assert "subprocess.getoutput" not in " ".join(made.allow)
    assert {"evil.C", "evil:f"} <= set(made.allow)
    paths = lost(made)
    assert "Python code" in paths["tasks.e.response_check_lambda"]
    assert "Python's own library" in paths["tasks.b.bash_command"]
    assert "is not in the language" in paths["doc_md"]
    assert any("subprocess.getoutput" in error.message for error in made.errors)


# Names


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("airflow.operators.bash.BashOperator", "BashOperator"),
        ("airflow.operators.bash_operator.BashOperator", "BashOperator"),
        ("airflow.providers.standard.operators.bash.BashOperator", "BashOperator"),
        ("airflow.operators.dummy.DummyOperator", "EmptyOperator"),
        ("airflow.sensors.external_task_sensor.ExternalTaskSensor", "ExternalTaskSensor"),
        ("airflow.operators.email.EmailOperator", "airflow.providers.smtp.operators.smtp.EmailOperator"),
        ("airflow.sensors.sql.SqlSensor", "airflow.providers.common.sql.sensors.sql.SqlSensor"),
        (
            "airflow.providers.http.operators.http.SimpleHttpOperator",
            "airflow.providers.http.operators.http.HttpOperator",
        ),
        ("mine.BashOperator", "mine.BashOperator"),
    ],
)
def test_operators_are_named_where_they_stand_now(old: str, new: str) -> None:
    assert operator_name(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("airflow.decorators.task", "python"),
        ("airflow.sdk.task", "python"),
        ("airflow.sdk.definitions.decorators.task", "python"),
        ("airflow.decorators.task.branch", "branch"),
        ("airflow.providers.standard.decorators.branch_python.branch_task", "branch"),
        ("airflow.providers.standard.decorators.python.python_task", "python"),
        ("airflow.providers.cncf.kubernetes.decorators.kubernetes.kubernetes_task", "kubernetes"),
        ("mine.sensor", None),
        ("airflow.decorators.setup", None),
    ],
)
def test_decorators(old: str, new: str | None) -> None:
    assert decorator_name(old) == new


def test_functions_outside_of_include_are_kept_and_the_setting_named(one: One, project: Project) -> None:
    (project.root / "dags" / "beside.py").write_text("def f(a): ...\n")
    made = one(dag(task="{decorator: airflow.decorators.task, python_callable: beside.f, a: 1}"))
    assert made.spec["steps"]["t"] == {"python": "beside:f", "with": {"a": 1}}
    assert made.allow == ("beside:f",)
    assert made.errors == ()
    assert "# - beside:f" in made.text


def test_files_of_functions_become_modules(one: One, project: Project) -> None:
    operator = "airflow.operators.python.PythonOperator"

    def named(file: str) -> tuple[str, dict[str, str]]:
        made = one(dag(task=f"{{operator: {operator}, python_callable_name: f, python_callable_file: {file}}}"))
        return made.spec["steps"]["t"]["with"]["python_callable"], lost(made)

    assert named(f"{project.root}/include/a/b.py") == ("include.a.b:f", {})
    assert named("$HARBOUR/include/a.py") == ("include.a:f", {})
    assert named(f"{project.root}/dags/a.py") == ("a:f", {})
    for elsewhere in ("/somewhere/else.py", "$NOWHERE/else.py"):
        name, missing = named(elsewhere)
        assert name == "else:f"
        assert "include.else:f" not in missing["tasks.t.python_callable_file"]
        assert "is not in the project" in missing["tasks.t.python_callable_file"]


# Values


def test_what_would_be_a_reference_stays_text(one: One, project: Project) -> None:
    made = one(dag(task=f"{{operator: {BASH}, bash_command: 'echo ${{vars.x}} $${{a}} ${{A}} $1'}}"))
    back = read(made.text.encode(), "x").value["steps"]["t"]["with"]["bash_command"]
    assert back == "echo $${vars.x} $$${a} ${A} $1"
    from tidemill.spec.load import load_pipelines

    made.file.write_text(made.text)
    sources = load_pipelines(made.file, project.root / "dags", project.root).sources()
    assert sources.merged["steps"]["t"]["with"]["bash_command"] == "echo ${vars.x} $${a} ${A} $1"


def test_variables_of_the_environment_are_kept_and_listed(one: One) -> None:
    made = one(dag("owner_of: $WHO", "description: of $CREW", task=f"{{operator: {BASH}, bash_command: echo $CREW}}"))
    assert made.spec["description"] == "of $CREW"
    assert list(lost(made)) == ["description"]
    assert any("left to the shell" in note.message for note in made.notes)


def test_moving_dates_say_what_they_mean_today(one: One) -> None:
    made = one(dag("default_args: {start_date: 3 days}", "schedule: '@daily'"))
    today = dt.datetime.now(dt.UTC).date()
    assert made.spec["start"] in (
        (today - dt.timedelta(days=3)).isoformat(),
        (today - dt.timedelta(days=4)).isoformat(),
    )
    assert lost(made) == {}
    assert "# '3 days' in the source, on the day of the conversion\nstart:" in made.text
    made = one(dag("default_args: {start_date: 3 days}", "schedule: '@daily'", "catchup: true"))
    assert "moves with the day" in lost(made)["start_date"]


@pytest.mark.parametrize(
    ("written", "start"),
    [
        ("2024-01-01", "2024-01-01"),
        ("'2024-01-01'", "2024-01-01"),
        ("'20240101'", "2024-01-01"),
        ("2024-01-01 06:30:00", "2024-01-01T06:30Z"),
        ("'2024-01-01T06:30:05'", "2024-01-01T06:30:05Z"),
    ],
)
def test_dates(one: One, written: str, start: str) -> None:
    assert one(dag(f"start_date: {written}")).spec["start"] == start


def test_a_date_that_is_none_is_listed(one: One) -> None:
    made = one(dag("start_date: 205-01-01-01"))
    assert "this is no date" in lost(made)["start_date"]
    assert "start" not in made.spec


def test_what_never_runs_is_listed(one: One) -> None:
    made = one(dag("start_date: 2024-01-01", "end_date: 2023-01-01"))
    assert "ends before it begins" in lost(made)["end_date"]
    assert [error.path for error in made.errors] == ["end"]
    made = one("d: {tasks: {}}")
    assert "has no task" in lost(made)["tasks"]
    assert [error.path for error in made.errors] == ["steps"]


def test_dates_of_tasks_alone_are_listed(one: One) -> None:
    made = one(dag("start_date: 2024-01-01", "default_args: {start_date: 2024-02-01}"))
    assert made.spec["start"] == "2024-01-01"
    assert "tasks have a start_date of their own" in lost(made)["default_args.start_date"]


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("0 0 0 * * *", "expected five fields"),
        ("{__type__: datetime.timedelta, seconds: -5}", "no duration"),
        ("{file: nowhere.yml, datasets: [a]}", "cannot be read"),
        ("{datasets: 'a &'}", "no condition"),
        ("{datasets: '((a & b)'}", "no condition"),
        ("{datasets: '" + "(" * 100 + "a" + ")" * 100 + "'}", "no condition"),
        ("{something: else}", "no schedule"),
        ("5", "no schedule"),
    ],
)
def test_schedules_that_are_none_are_listed(one: One, schedule: str, message: str) -> None:
    made = one(dag(f"schedule: {schedule}"))
    assert message in " ".join(lost(made).values())
    assert "schedule" not in made.spec


def test_settings_that_airflow_lost_and_the_language_has_not(one: One) -> None:
    task = f"{{operator: {EMPTY}, sla: 5, start_date: 2024-01-01, trigger_rule: sometimes, weight_rule: mine.Rule}}"
    made = one(dag("sla_miss_callback: include.harbour.alarm", "orientation: LR", "fail_fast: true", task=task))
    assert set(lost(made)) == {
        "sla_miss_callback",
        "tasks.t.sla",
        "tasks.t.start_date",
        "tasks.t.trigger_rule",
        "tasks.t.weight_rule",
    }
    told = {note.path for note in made.notes if not note.lost}
    assert {"orientation", "fail_fast"} <= told
    assert made.spec["steps"] == {"t": {"operator": "EmptyOperator"}}


def test_names_that_no_step_can_have_are_changed_and_listed(one: One) -> None:
    made = one(f"d:\n  tasks:\n    a.b: {{operator: {EMPTY}}}\n    a_b: {{operator: {EMPTY}, dependencies: [a.b]}}\n")
    assert made.spec["steps"] == {
        "a_b": {"operator": "EmptyOperator"},
        "a_b_": {"operator": "EmptyOperator", "after": "a_b"},
    }
    assert "cannot be the name of a step" in lost(made)["a.b"]


def test_ids_that_no_file_can_have_are_listed(converted: Convert) -> None:
    made, notes = converted(dag().replace("d:", "team.d:", 1) + dag().replace("d:", "defaults:", 1))
    assert made == []
    assert [(note.line, note.lost) for note in notes] == [(1, True), (3, True)]


def test_tasks_without_an_operator_and_groups_without_tasks(one: One) -> None:
    made = one(f"""
d:
  task_groups:
    - {{group_name: empty}}
    - {{group_name: round, parent_group_name: trip}}
    - {{group_name: trip, parent_group_name: round}}
    - {{group_name: lonely, parent_group_name: nobody, ui_color: red}}
  tasks:
    - {{task_id: a, bash_command: ls}}
    - {{task_id: b, operator: {EMPTY}, dependencies: [c], task_group_name: nowhere}}
    - {{task_id: b, operator: {EMPTY}}}
    - {{operator: {EMPTY}}}
    - {{task_id: x, decorator: mine.thing, python_callable: include.harbour.berths}}
    - {{task_id: y, decorator: airflow.decorators.task}}
""")
    said = " ".join(note.message for note in made.notes if note.lost)
    for words in (
        "neither operator nor decorator",
        'no task "c"',
        'another "b"',
        'no "task_id"',
        'no group "nowhere"',
        'no group "nobody"',
        "hold each other",
        '"empty" holds no task',
        '"ui_color"',
        'decorator "mine.thing"',
        "names no function",
    ):
        assert words in said
    assert made.spec["steps"] == {"b": {"operator": "EmptyOperator"}}


def test_default_arguments_go_where_an_operator_takes_them(one: One) -> None:
    made = one(f"""
d:
  default_args: {{bash_command: echo, cwd: /tmp, nonsense: 1, doc_md: x, params: {{a: 1}}}}
  params: {{a: 2, b: 3}}
  tasks:
    a: {{operator: {BASH}, bash_command: ls}}
    b: {{operator: {EMPTY}}}
    c: {{operator: beside.Operator}}
""")
    assert made.spec["params"] == {"a": 1, "b": 3}
    assert made.spec["steps"]["a"]["with"] == {"cwd": "/tmp", "bash_command": "ls"}
    assert made.spec["steps"]["b"] == {"operator": "EmptyOperator"}
    assert "cannot be seen" in lost(made)["default_args.cwd"]
    assert 'no "doc_md"' in lost(made)["default_args.doc_md"]


def test_notes_say_where_defaults_above_stand(project: Project, converted: Convert) -> None:
    (project.root / "dags" / "defaults.yml").write_text("default_args:\n  owner: top\n  sla: 5\ncatchup: true\n")
    (made,), _ = converted(dag("default_args: {owner: own}"))
    assert made.spec["owner"] == "own"
    (note,) = [note for note in made.notes if note.lost]
    assert (Path(note.file).name, note.line) == ("defaults.yml", 3)


def test_documentation_from_a_file(one: One, project: Project) -> None:
    (project.root / "dags" / "about.md").write_text("# About\n\nIt is.\n")
    made = one(dag("doc_md_file_path: $HARBOUR/dags/about.md"))
    assert made.spec["doc_md"] == "# About\n\nIt is.\n"
    assert "# from $HARBOUR/dags/about.md\ndoc_md: |\n  # About\n" in made.text
    assert "cannot be read" in lost(one(dag("doc_md_file_path: /dev/zero")))["doc_md_file_path"]


def test_fields_of_kubernetes_are_named_as_its_own_client_names_them() -> None:
    from kubernetes.client import models

    for kind in ("V1Pod", "V1PodSpec", "V1PodStatus", "V1Container", "V1Volume", "V1ObjectMeta", "V1EnvVarSource"):
        for field, name in getattr(models, kind).attribute_map.items():
            assert camel(field) == name, kind


# Writing


@pytest.mark.parametrize(
    "text",
    [
        *("no", "1:30", "12e3", "0o17", "0x1f", "1_0", "null", "~", "", " a", "a ", "a: b", "a #b", "#a", "- a"),
        *("@daily", "!a"),
        *("{{ x }}", "[a]", "a,b", "a]", "* * * * *", "*a", "&a", "!a", "%a", "'a'", '"', "\\", "é", "\u2028", "\x07"),
        *("a\nb", "a\n\nb\n", " a\nb", "a\n b\n", "a \nb", "\n", "a\n\n", "😀", "2024-01-01", "---", "...", "?", "$a"),
        *("=", "<<"),
    ],
)
def test_a_text_is_read_as_it_was(text: str) -> None:
    value = {"a": text, "b": {"c": [text, {"d": text, "e": [text]}], "steps": {"s": {"x": text, "y": [[text]]}}}}
    written = to_yaml(value, {("b", "c"): ["why"]}, ["top"], ("b",))
    assert read(written.encode(), "x").value == value


def test_files_with_mistakes_of_any_kind_are_converted_or_noted(project: Project) -> None:
    """Values of wrong kinds, at random places: nothing but notes comes of them, and what is written is read back."""
    dice = random.Random(7)
    odd: list[Any] = [None, 5, -1, 2.5, True, "", "x", "+t", "a.b", "${a.b}", "@daily", "2 days", "2024-01-01", [], {}]
    words = ["__type__", "__args__", "__or__", "callback", "file", "datasets", "items", "name", "callable", "assets"]

    def spoilt(item: Item, share: float) -> Item:
        if dice.random() < share:
            value = dice.choice([*odd, [item], {dice.choice(words): item}])
            return item.at(value)
        if isinstance(item.value, dict):
            return item.at({k: spoilt(v, share) for k, v in item.value.items() if dice.random() > share / 3})
        return item.at([spoilt(v, share) for v in item.value]) if isinstance(item.value, list) else item

    files = [load(file, file.name) for file in sorted((HARBOUR / "dags").glob("*.yml")) if file.stem != "defaults"]
    look_at_all((HARBOUR / "dags").glob("*.yml"), project)
    for _ in range(25):
        items = {key: spoilt(item, dice.choice([0.01, 0.04, 0.1])) for key, item in dice.choice(files).items()}
        default = _default_block(items, {})
        for key, item in items.items():
            if key != "default" and isinstance(item.value, dict):
                conversion = Conversion(project.root / "dags", project.root / "dags", project)
                spec = spec_of(joined(item.at(merged(item.value, default))), conversion)
                written = to_yaml(spec, conversion.comments, ["x"], ("steps",))
                assert read(written.encode(), "x").value == spec
