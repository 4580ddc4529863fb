"""What the guards look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tidemill.ledger.views import DECISION, PROMOTION, trainings
from tidemill.records import AsOf
from tidemill.spec import units

if TYPE_CHECKING:
    from tidemill.ledger import Entry
    from tidemill.spec.monitoring import Retrain

COUNTED = ("scheduled", "asset")
"""The kinds of run whose trainings count; those by hand do not."""

_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Finding:
    """What a guard found: whether it is met, a sentence with the numbers, and what it looked at."""

    met: bool
    text: str
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a decision depends on, and nothing else does.

    ``entries`` are the pipeline's own, in ledger order; ``rows`` is the number of training rows, needed only where
    ``policy.min_rows`` is set; ``spec_hash`` tells whether a training at the same ``as_of`` was of this spec.
    """

    policy: Retrain
    as_of: AsOf
    entries: Sequence[Entry]
    rows: int | None
    spec_hash: str

    @property
    def instant(self) -> datetime:
        """The run's ``as_of``."""
        return self.as_of.instant

    @property
    def when(self) -> str:
        """The run's ``as_of`` in words."""
        return units.format_instant(self.as_of.instant)

    @cached_property
    def counting(self) -> list[Entry]:
        """The decisions to train that count, by ``as_of``: neither by hand, nor given back.

        A training counts from its go on, so that two runs at once cannot both have the last place in a quota. It is
        given back when there turned out to be nothing to train: superseded before any model was made. While the
        policy is tried out, what would have been trained counts as if it had been.
        """
        found = trainings(self.entries, since=_FIRST, until=_LAST, causes=COUNTED)
        if self.policy.dry_run:
            found += [e for e in self.entries if e.kind == DECISION and e.as_of is not None and is_trial(e)]
        return sorted((e for e in found if run_of(e) not in self._given_back), key=lambda e: (e.as_of or _FIRST, e.seq))

    @cached_property
    def _given_back(self) -> set[tuple[Any, Any]]:
        return {
            run_of(e)
            for e in self.entries
            if e.kind == PROMOTION and e.body.get("outcome") == "superseded" and not e.body.get("version")
        }


def run_of(entry: Entry) -> tuple[Any, Any]:
    """The DAG run that an entry is of."""
    return entry.body.get("dag_id"), entry.body.get("dag_run")


def is_trial(decision: Entry) -> bool:
    """Whether a dry run would have trained here."""
    return decision.body.get("dry_run") is True and decision.body.get("would") == "go"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 training``, ``1,200 trainings``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
