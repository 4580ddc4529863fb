"""Templates at run time: names put together there, which no check of the text can see, are stopped by the sandbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.specs.attacks.__main__ import ESCAPE, SHOWN
from tidemill.airflow.factory import build
from tidemill.project import Project

MACROS = 'user_defined_macros: {own: {$function: "include.train:train"}}\n'
MACROS += 'user_defined_filters: {own: "include.train:train"}\n'
STEP = "steps: {a: {operator: BashOperator, with: {bash_command: x}, doc_md: %r, executor_config: {x: %r}}}\n"
UNDER = "{% set u = '_' ~ '_' %}"
ESCAPES = [
    UNDER + "{{ (x | attr(u ~ 'class' ~ u)).mro() }}",
    UNDER + "{{ x[u ~ 'class' ~ u].mro() }}",
    UNDER + "{{ (own | attr(u ~ 'globals' ~ u)).get('os') }}",
    UNDER + "{{ own[u ~ 'globals' ~ u].get('os') }}",
    UNDER + "{{ (steps | attr(u ~ 'globals' ~ u)).get('os') }}",
    UNDER + "{{ ([x] | map(attribute=u ~ 'class' ~ u) | first).mro() }}",
    UNDER + "{{ ('{0.' ~ u ~ 'class' ~ u ~ '.mro}').format(x) }}",
    UNDER + "{{ (self | attr(u ~ 'init' ~ u)).x }}",
    UNDER + "{{ (cycler | attr(u ~ 'init' ~ u) | attr(u ~ 'globals' ~ u)).os }}",
    "{{ (own | attr('func_' ~ 'globals')).os }}",
]


def environment(plan_of: Callable[[str], Any], project: Project, native: bool) -> Any:
    head = f"tidemill: 1\nrender_template_as_native_obj: {str(native).lower()}\n"
    plan = plan_of(head + MACROS + STEP % ("x", "x"))
    dag = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project, lazy=True)
    env = dag.get_template_env()
    assert "own" in env.globals
    assert "own" in env.filters
    # As in a task's process, where the functions themselves are there.
    env.globals["own"] = env.filters["own"] = environment
    return env


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
@pytest.mark.parametrize("template", ESCAPES)
def test_names_put_together_at_run_time_lead_nowhere(
    plan_of: Callable[[str], Any], project: Project, template: str, native: bool
) -> None:
    from jinja2 import UndefinedError
    from jinja2.sandbox import SandboxedEnvironment, SecurityError

    env = environment(plan_of, project, native)
    assert isinstance(env, SandboxedEnvironment)
    try:
        found = env.from_string(template).render(x="text")
    except (SecurityError, UndefinedError):
        return
    assert "built-in" not in str(found)
    assert "class" not in str(found)
    assert str(found) in ("None", "")


def test_native_templates_keep_their_types(plan_of: Callable[[str], Any], project: Project) -> None:
    assert environment(plan_of, project, True).from_string("{{ [1, x] }}").render(x=2) == [1, 2]
    assert environment(plan_of, project, False).from_string("{{ [1, x] }}").render(x=2) == "[1, 2]"


def test_what_is_shown_or_handed_on_is_never_rendered(plan_of: Callable[[str], Any], project: Project) -> None:
    assert {"description", "doc_md", "tooltip", "params", "executor_config"} == SHOWN
    plan = plan_of("tidemill: 1\nparams: {p: 1}\n" + STEP % (ESCAPE, ESCAPE))
    dag = build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project, lazy=True)
    assert not SHOWN & set(dag.get_task("a").template_fields)


def test_a_plan_from_elsewhere_starts_nothing_that_is_not_allowed(
    plan_of: Callable[[str], Any], project: Project
) -> None:
    """As one in the cache that somebody changed: the allow-list is asked again where things are made."""
    import json

    from tidemill.airflow.values import Unbuildable
    from tidemill.plan.model import Plan

    text = (
        "tidemill: 1\ndeadline: {interval: 1 h, callback: include.late:late}\n"
        'steps: {a: {python: "include.train:train", with: {context: {$object: datetime.timedelta, args: [1]}}}}\n'
    )
    (project.root / "include" / "late.py").write_text("async def late(context=None): ...\n")
    whole = json.dumps(plan_of(text).to_json())
    for real, other in [
        ("datetime.timedelta", "subprocess.Popen"),
        ("include.late:late", "os:system"),
        ("include.train:train", "os:system"),
        ('"decorator": "python"', '"decorator": "__class__"'),
    ]:
        assert real in whole
        plan = Plan.from_json(json.loads(whole.replace(real, other)))
        with pytest.raises(Unbuildable, match=r"may not be named in a spec|is no decorator"):
            build(plan, plan.dags[0], project.root / "dags" / "flights.yaml", project)
