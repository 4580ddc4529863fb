"""What is found besides distances, on sketches made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tidemill.drift.findings import Finding, findings
from tidemill.drift.sketch import (
    BooleanSketch,
    CategoricalSketch,
    ColumnSketch,
    NumericSketch,
    OtherSketch,
    Sketch,
    TextSketch,
    TimestampSketch,
)

ROWS = 1000


def numbers(nulls: int = 0, low: float = 0.0, high: float = 9.0, rows: int = ROWS, **more: Any) -> NumericSketch:
    finite = rows - nulls - sum(more.get(k, 0) for k in ("negative_infinities", "positive_infinities", "unparsed"))
    none = np.zeros(0)
    return NumericSketch(
        dtype="double", rows=rows, nulls=nulls, edges=none, counts=np.array([finite]), sums=np.zeros(1),
        deciles=none.astype(np.int64), minimum=low if finite else None, maximum=high if finite else None, **more,
    )  # fmt: skip


def categories(counts: dict[str, int], known: int = 0, pooled: int = 0, rows: int | None = None) -> CategoricalSketch:
    total = sum(counts.values()) + pooled if rows is None else rows
    return CategoricalSketch(
        dtype="string", rows=total, nulls=total - sum(counts.values()) - pooled, categories=tuple(counts),
        counts=np.array(list(counts.values()), dtype=np.int64), known=known, pooled=pooled,
    )  # fmt: skip


def found(reference: ColumnSketch | None, current: ColumnSketch | None) -> list[Finding]:
    before = {} if reference is None else {"x": reference}
    now = {} if current is None else {"x": current}
    same = {"y": numbers()}
    return findings(Sketch(rows=ROWS, columns=before | same), Sketch(rows=ROWS, columns=now | same))


def only(reference: ColumnSketch | None, current: ColumnSketch | None) -> tuple[str, str, str]:
    [finding] = found(reference, current)
    assert finding.column == "x"
    return finding.kind, finding.severity, finding.detail


def test_nothing_is_found_where_nothing_has_changed() -> None:
    both = {
        "x": numbers(10),
        "c": categories({"a": 600, "b": 400}),
        "t": TimestampSketch(dtype="date", rows=ROWS, nulls=0),
    }
    assert findings(Sketch(rows=ROWS, columns=both), Sketch(rows=ROWS, columns=both)) == []


def test_columns_that_came_and_went() -> None:
    assert only(numbers(), None) == ("missing_column", "severe", "missing in the current data")
    assert only(None, numbers()) == ("new_column", "info", "not in the reference")


def test_no_column_in_common() -> None:
    before = Sketch(rows=ROWS, columns={f"a{i}": numbers() for i in range(7)})
    kinds = [(f.kind, f.column) for f in findings(before, Sketch(rows=ROWS, columns={"b": numbers()}))]
    assert kinds[0] == ("no_overlap", None)
    assert kinds[1:] == [*(("missing_column", f"a{i}") for i in range(7)), ("new_column", "b")]
    first = findings(before, Sketch(rows=ROWS))[0]
    assert first.detail == "the two have no column in common: a0, a1, a2, a3, a4 and 2 more against no column"


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (numbers(), categories({"a": ROWS})),
        (numbers(), BooleanSketch(dtype="bool", rows=ROWS, nulls=0, trues=1, falses=ROWS - 1)),
        (TimestampSketch(dtype="date32", rows=ROWS, nulls=0), numbers()),
        (OtherSketch(dtype="list<int64>", rows=ROWS, nulls=0), OtherSketch(dtype="binary", rows=ROWS, nulls=0)),
    ],
)
def test_another_type(before: ColumnSketch, now: ColumnSketch) -> None:
    kind, severity, detail = only(before, now)
    assert (kind, severity) == ("retyped_column", "severe")
    assert before.dtype in detail
    assert now.dtype in detail


def test_free_text_and_categories_are_one_type_and_nulls_have_none() -> None:
    text = TextSketch(dtype="string", rows=ROWS, nulls=0, lengths=numbers())
    assert found(text, categories({"a": ROWS - 1, "b": 1})) == []
    nothing = OtherSketch(dtype="null", rows=ROWS, nulls=ROWS)
    assert only(numbers(), nothing) == ("null_rate", "severe", "all rows are null now, 0% were")
    assert only(nothing, numbers())[:2] == ("null_rate", "warning")
    assert only(nothing, nothing) == ("all_null", "info", "all rows are null, as in the reference")


@pytest.mark.parametrize(
    ("before", "now", "severity"),
    [(20, 130, "severe"), (20, 60, "warning"), (130, 20, "info"), (20, 25, None), (500, 520, None)],
)
def test_nulls(before: int, now: int, severity: str | None) -> None:
    assert [f.severity for f in found(numbers(before), numbers(now))] == ([severity] if severity else [])


def test_few_rows_prove_no_more_nulls() -> None:
    before, now = (
        Sketch(rows=10, columns={"x": numbers(0, rows=10)}),
        Sketch(rows=10, columns={"x": numbers(2, rows=10)}),
    )
    assert findings(before, now) == []


def test_infinities() -> None:
    assert only(numbers(), numbers(positive_infinities=3)) == ("infinite", "warning", "3 rows (0.3%) are infinite")
    assert only(numbers(negative_infinities=5), numbers(positive_infinities=3))[1] == "info"
    assert found(numbers(negative_infinities=5), numbers()) == []


def test_text_where_numbers_belong() -> None:
    kind, severity, detail = only(numbers(), numbers(unparsed=300, examples=("n/a", "-")))
    assert (kind, severity) == ("mixed_types", "severe")
    assert detail == "300 rows (30%) hold text instead of numbers: 'n/a', '-'"
    assert only(numbers(unparsed=5), numbers(unparsed=30))[1] == "warning"
    assert found(numbers(unparsed=30), numbers(unparsed=30)) == []


def test_new_categories() -> None:
    before = categories({"a": 600, "b": 400})
    now = categories({"a": 500, "b": 400, "c": 60, "d": 40, "e": 0}, known=2)
    assert only(before, now) == ("new_categories", "warning", "2 new categories in 10% of the rows: 'c', 'd'")
    few = categories({"a": 597, "b": 400, "c": 3}, known=2)
    assert only(before, few) == ("new_categories", "info", "1 new category in 0.3% of the rows: 'c'")


def test_new_ones_of_very_many_are_to_be_expected() -> None:
    before = categories({f"id{i}": 1 for i in range(1000)})
    now = categories({f"id{i}": 0 for i in range(1000)} | {f"new{i}": 1 for i in range(1000)}, known=1000)
    assert only(before, now)[1] == "info"


def test_what_was_pooled_is_not_called_new() -> None:
    assert found(categories({"a": 900}, pooled=100), categories({"a": 900, "z": 100}, known=1)) == []


def test_constants() -> None:
    assert only(numbers(), numbers(low=4.0, high=4.0))[:2] == ("constant", "warning")
    assert only(numbers(low=4.0, high=4.0), numbers(low=4.0, high=4.0)) == (
        "constant", "info", "constant, as in the reference: 4",
    )  # fmt: skip
    before = categories({"a": 600, "b": 400})
    assert only(before, categories({"a": ROWS, "b": 0}, known=2))[2] == "constant now: 'a'; it was not in the reference"
    true = BooleanSketch(dtype="bool", rows=ROWS, nulls=0, trues=ROWS, falses=0)
    both = BooleanSketch(dtype="bool", rows=ROWS, nulls=0, trues=ROWS - 9, falses=9)
    assert only(both, true)[2].startswith("constant now: true")
    assert found(numbers(), numbers(nulls=ROWS - 1, low=4.0, high=4.0))[-1].kind == "null_rate"


def test_times_out_of_range() -> None:
    before, now = (TimestampSketch(dtype="timestamp[s]", rows=ROWS, nulls=0, outside=n) for n in (0, 7))
    assert only(before, now) == (
        "out_of_range", "warning", "7 rows (0.7%) hold times outside of the years 1 to 9999",
    )  # fmt: skip


def test_no_rows() -> None:
    full, empty = Sketch(rows=ROWS, columns={"x": numbers()}), Sketch(rows=0, columns={"x": numbers(rows=0)})
    assert [(f.severity, f.detail) for f in findings(full, empty)] == [("severe", "the current data has no rows")]
    assert [f.detail for f in findings(empty, full)] == ["the reference has no rows"]
    assert len(findings(Sketch(rows=0), Sketch(rows=0))) == 2
