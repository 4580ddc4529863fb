"""Terraform's language, as it is read: what we write comes back, and what people write does not break it."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.infra.hcl import Attribute, Block, Raw, document
from tidemill.infra.needs import InfraProblem
from tidemill.infra.reading import Expression, read


def test_what_is_written_is_read_back_as_it_was() -> None:
    values: dict[str, Any] = {
        "texts": [
            'plain "quoted" \\ back',
            "${not} an %{expression}",
            "two\nlines\tand\r",
            "Zürich ✈ \U0001f6eb",
            "\x07",
        ],
        "none": None,
        "yes": True,
        "whole": 12345678901234,
        "less": -3,
        "part": 0.1,
        "empty": {},
        "nothing": [],
        "long": ["x" * 60] * 3,
        "deep": {"a key": [{"b": [1, 2]}, {"c": {"d": "e"}}], "k": "v", "l": "w"},
    }
    text = document([Block("locals", ("a b", "c"), (Attribute("all", values),), "said\nbefore"), Attribute("x", 1)])
    block, plain = read(text, "f.tf")
    assert (block.name, block.labels, block.line) == ("locals", ("a b", "c"), 3)
    assert block.attributes["all"].value == values
    assert (plain.value, plain.line) == (1, len(text.splitlines()))


def test_expressions_are_kept_and_told_from_texts() -> None:
    text = document(
        [
            Attribute("a", Raw("module.x.arn")),
            Attribute("b", Raw('"x ${join("}", var.y)} \\"z\\""')),
            Attribute("c", "d"),
        ]
    )
    a, b, c = read(text, "f.tf")
    assert isinstance(a.value, Expression)
    assert isinstance(b.value, Expression)
    assert not isinstance(c.value, Expression)
    spaced = read('a = merge( var.tags , {\n  x = 1\n} )\nb = 1 + 2\nd = "q" == "r" ? 1 : 2\n', "f.tf")
    assert [item.value for item in spaced] == [
        "merge ( var . tags , { x = 1 } )", "1 + 2", '"q" == "r" ? 1 : 2',
    ]  # fmt: skip
    assert all(isinstance(item.value, Expression) for item in spaced)
    (each,) = read("c = [for x in y : x]", "f.tf")
    assert each.value == ["for x in y : x"]


def test_what_people_write() -> None:
    text = (
        '\ufeff# a comment\r\nregion="eu-west-1" // one\r\n/* two\nlines = 3 */ names = [\n  "a", # why\n  "b",\n]\n'
        'tags = { "team": "ml", cost = 1.5e1 }\nscript = <<-EOT\n  x = "1"\n  EOT\nlast = true\n'
    )
    found = {item.name: (item.value, item.line) for item in read(text, "own.auto.tfvars")}
    assert found["region"] == ("eu-west-1", 2)
    assert found["names"] == (["a", "b"], 4)
    assert found["tags"] == ({"team": "ml", "cost": 15.0}, 8)
    assert isinstance(found["script"][0], Expression)
    assert found["last"] == (True, 12)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\nb\n", 2),
        ("a = [1, 2\n", 2),
        ("a = {\n  b = 1\n", 3),
        ("a {\n  b = 1\n", 3),
        ("a =\n", 1),
        ("a = (1\n", 2),
        ("}\n", 1),
        ("a = 1 }\n", 1),
        ("{{{\n", 1),
        ("\x00\x01", 1),
        ("a = { b }\n", 1),
        ('a = 1\nb = "c\n', 2),
        ("a = <<E\nb\n", 1),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InfraProblem, match=rf"^f\.tf:{line}: cannot be read at "):
        read(text, "f.tf")


def test_what_is_nested_too_deeply_is_told() -> None:
    with pytest.raises(InfraProblem, match="nested too deeply"):
        read("a = " + "[" * 100_000, "f.tf")
