"""``tidemill history --decisions``: every decision of the retraining policy, yes or no, with what each guard said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tidemill.ledger.entry import Entry
from tidemill.ledger.views import COST, DECISION
from tidemill.spec.units import format_instant

if TYPE_CHECKING:
    from rich.console import Console

_SIGNS = {"pass": "[green]✓[/]", "refuse": "[red]✗[/]", "warn": "[yellow]![/]"}
_BY = {"scheduled": "the schedule", "manual": "a person", "asset": "an event"}


def decisions(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """The decisions in ledger order, as JSON; ``docs/cli.md`` describes it."""
    bills = costs_by_run(entries)
    return [_decision(e, bills.get(_run(e), {})) for e in entries if e.kind == DECISION]


def _decision(entry: Entry, bill: Mapping[str, Decimal]) -> dict[str, Any]:
    body = entry.body
    inputs = dict(body.get("inputs") or {})
    return {
        "as_of": format_instant(entry.as_of) if entry.as_of else "",
        "recorded_at": entry.recorded_at.isoformat(),
        "pipeline": body.get("pipeline"),
        "run": body.get("dag_run"),
        "cause": body.get("cause"),
        "reasons": list(inputs.get("reasons") or ()),
        "assets": list(inputs.get("assets") or ()),
        "decision": body.get("decision"),
        "dry_run": bool(body.get("dry_run")),
        "would": body.get("would"),
        "why": list(body.get("why") or ()),
        "warnings": list(body.get("warnings") or ()),
        "checks": [dict(check) for check in body.get("checks") or ()],
        "inputs": inputs,
        "cost": as_json(bill),
    }


def costs_by_run(entries: Iterable[Entry]) -> dict[tuple[Any, Any], dict[str, Decimal]]:
    """What each run's trainings cost, by currency, attempts that failed included."""
    found: dict[tuple[Any, Any], dict[str, Decimal]] = {}
    for entry in entries:
        if entry.kind == COST:
            bill = found.setdefault(_run(entry), {})
            currency = str(entry.body["currency"])
            bill[currency] = bill.get(currency, Decimal(0)) + Decimal(str(entry.body["amount"]))
    return found


def as_json(bill: Mapping[str, Decimal]) -> list[dict[str, str]]:
    """Amounts as text, since a decimal number is exact there."""
    return [{"amount": f"{amount:f}", "currency": currency} for currency, amount in sorted(bill.items())]


def money(bill: Iterable[Mapping[str, str]]) -> str:
    """Amounts in words, to a hundredth, or as exactly as they are known where that is nothing."""
    return " and ".join(f"{_shown(Decimal(part['amount']))} {part['currency']}" for part in bill)


def _shown(amount: Decimal) -> str:
    cents = amount.quantize(Decimal("0.01"))
    return f"{cents:,f}" if cents or not amount else f"{amount:f}"


def verdict(body: Mapping[str, Any]) -> str:
    """``go``, ``no``, or what a dry run would have been."""
    if body.get("dry_run"):
        return f"dry run, would be {body.get('would')}"
    return str(body.get("decision"))


def line(body: Mapping[str, Any]) -> str:
    """A decision in one line, for the model's story."""
    against = "".join(f"; against it, but not holding it back: {text}" for text in body.get("warnings") or ())
    return f"{verdict(body)}: {'; '.join(body['why'])}{against}"


def render(found: Sequence[Mapping[str, Any]], console: Console | None = None) -> None:
    """Print decisions, each with the word of every guard that it met."""
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    out = console or Console()
    if not found:
        out.print("No decision was made on any run yet.")
    for d in found:
        colour = "yellow" if d["dry_run"] else "green" if d["decision"] == "go" else "red"
        named = {"asset": f"asset {', '.join(d['assets'])}"} if d["assets"] else {}
        asked = f" ({escape(' and '.join(named.get(r, r) for r in d['reasons']))})" if d["reasons"] else ""
        paid = f", it cost {money(d['cost'])}" if d["cost"] else ""
        by = _BY.get(d["cause"], escape(str(d["cause"])))
        out.print(f"[bold]{d['as_of']}[/]  [{colour}]{verdict(d)}[/], asked for by {by}{asked}{paid}", highlight=False)
        table = Table(box=None, show_header=False, pad_edge=False)
        for check in d["checks"] or [{"verdict": "pass", "guard": "", "text": text} for text in d["why"]]:
            table.add_row(_SIGNS[check["verdict"]], check["guard"], escape(check["text"]))
        out.print(Padding(table, (0, 0, 1, 2)))


def _run(entry: Entry) -> tuple[Any, Any]:
    return entry.body.get("dag_id"), entry.body.get("dag_run")
