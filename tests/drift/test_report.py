"""The drift report: which columns are compared, and when a frame counts as drifted."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tidemill.drift.profile import DriftError, profile
from tidemill.drift.report import compare

N = 1000


def frame(**shifts: float) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame({name: rng.normal(size=N) + shift for name, shift in shifts.items()})


CALM = profile(frame(a=0, b=0, c=0, d=0))


def test_the_frame_drifts_when_the_share_of_drifted_columns_is_reached() -> None:
    one = compare(CALM, frame(a=2, b=0, c=0, d=0), at_least=0.2, share=0.25)
    assert [c.name for c in one.columns if c.drifted] == ["a"]
    assert one.share_drifted == 0.25
    assert one.drifted
    assert not compare(CALM, frame(a=2, b=0, c=0, d=0), at_least=0.2, share=0.26).drifted


def test_why_names_what_drifted_most_first() -> None:
    why = compare(CALM, frame(a=1, b=2, c=0, d=0), at_least=0.2, share=0.5).why()
    assert why.startswith("2 of 4 columns drifted (50%): b ")
    assert why.index("b ") < why.index("a ")


def test_no_drifted_column_is_no_drift_even_where_no_share_is_asked_for() -> None:
    found = compare(CALM, frame(a=0, b=0, c=0, d=0), at_least=0.2, share=0.0)
    assert found.share_drifted == 0
    assert not found.drifted


def test_columns_that_cannot_be_judged_do_not_count() -> None:
    found = compare(CALM, frame(a=2, b=0).with_columns(c=pl.lit("text"), new=pl.lit(1)), at_least=0.2, share=0.5)
    notes = {c.name: c.note for c in found.columns if c.distance is None}
    assert notes.keys() == {"c", "d", "new"}
    assert "type changed" in notes["c"]
    assert "missing" in notes["d"]
    assert "not in the reference" in notes["new"]
    assert found.share_drifted == 0.5
    assert found.drifted


def test_nothing_to_judge_is_not_a_drift() -> None:
    found = compare(CALM, pl.DataFrame({"new": [1]}), at_least=0.2, share=0.0)
    assert found.share_drifted is None
    assert not found.drifted
    assert "not judged" in found.why()


def test_no_rows_are_not_judged() -> None:
    assert compare(CALM, frame(a=0, b=0, c=0, d=0).head(0), at_least=0.2, share=0.1).share_drifted is None


def test_excluded_columns_are_left_out_unless_named() -> None:
    rows = frame(a=0, b=0, c=0, d=0)
    others = compare(CALM, rows, at_least=0.2, share=0.3, exclude={"a"})
    assert [c.name for c in others.columns] == ["b", "c", "d"]
    named = compare(CALM, rows, at_least=0.2, share=0.3, exclude={"a"}, columns=["a"])
    assert [c.name for c in named.columns] == ["a"]


@pytest.mark.parametrize(
    ("rows", "side"), [(frame(a=0, b=0, c=0, d=0, dd=0), "the reference"), (frame(a=0, dd=0), "the rows to compare")]
)
def test_a_named_column_that_is_missing_is_an_error_with_what_was_meant(rows: pl.DataFrame, side: str) -> None:
    wanted = "dd" if side == "the reference" else "b"
    with pytest.raises(DriftError, match=f'"{wanted}", which {side} lack'):
        compare(CALM, rows, at_least=0.2, share=0.3, columns=[wanted])


def test_a_misspelt_column_gets_a_suggestion() -> None:
    reference = profile(pl.DataFrame({"wind_speed": [1.0]}))
    with pytest.raises(DriftError, match='Did you mean "wind_speed"'):
        compare(reference, pl.DataFrame({"wind_speed": [1.0]}), at_least=0.2, share=0.3, columns=["wind_sped"])


def test_few_rows_are_said_but_judged_as_the_spec_asks() -> None:
    few = compare(CALM, frame(a=0, b=0, c=0, d=0).head(30), at_least=0.2, share=0.3)
    assert all("30 rows alone would give about 0.3" in c.note for c in few.columns)
    assert compare(CALM, frame(a=0, b=0, c=0, d=0), at_least=0.2, share=0.3).columns[0].note == ""
