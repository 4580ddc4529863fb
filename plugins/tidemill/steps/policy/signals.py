"""Guards that look at what asked for the training, and at the rows it would learn from."""

from __future__ import annotations

from tidemill.steps.policy.facts import Facts, Finding

_SHOWN = 5
"""So many findings are told in full; the event and the monitor's report hold them all."""


def triggers(facts: Facts) -> Finding:
    """Something that ``retrain.triggers`` names must have asked."""
    asked = [_named(reason, facts) for reason in facts.as_of.reasons if reason in facts.policy.triggers]
    if asked:
        return Finding(True, f"asked for by {' and '.join(asked)}")
    given, named = ", ".join(facts.as_of.reasons) or "none", ", ".join(facts.policy.triggers) or "none"
    return Finding(False, f"the event's reasons ({given}) are not among retrain.triggers ({named})")


def _named(reason: str, facts: Facts) -> str:
    return f"asset ({', '.join(facts.as_of.assets)})" if reason == "asset" and facts.as_of.assets else reason


def min_rows(facts: Facts) -> Finding | None:
    """Too few rows make no model, whoever asks."""
    if facts.policy.min_rows is None or facts.rows is None:
        return None
    text = f"{facts.rows:,} training rows, min_rows is {facts.policy.min_rows:,}"
    return Finding(facts.rows >= facts.policy.min_rows, text, {"rows": facts.rows})


def data_quality(facts: Facts) -> Finding | None:
    """Rows that are broken are to be repaired, not to be learned from."""
    if "data_quality" not in facts.policy.veto:
        return None
    findings = facts.as_of.findings
    if not findings:
        return Finding(True, "nothing severe was found in the rows that the alarm is about")
    more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
    text = f"the rows that the alarm is about are broken: {'; '.join(findings[:_SHOWN])}{more}"
    return Finding(False, text, {"findings": list(findings)})
