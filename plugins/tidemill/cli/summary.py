"""What became of a model, told from its ledger alone: trainings, gates, alarms, decisions, and what retraining gave."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tidemill.cli.history_decisions import as_json, costs_by_run, money
from tidemill.ledger.entry import Entry
from tidemill.ledger.views import DECISION, DRIFT, EVALUATION, PROMOTION, REGISTERED, champion
from tidemill.spec.metrics import METRICS
from tidemill.spec.units import format_instant

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Summary = dict[str, Any]


def summarise(entries: Sequence[Entry], model: str) -> Summary:
    """The summary of a model's entries, as JSON; ``docs/cli.md`` describes it.

    ``trainings``: each decision to train or not, with the version, the outcome and the cost. ``windows``: each window
    that the monitor judged. ``worth``: the windows in which a champion and the one before it were scored on the same
    rows; ``gain`` is positive for an improvement, whatever the metric's direction, and ``following`` marks the
    first window after the promotion.
    """
    in_force = champion(entries)
    windows = _windows(entries)
    return {
        "model": model,
        "champion": str(in_force.body["version"]) if in_force else None,
        "trainings": _trainings(entries),
        "windows": windows,
        "worth": _worth(windows),
    }


def _trainings(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One object a training run that came to a decision, in ``as_of`` order."""
    by_run: dict[tuple[Any, Any], dict[str, Entry]] = {}
    for entry in entries:
        if entry.kind in {DECISION, EVALUATION, REGISTERED, PROMOTION}:
            by_run.setdefault((entry.body.get("dag_id"), entry.body.get("dag_run")), {})[entry.kind] = entry
    bills = costs_by_run(entries)
    # What happened, in the order of time and then of the ledger.
    first = {key: next(iter(found.values())) for key, found in by_run.items()}
    keys = sorted(by_run, key=lambda key: (_instant(first[key]), first[key].seq))
    return [_training(key[1], first[key], by_run[key], as_json(bills.get(key, {}))) for key in keys]


def _training(run: Any, first: Entry, found: Mapping[str, Entry], cost: list[dict[str, str]]) -> dict[str, Any]:
    decision = found[DECISION].body if DECISION in found else {}
    promotion = found[PROMOTION].body if PROMOTION in found else {}
    registered = found[REGISTERED].body if REGISTERED in found else {}
    go = decision.get("decision") != "no"
    why = promotion.get("reasons") or (
        ["the run failed or is under way: no gate has spoken"] if go else decision["why"]
    )
    return {
        "as_of": _instant(first),
        "run": run,
        "cause": decision.get("cause"),
        "reasons": list((decision.get("inputs") or {}).get("reasons") or ()),
        "decision": decision.get("decision"),
        "version": promotion.get("version") or registered.get("version"),
        "outcome": promotion.get("outcome") or _untold(decision),
        "why": list(why),
        "dry_run": bool(decision.get("dry_run")),
        "warnings": list(decision.get("warnings") or ()),
        "cost": cost,
        "metrics": _metrics(found[EVALUATION].body) if EVALUATION in found else {},
        "against": found[EVALUATION].body.get("champion_version") if EVALUATION in found else None,
    }


def _untold(decision: Mapping[str, Any]) -> str:
    """The outcome of a run at whose end no gate has spoken."""
    if decision.get("decision") != "no":
        return "unfinished"
    return "dry run" if decision.get("dry_run") and decision.get("would") == "go" else "not trained"


def _metrics(evaluation: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Metric → challenger, champion and gain on the holdout."""
    new = (evaluation.get("challenger") or {}).get("metrics") or {}
    old = (evaluation.get("champion") or {}).get("metrics") or {}
    return {
        name: {"challenger": value, "champion": old.get(name), "gain": _gain(name, value, old.get(name))}
        for name, value in new.items()
    }


def _windows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The judged windows in time order; of several reports on one window for one version the last."""
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        if entry.kind == DRIFT:
            body = entry.body
            latest[body.get("end"), body.get("start"), body.get("version") or ""] = {
                "as_of": _instant(entry),
                "start": body.get("start"),
                "end": body.get("end"),
                "version": body.get("version"),
                "rows": body.get("rows"),
                "labelled": body.get("labelled"),
                "fired": list(body.get("fired") or ()),
                "why": list(body.get("why") or ()),
                "share_drifted": body.get("share_drifted"),
                "drifted": [c["name"] for c in body.get("columns") or () if c.get("drifted")],
                "performance": body.get("performance"),
                "previous": body.get("previous"),
                "labels": body.get("labels"),
                "estimate": body.get("estimate"),
            }
    return [latest[key] for key in sorted(latest)]


def _worth(windows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found, seen = [], set()
    for window in windows:
        now, before = window["performance"], window["previous"]
        if not now or not before:
            continue
        old = before.get("metrics") or {}
        pair = now["version"], before["version"]
        found.append(
            {
                "start": now.get("start") or window["start"],
                "end": now.get("end") or window["end"],
                "rows": window["labelled"],
                "version": now["version"],
                "against": before["version"],
                "following": pair not in seen,
                "metrics": {
                    name: {"champion": value, "previous": old.get(name), "gain": _gain(name, value, old.get(name))}
                    for name, value in now["metrics"].items()
                },
            }
        )
        seen.add(pair)
    return found


def _gain(metric: str, new: float | None, old: float | None) -> float | None:
    if new is None or old is None:
        return None
    return new - old if metric not in METRICS or METRICS[metric].greater_is_better else old - new


def _instant(entry: Entry) -> str:
    return format_instant(entry.as_of) if entry.as_of else ""


def render(summary: Summary, console: Console | None = None) -> None:
    """Print a summary as tables."""
    from rich.console import Console

    out = console or Console()
    in_force = summary["champion"]
    state = f"champion is version {in_force}" if in_force else "there is no champion"
    out.print(f"Model {summary['model']}: {state}", style="bold", highlight=False)
    for table in (_table_of_trainings(summary), _table_of_windows(summary), _table_of_worth(summary)):
        if table is not None:
            out.print()
            out.print(table)
    for sentence in _conclusions(summary):
        out.print(sentence, highlight=False)


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        wide = name in {"why", "what was seen"}
        table.add_column(name, no_wrap=not wide, overflow="fold", ratio=1 if wide else None)
    return table


def _table_of_trainings(summary: Summary) -> Table | None:
    if not summary["trainings"]:
        return None
    table = _table("Trainings: asked for, decided, gated", "as_of", "asked for by", "outcome", "why")
    colours = {
        "promoted": "green",
        "refused": "red",
        "not trained": "yellow",
        "superseded": "yellow",
        "dry run": "cyan",
    }
    for t in summary["trainings"]:
        asked = (
            " and ".join(t["reasons"]) or {"scheduled": "schedule", "manual": "hand"}.get(t["cause"], t["cause"]) or ""
        )
        outcome = f"{t['outcome']}{' v' + str(t['version']) if t['version'] else ''}"
        colour = colours.get(t["outcome"], "white")
        table.add_row(_cell(t["as_of"]), _cell(asked), f"[{colour}]{outcome}[/]", _cell(_why(t)))
    return table


def _why(training: Mapping[str, Any]) -> str:
    if training["outcome"] == "promoted" and training["metrics"]:
        old = f" (version {training['against']}: {{}})" if training["against"] else ""
        return ", ".join(
            f"{name} {_number(m['challenger'])}" + (old.format(_number(m["champion"])) if old else "")
            for name, m in sorted(training["metrics"].items(), key=lambda pair: _order(pair[0]))
        )
    told = "; ".join(training["why"])
    return f"would have been trained: {told}" if training["outcome"] == "dry run" else told


def _table_of_windows(summary: Summary) -> Table | None:
    if not summary["windows"]:
        return None
    table = _table("Watched: what the monitor saw", "window", "champion", "alarms", "what was seen")
    for w in summary["windows"]:
        alarms = f"[red]{' and '.join(w['fired'])}[/]" if w["fired"] else "none"
        version = f"v{w['version']}" if w["version"] else "none"
        table.add_row(_span(w), version, alarms, _cell("; ".join(_seen(w))))
    return table


def _seen(window: Mapping[str, Any]) -> list[str]:
    found = []
    if window["share_drifted"] is not None:
        names = f" ({', '.join(window['drifted'])})" if window["drifted"] else ""
        found.append(f"{window['share_drifted']:.0%} of columns drifted{names}")
    if window["performance"]:
        performance = window["performance"]
        told = [f"{name} {_number(performance['metrics'][name])}" for name in _in_order(performance["metrics"])]
        late = performance.get("end") not in (None, window["end"])  # its labels came later than the window's own
        found += [f"from {_span(performance)}: {', '.join(told)}"] if late else told
    if window["estimate"]:
        values = window["estimate"]["metrics"]
        about = ", ".join(f"{name} about {_number(values[name])}" for name in _in_order(values))
        found.append(f"estimated without labels: {about}")
    return found or window["why"]


def _table_of_worth(summary: Summary) -> Table | None:
    worth = summary["worth"]
    if not worth:
        return None
    metrics = _in_order({name for w in worth for name in w["metrics"]})
    title = "What retraining gave: the champion, and its gain over the one before it on the same rows"
    table = _table(title, "window", "champion", "before", *metrics)
    for w in worth:
        cells = [_compared(w["metrics"].get(name) or {}) for name in metrics]
        span = _span(w).replace(" to ", "\n")  # in one line it would leave the figures no room
        table.add_row(span, f"v{w['version']}{' ←' if w['following'] else ''}", f"v{w['against']}", *cells)
    return table


def _compared(metric: Mapping[str, Any]) -> str:
    gain = metric.get("gain")
    colour = "white" if not gain else "green" if gain > 0 else "red"
    return f"{_number(metric.get('champion'))} [{colour}]{_number(gain, '+')}[/]"


def _conclusions(summary: Summary) -> list[str]:
    """The figures in sentences."""
    trainings, windows, worth = summary["trainings"], summary["windows"], summary["worth"]
    counts = {o: sum(t["outcome"] == o for t in trainings) for o in dict.fromkeys(t["outcome"] for t in trainings)}
    told = []
    if counts:
        requests = "1 request" if len(trainings) == 1 else f"{len(trainings)} requests"
        told.append(f"{requests} to train: {', '.join(f'{n} {o}' for o, n in counts.items())}.")
    bill: dict[str, Decimal] = {}
    for part in (part for t in trainings for part in t["cost"]):
        bill[part["currency"]] = bill.get(part["currency"], Decimal(0)) + Decimal(part["amount"])
    if bill:
        told.append(f"They cost {money(as_json(bill))}.")
    if windows:
        fired = {kind: sum(kind in w["fired"] for w in windows) for kind in ("drift", "performance", "new_data")}
        count = "1 window" if len(windows) == 1 else f"{len(windows)} windows"
        told_of = [
            f"{kind} {'fired ' if kind == 'drift' else ''}in {n}"
            for kind, n in fired.items()
            if n or kind != "new_data"
        ]
        told.append(f"{count} watched: {', '.join(told_of)}.")
    for w in worth:
        if w["following"]:
            gains = ", ".join(
                f"{name} {_number(m['gain'], '+')}"
                for name, m in sorted(w["metrics"].items(), key=lambda pair: _order(pair[0]))
            )
            told.append(f"Version {w['version']} instead of {w['against']}, in its first window, {_span(w)}: {gains}.")
    if worth:
        told.append("A gain is positive for an improvement, whatever the metric's direction; ← marks a first window.")
    return told


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.4f}"


def _in_order(metrics: Iterable[str]) -> list[str]:
    return sorted(metrics, key=_order)


def _order(metric: str) -> tuple[int, str]:
    """Metrics in the order they are documented in: the ledger keeps names sorted, not as they were asked for."""
    return (list(METRICS).index(metric) if metric in METRICS else len(METRICS)), metric


def _span(window: Mapping[str, Any]) -> str:
    """A window in words: ``2013-07`` for a whole month, else its first and its last instant."""
    start, end = (datetime.fromisoformat(window[name]).astimezone(UTC) for name in ("start", "end"))
    text = format_instant(start)
    if start.day == end.day == 1 and len(text) == 10 and (end - start).days in range(28, 32):
        return text[:7]
    return f"{text} to {format_instant(end)}"


def _cell(text: str) -> str:
    from rich.markup import escape

    return escape(text)
