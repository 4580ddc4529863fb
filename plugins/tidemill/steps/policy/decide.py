"""From what the guards say to a decision."""

from __future__ import annotations

from typing import Any

from tidemill.records import Decision, GuardCheck
from tidemill.steps.policy.facts import Facts
from tidemill.steps.policy.table import GUARDS


def decide(facts: Facts) -> Decision:
    """Ask every guard that this kind of run meets. The decision holds all reasons, not only the first."""
    inputs: dict[str, Any] = {"as_of": facts.when, "reasons": list(facts.as_of.reasons)}
    if facts.as_of.assets:
        inputs["assets"] = list(facts.as_of.assets)
    policy = facts.policy.model_dump(mode="json", by_alias=True)
    inputs["policy"] = {key: value for key, value in policy.items() if value not in (None, [], False)}
    checks = []
    for guard in GUARDS:
        force = guard.force(facts.as_of.cause, count_scheduled=facts.policy.count_scheduled)
        found = None if force == "no" else guard.ask(facts)
        if found is None:
            continue
        inputs.update(found.inputs)
        against: Any = "refuse" if force == "holds" else "warn"
        checks.append(GuardCheck(guard=guard.name, verdict="pass" if found.met else against, text=found.text))
    return _decision(facts, checks, inputs)


def _decision(facts: Facts, checks: list[GuardCheck], inputs: dict[str, Any]) -> Decision:
    opening = {
        "manual": ["started by hand: it neither counts nor waits"],
        "scheduled": [f"scheduled for {facts.when}"],
        "asset": [],
    }[facts.as_of.cause]
    refusals = tuple(c.text for c in checks if c.verdict == "refuse")
    would: Any = "no" if refusals else "go"
    dry_run = facts.policy.dry_run and facts.as_of.cause == "asset"
    return Decision(
        decision="no" if dry_run else would,
        cause=facts.as_of.cause,
        why=refusals or (*opening, *(c.text for c in checks if c.verdict == "pass")),
        inputs=inputs,
        checks=tuple(checks),
        warnings=tuple(c.text for c in checks if c.verdict == "warn"),
        dry_run=dry_run,
        would=would if dry_run else None,
    )
