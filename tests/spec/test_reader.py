"""The reader: YAML 1.2 values, the place of each, every refusal with its place, and limits that hold."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.spec import reader
from tidemill.spec.errors import SpecError, SpecErrors
from tidemill.spec.pure import PureParser
from tidemill.spec.reader import read

FLIGHTS = """\
# yaml-language-server: $schema=../include/schemas/tidemill-1.json
tidemill: 1
schedule: quarterly
start: 2013-07-01
catchup: false

data:
  key: [flight_id]
  window: {column: time_hour, train: 5 months, holdout: 1 month}

train:
  params: {learning_rate: 0.1, max_iter: 200}

promote:
  model: flight_delays
  when:
    roc_auc:
      at_least: 0.65
      gain: {at_least: 0.0, without_champion: pass}
    log_loss: {at_most: 0.60}
monitor:
  drift:
  - distance: psi
    share: 30%
"""


@pytest.fixture(params=["libyaml", "pure Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a test under both parsers."""
    if request.param == "pure Python":
        monkeypatch.setattr(reader, "_Parser", PureParser)
    else:
        assert reader._Parser is not PureParser


def value(text: str) -> dict[str, Any]:
    return read(text.encode(), "a.yaml").value


def errors(text: str | bytes) -> tuple[SpecError, ...]:
    with pytest.raises(SpecErrors) as caught:
        read(text.encode() if isinstance(text, str) else text, "a.yaml")
    return caught.value.errors


def only(text: str | bytes) -> SpecError:
    (error,) = errors(text)
    return error


def stretch(text: str, place: tuple[int, int, int]) -> str:
    line, column, length = place
    return text.split("\n")[line - 1][column - 1 :][:length]


# Values


def test_a_spec_reads_as_the_same_values_as_pyyaml_gives_it_but_for_dates(parser: None) -> None:
    expected = yaml.safe_load(FLIGHTS)
    expected["start"] = "2013-07-01"
    assert value(FLIGHTS) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"), ("y", "y"),
        ("true", True), ("True", True), ("TRUE", True), ("tRue", "tRue"), ("false", False),
        ("", None), ("~", None), ("null", None), ("Null", None), ("NULL", None), ("nUll", "nUll"),
        ("12", 12), ("-12", -12), ("+12", 12), ("010", 10), ("0o17", 15), ("0O17", "0O17"), ("0x1F", 31),
        ("0b11", "0b11"), ("1_000", "1_000"), ("12:30:45", "12:30:45"), ("-0x1F", "-0x1F"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), ("1.", 1.0), (".5", 0.5), ("-.5", -0.5), ("1e3", 1000.0), ("1E-3", 0.001), ("1.5e+3", 1500.0),
        ("0.0", 0.0), ("0e5", 0.0), ("e3", "e3"), (".", "."), ("-", None), ("+", "+"), ("1.2.3", "1.2.3"),
        (".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf), ("inf", "inf"), ("NaN", "NaN"),
        ("2013-07-01", "2013-07-01"), ("2013-07-01T00:00:00Z", "2013-07-01T00:00:00Z"), ("30%", "30%"), ("=", "="),
        ('"12"', "12"), ("'true'", "true"), ('""', ""), ('"~"', "~"), ('"<<"', "<<"),
        ("!!str 12", "12"), ("!!int '12'", 12), ("!!float 1", 1.0), ("!!bool 'true'", True), ("!!null ''", None),
        ("!!map {a: 1}", {"a": 1}), ("!!seq [1]", [1]), ("!<tag:yaml.org,2002:str> 1", "1"),
        ("|\n  a\n  b\n", "a\nb\n"), (">-\n  a\n  b\n", "a b"), ('"\\u00e9\\U0001F600\\t"', "é😀\t"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(parser: None, text: str, expected: object) -> None:
    if text == "-":
        assert value("a:\n  -") == {"a": [None]}
        return
    found = value(f"a: {text}")["a"]
    assert found == expected
    assert type(found) is type(expected)


def test_nan_is_read(parser: None) -> None:
    assert all(math.isnan(each) for each in value("a: [.nan, .NaN, .NAN]")["a"])


def test_words_of_yaml_1_1_are_text_as_keys_too(parser: None) -> None:
    assert value("on: 1\nno: 2\n2013-07-01: 3\n1:30: 4") == {"on": 1, "no": 2, "2013-07-01": 3, "1:30": 4}


def test_keys_in_other_scripts_and_quoted_numbers_are_keys(parser: None) -> None:
    assert value('größe: 1\n"12": 2\n名前: 3\n"true": 4') == {"größe": 1, "12": 2, "名前": 3, "true": 4}


def test_a_byte_order_mark_windows_line_ends_and_document_markers_are_accepted(parser: None) -> None:
    assert read(b"\xef\xbb\xbf---\r\na: 1\r\nb:\r\n  - x\r\n...\r\n", "a.yaml").value == {"a": 1, "b": ["x"]}
    assert value("%YAML 1.2\n---\na: 1") == {"a": 1}


# Aliases and merge keys


def test_an_alias_is_a_value_of_its_own(parser: None) -> None:
    found = value("a: &x {k: [1]}\nb: *x\nc: &s text\nd: [*s, *x]\n*s : 1")
    assert found == {"a": {"k": [1]}, "b": {"k": [1]}, "c": "text", "d": ["text", {"k": [1]}], "text": 1}
    found["b"]["k"].append(2)
    assert found["a"] == found["d"][1] == {"k": [1]}


MERGES = """\
base: &base {a: 1, b: 2}
more: &more
  b: 3
  c: 4
own: {b: 0, <<: *base}
list:
  <<: [*base, *more, {d: 5}]
nested: &nested
  <<: *more
again: {<<: *nested, e: 6}
"""


def test_merge_keys_own_keys_win_then_the_earlier(parser: None) -> None:
    found = value(MERGES)
    assert found["own"] == {"a": 1, "b": 0}
    assert found["list"] == {"a": 1, "b": 2, "c": 4, "d": 5}
    assert found["again"] == {"b": 3, "c": 4, "e": 6}


def test_what_was_merged_is_found_where_it_is_written(parser: None) -> None:
    document = read(MERGES.encode(), "a.yaml")
    assert document.mark(("list", "c")) == (4, 6, 1)
    assert document.mark(("list", "c"), key=True) == (4, 3, 1)
    assert document.mark(("again", "c")) == (4, 6, 1)
    assert document.mark(("own", "b")) == (5, 10, 1)
    assert document.mark(("list", "d"), key=True) == (7, 23, 1)


@pytest.mark.parametrize("text", ["a: {<<: 1}", "a: {<<: [1]}", "a:\n  <<:\n", "x: &x [1]\na: {<<: *x}"])
def test_merging_what_is_no_mapping_is_refused(parser: None, text: str) -> None:
    assert only(text).message == '"<<" takes a mapping or a list of mappings'


def test_an_alias_is_pointed_at_as_a_whole_and_its_parts_where_they_are_written(parser: None) -> None:
    document = read(b"a: &x\n  k: 1\nb: *x\n", "a.yaml")
    assert document.mark(("b",)) == (3, 4, 2)
    assert document.mark(("b", "k")) == (2, 6, 1)


# Places


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        (("tidemill",), False, "1"),
        (("tidemill",), True, "tidemill"),
        (("promote", "when", "roc_auc"), True, "roc_auc"),
        (("promote", "when", "roc_auc"), False, "at_least"),
        (("promote", "when", "log_loss"), False, "{at_most: 0.60}"),
        (("promote", "when", "log_loss", "at_most"), False, "0.60"),
        (("data", "key"), False, "[flight_id]"),
        (("data", "key", 0), False, "flight_id"),
        (("data", "key", 0), True, "flight_id"),
        (("data", "window", "train"), False, "5 months"),
        (("monitor", "drift"), False, "-"),
        (("monitor", "drift", 0), False, "distance"),
        (("monitor", "drift", 0, "share"), False, "30%"),
        (("train", "code"), False, "train"),
        (("train", "params", "x", "y", 3), False, "params"),
        (("data", "key", 7), False, "key"),
        (("monitor", "drift", 0, "nope"), False, "distance"),
        (("nothing",), False, "tidemill"),
        ((), False, "tidemill"),
    ],
)
def test_marks(parser: None, path: tuple[str | int, ...], key: bool, expected: str) -> None:
    document = read(FLIGHTS.encode(), "a.yaml")
    assert stretch(FLIGHTS, document.mark(path, key)) == expected


def test_a_value_that_is_not_there_is_pointed_at_by_its_key(parser: None) -> None:
    assert read(b"a:\n  b:\n  c: 1\n", "a.yaml").mark(("a", "b")) == (2, 3, 1)


def test_a_value_of_several_lines_is_pointed_at_on_its_first(parser: None) -> None:
    document = read(b'a: "one\n  two"\nb: |\n  text\nc: [1,\n  2]\n', "a.yaml")
    assert document.mark(("a",)) == (1, 4, 4)
    assert document.mark(("b",)) == (3, 4, 1)
    assert document.mark(("c",)) == (5, 4, 3)


def test_columns_count_characters_not_bytes(parser: None) -> None:
    document = read("größe: {名前: wert}\n".encode(), "a.yaml")
    assert document.mark(("größe", "名前")) == (1, 13, 4)


def test_a_byte_order_mark_and_windows_line_ends_do_not_move_places(parser: None) -> None:
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "a.yaml").mark(("b",)) == (2, 4, 1)
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", "a.yaml").mark(("a",)) == (1, 4, 1)


def test_a_document_makes_the_error_the_documentation_shows() -> None:
    text = FLIGHTS.replace("roc_auc:", "roc_acu:")
    error = read(text.encode(), "dags/flight_delays.yaml").error(
        ("promote", "when", "roc_acu"), 'unknown metric "roc_acu"', 'did you mean "roc_auc"?', key=True
    )
    assert error.path == "promote.when.roc_acu"
    assert error.render() == (
        'dags/flight_delays.yaml:17:5: promote.when: unknown metric "roc_acu"\n'
        "   |\n"
        "17 |     roc_acu:\n"
        '   |     ^^^^^^^ did you mean "roc_auc"?'
    )


# Refusals


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("", "1:1", "the file holds nothing", 'begin with "tidemill: 1"'),
        ("\n# only\n# comments\n", "1:1", "the file holds nothing", "begin with"),
        ("---\n", "1:1", "the file holds nothing", "begin with"),
        ("- a\n- b\n", "1:1", "must be a mapping, not a list", "owner: ops"),
        ("\ntidemill:1\n", "2:1", "must be a mapping, not a single value", "a space after the colon"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document starts here", "a file of its own"),
        ("%YAML 1.1\n---\na: 1\n", "1:1", "another YAML than 1.2", "remove the %YAML line"),
        ("a:\n  b: 1\n  b: 2\n", "3:3", 'duplicate key "b"', "first written on line 2"),
        ("a: {b: 1, b: 2}", "1:11", 'duplicate key "b"', "line 1"),
        ("a: {<<: {b: 1}, <<: {c: 1}}", "1:17", 'duplicate key "<<"', "<<: [*a, *b]"),
        ("1: x", "1:1", "a key must be text", 'quotes: "1"'),
        ("a: {true: x}", "1:5", "a key must be text", 'quotes: "true"'),
        ("? [a, b]\n: x", "1:3", "a key must be text, not a mapping or a list", None),
        ("a: {{ as_of }}", "1:5", "a key must be text, not a mapping or a list", '"{{ … }}"'),
        ("?\n: x", "1:2", "a key must be text", "a key before the colon"),
        ("'': x", "1:1", "a key is empty", "a key before the colon"),
        ("tide\u200bmill: 1", "1:1", "an invisible character: tide\\u200bmill", "type it again"),
        ("tide\u00admill: 1", "1:1", "an invisible character", "type it again"),
        ("a\u3164: 1", "1:1", "an invisible character", "type it again"),
        ('"a\\tb": 1', "1:1", "an invisible character: a\\tb", "type it again"),
        ("a: !!python/object:os.system x", "1:4", "the tag !!python/object:os.system is not", "remove it"),
        ("a: &x !secret x", "1:7", "the tag !secret is not allowed", "remove it"),
        ("a: !include [x]", "1:4", "the tag !include is not allowed", "remove it"),
        ("a: ! x", "1:4", "the tag ! is not allowed", "remove it"),
        ("a: !!set {x}", "1:4", "the tag !!set is not allowed", "remove it"),
        ("a: !!str [x]", "1:4", "the tag !!str is not allowed here", "remove it"),
        ("a: !!map x", "1:4", "the tag !!map is not allowed here", "remove it"),
        ("a: !!int x", "1:4", "not a value of the tag !!int", None),
        ("a: !!int true", "1:4", "not a value of the tag !!int", None),
        ("a: !!bool yes", "1:4", "not a value of the tag !!bool", None),
        ("a: 1e999", "1:4", "too large to hold", "quotes"),
        ("a: -1e999", "1:4", "too large to hold", "quotes"),
        ("a: 1e-999", "1:4", "too small to hold", "quotes"),
        ("a: 9223372036854775808", "1:4", "too large to hold in 64 bits", "quotes"),
        ("a: " + "9" * 5000, "1:4", "too large to hold in 64 bits", "quotes"),
        ("a: 0x" + "f" * 5000, "1:4", "too large to hold in 64 bits", "quotes"),
        ("a: 0o" + "7" * 60, "1:4", "too large to hold in 64 bits", "quotes"),
        ('a: "x\\0"', "1:4", "a NUL character", "remove the escape"),
        ("a: *nope", "1:4", "no anchor &nope before this alias", "&nope"),
        ("base: &base 1\na: *bsae", "2:4", "no anchor &bsae", "did you mean *base?"),
        ("a: &a [*a]", "1:8", "the alias *a stands inside what it names", "cannot hold itself"),
        ("a: &a {b: {<<: *a}}", "1:16", "the alias *a stands inside what it names", "cannot hold itself"),
        ("a: &x 1\nb: &x 2", "2:4", "the anchor &x is already in this file", "another name"),
    ],
)
def test_refusals(parser: None, text: str, place: str, message: str, hint: str | None) -> None:
    error = only(text)
    assert f"{error.line}:{error.column}" == place
    assert message in error.message
    assert hint is None or hint in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "place", "message", "hint"),
    [
        ("a:\n\tb: 1", "2:1", "a tab indents this line", "indent with spaces"),
        ("a:\n  b: 1\n\tc: 2", "3:1", "a tab indents this line", "indent with spaces"),
        ("- \t- a", "1:3", "a tab stands where", "a space"),
        ("a: b: c", "1:5", 'a second ": "', "in quotes"),
        ("a: {b: c: d}", "1:9", 'a second ": "', "in quotes"),
        ("a: 1\n  b: 2", "2:4", "indented deeper", "align it"),
        ("a:1\nb: 2", "2:2", "the line above", 'a space must follow the colon: "a: …"'),
        ("a: 1\nb:2\nc: 3", "2:1", 'no space after the colon of "b:2"', 'write "b: 2"'),
        ("a: 1\nfoo\nb: 2", "2:1", 'no colon after "foo"', "a colon, a space"),
        ("a:\n  b: 1\n c: 2", "3:2", "a column of its own", "the same column"),
        (": x", "1:1", "no key before this colon", "write the key"),
        ("a: 1\n- b", "2:1", "a list item among keys", "indent the list"),
        ("a: - b", "1:4", "a list cannot begin here", "[a, b]"),
        ("- a\nb: 1", "2:1", "no list item", '"- "'),
        ("a: [1, 2\nb: 3", "2:2", 'the "[" of line 1, column 4', '"]"'),
        ("a: {x: 1]", "1:9", 'the "{" of line 1, column 4', '"}"'),
        ("a: {b: 1}}", "1:10", '"}" closes nothing', "remove it"),
        ("a: ]", "1:4", '"]" stands where a value should', "quotes"),
        ("a: 'x\nb: 2", "1:4", "this quote is never closed", "close it with '"),
        ('a: "x\nb: 2', "1:4", "this quote is never closed", 'close it with "'),
        ('a: "x" y', "1:8", "text after the closing quote", "one pair of quotes"),
        ('a: "C:\\dir"', None, "this is no escape", "single quotes"),
        ("a: * * * * *", "1:4", 'text cannot begin with "*"', "quotes"),
        ("a: @daily", "1:4", 'text cannot begin with "@"', "quotes"),
        ("a: %x", "1:4", 'text cannot begin with "%"', "quotes"),
        ("a: |x\n b", "1:4", '"|" begins a text of several lines', "below"),
        ("{a: 1} b", "1:8", "goes on after its end", "one mapping"),
        ("%YAML 2.0\n---\na: 1", "1:1", "% line", "remove it"),
    ],
)
def test_syntax_errors_say_what_to_write(parser: None, text: str, place: str | None, message: str, hint: str) -> None:
    error = only(text)
    assert place in (None, f"{error.line}:{error.column}")
    assert message in error.message
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ("a: 1\n".encode("utf-16"), "1:1", "not UTF-8"),
        ("a: 1\n".encode("utf-16-le"), "1:1", "not UTF-8"),
        ("a: 1\n".encode("utf-32"), "1:1", "not UTF-8"),
        (b"a: 1\nb: \xe9t\xe9\n", "2:4", "the byte 0xe9 is not UTF-8"),
        (b"\xef\xbb\xbfa: \xc3\xa9\xff\n", "1:5", "the byte 0xff is not UTF-8"),
        (b"a: 1\nb: x\0y\n", "2:5", "U+0000"),
        (b"a: \x1b[2J\n", "1:4", "U+001B"),
        ("a: 1\n\ufeffb: 2\n".encode(), "2:1", "U+FEFF"),
        (b"\xed\xa0\x80: 1", "1:1", "not UTF-8"),
        (b"a: " + b"x" * 2**20, "1:1", "larger than 1024 KiB"),
    ],
)
def test_bytes_that_are_no_text_are_refused_at_their_place(data: bytes, place: str, message: str) -> None:
    error = only(data)
    assert f"{error.line}:{error.column}" == place
    assert message in error.message
    assert error.hint


def test_mistakes_are_reported_together_and_a_syntax_error_ends_the_search(parser: None) -> None:
    text = "a: 1\na: 2\nb: !x 1\n3: {c: 1, c: 2}\nd: 1e999\ne: [\nf: @\na: 3\n"
    assert [(error.line, error.column) for error in errors(text)] == [(2, 1), (3, 4), (4, 1), (4, 11), (5, 4), (7, 4)]


def test_paths_of_mistakes_name_where_they_are(parser: None) -> None:
    text = "promote:\n  when:\n    x: !t 1\n  list:\n    - {a: 1}\n    - {b: 1, b: 2}\n"
    assert [error.path for error in errors(text)] == ["promote.when.x", "promote.list[1].b"]
    assert errors(text)[1].render().startswith('a.yaml:6:14: promote.list[1]: duplicate key "b"\n')


def test_a_first_value_is_kept_and_the_rest_of_a_refused_key_is_still_searched(parser: None) -> None:
    assert [error.message for error in errors("? {a: 1, a: 2}\n: {b: 1, b: 2}\n")] == [
        "a key must be text, not a mapping or a list", 'duplicate key "a"', 'duplicate key "b"',
    ]  # fmt: skip


def test_at_most_a_hundred_mistakes_are_listed(parser: None) -> None:
    assert len(errors("".join(f"k: {number}\n" for number in range(500)))) == 100


# Limits


def nested(depth: int) -> str:
    return "a: " + "[" * (depth - 1) + "]" * (depth - 1)


def test_depth_is_limited(parser: None) -> None:
    assert value(nested(64))
    assert "nested more than 64 deep" in only(nested(65)).message


def test_depth_is_limited_through_aliases(parser: None) -> None:
    chain = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))
    error = only(chain)
    assert "more than 64 deep" in error.message
    assert error.line == 64


def test_aliases_are_limited(parser: None) -> None:
    text = "x: &x 1\na: [" + "*x, " * 200 + "]\n"
    assert len(value(text)["a"]) == 200
    assert "more than 200 aliases" in only(text + "b: *x\n").message


def test_values_are_limited_aliases_expanded(parser: None) -> None:
    billion = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + below] * 9)}]\n" for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "more than 100,000 values" in only(billion).message
    quadratic = "a: &a {" + ", ".join(f"k{n}: 1" for n in range(600)) + "}\nb:\n" + "  - <<: *a\n" * 199
    assert "more than 100,000 values" in only(quadratic).message


def test_texts_are_limited(parser: None) -> None:
    assert len(value("a: " + "x" * 65_536)["a"]) == 65_536
    error = only("a: " + "x" * 65_537)
    assert "longer than 64 KiB" in error.message
    assert len(error.render()) < 1000


HOSTILE = [
    *["[", "{", "- ", "? ", "[?", "{?", "? - ", "[a,", "{a: ", '"', "'", 'a: "', "a: |\n", "&a ", "*a ", "!", "!!str "],
    *["%TAG ! x\n", ": ", "a: \n", "? a\n", "- !x\n", "- 1e999\n", '- "\\0"\n', "a: &a [*a]\n", "<<: *a\n"],
    *["---\n", "#", "\t", "\r", " ", "\\", "a", "\u2028"],
]

CHILD = """
    import sys, time
    sys.path[:0] = {path!r}
    from tidemill.spec.errors import SpecErrors
    from tidemill.spec.reader import read
    hostile = [piece * (1_000_000 // len(piece.encode())) for piece in {pieces!r}]
    hostile.append("".join(f"%TAG !e{{n}}! x\\n" for n in range(60_000)))
    hostile.append("a: [" + "!x 1," * 90_000 + "]")
    hostile.append("a: [" + ",".join(f"&a{{n}} 1" for n in range(90_000)))
    for text in hostile:
        start = time.process_time()
        try:
            read(text.encode(), "a.yaml")
        except SpecErrors as errors:
            assert str(errors)
        else:
            raise AssertionError(f"accepted {{text[:20]!r}}")
        print(round(time.process_time() - start, 2), repr(text[:20]))
    # Not ru_maxrss: that of a child begins with what its parent held.
    print(next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def test_a_megabyte_of_malice_costs_little() -> None:
    """In a process of its own, which it must neither crash nor grow; ten seconds would be a hang."""
    child = textwrap.dedent(CHILD).format(path=sys.path, pieces=HOSTILE)
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    *times, memory = done.stdout.splitlines()
    assert len(times) == len(HOSTILE) + 3
    slow = [line for line in times if float(line.split()[0]) > 10.0]
    assert not slow
    assert int(memory) < 200


# Fuzzing


def walk(found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield path, found
    items = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, item in items:
        yield from walk(item, (*path, key))


def check(data: bytes) -> None:
    """Reads anything; whatever comes back has its places inside the file."""
    text = data.decode("utf-8-sig", "replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n")
    lines = lines.replace("\u2028", "\n").replace("\u2029", "\n")
    width = [len(line) for line in lines.split("\n")]
    found: SpecErrors | None = None
    try:
        document = read(data, "a.yaml")
    except SpecErrors as errors:
        found = errors
    if found is not None:
        assert found.errors
        for error in found.errors:
            assert 1 <= error.line <= len(width)
            assert 1 <= error.column <= width[error.line - 1] + 1
            assert error.length >= 1
            assert error.message.strip()
            assert all(line.isprintable() for line in error.render().split("\n"))
        return
    for path, _ in walk(document.value):
        for key in (False, True):
            line, column, length = document.mark(path, key)
            assert 1 <= line <= len(width)
            assert column >= 1
            assert column - 1 + length <= max(width[line - 1], column)


SYNTAX = [": ", ":", "- ", "\n", "\n  ", "\n    ", " ", "\t", "[", "]", "{", "}", ",", "? ", "&x ", "*x", "<<: ", "|\n"]
SYNTAX += [">-\n", '"', "'", "#", "!!str ", "!x ", "---\n", "...\n", "%YAML 1.2\n", "\\", "\\0", "{{", "}}", "@", "%"]
CONTENT = ["a", "b", "key", "1", "1e999", "0x", "~", "true", ".nan", "é", "名", "\U0001f600", "\u200b", "\ud7ff"]
CONTENT += ["\r\n", "\x85", "\u2028", "\ufeff", "\x00"]
PIECES = st.sampled_from(SYNTAX + CONTENT)


@settings(deadline=None, max_examples=400)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_pieces_of_yaml_never_fail_otherwise(text: str) -> None:
    check(text.encode())


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=60))
def test_bytes_never_fail_otherwise(data: bytes) -> None:
    check(data)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(FLIGHTS)), st.integers(0, 12), st.lists(PIECES, max_size=3).map("".join))
def test_an_edited_spec_never_fails_otherwise(at: int, removed: int, inserted: str) -> None:
    check((FLIGHTS[:at] + inserted + FLIGHTS[at + removed :]).encode())


@settings(deadline=None, max_examples=150)
@given(st.lists(PIECES.filter(lambda piece: "\t" not in piece), max_size=25).map("".join))
def test_both_parsers_agree(text: str) -> None:
    def outcome() -> object:
        try:
            return repr(read(text.encode(), "a.yaml").value)
        except SpecErrors:
            return "refused"

    fast = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_Parser", PureParser)
        assert outcome() == fast


KEYS = st.text("abc_-.XYZ09 éñ名前", min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Cf", "Zl", "Zp"]), max_size=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=15
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5), st.sampled_from([None, 2]))
def test_json_is_yaml(written: dict[str, Any], indent: int | None) -> None:
    text = json.dumps(written, ensure_ascii=False, indent=indent)
    assert value(text) == written
