"""What a backtest found: the windows and trainings of each policy, and what they add up to."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from tidemill.spec.metrics import METRICS


@dataclass(frozen=True, kw_only=True)
class Window:
    """One window [``start``, ``end``), judged for the version in force at its start. ``None``: there was none.

    ``intervals``: metric → the bounds of its confidence interval; a metric that does not exist there has neither.
    """

    start: str
    end: str
    version: str | None
    rows: int
    labelled: int
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    fired: tuple[str, ...] = ()
    why: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Training:
    """One run of the training, or a decision against one.

    ``outcome``: ``promoted``, ``refused``, ``superseded``, ``not trained`` (the policy said no) or ``failed``.
    """

    as_of: str
    cause: str
    reasons: tuple[str, ...]
    outcome: str
    version: str | None
    why: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A metric over all windows that have it, each weighted by its labelled rows, with a 95 % interval if all windows
    have one."""

    value: float
    low: float | None
    high: float | None
    windows: int


@dataclass(frozen=True, kw_only=True)
class Story:
    """What one policy did."""

    policy: str
    title: str
    windows: tuple[Window, ...]
    trainings: tuple[Training, ...]

    def count(self, outcome: str) -> int:
        """How many trainings came to this."""
        return sum(1 for one in self.trainings if one.outcome == outcome)

    @property
    def trained(self) -> int:
        """How many trainings ran."""
        return sum(1 for one in self.trainings if one.seconds)

    @property
    def seconds(self) -> float:
        """How long they took."""
        return math.fsum(one.seconds for one in self.trainings)

    @property
    def alarms(self) -> int:
        """How many windows gave an alarm."""
        return sum(1 for one in self.windows if one.fired)

    def cost(self, price: Decimal) -> Decimal:
        """What the trainings cost at a price an hour, to the hundredth of a cent."""
        return (price * Decimal(repr(self.seconds)) / 3600).quantize(Decimal("0.0001"))

    def mean(self, metric: str) -> Mean | None:
        """The metric over the windows; ``None`` if no window has it.

        The windows count as independent of each other: the variance of the weighted mean is Σ w² s² / (Σ w)², and so
        is the square of its interval's half width for those of the windows' 95 % intervals.
        """
        found = [w for w in self.windows if metric in w.metrics]
        total = sum(w.labelled for w in found)
        if not total:
            return None
        value = math.fsum(w.metrics[metric] * w.labelled for w in found) / total
        if any(metric not in w.intervals for w in found):
            return Mean(value=value, low=None, high=None, windows=len(found))
        halves = ((w.intervals[metric][1] - w.intervals[metric][0]) / 2 * w.labelled for w in found)
        spread = math.hypot(*halves) / total
        return Mean(value=value, low=value - spread, high=value + spread, windows=len(found))


@dataclass(frozen=True, kw_only=True)
class Backtest:
    """What the policies did between two instants, with the same data, code and steps."""

    pipeline: str
    spec_hash: str
    since: str
    until: str
    metric: str
    price: str | None
    stories: tuple[Story, ...]
    left_out: tuple[str, ...] = ()

    def gain(self, policy: str, than: str) -> float | None:
        """By how much a policy's metric is better than another's, positive for an improvement."""
        one, other = (story.mean(self.metric) for story in (self.story(policy), self.story(than)))
        if one is None or other is None:
            return None
        return (one.value - other.value) * (1 if METRICS[self.metric].greater_is_better else -1)

    def story(self, policy: str) -> Story:
        """What one policy did."""
        return next(story for story in self.stories if story.policy == policy)

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON-ready object; numbers that do not exist are ``null``."""
        money = self.price.split() if self.price else None
        stories = []
        for story in self.stories:
            mean = story.mean(self.metric)
            stories.append(
                {
                    **asdict(story),
                    "summary": {
                        "alarms": story.alarms,
                        "trained": story.trained,
                        "promoted": story.count("promoted"),
                        "refused": story.count("refused"),
                        "not_trained": story.count("not trained"),
                        "failed": story.count("failed"),
                        "seconds": round(story.seconds, 3),
                        "cost": f"{story.cost(Decimal(money[0]))} {money[1]}" if money else None,
                        "metric": None if mean is None else asdict(mean),
                        "gain_over_never": self.gain(story.policy, "never"),
                    },
                }
            )
        return {**asdict(self), "stories": stories}
