"""Numbers on axes and in tables."""

from __future__ import annotations

import math

import pytest

from tidemill.drift.reports.chart import draw
from tidemill.drift.reports.numbers import distance, log_ticks, p_value, short, ticks
from tidemill.drift.reports.picture import Bar, Categories, Histogram
from tidemill.drift.reports.spark import sparks


def test_short_numbers() -> None:
    numbers = (0, 0.00012, 1234.5, 12345, 4_500_000, -2e9, 1e20, 1e-9, math.inf, -math.inf, math.nan)
    told = ["0", "0.00012", "1234", "12.3k", "4.5M", "−2G", "1e20", "1e−9", "∞", "−∞", "–"]
    assert [short(n) for n in numbers] == told
    assert (distance(None), distance(0.1), distance(12345.6)) == ("–", "0.100", "12.3k")
    assert (p_value(None), p_value(1e-30), p_value(0.05)) == ("–", "<0.0001", "0.0500")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 7, [-2, 0, 2, 4, 6]),
        (5, 5, [5]),
        (1e6, 1.5e6, [1e6, 1.1e6, 1.2e6, 1.3e6, 1.4e6, 1.5e6]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_never_run_away() -> None:
    for low, high in ((0, math.inf), (1e300, 1.0000001e300), (-1e-320, 1e-320), (0, math.nan), (1, 1 + 1e-15)):
        assert len(ticks(low, high)) <= 15
    assert log_ticks(0.5, 2e6) == [1, 100, 1e4, 1e6]
    assert log_ticks(2, 9) == pytest.approx([2, 4, 6, 8])


def test_bars_of_a_few_characters() -> None:
    histogram = Histogram((0, 1, 2, 3), (1.0, 0.0, 0.5), (0.0, 0.01, 0.25))
    assert sparks(histogram) == ("█ ▅", " ▁▃")
    assert sparks(Categories(())) == ("", "")
    assert sparks(Categories((Bar("a", 0, 0),))) == (" ", " ")


def test_pictures_without_rows_or_room_are_drawn_all_the_same() -> None:
    for picture in (
        Categories(()),
        Histogram((), (), ()),
        Histogram((1.0, 1.0), (1.0,), (1.0,)),
        Histogram((0.001, 0.01, 1000.0), (0.0, 1.0), (1.0, 0.0), log=True),
        Categories((Bar("x" * 1000, 1.0, 0.0), Bar("null", 0.0, 1.0, special=True))),
    ):
        assert draw(picture, "x").endswith("</svg>")
        assert "nan" not in draw(picture, "x")
