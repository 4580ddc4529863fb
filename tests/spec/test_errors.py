"""Errors: the form users see, in every script and on every width of line."""

from __future__ import annotations

import json
import pickle
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tidemill.spec.errors import SpecError, SpecErrors, dotted, printable, suggest


def error(source: str, column: int, length: int, hint: str | None = "here", line: int = 38) -> SpecError:
    return SpecError("a.yaml", line, column, "", "wrong", hint, length, source)


def caret_columns(rendered: str) -> tuple[str, str]:
    """The drawn source line and the drawn caret line, both without the gutter."""
    _, _, source, caret = rendered.split("\n")
    return source.split("| ", 1)[1], caret.split("| ", 1)[1]


def width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    thin = sum(unicodedata.category(char) in ("Mn", "Me") for char in text)
    return len(text) + wide - thin


def test_an_error_is_rendered_as_the_documentation_shows_it() -> None:
    shown = SpecError(
        "dags/flight_delays.yaml", 38, 5, "promote.when.roc_acu", 'unknown metric "roc_acu"',
        'did you mean "roc_auc"?', 7, "    roc_acu:",
    )  # fmt: skip
    assert shown.render() == (
        'dags/flight_delays.yaml:38:5: promote.when: unknown metric "roc_acu"\n'
        "   |\n"
        "38 |     roc_acu:\n"
        '   |     ^^^^^^^ did you mean "roc_auc"?'
    )


def test_the_path_is_shown_in_full_when_the_message_does_not_name_its_end() -> None:
    shown = SpecError("a.yaml", 1, 1, "train.code", "expected text", None, 1, "train: {code: 1}")
    assert shown.render().startswith("a.yaml:1:1: train.code: expected text\n")


def test_a_top_level_key_named_by_the_message_needs_no_path() -> None:
    shown = SpecError("a.yaml", 1, 1, "trian", 'unknown key "trian"', None, 5, "trian: {}")
    assert shown.render().startswith('a.yaml:1:1: unknown key "trian"\n')


def test_an_error_without_hint_ends_with_the_caret() -> None:
    assert error("abc", 1, 3, None).render().endswith("   | ^^^")


def test_an_empty_line_and_a_column_behind_the_end_still_get_a_caret() -> None:
    assert error("", 1, 1).render() == "a.yaml:38:1: wrong\n   |\n38 |\n   | ^ here"
    assert error("ab", 3, 1).render().endswith("38 | ab\n   |   ^ here")


def test_tabs_are_drawn_as_four_spaces() -> None:
    source, caret = caret_columns(error("\tab: x", 2, 2).render())
    assert source == "    ab: x"
    assert caret == "    ^^ here"


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    source, caret = caret_columns(error("名前: 値, e\u0301: 1", 8, 2).render())
    assert width(source[: source.index("e\u0301")]) == caret.index("^")
    assert caret.count("^") == 1
    _, caret = caret_columns(error("名前: 値", 1, 2).render())
    assert caret == "^^^^ here"


def test_control_and_bidirectional_characters_are_escaped_everywhere() -> None:
    bad = SpecError("a\x1b.yaml", 1, 4, "a\u202eb", "m\x07\nm", "h\u200b", 1, "a: \x1b[2Jx\u202e")
    shown = bad.render()
    assert all(char == "\n" or char.isprintable() for char in shown)
    assert len(shown.split("\n")) == 4
    assert "\\x1b[2Jx\\u202e" in shown
    assert "^^^^ h\\u200b" in shown


def test_a_long_line_is_cut_around_the_place() -> None:
    long = "x" * 5000 + "HERE" + "y" * 1_000_000
    source, caret = caret_columns(error(long, 5001, 4).render())
    assert source.startswith("…")
    assert source.endswith("…")
    assert width(source) <= 112
    assert source[caret.index("^") : caret.rindex("^") + 1] == "HERE"


def test_a_caret_longer_than_the_window_ends_with_it() -> None:
    source, caret = caret_columns(error("k: " + "x" * 400, 4, 400, None).render())
    assert len(caret) <= len(source)
    assert source.endswith("…")


def test_a_very_long_path_is_shortened() -> None:
    shown = SpecError("a.yaml", 1, 1, "a." * 500 + "z", "wrong", None, 1, "a")
    assert len(shown.render().split("\n")[0]) < 130


@given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=300),
    st.integers(1, 320),
    st.integers(0, 320),
)
def test_any_line_is_drawn_in_four_printable_lines_with_a_caret(source: str, column: int, length: int) -> None:
    shown = error(source, column, length).render()
    lines = shown.split("\n")
    assert len(lines) == 4
    assert "^" in lines[3]
    assert all(line.isprintable() for line in lines)


def test_errors_are_sorted_by_place_and_joined() -> None:
    second, first = error("b", 2, 1, line=2), error("a", 1, 1, line=2)
    other = SpecError("0.yaml", 9, 1, "", "first file")
    found = SpecErrors([second, first, other])
    assert found.errors == (other, first, second)
    assert str(found) == found.render() == "\n\n".join(each.render() for each in found.errors)


def test_errors_survive_json_and_pickle() -> None:
    found = SpecErrors([error("abc", 1, 3)])
    assert json.loads(json.dumps(found.to_json())) == [
        {"file": "a.yaml", "line": 38, "column": 1, "path": "", "message": "wrong", "hint": "here",
         "length": 3, "source": "abc"},
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(found)).errors == found.errors


def test_paths_are_dotted_with_indexes_in_brackets() -> None:
    assert dotted(()) == ""
    assert dotted(("steps", "a", 0, "b")) == "steps.a[0].b"
    assert dotted((2, "x")) == "[2].x"


def test_printable_leaves_what_can_be_seen() -> None:
    assert printable("naïve 名前 — ok") == "naïve 名前 — ok"
    assert printable("a\u00a0b\u3164\ufe0f") == "a\\xa0b\\u3164\\ufe0f"


def test_suggestions_find_slips_and_other_spellings() -> None:
    metrics = ["roc_auc", "log_loss", "brier", "rmse"]
    assert suggest("roc_acu", metrics) == "roc_auc"
    assert suggest("ROC-AUC", metrics) == "roc_auc"
    assert suggest("Log Loss", metrics) == "log_loss"
    assert suggest("rsme", metrics) == "rmse"
    assert suggest("rms", metrics) == "rmse"


def test_suggestions_do_not_guess_wildly() -> None:
    assert suggest("accuracy", ["brier", "rmse"]) is None
    assert suggest("", ["a", "b"]) is None
    assert suggest("x", []) is None
    assert suggest("same", ["same"]) is None
