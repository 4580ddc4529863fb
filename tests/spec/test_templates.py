"""Templates are read, never rendered: names found with their places, rewritten without loss, and attacks refused."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.spec.templates import Reference, alone, is_template, problems, references, rewrite


def named(text: str) -> list[tuple[str, tuple[str, ...]]]:
    return [(found.name, found.parts) for found in references(text)]


def full(reference: Reference) -> tuple[str, int] | None:
    """In a group "g", with a step that is called "a.b" in full."""
    if not reference.parts:
        return None
    if reference.parts[:2] == ("g", "in"):
        return "g.in", 2
    return f"g.{reference.parts[0]}", 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ steps.a.b }}", [("steps", ("a", "b"))]),
        ("{{ steps['a.b'].c }} {{ steps('d')['e'] }}", [("steps", ("a.b", "c")), ("steps", ("d", "e"))]),
        ('{{ steps["a"] ~ each.k }}', [("steps", ("a",)), ("each", ("k",))]),
        ("{{ as_of }}{{ as_of() }}{{ as_of.date() }}", [("as_of", ())] * 3),
        ("{{ steps.a.b.strip() }}", [("steps", ("a", "b"))]),
        ("{{ steps.a[0] }}", [("steps", ("a",))]),
        ("{{ steps[name].x }}{{ steps }}", [("steps", ()), ("steps", ())]),
        ("{% if ds %}{% set x = logical_date %}{% endif %}", [("ds", ()), ("logical_date", ())]),
        ("{{ macros.ds_add(ds, 7) }}{{ ds|upper }}", [("ds", ()), ("ds", ())]),
        ("{{ x.as_of }}{{ x|ds }}{{ f(as_of=1) }}{{ x is ds }}{{ x is not ds }}", []),
        ("{{ f(as_of==1) }}{{ {as_of: 1} }}", [("as_of", ()), ("as_of", ())]),
        ("{% for ds in x %}{{ ds }}{% endfor %}{% set as_of = 1 %}{{ as_of }}", []),
        ("{# steps.a #}{% raw %}{{ steps.b }}{% endraw %}{{ 'steps.c' }} steps.d", []),
        ("no template: steps.a", []),
        ("{{ steps.a", []),
    ],
)
def test_what_a_template_names(text: str, found: list[tuple[str, tuple[str, ...]]]) -> None:
    assert named(text) == found


def test_a_name_with_a_dash_is_known_for_what_it_was_meant_to_be() -> None:
    [found] = references("{{ steps.my-step-2.rows }}")
    assert found.dashed == "my-step-2"
    assert references("{{ steps.a.n - 1 }}")[0].dashed is None


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("{{ steps.a }}", True),
        ("{{steps.a.b}}", True),
        ("{{ each.k }}", True),
        ("{{ steps.a }} ", False),
        ("{{ steps.a | upper }}", False),
        ("{{ steps.a }}{{ steps.b }}", False),
        ("{{ 'x' }}{{ steps.b }}", False),
        ("{{ -steps.b }}", False),
        ("text", False),
    ],
)
def test_a_reference_that_stands_alone(text: str, whole: bool) -> None:
    assert (alone(text) is not None) is whole


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("{{ steps.a.b }}", "{{ steps('g.a').b }}"),
        ("{{ steps['a'].b }}", "{{ steps('g.a').b }}"),
        ("{{ steps('a')['not-a-name'] }}", "{{ steps('g.a')['not-a-name'] }}"),
        ("{{ steps.g.in.x }}", "{{ steps('g.in').x }}"),
        ("a {{- steps.a }}\n\n{%- if as_of  %} x {{ as_of.date() }}{% endif -%}\n z\n", None),
        ("\r\n{{ as_of }}\r\n  {{- steps.a.b.strip() -}} \r\n x", None),
        ("{# steps.a as_of #}{% raw %}{{ as_of }}{% endraw %}{{ 'as_of' ~ as_of() }}", None),
        ("{{ steps[x] }} as_of", None),
    ],
)
def test_names_are_written_out_and_all_else_stays(text: str, written: str | None) -> None:
    by_hand = text.replace("{% if as_of  %}", "{% if as_of()  %}").replace("{%- if as_of  %}", "{%- if as_of()  %}")
    by_hand = by_hand.replace("as_of.date", "as_of().date").replace("\n{{ as_of }}", "\n{{ as_of() }}")
    by_hand = by_hand.replace("steps.a.b.strip", "steps('g.a').b.strip")
    by_hand = by_hand.replace("{{- steps.a }}", "{{- steps('g.a') }}")
    assert rewrite(text, full) == (written if written is not None else by_hand)


def test_a_written_out_template_is_written_out_to_itself() -> None:
    once = rewrite("{{ steps.a.b ~ as_of }}", lambda found: ("it's \\ a", 1))
    assert once == r"{{ steps('it\'s \\ a').b ~ as_of() }}"
    assert rewrite(once, lambda found: (found.parts[0], 1)) == once


_PIECES = ["{{", "}}", "{%", "%}", "{#", "#}", "-", " ", "\r\n", "\n", "as_of", "steps", ".a", "(", ")", "'x'", "if "]
_PIECES += ["endif", "raw", "endraw", "|", "=", "\\", "'", "[", "]", "é", "{{ as_of }}", "{{- steps.a -}}"]


@given(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join))
def test_nothing_is_lost_whatever_a_template_holds(text: str) -> None:
    assert rewrite(text, lambda found: None).replace("as_of()", "as_of") == text.replace("as_of()", "as_of")
    for found in references(text):
        assert text[found.start : found.end].startswith(found.name)


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ x|attr('__class__') }}",
        "{{ x|attr('__cla' ~ 'ss__') }}",
        "{{ x|attr('__cla' + 'ss__') }}",
        "{{ x|attr(name) }}",
        "{{ x|attr(['__class', '__']|join) }}",
        "{{ x['__class__'] }}",
        "{{ x['__cla' 'ss__'] }}",
        r"{{ x['\x5f\x5fclass\x5f\x5f'] }}",
        "{{ [x]|map(attribute='__class__')|list }}",
        "{{ [x]|map('attr', '__class__')|list }}",
        "{{ [x]|sort(attribute='a.__class__') }}",
        "{{ [x]|join(',', '__class__') }}",
        "{{ [x]|selectattr('__class__') }}",
        "{{ cycler.__init__.__globals__.os.popen('id') }}",
        "{{ lipsum.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ f.func_globals }}{# #}",
        "{{ (g for x in y).gi_frame }}",
        "{{ g.gi_frame.f_back.f_globals }}",
        "{{ int.mro() }}",
        "{% set ns.__class__ = 1 %}",
        "{{ __import__('os') }}",
        "{% if x.__class__ %}{% endif %}",
        "{% for a in b.__subclasses__() %}{% endfor %}",
        "{{ x",
        "{% nonsense %}",
        "{% if x %}",
        "{{ 1 +",
        "{{ " + "9" * 5000 + " }}",
        "{{ " + "(" * 50_000 + " }}",
        "{{ " + "[" * 50_000,
        "{{ x" + ".__a" * 20_000 + " }}",
        "{{ " + "x" * 300_000 + " }}",
        "{{ " + "not " * 40_000 + "x }}",
    ],
)
def test_attacks_and_mistakes_are_refused(text: str) -> None:
    began = time.monotonic()
    assert problems(text)
    assert time.monotonic() - began < 2
    assert references(text) == []
    assert rewrite(text, full) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain __class__ text",
        "{{ items | join('__') }}",
        "{{ ds ~ '__' ~ run_id }}",
        "{{ doc._id }}",
        "{{ x.a.b['c'] }}{% do x.append(1) %}",
        "{{ '__class__' }}",
        "{{ x" + ".a" * 5_000 + " }}",
        "{% for i in range(3) %}{{ loop.index }}{% endfor %}",
        "{{ x | custom_filter }}",
    ],
)
def test_what_airflow_would_render_is_taken(text: str) -> None:
    assert problems(text) == ()


def test_a_mistake_names_its_line_within_the_text() -> None:
    [found] = problems("one\ntwo {{ x.__class__ }}\n")
    assert (found.line, found.message.startswith('"__class__"')) == (2, True)
    [found] = problems("one\n\n{{ x }")
    assert found.line == 3
    assert is_template("{{ x }")


def test_jinja_is_imported_only_for_templates() -> None:
    code = (
        "import sys, tidemill.spec.templates as t; t.problems('a'); t.rewrite('as_of', None); t.references('steps.a');"
        "print('jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
