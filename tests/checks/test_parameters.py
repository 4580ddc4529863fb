"""What the source of constructors tells about the arguments of a class."""

from __future__ import annotations

import ast
from typing import Any

from tidemill.checks.parameters import Init, Parameter, Signature, merged, read_init
from tidemill.checks.reflect import signature_of


def init(source: str, owner: str = "A") -> Init:
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef)
    return read_init(owner, node)


BASE = init("def __init__(self, task_id, owner='x', retries=0, **kwargs): ...", "BaseOperator")
MIDDLE = init("def __init__(self, sql, region=None, *, conn='c', **kwargs):\n super().__init__(**kwargs)")


def names(found: tuple[Parameter, ...]) -> dict[str, bool]:
    return {one.name: one.required for one in found}


def test_what_is_handed_on_is_the_bases() -> None:
    own = init("def __init__(self, *args, rows: int, **kwargs):\n super().__init__(*args, **kwargs)")
    parameters, settings, is_open = merged([own, MIDDLE, BASE])
    assert names(parameters) == {"rows": True, "sql": True, "region": False, "conn": False}
    assert settings == ("task_id", "owner", "retries")
    assert is_open is False


def test_what_a_class_gives_its_base_itself_cannot_be_given_again() -> None:
    own = init("def __init__(self, rows, **kwargs):\n super().__init__(sql='x', **kwargs)")
    assert names(merged([own, MIDDLE, BASE])[0]) == {"rows": True, "region": False, "conn": False}
    by_position = init("def __init__(self, rows, **kwargs):\n MIDDLE.__init__(rows, **kwargs)")
    assert names(merged([by_position, MIDDLE, BASE])[0]) == {"rows": True, "region": False, "conn": False}


def test_what_a_class_takes_out_of_its_keywords_is_taken() -> None:
    own = init(
        "def __init__(self, **kwargs):\n old = kwargs.pop('old', None)\n kwargs['sql'] = 1\n"
        " if 'older' in kwargs: pass\n kwargs.get('owner')\n super().__init__(**kwargs)"
    )
    found, settings, _ = merged([own, MIDDLE, BASE])
    assert names(found) == {"sql": False, "region": False, "conn": False, "old": False, "older": False}
    assert "owner" in settings


def test_keywords_that_stay_in_the_class_may_be_anything() -> None:
    assert merged([init("def __init__(self, a, **rest):\n self.rest = rest")])[2] is True
    assert merged([init("def __init__(self, a):\n pass"), BASE])[1:] == ((), False)
    assert merged([]) == ((), (), False)


def test_a_parameter_of_its_own_is_none_of_any_operators_settings() -> None:
    own = init("def __init__(self, *, retries: int = 3, **kwargs):\n super().__init__(retries=retries, **kwargs)")
    found, settings, _ = merged([own, BASE])
    assert names(found) == {"retries": False}
    assert "retries" not in settings


class Plain:
    """A class.

    With more to say."""

    template_fields = ["a"]  # noqa: RUF012 - as operators write it

    def __init__(self, a: str, /, b: int = 1, *rest: Any, c: float | None = None) -> None: ...


def test_a_class_that_is_imported_is_read_from_its_source_or_else_by_inspection() -> None:
    found = signature_of(Plain, "x.Plain")
    assert [(one.name, one.passing, one.required) for one in found.parameters] == [
        ("a", "positional", True),
        ("b", "either", False),
        ("rest", "rest", False),
        ("c", "named", False),
    ]
    assert (found.template_fields, found.open, found.doc) == (("a",), False, "A class.")
    made: dict[str, Any] = {}
    exec("class Made:\n def __init__(self, a: 'int', b: str = 'x', **more): ...", made)
    found = signature_of(made["Made"], "x.Made")
    assert [(one.name, one.type["type"], one.required) for one in found.parameters] == [
        ("a", "integer", True),
        ("b", "text", False),
    ]
    assert found.open is True
    assert signature_of(dict, "x.dict").open is True


def test_a_signature_survives_json() -> None:
    for fields in (("a",), None):
        one = Signature(
            "x.Y", ("operator",), (Parameter("a", {"type": "text"}, True),), ("retries",), fields, True, "d"
        )
        assert Signature.from_json(one.to_json()) == one


def test_where_a_template_field_is_no_parameter_nobody_knows_what_is_rendered() -> None:
    parameters = (Parameter("a"), Parameter("b"))
    assert Signature("x.Y", (), parameters, (), ("a",)).rendered("b") is False
    assert Signature("x.Y", (), parameters, (), ("a",)).rendered("a") is True
    assert Signature("x.Y", (), parameters, (), ("config",)).rendered("b") is True
    assert Signature("x.Y", (), parameters, (), None).rendered("b") is True
    assert Signature("m:f", ("function",), parameters).rendered("b") is True
