"""Counting categories, and the lengths of texts, in bounded memory.

The categories of a reference are always counted exactly. Others are counted exactly, too, until there are ``TRACKED``
of them; from then on the rarest are dropped when memory is full, as in J. Misra and D. Gries, "Finding repeated
elements" (Science of Computer Programming 2, 1982): what is left is then a lower bound, and by how much is known. A
reference of so many categories is read once more to count those that were kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tidemill.drift.sketch import CATEGORIES, CATEGORY_CHARS, CategoricalSketch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]

TRACKED = 200_000
"""So many categories are counted at once."""
SAMPLED = 1024
"""Hashes kept to estimate the number of categories once not all are counted: within about 3 %."""


class CategoryCounter:
    """Counts the categories of a column; ``known`` ones, those of a reference, apart from all others."""

    def __init__(self, known: Sequence[str] = ()) -> None:
        """Count these by themselves, whatever comes besides."""
        import numpy as np
        import pyarrow as pa

        self.rows = self.nulls = 0
        self.known = tuple(known)
        self.counts = np.zeros(len(self.known), dtype=np.int64)
        self.dropped = 0
        self.undercount = 0
        self._set = pa.array(self.known, type=pa.large_string())
        self._shortened = any(len(name) == CATEGORY_CHARS for name in self.known)
        self._names: list[Any] = []
        self._found: list[Counts] = []
        self._waiting = 0
        self._sample = DistinctSample()
        self._last: tuple[Any, Counts, NDArray[np.bool_]] | None = None

    def add(self, column: Any) -> None:
        """Count an Arrow array of strings, plain or dictionary-encoded."""
        self.rows += len(column)
        names, counts = value_counts(column)
        self.nulls += len(column) - int(counts.sum())
        self.add_counts(names, counts)

    def add_counts(self, names: Any, counts: Counts) -> None:
        """Count different categories, each with its rows."""
        import numpy as np
        import pyarrow as pa

        if len(self.known):
            position, known = self._positions(names)
            np.add.at(self.counts, position[known], counts[known])
            other = ~known & (counts > 0)
        else:
            other = counts > 0
        if not other.any():
            return
        kept = names if other.all() else names.filter(pa.array(other))
        self._names.append(kept)
        self._found.append(counts[other])
        self._waiting += len(kept)
        if self._waiting > 2 * TRACKED:
            self._compact()

    def _positions(self, names: Any) -> tuple[Counts, NDArray[np.bool_]]:
        """Where each name is among the known ones, and whether it is there. The parts of a file mostly share a
        dictionary, so the last answer is kept."""
        import numpy as np
        import pyarrow.compute as pc

        if self._last is not None and self._last[0].equals(names):
            return self._last[1], self._last[2]
        looked_up = shortened(names) if self._shortened else names
        found = pc.index_in(looked_up, value_set=self._set)
        known = np.asarray(found.is_valid())
        position = np.asarray(found.fill_null(-1)).astype(np.int64)
        self._last = (names, position, known)
        return position, known

    def _compact(self) -> tuple[Any, Counts]:
        """All other categories that are counted, each once; the rarest are dropped where there are too many."""
        import numpy as np
        import pyarrow as pa

        if not self._names:
            return pa.array([], type=pa.large_string()), np.zeros(0, dtype=np.int64)
        names, counts = self._names[0], self._found[0]
        if len(self._names) > 1:
            encoded = pa.concat_arrays(self._names).dictionary_encode()
            names = encoded.dictionary
            summed = np.bincount(np.asarray(encoded.indices), weights=np.concatenate(self._found))
            counts = summed.astype(np.int64)
        if len(names) > TRACKED or not self._sample.empty:
            self._sample.add(names)
        if len(names) > TRACKED:
            few = len(counts) - TRACKED // 2
            order = np.argpartition(counts, few)
            rare, kept = order[:few], np.sort(order[few:])
            self.dropped += int(counts[rare].sum())
            self.undercount += int(counts[rare].max())
            names, counts = names.take(pa.array(kept)), counts[kept]
        self._names, self._found, self._waiting = [names], [counts], len(names)
        return names, counts

    def finish(self, dtype: str) -> CategoricalSketch:
        """The sketch: known categories in their order, then the most frequent of the others."""
        import numpy as np

        names, counts = self._compact()
        distinct = len(names) + int(np.count_nonzero(self.counts))
        exact = self._sample.empty
        if not exact:
            distinct = max(distinct, self._sample.estimate() + int(np.count_nonzero(self.counts)))
        chosen, tally, rest = most_frequent(names, counts)
        return CategoricalSketch(
            dtype=dtype,
            rows=self.rows,
            nulls=self.nulls,
            categories=self.known + chosen,
            counts=np.concatenate([self.counts, tally]),
            pooled=rest + self.dropped,
            known=len(self.known),
            distinct=distinct,
            distinct_exact=exact,
            undercount=self.undercount,
        )


def most_frequent(names: Any, counts: Counts) -> tuple[tuple[str, ...], Counts, int]:
    """The most frequent categories with their rows, equally frequent ones by name, and the rows of the others."""
    import numpy as np
    import pyarrow as pa

    rest = 0
    if len(names) > CATEGORIES:  # all that are as frequent as the last to be kept take part in the sort by name
        least = int(np.partition(counts, len(counts) - CATEGORIES)[len(counts) - CATEGORIES])
        candidates = counts >= least
        rest = int(counts[~candidates].sum())
        names, counts = names.filter(pa.array(candidates)), counts[candidates]
    names = shortened(names)
    pairs = sorted(zip(names.to_pylist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    rest += sum(count for _, count in pairs[CATEGORIES:])
    kept = pairs[:CATEGORIES]
    return tuple(name for name, _ in kept), np.array([count for _, count in kept], dtype=np.int64), rest


def shortened(names: Any) -> Any:
    """The names, those longer than ``CATEGORY_CHARS`` as their beginning and a digest of all of them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(names) or pc.max(pc.binary_length(names)).as_py() <= CATEGORY_CHARS:
        return names
    return pa.array([_shortened(name) for name in names.to_pylist()], type=names.type)


def _shortened(name: str) -> str:
    if len(name) <= CATEGORY_CHARS:
        return name
    digest = hashlib.blake2s(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{name[: CATEGORY_CHARS - len(digest) - 1]}…{digest}"


def value_counts(column: Any) -> tuple[Any, Counts]:
    """The different strings of an Arrow array, nulls left out, and the rows of each."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    indices, names = column.indices, column.dictionary
    if indices.null_count:
        indices = indices.drop_null()
    counts = np.bincount(np.asarray(indices), minlength=len(names)).astype(np.int64, copy=False)
    if names.null_count:
        valid = names.is_valid()
        names, counts = names.filter(valid), counts[np.asarray(valid)]
    if names.type != pa.large_string():
        names = names.cast(pa.large_string())
    return names, counts


class LengthCounter:
    """How many texts there are of each length in characters."""

    def __init__(self) -> None:
        """Nothing counted yet."""
        self.lengths: dict[int, int] = {}

    def add_counts(self, names: Any, counts: Counts) -> None:
        """Count different texts, each with its rows."""
        import numpy as np
        import pyarrow.compute as pc

        if not len(names):
            return
        lengths = np.asarray(pc.utf8_length(names))
        if int(lengths.max()) < 1 << 16:
            tally = np.bincount(lengths, weights=counts).astype(np.int64)
            found = zip(np.flatnonzero(tally).tolist(), tally[tally > 0].tolist(), strict=True)
        else:
            different, where = np.unique(lengths, return_inverse=True)
            tally = np.bincount(where, weights=counts).astype(np.int64)
            found = zip(different.tolist(), tally.tolist(), strict=True)
        for length, count in found:
            self.lengths[length] = self.lengths.get(length, 0) + count


class DistinctSample:
    """An estimate of how many different strings there were, from the smallest of their hashes.

    K. Beyer et al., "On synopses for distinct-value estimation under multiset operations" (SIGMOD 2007): with the
    k-th smallest of hashes spread evenly over (0, 1) at u, there are about (k - 1) / u.
    """

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._hashes: NDArray[np.uint64] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return self._hashes is None

    def add(self, names: Any) -> None:
        """Take in an Arrow array of strings."""
        import numpy as np
        from pandas.util import hash_array

        hashes = hash_array(np.asarray(names.to_numpy(zero_copy_only=False), dtype=object), categorize=False)
        seen = hashes if self._hashes is None else np.concatenate([self._hashes, hashes])
        self._hashes = np.unique(seen)[:SAMPLED]

    def estimate(self) -> int:
        """The estimated number of different strings."""
        if self._hashes is None:
            return 0
        if len(self._hashes) < SAMPLED:
            return len(self._hashes)
        return round((SAMPLED - 1) / (float(self._hashes[-1]) / 2.0**64))
