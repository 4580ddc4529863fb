"""The project's own classes and functions: read from their files, never imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tidemill.checks.parameters import Parameter, Signature, SignatureProblem
from tidemill.checks.written import CONTEXT_NAMES, bases_outside, class_signature, function_signature

BASH = "airflow.providers.standard.operators.bash.BashOperator"
BASES = {
    "airflow.sdk.BaseOperator": Signature("airflow.sdk.BaseOperator", ("operator",), (), ("retries", "pool")),
    BASH: Signature(
        BASH,
        ("operator",),
        (Parameter("bash_command", {"type": "text"}, True), Parameter("cwd")),
        ("retries",),
        ("bash_command", "cwd"),
    ),
}


def base_of(name: str) -> Signature | SignatureProblem:
    return BASES.get(name) or SignatureProblem("unknown")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "include").mkdir()
    return tmp_path


def function(root: Path, source: str, name: str = "include.m:f") -> Signature:
    (root / "include/m.py").write_text(source, encoding="utf-8")
    found = function_signature(name, root)
    assert isinstance(found, Signature), found
    return found


def a_class(root: Path, source: str, name: str = "include.m.C") -> Signature:
    (root / "include/m.py").write_text(source, encoding="utf-8")
    found = class_signature(name, "operator", root, base_of)
    assert isinstance(found, Signature), found
    return found


def needs(found: Signature) -> dict[str, bool]:
    return {one.name: one.required for one in found.parameters}


def test_a_function(root: Path) -> None:
    found = function(
        root, "def f(path: str, n: int = 1, *, x, ti, ds=None) -> dict[str, int]:\n '''Cleans.\n\n More.'''"
    )
    assert needs(found) == {"path": True, "n": False, "x": True, "ti": False, "ds": False}
    assert (found.kinds, found.doc, found.open) == (("function", "mapping"), "Cleans.", False)


@pytest.mark.parametrize(
    ("source", "kinds"),
    [
        ("async def f(): ...", ("function", "async")),
        ("def f():\n yield 1", ("function", "generator")),
        ("def f():\n def g():\n  yield 1\n return g", ("function",)),
        ("def f() -> 'Mapping[str, int]': ...", ("function", "mapping")),
        ("if True:\n def f(): ...", ("function",)),
        ("from include.other import f", ("function",)),
        ("from .other import f", ("function",)),
        ("from include.other import *", ("function",)),
        ("f = lambda x: x", ("function",)),
    ],
)
def test_what_a_function_is(root: Path, source: str, kinds: tuple[str, ...]) -> None:
    (root / "include/other.py").write_text("def f(a): ...", encoding="utf-8")
    assert function(root, source).kinds == kinds


def test_behind_an_unknown_decorator_anything_may_be_taken(root: Path) -> None:
    assert function(root, "@retry(3)\ndef f(a): ...").open is True
    assert function(root, "import functools\n@functools.cache\ndef f(a): ...").open is False
    assert function(root, "def f(a, **rest): ...").open is True


@pytest.mark.parametrize(
    ("source", "name", "message"),
    [
        ("from os import system", "include.m:system", '"include.m:system" is "posix.system"'),
        ("from os import *", "include.m:system", '"include.m" has no function'),
        ("from subprocess import run as f", "include.m:f", '"include.m:f" is "subprocess.run"'),
        ("import os", "include.m:os", '"include.m:os" is "os"'),
        ("import os.path as f", "include.m:f", '"include.m:f" is "os.path"'),
        ("def g(): ...", "include.m:f", '"include.m" has no function "f"'),
        ("def f(: ...", "include.m:f", "include/m.py:1 is not valid Python"),
        ("", "include.absent:f", 'there is no module "include.absent"'),
        ("from include.m import f", "include.m:f", 'has no function "f"'),
        ("from include.n import f", "include.m:f", '"include.m:f" is "posix.system"'),
        ("@task\ndef f(): ...", "include.m:f", '"f" is made a task in its own module'),
        ("x = " + "(" * 3000, "include.m:f", "include/m.py"),
    ],
)
def test_what_is_no_function_of_the_project(root: Path, source: str, name: str, message: str) -> None:
    (root / "include/m.py").write_text(source, encoding="utf-8")
    (root / "include/n.py").write_text("from os import system as f", encoding="utf-8")
    found = function_signature(name, root)
    assert isinstance(found, SignatureProblem)
    assert message in found.message


OPERATOR = """
from airflow.sdk import BaseOperator
import airflow.sdk as sdk
class C({base}):
    template_fields = ("a", *BaseOperator.template_fields)
    def __init__(self, a: str, n: int = 1, **kwargs):
        super().__init__(**kwargs)
"""


@pytest.mark.parametrize("base", ["BaseOperator", "sdk.BaseOperator", "Generic[T], BaseOperator"])
def test_an_operator_of_the_project(root: Path, base: str) -> None:
    found = a_class(root, OPERATOR.format(base=base))
    assert found.kinds == ("operator",)
    assert needs(found) == {"a": True, "n": False}
    assert (found.settings, found.template_fields, found.open) == (("retries", "pool"), ("a",), False)


def test_a_class_derived_from_a_providers_takes_what_that_takes(root: Path) -> None:
    head = "from airflow.providers.standard.operators.bash import BashOperator\n"
    found = a_class(root, head + "class C(BashOperator):\n template_fields = BashOperator.template_fields + ('x',)")
    assert needs(found) == {"bash_command": True, "cwd": False}
    assert found.template_fields == ("bash_command", "cwd", "x")
    own = " def __init__(self, day, **kw):\n  super().__init__(bash_command='x', **kw)"
    assert needs(a_class(root, head + "class C(BashOperator):\n" + own)) == {"day": True, "cwd": False}
    found = a_class(root, head + "class B(BashOperator):\n" + own + "\nclass C(B): pass")
    assert (needs(found), found.kinds, found.open) == ({"day": True, "cwd": False}, ("operator",), False)
    assert bases_outside("include.m.C", "operator", root) == {BASH}


def test_a_base_in_another_module_of_the_project(root: Path) -> None:
    (root / "include/base.py").write_text(OPERATOR.format(base="BaseOperator"), encoding="utf-8")
    found = a_class(root, "from .base import C as Base\nclass C(Base):\n pass")
    assert needs(found) == {"a": True, "n": False}
    assert (found.name, found.kinds, found.template_fields) == ("include.m.C", ("operator",), ("a",))


def test_where_a_base_cannot_be_seen_arguments_are_not_checked(root: Path) -> None:
    for source in ("from acme import Base\nclass C(Base): pass", "class C(make()): pass", "class C(Nowhere): pass"):
        found = a_class(root, source)
        assert (found.open, found.kinds, found.template_fields) == (True, ("unknown",), None), source
    assert a_class(root, "class C:\n pass").open is False


def test_a_class_that_derives_from_itself_ends(root: Path) -> None:
    assert a_class(root, "class C(C): pass").open is True
    (root / "include/n.py").write_text("from include.m import C\nclass D(C): pass", encoding="utf-8")
    assert a_class(root, "from include.n import D\nclass C(D): pass").open is True


def test_a_data_class(root: Path) -> None:
    source = "@dataclass(frozen=True)\nclass C:\n a: int\n b: str = 'x'\n c: ClassVar[int] = 1"
    assert needs(a_class(root, source)) == {"a": True, "b": False}


@pytest.mark.parametrize("name", ["include.m.Popen", "include.m.f", "include.m.Absent", "include.m.os"])
def test_what_is_no_class_of_the_project(root: Path, name: str) -> None:
    (root / "include/m.py").write_text("import os\nfrom subprocess import Popen\ndef f(): ...", encoding="utf-8")
    assert isinstance(class_signature(name, "object", root, base_of), SignatureProblem)


def test_an_edit_is_seen_and_nothing_is_imported(root: Path) -> None:
    assert needs(function(root, "raise SystemExit('imported')\ndef f(a): ...")) == {"a": True}
    assert needs(function(root, "raise SystemExit('imported')\ndef f(bb): ...")) == {"bb": True}
    assert not [name for name in sys.modules if name == "include.m"]


def test_the_names_that_airflow_gives_a_function_are_those_of_the_installed_airflow() -> None:
    from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

    assert CONTEXT_NAMES == KNOWN_CONTEXT_KEYS


def test_a_misspelt_module_is_known_for_what_it_was_meant_to_be(root: Path) -> None:
    (root / "include/flows").mkdir()
    (root / "include/flows/tasks.py").touch()
    for name, hint in {
        "include.flows.taks:f": 'did you mean "include.flows.tasks:f"?',
        "include.flow.tasks:f": 'did you mean "include.flows.tasks:f"?',
        "include.other:f": "expected at include/other.py",
        "include.flows:f": "expected at include/flows.py",
    }.items():
        found = function_signature(name, root)
        assert isinstance(found, SignatureProblem)
        assert found.hint == hint
