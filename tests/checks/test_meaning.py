"""The rules of meaning, each with a spec that breaks it and one beside it that just keeps it."""

from __future__ import annotations

from itertools import count

import pytest

from tests.spec.test_load import BASE
from tidemill.checks.meaning import check
from tidemill.spec.errors import SpecErrors
from tidemill.spec.load import Sources, parse
from tidemill.spec.reader import read

MONITOR = BASE + "monitor:\n  schedule: monthly\n  drift: {at_least: 0.2}\n"
SLICED = BASE.replace("[roc_auc]}", "[roc_auc, log_loss], slices: [carrier]}")
_GATE = "{at_least: 0.65}"


def told(text: str) -> list[str]:
    """The mistakes of a text: where they are, and what they say."""
    sources = Sources((read(text.encode(), "a.yaml"),))
    spec, errors = parse(sources)
    found = SpecErrors([*errors, *check(spec, sources)]).errors
    assert all(error.hint or "expected" in error.message for error in found if error.message != "no value"), found
    return [f"{error.path}: {error.message}" for error in found]


def gate(conditions: str, base: str = SLICED) -> str:
    return base.replace(_GATE, conditions)


CASES = [
    # Time
    (BASE + "schedule: monthly\n", []),
    (BASE + "schedule: '0 3 * * 1'\n", []),
    (BASE + "schedule: {cron: '0 3 * * 1', timezone: Europe/Berlin}\n", []),
    (BASE + "schedule: monthy\n", ['schedule: unknown schedule "monthy"']),
    (BASE + "schedule: {cron: daily}\n", ['schedule.cron: "daily" is a preset, not a cron expression']),
    (BASE + "schedule: {cron: '* * * * *', timezone: CET+1}\n", ['schedule.timezone: unknown time zone "CET+1"']),
    (BASE + "schedule: {cron: '* * * * *', timezone: Europe}\n", ['schedule.timezone: unknown time zone "Europe"']),
    (BASE + "schedule: {cron: '* * * * *', timezone: ../UTC}\n", ['schedule.timezone: unknown time zone "../UTC"']),
    (BASE + "schedule: daily\nstart: 2013-07-01\nend: 2013-07-01\n", []),
    (BASE + "schedule: daily\nstart: 2013-07-02\nend: 2013-07-01\n", ["end: end is before start"]),
    (BASE + "schedule: daily\nstart: 1900-01-01\nend: 2199-12-31\n", []),
    (BASE + "start: 1899-12-31\n", ["start: expected a year from 1900 to 2199, got 1899"]),
    (BASE + "schedule: yearly\nstart: 2013-01-02\nend: 2014-01-01\n", []),
    (
        BASE + "schedule: yearly\nstart: 2013-01-02\nend: 2013-12-31\n",
        ["schedule: none of its times lies between start and end"],
    ),
    (
        BASE + "schedule: daily\nstart: 2013-01-02\nend: 2013-01-31\nmonitor: {schedule: monthly, drift: {}}\n",
        ["monitor.schedule: none of its times lies between start and end"],
    ),
    (BASE + "schedule: daily\ncatchup: true\nstart: 2013-07-01\n", []),
    (BASE + "schedule: daily\ncatchup: true\n", ["catchup: catching up needs to know from when"]),
    (BASE + "catchup: true\nstart: 2013-07-01\n", ["catchup: there is no schedule to catch up with"]),
    (MONITOR + "catchup: true\nstart: 2013-07-01\n", []),
    (BASE + "monitor: {drift: {}, window: 1 month}\n", []),
    (BASE + "monitor: {drift: {}}\n", ['monitor: without a "schedule" there is no interval to judge']),
    # What is evaluated
    (BASE.replace("[roc_auc]", "[roc_auc, rmse]"), [
        'evaluate.metrics: "rmse" is a metric of regression, the task is classification'
    ]),
    (BASE.replace("[roc_auc]", "[roc_auc, roc_auc]"), ['evaluate.metrics[1]: "roc_auc" stands here twice']),
    (BASE.replace("[roc_auc]", "[auc]").replace("roc_auc:", "auc:"), [
        'evaluate.metrics: unknown metric "auc"', 'promote.when: unknown metric "auc"'
    ]),
    (BASE.replace("target: late", "target: time"), ["evaluate.target: the target cannot be data.window.column"]),
    (BASE.replace("  source:", "  key: [late]\n  source:"), ["evaluate.target: the target cannot be part of data.key"]),
    (BASE.replace("  source:", "  key: [id, id]\n  source:"), ['data.key[1]: "id" stands here twice']),
    (SLICED.replace("[carrier]", "[late]"), ["evaluate.slices[0]: a slice by the target says nothing about the model"]),
    # The gate
    (gate("{at_least: 0.65, at_most: 0.65}"), []),
    (gate("{at_least: 0.65, at_most: 0.64}"), [
        "promote.when.roc_auc.at_most: nothing is at least 0.65 and at most 0.64"
    ]),
    (gate("{}"), ["promote.when.roc_auc: no condition"]),
    (gate("{at_least: 0}"), []),
    (gate("{gain: {at_least: 0.0}}"), []),
    (gate("{gain: {at_least: 0.0, without_champion: refuse}}"), []),
    (gate("{gain: {at_least: 0.0, without_champion: pass}}"), [
        "promote.when.roc_auc.gain.without_champion: the first model would pass without any bound"
    ]),
    (gate("{at_least: 0.5, gain: {at_least: 0.0, without_champion: pass}}"), []),
    (gate("{at_most: 0.9, gain: {at_least: 0.0, without_champion: pass}}"), []),
    (gate("{worst_slice: {at_least: 0.5}, gain: {at_least: 0.0, without_champion: pass}}"), [
        "promote.when.roc_auc.gain.without_champion: the first model would pass without any bound"
    ]),
    (gate("{worst_slice: {at_least: 0.5}}"), []),
    (gate("{worst_slice: {at_least: 0.5}}", BASE), ["promote.when.roc_auc.worst_slice: there are no slices"]),
    (gate("{worst_slice: {min_rows: 5}}"), ["promote.when.roc_auc.worst_slice: no bound"]),
    (gate("{worst_slice: {at_most: 0.5}}"), [
        "promote.when.roc_auc.worst_slice.at_most: the greater roc_auc, the better: its worst slice is bound from below"
    ]),
    (SLICED.replace("roc_auc: {at", "log_loss: {at"), []),
    (SLICED.replace("roc_auc: {at_least: 0.65}", "log_loss: {worst_slice: {at_most: 0.6}}"), []),
    (BASE.replace("roc_auc: {", "brier: {"), ['promote.when.brier: "brier" is not computed']),
    (BASE + "", []),
    (BASE.replace("{when", "{alias: v12, when"), ['promote.alias: "v12" is a name that MLflow keeps for versions']),
    (BASE.replace("{when", "{alias: v12a, when"), []),
    # The monitor
    (BASE + "monitor: {schedule: daily}\n", ["monitor: nothing to watch"]),
    (BASE + "monitor: {schedule: daily, performance: {brier: {at_most: 1}}}\n", []),
    (BASE + "monitor: {schedule: daily, performance: {brier: {}}}\n", ["monitor.performance.brier: no bound"]),
    (BASE + "monitor: {schedule: daily, performance: {rmse: {at_most: 1}}}\n", [
        'monitor.performance: "rmse" is a metric of regression, the task is classification'
    ]),
    (MONITOR.replace("at_least: 0.2", "columns: [a, a]"), ['monitor.drift.columns[1]: "a" stands here twice']),
    (MONITOR.replace("at_least: 0.2", "columns: [late]"), [
        "monitor.drift.columns[0]: drift is measured on what the model sees, not on the target"
    ]),
    (MONITOR.replace("at_least: 0.2", "columns: [time]"), [
        "monitor.drift.columns[0]: keys and times always change, and are not measured"
    ]),
    # Retraining
    (MONITOR + "retrain: {triggers: [drift], cooldown: 1 d, at_most: 1 per day, count_scheduled: true}\n", []),
    (MONITOR + "retrain: {triggers: [performance]}\n", ["retrain.triggers[0]: nothing watches performance"]),
    (BASE + "retrain: {triggers: [drift]}\n", ["retrain.triggers[0]: nothing watches drift"]),
    (MONITOR + "retrain: {triggers: [drift, drift]}\n", ['retrain.triggers[1]: "drift" stands here twice']),
    (BASE + "retrain: {min_rows: 5}\n", []),
    (BASE + "retrain: {cooldown: 1 d}\n", [
        "retrain.cooldown: a cooldown holds back triggered trainings, and there are no triggers"
    ]),
    (BASE + "retrain: {at_most: 1 per day}\n", [
        "retrain.at_most: there are no triggers, and scheduled runs are not counted"
    ]),
    (BASE + "retrain: {at_most: 1 per day, count_scheduled: true}\n", []),
    (BASE + "retrain: {count_scheduled: true}\n", ["retrain.count_scheduled: there is no `at_most` to count towards"]),
    # Names
    (BASE + f"tags: [{'x' * 100}]\n", []),
    (BASE + f"tags: [{'x' * 101}]\n", ["tags[0]: a tag has 1 to 100 characters"]),
    (BASE + "tags: [' ']\n", ["tags[0]: a tag has 1 to 100 characters"]),
    (BASE + "owner: ' '\n", ["owner: the owner has no name"]),
    (BASE + "owner: {name: a, link: 'https://[x'}\n", ['owner.link: "https://[x" leads nowhere']),
    (BASE + "links: {a: 'https:///path'}\n", ['links.a: "https:///path" leads nowhere']),
    (BASE + "links: {a: 'mailto:a@b.org', b: 'http://b'}\n", []),
]  # fmt: skip
_NUMBER = count()


@pytest.mark.parametrize(("text", "expected"), CASES, ids=lambda value: str(next(_NUMBER) // 2))
def test_a_rule_is_told_where_it_is_broken_and_only_there(text: str, expected: list[str]) -> None:
    assert told(text) == expected


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        # What is there but wrong is not told to be missing as well.
        (gate("{at_least: high}"), ['promote.when.roc_auc.at_least: expected a number, got "high"']),
        (gate("{worst_slice: {at_least: high}}"), [
            'promote.when.roc_auc.worst_slice.at_least: expected a number, got "high"'
        ]),
        (MONITOR.replace("{at_least: 0.2}", "psi"), ['monitor.drift: expected a mapping, got "psi"']),
        (MONITOR.replace("monthly", "[daily]"), [
            "monitor.schedule: expected text or a mapping, got a list"
        ]),
        (BASE + "catchup: true\nstart: 5\nschedule: [a]\n", [
            "start: expected a date such as 2013-07-01, or a date and time such as 2013-07-01T06:00+02:00, got 5",
            "schedule: expected text or a mapping, got a list",
        ]),
        (BASE + "monitor: monthly\nretrain: {triggers: [drift], cooldown: 1 d}\n", [
            'monitor: expected a mapping, got "monthly"'
        ]),
        (MONITOR + "retrain: {triggers: drift, cooldown: 1 d, at_most: 4, count_scheduled: true}\n", [
            'retrain.triggers: expected a list, got "drift"',
            "retrain.at_most: expected a quota such as 4 per year (day, week, month, quarter or year), got 4",
        ]),
        (gate("{worst_slice: {at_least: 0.5}}", BASE).replace("[roc_auc]}", "[roc_auc], slices: carrier}"), [
            'evaluate.slices: expected a list, got "carrier"'
        ]),
    ],
)  # fmt: skip
def test_one_mistake_is_told_once(broken: str, expected: list[str]) -> None:
    assert told(broken) == expected
