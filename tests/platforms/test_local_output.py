"""The lines of a job on their way to a log."""

from __future__ import annotations

from tidemill.platforms.local.output import LineLog


def fed(*chunks: bytes, max_line: int = 20, max_total: int = 100) -> list[str]:
    lines: list[str] = []
    log = LineLog(lines.append, max_line, max_total)
    for chunk in chunks:
        log.feed(chunk)
    log.close()
    return lines


def test_lines_are_put_together_from_any_chunks() -> None:
    assert fed(b"one\ntw", b"o\n", b"", b"three") == ["one", "two", "three"]


def test_empty_lines_are_kept_and_bad_bytes_are_replaced() -> None:
    assert fed(b"\n\xff\n") == ["", "\N{REPLACEMENT CHARACTER}"]


def test_a_long_line_is_cut_and_says_by_how_much() -> None:
    assert fed(b"x" * 15, b"x" * 15 + b"\nshort\n") == ["x" * 20 + " … (10 more bytes of this line)", "short"]


def test_of_a_progress_bar_the_last_state_is_shown() -> None:
    assert fed(b"10%\r50", b"%\r100%\n", b"windows\r\n") == ["100%", "windows"]


def test_after_the_cap_nothing_is_handed_on_and_the_rest_is_counted() -> None:
    lines = fed(*[b"123456789\n"] * 13, max_total=100)
    assert lines[:-1] == ["123456789"] * 10
    assert lines[-1] == "tidemill: 30 more bytes were printed and dropped; the log keeps 0.0001 MB"


def test_the_count_is_of_every_byte_after_the_cap() -> None:
    lines = fed(b"a" * 8 + b"\n" + b"b" * 500 + b"\n" + b"c\n", max_line=10, max_total=15)
    assert lines == ["a" * 8, f"tidemill: {500 + 1 + 2} more bytes were printed and dropped; the log keeps 1.5e-05 MB"]
