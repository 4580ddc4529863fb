"""Categories, truth values and texts: counted exactly where it matters, in bounded memory, and never silently wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon

from tidemill.drift import categorical
from tidemill.drift.distances import distances
from tidemill.drift.sketch import (
    CATEGORIES,
    CATEGORY_CHARS,
    BooleanSketch,
    CategoricalSketch,
    ColumnSketch,
    Sketch,
    TextSketch,
    merge,
)
from tidemill.drift.summarise import summarise_table


def column(values: object, reference: ColumnSketch | None = None) -> ColumnSketch:
    known = None if reference is None else Sketch(rows=reference.rows, columns={"x": reference})
    return summarise_table(pa.table({"x": pa.array(values)}), reference=known).columns["x"]


def categories(values: object, reference: ColumnSketch | None = None) -> CategoricalSketch:
    found = column(values, reference)
    assert isinstance(found, CategoricalSketch)
    return found


def drawn(seed: int, weights: list[float], n: int = 20_000) -> list[str]:
    p = np.array(weights) / sum(weights)
    return [f"c{i}" for i in np.random.default_rng(seed).choice(len(p), n, p=p)]


def test_exact_shares_give_the_distances() -> None:
    before, now = drawn(1, [5, 3, 2, 1]), drawn(2, [5, 3, 1, 2])
    q, p = (np.array([values.count(f"c{i}") for i in range(4)]) / len(values) for values in (before, now))
    reference = categories(before)
    found = distances(reference, categories(now, reference))
    assert found.js == pytest.approx(jensenshannon(p, q, base=2), abs=1e-9)
    assert found.psi == pytest.approx(float(np.sum((p - q) * np.log(p / q))), abs=1e-9)
    assert found.linf == pytest.approx(float(np.max(np.abs(p - q))), abs=1e-9)
    assert found.chi2 == pytest.approx(float(np.sum((p - q) ** 2 / q)), abs=1e-9)
    assert found.hellinger == pytest.approx(float(np.sqrt(np.sum((np.sqrt(p) - np.sqrt(q)) ** 2) / 2)), abs=1e-9)
    assert (found.ks, found.wasserstein) == (None, None)
    assert found.notes["ks"] == "exists for numbers only"


def test_dictionaries_and_their_order_do_not_matter() -> None:
    values = ["b", "a", None, "b", "c"] * 10
    plain, encoded = categories(values), categories(pa.array(values).dictionary_encode())
    large = categories(pa.array(values, pa.large_string()))
    assert plain.categories == encoded.categories == large.categories == ("b", "a", "c")
    assert plain.counts.tolist() == encoded.counts.tolist() == [20, 10, 10]
    assert plain.dtype == encoded.dtype == large.dtype == "string"
    assert plain.nulls == encoded.nulls == 10


def test_a_dictionary_with_values_that_no_row_has() -> None:
    values = pa.DictionaryArray.from_arrays(pa.array([0, 0, None, 2]), pa.array(["a", "unused", "b"]))
    found = categories(values)
    assert (found.categories, found.counts.tolist(), found.distinct, found.nulls) == (("a", "b"), [2, 1], 2, 1)


def test_new_categories_come_after_the_known_ones() -> None:
    reference = categories(["b", "a", "a"])
    found = categories(["new", "a", "new", "newer", None], reference)
    assert found.categories == ("a", "b", "new", "newer")
    assert found.counts.tolist() == [1, 0, 2, 1]
    assert (found.known, found.nulls, found.pooled) == (2, 1, 0)


def test_more_categories_than_are_kept_by_name_are_pooled_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"n{i:05d}" for i in range(CATEGORIES + 500) for _ in range(2)] + ["often"] * 40_000
    found = categories(names)
    assert len(found.categories) == CATEGORIES
    assert found.categories[0] == "often"
    assert found.counts[0] == 40_000
    assert found.pooled == 2 * 501
    assert (found.distinct, found.distinct_exact) == (CATEGORIES + 501, True)
    again = distances(found, categories(names, found))
    assert (again.psi, again.js) == (0, 0)
    assert "all but the 10,000 most frequent" in again.remarks[0]


def test_memory_is_bounded_and_counts_are_exact_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categorical, "TRACKED", 500)
    rng = np.random.default_rng(0)
    often = [f"often {i}" for i in range(20)]
    rare = [f"rare {i}" for i in range(30_000)]
    rows = rng.permutation([*often * 2000, *rare]).tolist()
    table = pa.table({"x": pa.chunked_array([pa.array(rows[i : i + 700]) for i in range(0, len(rows), 700)])})
    found = summarise_table(table).columns["x"]
    assert isinstance(found, CategoricalSketch)
    assert set(often) <= set(found.categories)
    assert found.counts[: len(often)].tolist() == [2000] * 20
    assert found.undercount == 0  # counted once more
    assert int(found.counts.sum()) + found.pooled == len(rows)
    assert not found.distinct_exact
    assert found.distinct == pytest.approx(30_020, rel=0.1)


def test_many_new_categories_in_one_pass_say_how_uncertain_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categorical, "TRACKED", 500)
    rng = np.random.default_rng(0)
    reference = categories(["a", "b"] * 500)
    rows = rng.permutation(["a"] * 3000 + ["b"] * 3000 + [f"new {i}" for i in range(8000)]).tolist()
    table = pa.table({"x": pa.chunked_array([pa.array(rows[i : i + 700]) for i in range(0, len(rows), 700)])})
    known = Sketch(rows=1000, columns={"x": reference})
    found = summarise_table(table, reference=known).columns["x"]
    assert isinstance(found, CategoricalSketch)
    assert found.counts[:2].tolist() == [3000, 3000]
    assert int(found.counts.sum()) + found.pooled == len(rows)
    assert found.undercount > 0
    assert any("rows more than counted" in remark for remark in distances(reference, found).remarks)


def test_long_categories_stay_apart() -> None:
    begin = "x" * 500
    values = [begin + "one"] * 30 + [begin + "two"] * 70 + ["short"] * 50
    reference = categories(values)
    assert all(len(name) <= CATEGORY_CHARS for name in reference.categories)
    assert reference.counts.tolist() == [70, 50, 30]
    assert categories(values, reference).counts.tolist() == [70, 50, 30]
    assert categories([begin + "three"] * 5, reference).counts.tolist() == [0, 0, 0, 5]


def test_strings_that_are_nearly_all_different_are_compared_by_length() -> None:
    rng = np.random.default_rng(0)
    short = [f"{i} {'a' * rng.integers(5, 15)}" for i in range(3000)]
    long = [f"{i} {'a' * rng.integers(10, 30)}" for i in range(3000)]
    reference = column([*short, None])
    assert isinstance(reference, TextSketch)
    assert (reference.distinct, reference.nulls, reference.lengths.nulls) == (3000, 1, 1)
    same, far = (distances(reference, column(values, reference)) for values in (short, long))
    assert same.psi == pytest.approx(0, abs=1e-3)
    assert far.psi is not None
    assert far.psi > 1
    lengths = [np.array([len(text) for text in texts]) for texts in (short, long)]
    assert far.ks == pytest.approx(
        max(np.mean(lengths[0] <= t) - np.mean(lengths[1] <= t) for t in range(60)), abs=0.005
    )
    assert "by the length" in far.remarks[0]


def test_few_rows_are_categories_though_all_are_different() -> None:
    assert column(["a", "b", "c"]).kind == "categorical"


def test_texts_of_any_length() -> None:
    reference = column([*(f"{i}" for i in range(200)), "y" * 100_000])
    assert isinstance(reference, TextSketch)
    assert reference.lengths.maximum == 100_000


def test_booleans() -> None:
    reference = column([True, True, False, None])
    assert isinstance(reference, BooleanSketch)
    assert (reference.trues, reference.falses, reference.nulls) == (2, 1, 1)
    found = distances(reference, column([True, False, False, None]))
    assert found.linf == pytest.approx(0.25)


@pytest.mark.parametrize("texts", [["é"], ["日本語", "🌊"], ["a\x00b"], [" "], [""]])
def test_any_text_is_a_category(texts: list[str]) -> None:
    reference = categories(texts * 3)
    stored = Sketch.from_bytes(Sketch(rows=3, columns={"x": reference}).to_bytes()).columns["x"]
    assert isinstance(stored, CategoricalSketch)
    assert stored.categories == tuple(sorted(texts))


def test_merged_parts_have_all_categories() -> None:
    reference = categories(["a", "b", "b"])
    parts = [["a", "new"], ["b", "newer", "newer"], [None, "a"], ["new", "new", "new"]]
    whole = categories([value for part in parts for value in part], reference)
    sketches = [Sketch(rows=len(part), columns={"x": categories(part, reference)}) for part in parts]
    merged = merge([Sketch.from_bytes(sketch.to_bytes()) for sketch in sketches]).columns["x"]
    assert isinstance(merged, CategoricalSketch)
    assert merged.categories == whole.categories == ("b", "a", "new", "newer")
    assert merged.counts.tolist() == whole.counts.tolist() == [1, 2, 4, 2]
    assert (merged.nulls, merged.distinct, merged.known) == (1, 4, 2)
    assert distances(reference, merged) == distances(reference, whole)
