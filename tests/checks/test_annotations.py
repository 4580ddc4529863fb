"""Annotations of Python in the small language of types."""

from __future__ import annotations

import pytest

from tidemill.checks.annotations import ANY, described, from_text, is_optional


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("str", "text"),
        ("int | None", "a whole number"),
        ("Optional[float]", "a number"),
        ("typing.Optional[str]", "text"),
        ("Union[str, list[int], None]", "text or a list of a whole number"),
        ("Sequence[str]", "a list of text"),
        ("tuple[int, ...]", "a list of a whole number"),
        ("tuple[int, str]", "a list"),
        ("dict[str, Any]", "a mapping"),
        ("datetime.timedelta | float", "a duration such as 15 min or a number"),
        ("'datetime'", "an instant such as 2013-07-01T06:00"),
        ("Callable[..., Any]", "a function such as include.flows.tasks:clean"),
        ("Literal['a', 1, True]", 'one of "a", 1, true'),
        ("Literal['a', None]", 'one of "a"'),
        ("str | ArgNotSet", "text"),
        ("Union[str | ArgNotSet, None]", "text"),
        ("Annotated[int, 'x']", "a whole number"),
        ("V1Pod | None", "anything"),
        ("str | V1Pod", "anything"),
        ("list[V1Pod]", "a list"),
        ("ArgNotSet", "anything"),
        ("os.PathLike[str]", "anything"),
        ("not python at all", "anything"),
        ("x" * 5000, "anything"),
        ("[" * 1500, "anything"),
        ("__import__('os').system('x')", "anything"),
    ],
)
def test_what_an_annotation_says(text: str, words: str) -> None:
    assert described(from_text(text)) == words


def test_what_takes_nothing() -> None:
    assert is_optional(ANY)
    assert is_optional(from_text("str | None"))
    assert is_optional(from_text("Literal['a', None]"))
    assert not is_optional(from_text("str"))
    assert not is_optional(from_text("str | int"))
