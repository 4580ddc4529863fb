"""A sketch as bytes, and back.

    8 bytes   "TMSKETCH"
    1 byte    the format's version
    16 bytes  BLAKE2b of all that follows
    8 bytes   the length of the content, little-endian
    …         the content, compressed with Zstandard: the length of a JSON object (4 bytes), the object, and arrays

The object holds what is scalar, column by column. Arrays of all columns are put end to end, one stream for each field,
and a stream's integers are stored byte by byte, the lowest bytes of all first: most of the higher ones are zero or
alike, and so take next to no space. An edge is stored as its distance from the one before it, counted in numbers that
a double can be, without the zeros at its end: a few bits for edges that were rounded, all of them for those that are
exact; or, where they are decimal fractions, as whole numbers (`edge_codec`). Sums of a compact sketch are a byte a
bin (`numeric.compacted`).
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from tidemill.drift.edge_codec import pack_decimals, pack_steps, unpack_decimals, unpack_steps
from tidemill.drift.errors import DriftError
from tidemill.drift.numeric import mean_positions, sums_at
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

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.uint64]

MAGIC = b"TMSKETCH"
VERSION = 1
LEVEL = 9
LARGEST = 1 << 31
"""More than this is no sketch: whoever made such a file wants memory to run out."""
_KINDS: dict[str, type[ColumnSketch]] = {
    kind.kind: kind
    for kind in (NumericSketch, CategoricalSketch, BooleanSketch, TextSketch, TimestampSketch, OtherSketch)
}
_SHARED: WeakValueDictionary[bytes, Any] = WeakValueDictionary()
"""Edges that were read and are still in use, by their content."""
_HEAD = struct.Struct("<8sB16sQ")


def encode(sketch: Sketch) -> bytes:
    """See ``Sketch.to_bytes``."""
    import pyarrow as pa

    streams = _Streams()
    columns = [[name, *_column(column, streams)] for name, column in sketch.columns.items()]
    head = {"rows": sketch.rows, "meta": sketch.meta, "columns": columns, "streams": streams.lengths()}
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    content = b"".join((struct.pack("<I", len(text)), text, *streams.content()))
    packed: bytes = pa.Codec("zstd", compression_level=LEVEL).compress(content, asbytes=True)
    rest = struct.pack("<Q", len(content)) + packed
    return MAGIC + bytes([VERSION]) + _digest(rest) + rest


def decode(content: bytes) -> Sketch:
    """See ``Sketch.from_bytes``."""
    import pyarrow as pa

    if content[: len(MAGIC)] != MAGIC:
        raise DriftError("this is no Tidemill sketch.")
    if len(content) < _HEAD.size:
        raise DriftError("the sketch is cut off. Make it again from the reference's rows.")
    _, version, digest, size = _HEAD.unpack_from(content)
    if version != VERSION:
        raise DriftError(
            f"a sketch of format {version}; this version of Tidemill reads format {VERSION}. Make it again."
        )
    if _digest(content[_HEAD.size - 8 :]) != digest or size > LARGEST:
        raise DriftError("the sketch is damaged: its checksum is wrong. Make it again from the reference's rows.")
    try:
        raw = pa.Codec("zstd").decompress(content[_HEAD.size :], size, asbytes=True)
        (length,) = struct.unpack_from("<I", raw)
        head = json.loads(raw[4 : 4 + length].decode("utf-8", "surrogatepass"))
        streams = _Streams.read(head["streams"], raw[4 + length :])
        columns = {name: _read_column(kind, values, streams) for name, kind, values in head["columns"]}
        return Sketch(rows=head["rows"], columns=columns, meta=head["meta"])
    except (KeyError, ValueError, TypeError, IndexError, struct.error, pa.ArrowException, OSError) as error:
        raise DriftError(f"the sketch is damaged: {type(error).__name__}: {error}") from None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


class _Streams:
    """Arrays of integers by field, those of one column after those of another."""

    NAMES = ("shifts", "edges", "counts", "means", "sums", "lows", "highs", "deciles", "categories")
    BYTES = frozenset({"shifts", "means"})

    def __init__(self) -> None:
        self._written: dict[str, list[Any]] = {name: [] for name in self.NAMES}
        self._read: dict[str, Any] = {}
        self._position = dict.fromkeys(self.NAMES, 0)

    def write(self, name: str, values: Any) -> None:
        """Put an array at the end of a stream."""
        self._written[name].append(values)

    def take(self, name: str, count: int) -> Any:
        """The next so many values of a stream."""
        start = self._position[name]
        self._position[name] = start + count
        found = self._read[name][start : start + count]
        if len(found) != count:
            raise ValueError(f"{name} end early")
        return found

    def lengths(self) -> dict[str, int]:
        """How many values each stream has."""
        return {name: sum(map(len, parts)) for name, parts in self._written.items()}

    def content(self) -> list[bytes]:
        """The streams as bytes."""
        import numpy as np

        found = []
        for name, parts in self._written.items():
            if name in self.BYTES:
                found += [part.tobytes() for part in parts]
            elif parts:
                planes = np.concatenate(parts).astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
                found.append(planes.T.tobytes())
        return found

    @classmethod
    def read(cls, lengths: dict[str, int], content: bytes) -> _Streams:
        """The streams of these bytes."""
        import numpy as np

        streams, start = cls(), 0
        for name in cls.NAMES:
            count = lengths[name]
            size = count if name in cls.BYTES else 8 * count
            part = np.frombuffer(content, dtype=np.uint8, count=size, offset=start)
            start += size
            if name not in cls.BYTES:
                part = np.ascontiguousarray(part.reshape(8, count).T).view("<u8").reshape(count)
            streams._read[name] = part
        return streams


def _column(column: ColumnSketch, streams: _Streams) -> tuple[str, dict[str, Any]]:
    """The kind of a column and its scalars; its arrays go to the streams."""
    values: dict[str, Any] = {}
    for item in fields(column):
        value = getattr(column, item.name)
        if value == item.default if isinstance(value, (int, float, str, bool, type(None), tuple)) else False:
            continue
        values[item.name] = value
    match column:
        case NumericSketch():
            _write_numbers(column, values, streams)
        case CategoricalSketch():
            streams.write("categories", values.pop("counts").astype("uint64"))
            values["categories"] = list(column.categories)
        case TextSketch():
            values["lengths"] = _column(column.lengths, streams)[1]
        case TimestampSketch():
            for name in ("minimum", "maximum"):
                if values.get(name) is not None:
                    values[name] = values[name].isoformat()
    return column.kind, values


def _write_numbers(column: NumericSketch, values: dict[str, Any], streams: _Streams) -> None:
    for name in ("edges", "counts", "sums", "lows", "highs", "deciles"):
        values.pop(name, None)
    values["bins"] = len(column.counts)
    values["tens"] = len(column.deciles)
    decimals = pack_decimals(column.edges)
    if decimals is not None:
        values["places"], shifts, steps = decimals
    else:
        shifts, steps = pack_steps(column.edges)
    streams.write("shifts", shifts)
    streams.write("edges", steps)
    streams.write("counts", column.counts.astype("uint64"))
    streams.write("deciles", column.deciles.astype("uint64"))
    if column.lows is not None and column.highs is not None:
        values["ranges"] = True
        streams.write("lows", column.lows.view("uint64"))
        streams.write("highs", column.highs.view("uint64"))
    if column.compact and len(column.edges) > 1:
        streams.write("means", mean_positions(column.edges, column.counts, column.sums))
        streams.write("sums", column.sums[[0, -1]].view("uint64"))
    else:
        streams.write("sums", column.sums.view("uint64"))


def _shared(shifts: Any, steps: Any, places: int | None) -> Any:
    """The edges. Sketches of one reference share them, in memory too: that they are the same is then seen at once."""
    key = b"%d:" % (-99 if places is None else places) + shifts.tobytes() + steps.tobytes()
    edges = _SHARED.get(key)
    if edges is None:
        edges = unpack_steps(shifts, steps) if places is None else unpack_decimals(shifts, steps, places)
        edges.flags.writeable = False
        _SHARED[key] = edges
    return edges


def _read_column(kind: str, values: dict[str, Any], streams: _Streams) -> ColumnSketch:
    import numpy as np

    match kind:
        case "numeric":
            return _read_numbers(values, streams)
        case "categorical":
            values["categories"] = tuple(values["categories"])
            values["counts"] = streams.take("categories", len(values["categories"])).astype(np.int64)
        case "text":
            values["lengths"] = _read_numbers(values["lengths"], streams)
        case "timestamp":
            for name in ("minimum", "maximum"):
                if values.get(name) is not None:
                    values[name] = datetime.fromisoformat(values[name])
    return _KINDS[kind](**values)


def _read_numbers(values: dict[str, Any], streams: _Streams) -> NumericSketch:
    import numpy as np

    bins, tens = values.pop("bins"), values.pop("tens")
    edges = _shared(streams.take("shifts", bins - 1), streams.take("edges", bins - 1), values.pop("places", None))
    counts = streams.take("counts", bins).astype(np.int64)
    if values.get("compact") and bins > 2:
        sums = np.empty(bins, dtype=np.float64)
        sums[1:-1] = sums_at(edges, counts, streams.take("means", bins - 2))
        sums[[0, -1]] = streams.take("sums", 2).view(np.float64)
    else:
        sums = streams.take("sums", bins).view(np.float64)
    ranges = values.pop("ranges", False)
    return NumericSketch(
        edges=edges,
        counts=counts,
        sums=sums,
        lows=streams.take("lows", bins).view(np.float64) if ranges else None,
        highs=streams.take("highs", bins).view(np.float64) if ranges else None,
        deciles=streams.take("deciles", tens).astype(np.int64),
        octaves=tuple(values.pop("octaves", ())),
        examples=tuple(values.pop("examples", ())),
        **values,
    )
