"""Sketches as bytes and files: small, versioned, checksummed, the same when read again; and their sums."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.drift.codec import MAGIC, VERSION
from tidemill.drift.distances import distances
from tidemill.drift.doubles import from_ordered, to_ordered
from tidemill.drift.edge_codec import pack_decimals, pack_steps, unpack_decimals, unpack_steps
from tidemill.drift.errors import DriftError
from tidemill.drift.sketch import NumericSketch, Sketch, TimestampSketch, is_sketch, merge
from tidemill.drift.summarise import summarise_table


def table(seed: int, n: int = 2000) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "x": rng.normal(size=n),
            "i": rng.integers(0, 20, n),
            "c": rng.choice(["a", "b", "ü"], n),
            "b": rng.random(n) < 0.3,
            "id": [f"{seed}-{i}" for i in range(n)],
            "t": [datetime(2024, 1, 1 + i % 20, tzinfo=UTC) for i in range(n)],
            "l": [[1]] * n,
            "n": pa.nulls(n),
        }
    )


def numbers(values: object, reference: Sketch | None = None) -> NumericSketch:
    found = summarise_table(pa.table({"x": np.asarray(values, dtype=float)}), reference=reference).columns["x"]
    assert isinstance(found, NumericSketch)
    return found


def test_every_kind_of_column_is_read_as_it_was() -> None:
    sketch = summarise_table(table(0))
    stored = Sketch.from_bytes(sketch.to_bytes())
    assert stored.rows == 2000
    assert stored.meta == sketch.meta
    assert list(stored.columns) == list(sketch.columns)
    for name, column in sketch.columns.items():
        other = stored.columns[name]
        assert (other.kind, other.dtype, other.rows, other.nulls) == (
            column.kind,
            column.dtype,
            column.rows,
            column.nulls,
        )
    assert stored.to_bytes() == sketch.to_bytes()
    times = stored.columns["t"]
    assert isinstance(times, TimestampSketch)
    assert (times.minimum, times.maximum) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC))


def test_a_thousand_columns_are_less_than_a_megabyte() -> None:
    rng = np.random.default_rng(0)
    made = {
        "normal": lambda: rng.normal(size=5000),
        "heavy": lambda: rng.lognormal(0, 2, 5000),
        "cents": lambda: rng.integers(0, 10_000, 5000) / 100,
        "float32": lambda: rng.normal(size=5000).astype(np.float32),
    }
    columns = {f"{name} {i}": draw() for i in range(250) for name, draw in made.items()}
    assert len(summarise_table(pa.table(columns)).to_bytes()) < 1_000_000


@pytest.mark.parametrize("n", [0, 1, 2, 250, 251, 600, 1500])
def test_any_number_of_rows(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    sketch = summarise_table(pa.table({"x": values}))
    before, stored = sketch.columns["x"], Sketch.from_bytes(sketch.to_bytes()).columns["x"]
    assert isinstance(before, NumericSketch)
    assert isinstance(stored, NumericSketch)
    assert np.array_equal(before.edges, stored.edges)
    assert np.array_equal(before.sums, stored.sums)
    assert before.counts.tolist() == stored.counts.tolist()
    assert int(before.counts.sum()) == n
    assert np.all(np.diff(before.edges) > 0)


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(FINITE | st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 1.0]), min_size=1, max_size=40)
)
def test_any_numbers(values: list[float]) -> None:
    sketch = summarise_table(pa.table({"x": np.array(values)}))
    column = sketch.columns["x"]
    assert isinstance(column, NumericSketch)
    assert int(column.counts.sum()) == len(values)
    assert np.all(np.diff(column.edges) > 0)
    known = [sum(1 for value in values if value <= edge) for edge in column.edges]
    assert np.cumsum(column.counts)[:-1].tolist() == known
    stored = Sketch.from_bytes(sketch.to_bytes()).columns["x"]
    assert isinstance(stored, NumericSketch)
    assert np.array_equal(stored.edges, column.edges)
    again = numbers(values, sketch)
    assert again.counts.tolist() == column.counts.tolist()
    assert distances(column, again).ks == 0


@given(st.lists(FINITE, unique=True, min_size=1))
def test_edges_are_packed_to_the_last_bit(values: list[float]) -> None:
    edges = np.unique(np.array(values) + 0.0)
    assert np.array_equal(unpack_steps(*pack_steps(edges)), edges)
    assert np.array_equal(from_ordered(to_ordered(edges)), edges)
    assert np.all(np.diff(to_ordered(edges).astype(object)) > 0)


@given(st.lists(st.decimals(-10_000, 10_000, places=2).map(float), unique=True, min_size=1))
def test_decimal_edges_are_packed_to_the_last_bit(values: list[float]) -> None:
    points = np.unique(np.array(values) + 0.0)
    edges = np.unique(np.concatenate([points, np.nextafter(points, -np.inf)]) + 0.0)
    packed = pack_decimals(edges)
    if packed is not None:
        code, how, steps = packed
        assert np.array_equal(unpack_decimals(how, steps, code), edges)


def test_files(tmp_path: Path) -> None:
    path, sketch = tmp_path / "reference.sketch", summarise_table(table(0))
    sketch.write(path)
    assert Sketch.read(path).to_bytes() == sketch.to_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["reference.sketch"]
    assert is_sketch(path)
    assert not is_sketch(tmp_path / "missing")


def _damaged() -> Iterator[tuple[str, bytes, str]]:
    whole = summarise_table(table(0, 50)).to_bytes()
    yield "nothing", b"", "no Tidemill sketch"
    yield "something else", b"PAR1 and so on, for quite some bytes of it", "no Tidemill sketch"
    yield "cut off early", whole[:20], "cut off"
    yield "cut off", whole[:-5], "damaged"
    yield "one byte", whole[:200] + bytes([whole[200] ^ 1]) + whole[201:], "damaged"
    yield "another version", MAGIC + bytes([VERSION + 1]) + whole[len(MAGIC) + 1 :], f"format {VERSION + 1}"


@pytest.mark.parametrize(("content", "message"), [pytest.param(b, m, id=name) for name, b, m in _damaged()])
def test_what_is_no_sketch_says_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.sketch"
    path.write_bytes(content)
    with pytest.raises(DriftError, match=message) as caught:
        Sketch.read(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DriftError, match="No such file"):
        Sketch.read(tmp_path / "missing")


def test_merging_nothing_and_one() -> None:
    with pytest.raises(DriftError, match="no sketches"):
        merge([])
    sketch = summarise_table(table(0))
    assert merge([sketch]) is sketch


def test_parts_without_rows_and_without_a_column() -> None:
    reference = summarise_table(table(0))
    whole, empty = summarise_table(table(1), reference=reference), summarise_table(table(1, 0), reference=reference)
    without = summarise_table(table(2).drop_columns(["x"]), reference=reference)
    merged = merge([empty, whole, without])
    assert merged.rows == 4000
    assert (merged.columns["x"].rows, merged.columns["x"].nulls) == (4000, 2000)
    assert merged.columns["c"].rows == 4000


def test_a_column_of_nulls_only_takes_the_kind_of_the_others() -> None:
    reference = summarise_table(pa.table({"x": [1.0, 2.0]}))
    parts = [
        summarise_table(pa.table({"x": pa.nulls(3)}), reference=reference),
        summarise_table(pa.table({"x": [1.0]}), reference=reference),
    ]
    merged = merge(parts).columns["x"]
    assert (merged.kind, merged.rows, merged.nulls) == ("numeric", 4, 3)


def test_a_column_of_two_kinds_cannot_be_merged() -> None:
    parts = [summarise_table(pa.table({"x": values})) for values in ([1.0], ["a"])]
    with pytest.raises(DriftError, match=r'"x" is of different kinds.*numeric.*categorical'):
        merge(parts)


def test_other_edges_are_merged_within_the_bound_that_is_stated() -> None:
    rng = np.random.default_rng(0)
    draws = [rng.normal(i / 3, 1 + i, 5000) for i in range(5)]
    merged = merge([summarise_table(pa.table({"x": values})) for values in draws]).columns["x"]
    assert isinstance(merged, NumericSketch)
    rows = np.concatenate(draws)
    assert int(merged.counts.sum()) == len(rows)
    assert 0 < merged.error < 0.01
    share = np.cumsum(merged.counts)[:-1] / len(rows)
    direct = np.searchsorted(np.sort(rows), merged.edges, side="right") / len(rows)
    assert np.max(np.abs(share - direct)) <= merged.error
    assert merged.mean == pytest.approx(rows.mean())
    assert merged.std == pytest.approx(rows.std())
    assert (merged.minimum, merged.maximum) == (rows.min(), rows.max())


def test_sketches_of_two_references_are_compared_and_said_to_be_approximate() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=5000), rng.normal(0.5, 1, 5000)
    found, exact = (
        distances(numbers(a), numbers(b)),
        distances(numbers(a), numbers(b, summarise_table(pa.table({"x": a})))),
    )
    assert "approximate" in found.remarks[0]
    assert found.ks == pytest.approx(exact.ks, abs=0.01)
    assert found.psi == pytest.approx(exact.psi, rel=0.1)
    assert found.wasserstein == pytest.approx(exact.wasserstein, rel=0.05)


def test_moments_far_from_zero_are_those_of_the_rows() -> None:
    values = 1e9 + np.random.default_rng(0).normal(0, 1e-3, 50_000)
    whole = numbers(values)
    assert whole.std == pytest.approx(values.std(), rel=1e-6)
    reference = summarise_table(pa.table({"x": values}))
    parts = [summarise_table(pa.table({"x": part}), reference=reference) for part in np.array_split(values, 9)]
    merged = merge(parts).columns["x"]
    assert isinstance(merged, NumericSketch)
    assert merged.mean is not None
    assert math.isclose(merged.mean, values.mean(), rel_tol=1e-15)
    assert merged.std == pytest.approx(values.std(), rel=1e-6)
