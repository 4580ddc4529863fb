"""The drift report of a frame against a reference: every column's distance, and the share that drifted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tidemill.drift.distance import by_chance, distance
from tidemill.drift.profile import DriftError, Profile, kind_of
from tidemill.records import ColumnDrift
from tidemill.spec.errors import suggest

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Comparison:
    """The columns' drift, the share of the judged ones that drifted (``None`` if none could be judged) and
    whether that share is what was asked for."""

    columns: tuple[ColumnDrift, ...]
    share_drifted: float | None
    drifted: bool

    def why(self) -> str:
        """The verdict in a sentence, with the columns that drifted most."""
        judged = [c for c in self.columns if c.distance is not None]
        if self.share_drifted is None:
            return f"drift is not judged: none of {len(self.columns)} columns could be compared"
        over = sorted((c for c in judged if c.drifted), key=lambda c: -(c.distance or 0.0))
        named = ", ".join(f"{c.name} {c.distance:.3f}" for c in over[:5])
        rest = f" and {len(over) - 5} more" if len(over) > 5 else ""
        verdict = f"{len(over)} of {len(judged)} columns drifted ({self.share_drifted:.0%})"
        return verdict + (f": {named}{rest}" if named else "")


def compare(
    profile: Profile,
    frame: pl.DataFrame,
    *,
    at_least: float,
    share: float,
    columns: Sequence[str] | None = None,
    exclude: Collection[str] = (),
) -> Comparison:
    """Compare a frame with a reference, column by column.

    ``columns`` are the ones to watch; without them all of either side except ``exclude`` (key, target, time).
    A column has drifted from the distance ``at_least`` on, the frame when ``share`` (0 to 1) of the columns
    that could be judged have, and at least one.

    Raises:
        DriftError: ``columns`` names one that the reference or the frame does not have.
    """
    if columns is None:
        both = dict.fromkeys([*profile.columns, *frame.columns])
        columns = [name for name in both if name not in exclude]
    else:
        _require(columns, profile, frame)
    found = tuple(_column(name, profile, frame, at_least) for name in columns)
    judged = [c for c in found if c.distance is not None]
    part = sum(c.drifted for c in judged) / len(judged) if judged else None
    return Comparison(found, part, part is not None and part > 0 and part >= share)


def _require(columns: Sequence[str], profile: Profile, frame: pl.DataFrame) -> None:
    for where, present in (("the reference", list(profile.columns)), ("the rows to compare", frame.columns)):
        missing = [name for name in columns if name not in present]
        if missing:
            near = suggest(missing[0], present)
            meant = f' Did you mean "{near}"?' if near else f" There are: {', '.join(present)}."
            raise DriftError(f'The columns to watch for drift name "{missing[0]}", which {where} lack.{meant}')


def _column(name: str, profile: Profile, frame: pl.DataFrame, at_least: float) -> ColumnDrift:
    reference = profile.columns.get(name)
    kind: Literal["numeric", "categorical"]
    if reference is None:
        kind = "numeric" if kind_of(frame[name]) == "numeric" else "categorical"
        return ColumnDrift(name=name, type=kind, distance=None, drifted=False, note="not in the reference")
    kind = "categorical" if reference.kind == "categorical" else "numeric"
    if name not in frame.columns:
        return ColumnDrift(name=name, type=kind, distance=None, drifted=False, note="missing in these rows")
    value, note, bins = distance(reference, frame[name])
    if value is None:
        return ColumnDrift(name=name, type=kind, distance=None, drifted=False, note=note)
    chance = by_chance(bins, frame.height, profile.rows)
    if chance >= at_least / 2:  # said, not acted on: the threshold is the spec's
        few = f"{min(frame.height, profile.rows):,} rows alone would give about {chance:.2f} by chance"
        note = f"{note}; {few}" if note else few
    return ColumnDrift(name=name, type=kind, distance=value, drifted=value >= at_least, note=note)
