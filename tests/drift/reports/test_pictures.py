"""Pictures of columns: on axes that a person can read, and with all rows somewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.drift.reports.picture import Categories, Histogram, Picture
from tidemill.drift.reports.pictures import pictures
from tidemill.drift.summarise import summarise_table

N = 4000
RANDOM = np.random.default_rng(11)


def drawn(before: Any, now: Any) -> Picture | None:
    reference = summarise_table(pl.DataFrame({"x": before}, strict=False))
    return pictures(reference, summarise_table(pl.DataFrame({"x": now}, strict=False), reference=reference)).get("x")


def whole(picture: Picture) -> tuple[float, float]:
    """The shares of reference and current that are somewhere in the picture."""
    bars = picture.aside if isinstance(picture, Histogram) else picture.bars
    inner = (picture.reference, picture.current) if isinstance(picture, Histogram) else ((), ())
    return sum(inner[0]) + sum(b.reference for b in bars), sum(inner[1]) + sum(b.current for b in bars)


NUMBERS: dict[str, Any] = {
    "normal": RANDOM.normal(size=N),
    "heavy": RANDOM.standard_cauchy(N),
    "lognormal": np.exp(RANDOM.normal(3, 3, N)),
    "zeros": np.where(RANDOM.uniform(size=N) < 0.6, 0, np.exp(RANDOM.normal(size=N))),
    "whole": RANDOM.poisson(300, N),
    "ages": RANDOM.integers(0, 95, N),
    "tiny": RANDOM.normal(size=N) * 1e-300,
    "huge": RANDOM.normal(size=N) * 1e300,
    "far": 1e15 + RANDOM.integers(0, 100, N),
    "nulls": [None if i % 3 else float(i) for i in range(N)],
    "infinite": np.where(RANDOM.uniform(size=N) < 0.1, np.inf, RANDOM.normal(size=N)),
    "float32": RANDOM.normal(size=N).astype(np.float32),
}


@pytest.mark.parametrize("before", NUMBERS)
def test_every_row_is_somewhere(before: str) -> None:
    others = pl.DataFrame({name: pl.Series(values, strict=False) for name, values in NUMBERS.items()})
    reference = summarise_table(others.select(pl.col(before).alias(name) for name in NUMBERS))
    found = pictures(reference, summarise_table(others, reference=reference))
    assert list(found) == list(NUMBERS)
    for picture in found.values():
        if isinstance(picture, Histogram):
            assert list(picture.edges) == sorted(picture.edges)
            assert len(picture.edges) == len(picture.reference) + 1 == len(picture.current) + 1
        assert whole(picture) == pytest.approx((1.0, 1.0), abs=0.003)


def test_shares_are_those_of_the_rows() -> None:
    x, y = NUMBERS["normal"], NUMBERS["normal"][: N // 2] + 1
    picture = drawn(x, y)
    assert isinstance(picture, Histogram)
    for found, values in ((picture.reference, x), (picture.current, y)):
        direct = np.histogram(values, picture.edges)[0] / len(values)
        assert np.abs(np.array(found) - direct).max() < 0.01


def test_skewed_numbers_have_a_logarithmic_axis_and_others_not() -> None:
    skewed, plain, negative = (drawn(NUMBERS[n], NUMBERS[n]) for n in ("lognormal", "normal", "heavy"))
    assert isinstance(skewed, Histogram)
    assert isinstance(plain, Histogram)
    assert isinstance(negative, Histogram)
    assert (skewed.log, plain.log, negative.log) == (True, False, False)
    assert max(skewed.reference) < 0.3
    assert negative.edges[-1] - negative.edges[0] < 200  # the tails are beside it
    assert {bar.label for bar in negative.aside} == {"lower", "higher"}


def test_bars_of_whole_numbers_hold_equally_many_of_them() -> None:
    picture = drawn(np.arange(95).repeat(40), np.arange(95).repeat(20))
    assert isinstance(picture, Histogram)
    assert np.ptp(picture.reference[:-1]) < 1e-9
    assert picture.edges[0] == -0.5


def test_a_few_numbers_are_drawn_as_such() -> None:
    picture = drawn([1, 2, 2, 5] * 200, [1, 2, 5, 9] * 200)
    assert isinstance(picture, Categories)
    told = [(b.label, b.reference, b.current) for b in picture.bars]
    assert told == [("1", 0.25, 0.25), ("2", 0.5, 0.25), ("5", 0.25, 0.25), ("other numbers", 0.0, 0.25)]


def test_rows_at_the_lower_end_of_the_axis_are_on_it() -> None:
    picture = drawn(NUMBERS["zeros"], NUMBERS["zeros"])
    assert isinstance(picture, Histogram)
    assert picture.reference[0] > 0.6


def test_many_categories_are_drawn_by_the_most_frequent() -> None:
    names = [f"c{min(i, j)}" for i in range(60) for j in range(60)]
    picture = drawn(names, [*names, *["new"] * 2000])
    assert isinstance(picture, Categories)
    labels = [bar.label for bar in picture.bars]
    assert labels[:2] == ["c0", "c1"]
    assert "new" in labels
    assert labels[-1] == "49 others"
    assert whole(picture) == pytest.approx((1, 1))


def test_what_cannot_be_drawn() -> None:
    assert drawn([1.0, 2.0], ["a", "b"]) is None
    assert drawn([], [1.0]) is None
    nothing = drawn([None, None], [1.0, None])
    assert nothing is None or whole(nothing) == (1.0, 1.0)
    assert drawn([[1], [2]], [[1], [2]]) is None
    constant = drawn([7.0] * 100, [7.0] * 99 + [8.0])
    assert isinstance(constant, Categories)
