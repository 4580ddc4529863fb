"""What can be said about the sections `score`, `monitor` and `retrain` without leaving the spec."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.checks.common import bounds, metric_named, repeated
from tidemill.checks.timing import check_timezone
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec
from tidemill.spec.monitoring import PREDICTED, Upstream

_OF_NUMBERS = ("wasserstein", "ks")
"""The distances that only numbers have."""


def score(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of `score`."""
    if spec.score is None:
        return
    path: Path = ("score", "columns")
    yield from repeated(spec.score.columns, path, sources)
    for index, column in enumerate(spec.score.columns):
        if spec.data is not None and column in (*spec.data.key, spec.data.window.column):
            yield sources.error((*path, index), "the log has keys and times anyway", "remove it")
        elif column in PREDICTED:
            yield sources.error(
                (*path, index), f'"{column}" is a column of the log itself', "rename that of the source"
            )
        elif spec.evaluate is not None and column == spec.evaluate.target:
            yield sources.error((*path, index), "what is scored needs no target, and keeps none", "remove it")
    if spec.data is None:
        return
    for index, column in enumerate(spec.data.key):
        if column in PREDICTED:
            message = f'"{column}" is a column of the log of predictions itself'
            yield sources.error(("data", "key", index), message, "rename that of the source")
    if spec.score.output is not None and "://" in spec.score.output:
        message = "the log is kept in a folder"
        yield sources.error(("score", "output"), message, "a folder that all workers share, e.g. include/predictions")
    judged = spec.monitor is not None and (sources.wrote("monitor", "performance") or spec.monitor.compare_previous)
    if judged and not spec.data.key:
        message = "nothing says which prediction belongs to which row, and the monitor judges them"
        yield sources.error(("score",), message, "add `key:` to `data`", key=True)


def monitor(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of `monitor`."""
    monitor = spec.monitor
    if monitor is None:
        return
    new_data = spec.retrain is not None and "new_data" in spec.retrain.triggers
    if not any(sources.wrote("monitor", key) for key in ("drift", "performance")) and not new_data:
        yield sources.error(("monitor",), "nothing to watch", "add `drift:` or `performance:`", key=True)
    for metric, bound in (monitor.performance or {}).items():
        path: Path = ("monitor", "performance", metric)
        yield from metric_named(metric, path, spec, sources, key=True)
        yield from bounds(bound, path, sources)
        if not sources.wrote(*path, "at_least") and not sources.wrote(*path, "at_most"):
            yield sources.error(path, "no bound", "add at_least or at_most", key=True)
        yield from _between((*path, "confidence"), bound.confidence, "e.g. 95%", sources)
    yield from _drift(spec, sources)
    yield from _labels(spec, sources)
    if monitor.estimate and spec.evaluate is not None and spec.evaluate.task != "classification":
        yield sources.error(
            ("monitor", "estimate"),
            "only a classification has scores to estimate its metrics from",
            "remove it",
            key=True,
        )


def _between(path: Path, value: float, example: str, sources: Sources) -> Iterator[SpecError]:
    if not 0 < value < 1:
        yield sources.error(path, "must lie between 0% and 100%, and be neither", example)


def _drift(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    drift = spec.monitor.drift if spec.monitor else None
    if drift is None:
        return
    of_categories: Path = ("monitor", "drift", "categorical", "distance")
    if drift.categorical is not None and drift.categorical.distance in _OF_NUMBERS:
        message = f'"{drift.categorical.distance}" is a distance of numbers; categories have no order'
        yield sources.error(of_categories, message, "psi, js, hellinger, linf or chi2")
    yield from _between(("monitor", "drift", "alpha"), drift.alpha, "e.g. 5%", sources)
    path: Path = ("monitor", "drift", "columns")
    yield from repeated(drift.columns or [], path, sources)
    for index, column in enumerate(drift.columns or []):
        if spec.evaluate is not None and column == spec.evaluate.target:
            yield sources.error(
                (*path, index), "drift is measured on what the model sees, not on the target", "remove it"
            )
        if spec.data is not None and column in (*spec.data.key, spec.data.window.column):
            yield sources.error((*path, index), "keys and times always change, and are not measured", "remove it")


def _labels(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    labels = spec.monitor.labels if spec.monitor else None
    if labels is None or spec.monitor is None:
        return
    yield from repeated(labels.key, ("monitor", "labels", "key"), sources)
    path: Path = ("monitor", "labels")
    if not labels.key and spec.data is not None and not spec.data.key:
        message = "nothing says which label belongs to which row"
        yield sources.error(path, message, "add `key:` here or to `data`", key=True)
    if spec.score is not None and spec.data is not None:
        logged = (*spec.data.key, *spec.score.columns)
        for index, column in enumerate(labels.key):
            if column not in logged:
                hint = "name it in score.columns, too"
                yield sources.error((*path, "key", index), "the log of predictions does not have this column", hint)
    if not sources.wrote("monitor", "performance") and not spec.monitor.compare_previous:
        hint = "add `performance:` to monitor, or remove it"
        yield sources.error(path, "nothing is measured on the labels", hint, key=True)


def retrain(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    """The mistakes of `retrain`."""
    retrain = spec.retrain
    if retrain is None:
        return
    yield from repeated(retrain.triggers, ("retrain", "triggers"), sources)
    yield from _triggers(spec, sources)
    triggered = sources.wrote("retrain", "triggers") and sources.merged["retrain"]["triggers"] != []
    for name, what in _OF_TRIGGERS.items():
        if not triggered and getattr(retrain, name):
            message = f"{what} back triggered trainings, and there are no triggers"
            yield sources.error(("retrain", name), message, "add `triggers:`, or remove it", key=True)
    if not sources.wrote("retrain", "at_most") and retrain.count_scheduled:
        message = "there is no `at_most` to count towards"
        yield sources.error(("retrain", "count_scheduled"), message, "add `at_most:`, or remove it", key=True)
    if not triggered and retrain.at_most is not None and not retrain.count_scheduled:
        yield sources.error(
            ("retrain", "at_most"),
            "there are no triggers, and scheduled runs are not counted",
            "add `triggers:`, or `count_scheduled: true`",
            key=True,
        )
    yield from _budget(spec, sources)
    for index, hours in enumerate(retrain.quiet_hours):
        path: Path = ("retrain", "quiet_hours", index)
        yield from check_timezone(hours.timezone, (*path, "timezone"), sources)
        if hours.from_ == "24:00":
            yield sources.error((*path, "from"), "a day is over at 24:00", 'write "00:00", where the next one begins')
        elif hours.from_ == hours.to:
            yield sources.error(
                (*path, "to"), "the hours are over when they begin", 'for a whole day: "00:00" to "24:00"'
            )
    if triggered and retrain.veto and not sources.wrote("monitor", "drift"):
        message = "nothing looks at the quality of the rows"
        yield sources.error(("retrain", "veto"), message, "add `drift:` to monitor", key=True)


_OF_TRIGGERS = {
    "cooldown": "a cooldown holds",
    "quiet_hours": "quiet hours hold",
    "veto": "a veto holds",
    "stop_after": "`stop_after` holds",
    "dry_run": "a dry run holds",
}
"""The guards that signals alone meet, and what they are called."""


def _triggers(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    retrain = spec.retrain
    assert retrain is not None
    for index, trigger in enumerate(retrain.triggers):
        path: Path = ("retrain", "triggers", index)
        if trigger == "asset":
            if not retrain.assets:
                yield sources.error(path, "no asset is named", "add `assets: [NAME]` to retrain")
            continue
        if trigger == "new_data" and retrain.new_data is None:
            yield sources.error(path, "nothing says how much is enough", "add `new_data: 50000` (rows) to retrain")
        if not sources.wrote("monitor"):
            of = "" if trigger == "new_data" else f" and `{trigger}:`"
            yield sources.error(path, f"nothing watches {trigger}", f"add a section `monitor:` with a schedule{of}")
        elif trigger != "new_data" and spec.monitor is not None and not sources.wrote("monitor", trigger):
            yield sources.error(path, f"nothing watches {trigger}", f"add `{trigger}:` to monitor")
    for key, trigger in (("new_data", "new_data"), ("assets", "asset")):
        if getattr(retrain, key) and trigger not in retrain.triggers:
            message = f'the trigger "{trigger}" is not among retrain.triggers'
            yield sources.error(("retrain", key), message, "add it there, or remove this", key=True)
    names = [item if isinstance(item, str) else item.name for item in retrain.assets]
    yield from repeated(names, ("retrain", "assets"), sources)
    for index, item in enumerate(retrain.assets):
        if any(not text.strip() or not text.isprintable() for text in _texts_of(item)):
            path = ("retrain", "assets", index)
            yield sources.error(path, "an asset needs a name that can be read", "e.g. flights, or s3://bucket/key")


def _texts_of(item: str | Upstream) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else (item.name, item.uri)


def _budget(spec: Spec, sources: Sources) -> Iterator[SpecError]:
    budget = spec.retrain.budget if spec.retrain else None
    if budget is None or spec.platform is None:
        return
    path: Path = ("retrain", "budget")
    price = spec.platform.price
    if price is None:
        message = "nothing says what a training costs"
        yield sources.error(path, message, f"add `price: 0.50 {budget.money.currency}` (an hour) to platform", key=True)
    elif price.currency != budget.money.currency:
        message = f"the budget is in {budget.money.currency}, the platform's price in {price.currency}"
        yield sources.error(path, message, "a pipeline has one currency, and nothing is converted")
