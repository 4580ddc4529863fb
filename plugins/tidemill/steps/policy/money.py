"""What a training costs, and the guard of the budget."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING

from tidemill.ledger.views import COST, DECISION, PROMOTION, costs
from tidemill.spec import units
from tidemill.spec.units import Money
from tidemill.steps.policy.facts import Facts, Finding, counted, is_trial, run_of

if TYPE_CHECKING:
    from tidemill.ledger import Entry

_STEP = Decimal("0.000001")
"""Amounts are kept to a millionth: an hour at 0.50 USD is 0.000139 USD a second."""
_HOUR = 3600


def cost_of(price: Money, seconds: float) -> Money:
    """What so many seconds cost at a price per hour, rounded to a millionth, halves up."""
    exact = price.amount * Decimal(repr(float(seconds))) / _HOUR
    return Money(exact.quantize(_STEP, ROUND_HALF_UP), price.currency)


def budget(facts: Facts) -> Finding | None:
    """What was paid in the period of ``as_of``, what is set aside for trainings that are under way, and what the next
    one is estimated at must not exceed the budget; a budget of nothing allows nothing."""
    limit = facts.policy.budget
    if limit is None:
        return None
    currency, start, end = limit.money.currency, limit.start(facts.instant), limit.end(facts.instant)
    paid = costs(facts.entries, since=start, until=end)
    strange = sorted({str(e.body.get("currency")) for e in paid} - {currency})
    spent = _sum(e for e in paid if e.body.get("currency") == currency)
    open_ = [e for e in _without_cost(facts) if e.as_of is not None and start <= e.as_of < end]
    aside = sum((_estimated(e, currency) for e in open_), Decimal(0))
    next_ = estimate(facts.entries, currency)
    total = spent + aside + (next_ or 0)
    inputs = {
        "budget": {
            "start": units.format_instant(start),
            "end": units.format_instant(end),
            "spent": _amount(spent),
            "set_aside": _amount(aside),
            "estimate": None if next_ is None else _amount(next_),
            "limit": _amount(limit.money.amount),
            "currency": currency,
        }
    }
    if limit.money.amount == 0:
        return Finding(False, f"the budget is {limit}: no training is paid for", inputs)
    if strange:
        text = (
            f"trainings in the {limit.period} from {units.format_instant(start)} were paid in {' and '.join(strange)}"
        )
        return Finding(False, f"{text}, which cannot be counted towards a budget of {limit}", inputs)
    parts = [f"{_money(spent, currency)} paid in the {limit.period} from {units.format_instant(start)}"]
    if open_:
        parts.append(f"{_money(aside, currency)} set aside for {counted(len(open_), 'training')} without a bill yet")
    parts.append(
        "and nobody knows yet what a training costs"
        if next_ is None
        else f"and {_money(next_, currency)} for this one, as the last one cost"
    )
    text = f"{', '.join(parts)}: {_money(total, currency)}, the budget is {limit}"
    return Finding(total <= limit.money.amount, text, inputs)


def estimate(entries: Iterable[Entry], currency: str) -> Decimal | None:
    """What the last training that made a model cost; ``None`` if none is known in this currency."""
    trained = [e for e in entries if e.kind == COST and e.body.get("outcome") == "trained"]
    known = [e for e in trained if e.body.get("currency") == currency]
    return Decimal(str(known[-1].body["amount"])) if known else None


def _sum(paid: Iterable[Entry]) -> Decimal:
    return sum((Decimal(str(e.body["amount"])) for e in paid), Decimal(0))


def _without_cost(facts: Facts) -> list[Entry]:
    """The decisions to train, of whatever cause, for which no bill and no end is recorded: what they were estimated at
    is set aside, or two runs at once could both spend the last of a budget."""
    settled = {run_of(e) for e in facts.entries if e.kind in (COST, PROMOTION)}
    return [
        e
        for e in facts.entries
        if e.kind == DECISION and run_of(e) not in settled
        if e.body.get("decision") == "go" or (facts.policy.dry_run and is_trial(e))
    ]


def _estimated(decision: Entry, currency: str) -> Decimal:
    looked_at = (decision.body.get("inputs") or {}).get("budget") or {}
    if looked_at.get("currency") != currency or looked_at.get("estimate") is None:
        return Decimal(0)
    return Decimal(str(looked_at["estimate"]))


def _amount(amount: Decimal) -> str:
    """An amount as text, exactly, with at least two digits after the point."""
    whole, _, cents = f"{amount.quantize(_STEP, ROUND_HALF_UP):f}".partition(".")
    return f"{whole}.{cents.rstrip('0'):0<2}"


def _money(amount: Decimal, currency: str) -> str:
    return f"{_amount(amount)} {currency}"
