"""Arguments held against a signature, with the place of each mistake; and their form in the plan."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tidemill.checks.allowed import Use
from tidemill.checks.annotations import from_text
from tidemill.checks.arguments import check_arguments, named, unknown
from tidemill.checks.parameters import Parameter, Passing, Signature, SignatureProblem
from tidemill.checks.signatures import Lookup
from tidemill.checks.typed import typed, typed_arguments
from tidemill.project import Project
from tidemill.spec.load import Sources
from tidemill.spec.reader import read


def parameter(name: str, kind: str = "", required: bool = False, passing: Passing = "named") -> Parameter:
    return Parameter(name, from_text(kind) if kind else {"type": "any"}, required, passing)


OPERATOR = Signature(
    "airflow.providers.acme.operators.x.LoadOperator",
    ("operator",),
    (
        parameter("sql", "str", required=True),
        parameter("rows", "int"),
        parameter("share", "float"),
        parameter("strict", "bool"),
        parameter("wait", "timedelta | float"),
        parameter("length", "timedelta"),
        parameter("since", "datetime"),
        parameter("on_row", "Callable[..., Any]"),
        parameter("mode", "Literal['append', 'replace']"),
        parameter("level", "Literal[1, 2]"),
        parameter("columns", "list[str]"),
        parameter("limits", "dict[str, timedelta]"),
        parameter("region", "str | None"),
        parameter("when", "str | datetime"),
        parameter("either", "int | list[int]"),
        parameter("pod"),
    ),
    ("task_id", "retries", "pool", "params", "start_date", "on_failure_callback", "resources"),
    ("sql", "columns", "limits", "pod"),
)
DAY = Signature(
    "include.days.Day",
    (),
    (parameter("year", "int", True, "either"), parameter("month", "int", True, "either"), parameter("note", "str")),
)
KUBERNETES = Signature("kubernetes.client.models.V1EnvVar", (), (parameter("name", "str"), parameter("value", "str")))
FUNCTION = Signature(
    "include.m:f", ("function",), (parameter("path", "str", True, "either"), parameter("gap", "timedelta"))
)
KNOWN: dict[tuple[str, Use], Signature] = {
    ("include.days.Day", "object"): DAY,
    ("kubernetes.client.models.V1EnvVar", "object"): KUBERNETES,
    ("include.m:f", "callable"): FUNCTION,
}


def look(name: str, use: Use) -> Signature | SignatureProblem:
    return KNOWN.get((name, use)) or SignatureProblem(f'"{name}" may not be named in a spec', "allowed: include.*")


def told(
    text: str,
    signature: Signature = OPERATOR,
    *,
    mapped: frozenset[str] = frozenset(),
    supplied: frozenset[str] = frozenset(),
) -> list[tuple[int, str, str | None]]:
    """Line within ``with``, message and hint of each mistake."""
    lines = "".join(f"  {line}\n" for line in text.strip("\n").splitlines())
    sources = Sources((read(f"with:\n{lines}".encode(), "a.yaml"),))
    arguments = sources.merged["with"]
    found = check_arguments(signature, arguments, ("with",), sources, look=look, mapped=mapped, supplied=supplied)
    return [(error.line - 1, error.message, error.hint) for error in found]


def first(text: str, signature: Signature = OPERATOR) -> tuple[str, str | None]:
    found = told(text if signature is not OPERATOR else f"sql: x\n{text}", signature)
    assert len(found) == 1, found
    return found[0][1:]


@pytest.mark.parametrize(
    "text",
    [
        "rows: 3\nshare: 1\nstrict: true",
        "share: 0.5\nwait: 15 min",
        "wait: 30\nlength: 0 s",
        "since: 2013-07-01T06:00\nwhen: tomorrow",
        "on_row: include.m:f",
        "on_row: {$function: include.m:f}",
        "mode: append\nlevel: 2",
        "columns: [a, b]",
        "limits: {a: 5 min}",
        "either: 3",
        "either: [3]",
        "pod: {deep: [{er: 1.5}], $set: 1}",
        "pod: {$object: include.days.Day, with: {year: 2013, month: 7}}",
        "pod: {$object: include.days.Day, args: [2013], with: {month: 7}}",
        "pod: [{$object: kubernetes.client.models.V1EnvVar, with: {name: a, value: '{{ ds }}'}}]",
        "columns: '{{ steps.a.columns }}'",
        "columns: ['{{ steps.a.column }}', b]",
        "limits: {a: '{{ params.limit }}'}",
        "since: {$object: include.days.Day, args: [1, 2]}",
        "rows: {$object: include.days.Day, args: [1, 2]}",
    ],
)
def test_what_is_taken(text: str) -> None:
    assert told(f"sql: select 1\n{text}") == []


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("rwos: 3", '"LoadOperator" has no argument "rwos"', 'did you mean "rows"?'),
        ("retries: 3", '"retries" is a setting of any step, no argument', "write `retries:` beside `with`, not in it"),
        ("retrise: 3", '"LoadOperator" has no argument "retrise"',
         'did you mean the setting "retries", beside `with`?'),
        ("task_id: x", '"task_id" is a setting of any step, no argument', "the step's name is its id"),
        ("on_failure_callback: x", '"on_failure_callback" is a setting of any step, no argument',
         "write `on_failure:` beside `with`, not in it"),
        ("resources: {}", '"resources" is a setting that steps do not have', "leave it out"),
        ("rows: three", 'expected a whole number, got "three"', None),
        ('rows: "3"', 'expected a whole number, got "3"', "without quotes"),
        ("rows: 2.5", "expected a whole number, got 2.5", None),
        ("rows: true", "expected a whole number, got true", None),
        ("rows: 15 min", 'expected a whole number, got "15 min"', "if it counts seconds: 900"),
        ("rows: [1]", "expected a whole number, got a list", None),
        ("share: much", 'expected a number, got "much"', None),
        ('strict: "true"', 'expected true or false, got "true"', None),
        ("strict: 1", "expected true or false, got 1", None),
        ("region: 5", "expected text, got 5", 'quote it: "5"'),
        ("length: 15", "expected a duration such as 15 min, got 15", "add a unit, e.g. 15 s"),
        ("length: 15 m", 'expected a duration such as 90 s, 15 min, 2 h, 14 d or 2 w, got "15 m": '
         '"m" could be minutes or months', 'write "15 min" or "15 months"'),
        ("wait: soon", 'expected a duration such as 90 s, 15 min, 2 h, 14 d or 2 w, got "soon"', None),
        ("since: yesterday", "expected a date such as 2013-07-01, or a date and time such as "
         '2013-07-01T06:00+02:00, got "yesterday"', None),
        ("on_row: os:system", '"os:system" may not be named in a spec', "allowed: include.*"),
        ("on_row: {$function: os:system}", '"os:system" may not be named in a spec', "allowed: include.*"),
        ("on_row: 5", "expected a function such as include.flows.tasks:clean, got 5", None),
        ("mode: apend", 'expected one of "append", "replace", got "apend"', 'did you mean "append"?'),
        ("level: 3", "expected one of 1, 2, got 3", None),
        ("columns: a", 'expected a list of text, got "a"', 'e.g. ["a"]'),
        ("columns: [a, 5]", "expected text, got 5", 'quote it: "5"'),
        ("limits: {a: 5}", "expected a duration such as 15 min, got 5", "add a unit, e.g. 5 s"),
        ("either: x", 'expected a whole number or a list of a whole number, got "x"', 'e.g. ["x"]'),
        ("rows: '{{ 3 }}'", '"rows" is not rendered by LoadOperator: the template would stay text',
         "rendered are: sql, columns, limits, pod"),
        ("region: '{% if x %}a{% endif %}'", '"region" is not rendered by LoadOperator: the template would stay text',
         "rendered are: sql, columns, limits, pod"),
        ("pod: {$object: subprocess.Popen, args: [[id]]}", '"subprocess.Popen" may not be named in a spec',
         "allowed: include.*"),
        ("pod: [{deep: {$object: os.system, args: [id]}}]", '"os.system" may not be named in a spec',
         "allowed: include.*"),
        ("pod: {$object: include.days.Day, with: {year: {$object: os.system}, month: 1}}",
         '"os.system" may not be named in a spec', "allowed: include.*"),
        ("pod: {$object: include.days.Day, args: [2013, {$object: os.system}]}",
         '"os.system" may not be named in a spec', "allowed: include.*"),
        ("pod: {$object: include.days.Day, with: {year: 1}}", '"Day" needs "month"', "add `month:` (a whole number)"),
        ("pod: {$object: include.days.Day, args: [1, 2, 3]}", '"Day" takes 2 arguments by position, not 3', None),
        ("pod: {$object: include.days.Day, args: [1, x]}", 'expected a whole number, got "x"', None),
        ("pod: {$object: include.days.Day, args: 5}", "expected a list of arguments", "e.g. args: [value]"),
        ("pod: {$object: include.days.Day, with: 5}", "expected the arguments, by name", "e.g. with: {name: value}"),
        ("pod: {$object: include.days.Day, wiht: {}, args: [1, 2]}", '"$object" has no part "wiht"',
         'did you mean "with"?'),
        ("pod: {$object: 5}", "expected a name, got 5", None),
        ("pod: {$objct: include.days.Day}", 'unknown form "$objct"', 'did you mean "$object"?'),
        ("pod: {$object: include.days.Day, args: [1, 2], with: {note: '{{ ds }}'}}",
         '"note" is not rendered by Day: the template would stay text', "it renders no argument"),
        ("pod: {$timedelta: 5}", '"$timedelta" is not for specs',
         "write a duration such as 15 min, or an instant, as it is"),
        ("pod: [{$output: [a, b]}]", '"$output" is not for specs',
         "write a duration such as 15 min, or an instant, as it is"),
    ],
)  # fmt: skip
def test_mistakes(text: str, message: str, hint: str | None) -> None:
    assert first(text) == (message, hint)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x|attr('__class__') }}",
        "{{ x['__class__'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ x",
    ],
)
@pytest.mark.parametrize("place", ["sql: {}", "sql: x\ncolumns: [a, {}]", "sql: x\npod: {{a: [{{b: {}}}]}}"])
def test_templates_that_reach_out_are_refused_at_their_line(template: str, place: str) -> None:
    quoted = "'" + template.replace("'", "''") + "'"
    text = place.format(quoted)
    found = told(text)
    assert len(found) == 1
    assert found[0][0] == len(text.splitlines())


def test_templates_are_refused_where_nothing_is_rendered_too() -> None:
    assert first("rows: '{{ x.__class__ }}'")[0].startswith('"rows" is not rendered')
    assert told("sql: x\nregion: 'a {# not a template'") == []


def test_what_is_needed_and_missing_is_said_at_the_arguments() -> None:
    assert told("rows: 3") == [(0, '"LoadOperator" needs "sql"', "add `sql:` (text)")]
    assert told("rows: 3", mapped=frozenset({"sql"})) == []
    assert told("rows: 3", supplied=frozenset({"sql"})) == []
    assert told("sql: x", mapped=frozenset({"sql"})) == [
        (1, '"sql" is given by `for_each` too', "write it in one place")
    ]


def test_a_functions_arguments_are_all_rendered() -> None:
    assert told("path: '{{ ds }}'\ngap: '{{ x }}'", FUNCTION) == []
    assert first("path: x\nti: 5", FUNCTION) == (
        '"ti" is given by Airflow itself',
        "leave it out, or call the parameter otherwise",
    )
    assert {message for _, message, _ in told("paht: x", FUNCTION)} == {
        '"f" has no argument "paht"',
    }


def test_an_open_signature_takes_anything_but_attacks() -> None:
    anything = Signature("include.x.Y", ("operator",), (), ("retries",), None, open=True)
    assert told("a: 1\nb: '{{ ds }}'", anything) == []
    assert unknown(anything, "retries") is not None
    assert len(told("a: {$object: os.system}\nb: '{{ x.__class__ }}'", anything)) == 2


def test_an_argument_by_position_only_cannot_be_given_by_name() -> None:
    found = unknown(Signature("x.Y", (), (parameter("a", passing="positional"),)), "a")
    assert found == ('"Y" takes "a" only by position', "which a spec cannot give")


def test_what_arguments_name_is_found_however_deep() -> None:
    value = {"a": [{"$object": "x.Y", "with": {"b": {"$function": "m:f"}}}], "c": {"$object": 5}}
    assert [*named(value)] == [("x.Y", "object"), ("m:f", "callable")]


@pytest.mark.parametrize(
    ("value", "kind", "form"),
    [
        ("15 min", "timedelta", {"$timedelta": 900.0}),
        ("15 min", "timedelta | float", {"$timedelta": 900.0}),
        ("15 min", "str | timedelta", "15 min"),
        ("15 min", "", "15 min"),
        ("2013-07-01", "datetime | None", {"$datetime": "2013-07-01T00:00:00+00:00"}),
        ("include.m:f", "Callable | None", {"$function": "include.m:f"}),
        ("include.m:f", "str", "include.m:f"),
        ({"$function": "include.m:f"}, "", {"$function": "include.m:f"}),
        ("{{ steps.a }}", "timedelta", "{{ steps.a }}"),
        (["1 h"], "list[timedelta]", [{"$timedelta": 3600.0}]),
        ({"a": "1 h"}, "dict[str, timedelta] | None", {"a": {"$timedelta": 3600.0}}),
        ({"$object": "include.days.Day", "args": [2013], "with": {"month": 7}}, "",
         {"$object": "include.days.Day", "with": {"month": 7}, "args": [2013]}),
        (5, "float", 5),
        (None, "str | None", None),
    ],
)  # fmt: skip
def test_the_form_in_the_plan(value: Any, kind: str, form: Any) -> None:
    assert typed(value, from_text(kind) if kind else {"type": "any"}, look) == form


def test_arguments_take_the_types_of_their_parameters() -> None:
    assert typed_arguments(OPERATOR, {"length": "1 s", "sql": "1 s", "on_row": "include.m:f"}, look) == {
        "length": {"$timedelta": 1.0},
        "sql": "1 s",
        "on_row": {"$function": "include.m:f"},
    }


def test_the_arguments_of_real_operators(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include/m.py").write_text("def f(a): ...", encoding="utf-8")
    lookup = Lookup(Project(tmp_path, tmp_path / ".tidemill"))

    def wrong(name: str, text: str) -> list[str]:
        signature = lookup(name, "operator")
        assert isinstance(signature, Signature), signature
        sources = Sources((read(f"with: {text}".encode(), "a.yaml"),))
        found = check_arguments(signature, sources.merged["with"], ("with",), sources, look=lookup)
        return [error.message for error in found]

    names = ("BashOperator", "PythonOperator", "FileSensor", "TimeDeltaSensor", "EmptyOperator")
    lookup.prepare((name, "operator") for name in names)
    assert wrong("BashOperator", "{bash_command: 'echo {{ ds }}', env: {A: '{{ ds }}'}, append_env: true}") == []
    assert wrong("BashOperator", "{bash_command: x, cwd: 5, append_env: '{{ x }}', retries: 1}") == [
        "expected text, got 5",
        '"append_env" is not rendered by BashOperator: the template would stay text',
        '"retries" is a setting of any step, no argument',
    ]
    assert wrong("PythonOperator", "{python_callable: include.m:f, op_kwargs: {a: '{{ ds }}'}}") == []
    assert wrong("PythonOperator", "{python_callable: include.m:g}") == ['"include.m" has no function "g"']
    assert wrong("PythonOperator", "{python_callable: os:system}") == ['"os:system" may not be named in a spec']
    assert wrong("FileSensor", "{filepath: x, poke_interval: 5 min, timeout: 1 h, mode: reschedule}") == []
    assert wrong("TimeDeltaSensor", "{delta: 5 min}") == []
    assert wrong("EmptyOperator", "{}") == []
    assert wrong("EmptyOperator", "{x: 1}") == ['"EmptyOperator" has no argument "x"']


def test_a_large_value_is_checked_in_time() -> None:
    rows = ", ".join(f"{{a: '{{{{ x.y{index} }}}}', $object: os.system}}" for index in range(2_000))
    began = time.monotonic()
    assert len(told(f"sql: x\npod: [{rows}]")) == 4_000
    assert time.monotonic() - began < 5
