"""Whether columns, and the data as a whole, have drifted: from distances to decisions.

A column's change is *significant* if chance does not explain it, at a false discovery rate over all judged columns.
It has *drifted* if it is significant and its distance is at least the rule's bound and more than chance gives in
samples of this size: with enough rows every change is significant, with few rows every distance is large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from tidemill.drift.critical import Sizes, critical_value, significant
from tidemill.drift.percent import percent

if TYPE_CHECKING:
    from tidemill.drift.sketch import Sketch
    from tidemill.spec.monitoring import Distance, Drift

MIN_ROWS = 50
"""Ten deciles with five rows each: with fewer no approximation of a distance's distribution holds (Cochran 1954)."""

DISTANCES = ("psi", "js", "ks", "wasserstein", "hellinger", "linf", "chi2")
NUMERIC_ONLY = frozenset({"ks", "wasserstein"})
UNORDERED = frozenset({"categorical", "boolean"})
"""Kinds whose values are told apart and not ordered."""


def default_bound(distance: str) -> float:
    """From where on a column has drifted: 0.2 for the PSI, 0.1 for any other distance."""
    return 0.2 if distance == "psi" else 0.1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """When a column and the data have drifted. ``docs/drift.md`` describes each.

    ``at_least`` and ``categorical_at_least`` are ``default_bound`` if ``None``. ``categorical`` is the distance of
    categorical columns: ``distance`` itself if ``None``, and ``js`` where that exists for numbers only.
    """

    distance: Distance = "psi"
    at_least: float | None = None
    categorical: Distance | None = None
    categorical_at_least: float | None = None
    share: float = 0.3
    alpha: float = 0.05
    min_rows: int = MIN_ROWS

    def __post_init__(self) -> None:
        for name, value, low, high in (("share", self.share, 0, 1), ("alpha", self.alpha, 0, 1)):
            if not low <= value <= high:
                raise ValueError(f"{name} must lie between {low} and {high}, not {value:g}")
        for distance in (self.distance, self.categorical):
            if distance not in (None, *DISTANCES):
                raise ValueError(f'unknown distance "{distance}": {", ".join(DISTANCES)}')
        if self.categorical in NUMERIC_ONLY:
            raise ValueError(f"{self.categorical} exists for numbers only")
        for bound in (self.at_least, self.categorical_at_least):
            if bound is not None and not bound > 0:
                raise ValueError(f"a distance's bound must be more than 0, not {bound:g}")

    @classmethod
    def of(cls, drift: Drift, *, min_rows: int = MIN_ROWS) -> Rules:
        """The rules of a spec's ``monitor.drift``."""
        other = drift.categorical
        return cls(
            distance=drift.distance,
            at_least=drift.at_least,
            categorical=other.distance if other else None,
            categorical_at_least=other.at_least if other else None,
            share=drift.share,
            alpha=drift.alpha,
            min_rows=min_rows,
        )

    def of_kind(self, kind: str) -> tuple[Distance, float]:
        """The distance by which columns of a kind are judged, and from where on they have drifted."""
        if kind not in UNORDERED:
            return self.distance, self.at_least or default_bound(self.distance)
        if self.categorical is not None:
            return self.categorical, self.categorical_at_least or default_bound(self.categorical)
        if self.distance in NUMERIC_ONLY:
            return "js", self.categorical_at_least or default_bound("js")
        return self.distance, self.categorical_at_least or self.at_least or default_bound(self.distance)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of one column: its distances (``None`` where one does not exist; ``notes`` say why, by distance),
    how likely they are without a change, the sizes that decide what chance gives, and what else is to be said.
    ``chance`` gives the critical value of a distance at a level where bins hold too few rows for approximations.
    ``judged``: it is there to be judged, unlike a time, which moves by nature."""

    name: str
    kind: str
    distances: Mapping[str, float | None]
    p_value: float | None
    sizes: Sizes
    notes: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()
    chance: Callable[[str, float], float | None] | None = None
    judged: bool = True


@dataclass(frozen=True, kw_only=True)
class ColumnDrift:
    """One column's distances and the decision on it.

    ``judged_by`` is the distance that decided and ``bound`` what it had to reach: the rule's bound, or where chance
    alone would exceed that, its critical value. ``judged`` is false where nothing could be decided; ``note`` says why.
    """

    name: str
    kind: str
    psi: float | None = None
    js: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    hellinger: float | None = None
    linf: float | None = None
    chi2: float | None = None
    p_value: float | None = None
    significant: bool = False
    drifted: bool = False
    judged: bool = False
    judged_by: str = "psi"
    bound: float | None = None
    weight: float = 1.0
    note: str = ""

    @property
    def value(self) -> float | None:
        """The distance that decided."""
        found: float | None = getattr(self, self.judged_by)
        return found

    @property
    def severity(self) -> float:
        """By how much the distance exceeds its bound: what reports sort by. Negative if there is none."""
        return self.value / self.bound if self.value is not None and self.bound else -1.0

    def to_json(self) -> dict[str, Any]:
        """The column as a JSON-ready object."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The decision on the data. ``share_drifted``: the (weighted) share of the judged columns that have drifted;
    ``None`` if none could be judged. ``notes``: what has to be known about how it was come by."""

    drifted: bool
    rows: tuple[int, int]
    columns: tuple[ColumnDrift, ...]
    share_drifted: float | None
    rules: Rules
    weighted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> list[ColumnDrift]:
        """The columns that could be judged."""
        return [c for c in self.columns if c.judged]

    @property
    def worst_first(self) -> list[ColumnDrift]:
        """The columns, drifted ones first, then by how far they are from their bound, then as they came."""
        return sorted(self.columns, key=lambda c: (not c.drifted, not c.judged, not c.significant, -c.severity))

    def why(self) -> str:
        """The verdict in a sentence, with the columns that have drifted most."""
        judged = self.judged
        if self.share_drifted is None:
            why = "; ".join(self.notes) or f"none of {len(self.columns):,} columns could be compared"
            return f"drift is not judged: {why}"
        over = [c for c in self.worst_first if c.drifted]
        have = "has" if len(over) == 1 else "have"
        importance = " of the importance" if self.weighted else ""
        asked = f"{percent(self.share_drifted)}{importance}; drift is from {percent(self.rules.share)} on"
        said = f"{len(over):,} of {len(judged):,} column{'' if len(judged) == 1 else 's'} {have} drifted ({asked})"
        named = ", ".join(f"{c.name} {c.judged_by} {c.value:.3f}" for c in over[:5])
        rest = f" and {len(over) - 5:,} more" if len(over) > 5 else ""
        return said + (f": {named}{rest}" if named else "")


def decide(
    reference: Sketch, current: Sketch, rules: Rules | None = None, importances: Mapping[str, float] | None = None
) -> Verdict:
    """The verdict on ``current``, which was summarised against ``reference``.

    All columns of both sketches are judged, but times. ``importances``: column → how much counts that it has drifted.
    """
    from tidemill.drift.evidence import gather

    return judge(gather(reference, current), (reference.rows, current.rows), rules or Rules(), importances)


def judge(
    evidence: Sequence[Evidence],
    rows: tuple[int, int],
    rules: Rules,
    importances: Mapping[str, float] | None = None,
) -> Verdict:
    """The verdict on columns of which distances and p-values are known.

    ``rows``: of reference and current. ``importances``: a column that is not among them, or has less than 0, does
    not count; if none of the judged columns does, all count equally, and that is said.
    """
    notes = []
    few = [
        f"the {side} {'has no rows' if n == 0 else f'has {n:,} row' + ('s' if n > 1 else '')}"
        for side, n in zip(("reference", "current data"), rows, strict=True)
        if n < rules.min_rows
    ]
    if few:
        notes.append(f"{' and '.join(few)}, at least {rules.min_rows:,} are needed")
    if not evidence:
        notes.append("the two have no column in common")
    tested = {e.name: e.p_value for e in evidence if e.judged and not few}
    seen = significant(tested, rules.alpha)
    columns = [_column(e, rules, seen.get(e.name, False), enough=not few) for e in evidence]
    weights, weighted = _weights(columns, importances, notes)
    columns = [_weighted(column, weights.get(column.name, 0.0)) for column in columns]
    total = sum(c.weight for c in columns)
    share = sum(c.weight for c in columns if c.drifted) / total if total else None
    return Verdict(
        drifted=share is not None and share > 0 and bool(share >= rules.share),
        rows=rows,
        columns=tuple(columns),
        share_drifted=share,
        rules=rules,
        weighted=weighted,
        notes=tuple(notes),
    )


def _column(evidence: Evidence, rules: Rules, is_significant: bool, *, enough: bool) -> ColumnDrift:
    by, threshold = rules.of_kind(evidence.kind)
    value, notes = evidence.distances.get(by), list(evidence.remarks)
    if value is None and evidence.notes.get(by):
        notes.insert(0, f"no {by}: {evidence.notes[by]}" if any(evidence.distances.values()) else evidence.notes[by])
    judged = enough and evidence.judged and value is not None and evidence.p_value is not None
    bound: float | None = None
    if evidence.judged and value is not None:
        by_chance = _by_chance(evidence, by, rules.alpha, exactly=judged and is_significant and value >= threshold)
        bound = max(threshold, by_chance)
        if by_chance > threshold and judged:
            fewer = min(evidence.sizes.n, evidence.sizes.m)
            chance = f"{by_chance:.2f} with {evidence.sizes.bins:,} bins and {fewer:,} rows"
            notes.append(f"chance alone gives {by} up to {chance}")
    found = {name: evidence.distances.get(name) for name in DISTANCES}
    return ColumnDrift(
        name=evidence.name,
        kind=evidence.kind,
        psi=found["psi"],
        js=found["js"],
        ks=found["ks"],
        wasserstein=found["wasserstein"],
        hellinger=found["hellinger"],
        linf=found["linf"],
        chi2=found["chi2"],
        p_value=evidence.p_value,
        significant=judged and bool(is_significant),
        drifted=judged and is_significant and value is not None and bound is not None and bool(value >= bound),
        judged=judged,
        judged_by=by,
        bound=bound,
        note="; ".join(notes),
    )


def _by_chance(evidence: Evidence, distance: str, alpha: float, *, exactly: bool) -> float:
    """The critical value of a distance; ``exactly``: the column's verdict depends on it."""
    if not 0 < alpha < 1:
        return 0.0
    found = critical_value(distance, evidence.sizes, alpha) or 0.0
    if exactly and evidence.chance is not None:
        found = max(found, evidence.chance(distance, alpha) or 0.0)
    return found


def _weights(
    columns: Sequence[ColumnDrift], importances: Mapping[str, float] | None, notes: list[str]
) -> tuple[dict[str, float], bool]:
    """Column → weight of the judged ones, and whether those are importances."""
    equal = {c.name: 1.0 for c in columns if c.judged}
    if importances is None or not equal:
        return equal, False
    known = {name: value for name, value in importances.items() if math.isfinite(value)}
    weights = {name: max(0.0, known.get(name, 0.0)) for name in equal}
    if not any(weights.values()):
        notes.append("no judged column has an importance above 0: all count equally")
        return equal, False
    missing = [name for name in equal if name not in known]
    if missing:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3:,} more" if len(missing) > 3 else "")
        notes.append(f"without an importance, and so without weight: {shown}")
    return weights, True


def _weighted(column: ColumnDrift, weight: float) -> ColumnDrift:
    return replace(column, weight=weight)
