"""Performance on the page: what was measured against its bound, and what is an estimate and is called one."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.drift.reports.making import evidence
from tests.drift.reports.making import report as drift_report
from tests.drift.reports.test_html import ATTACKS, Page
from tidemill.drift.reports.html import page, performance_page
from tidemill.drift.reports.performance import Watched, headline
from tidemill.records import Estimate, Interval, LabelReport, MonitorReport, Performance
from tidemill.spec.monitoring import Bound

START, END = datetime(2013, 7, 1, tzinfo=UTC), datetime(2013, 8, 1, tzinfo=UTC)
LATE = datetime(2013, 6, 29, tzinfo=UTC), datetime(2013, 7, 30, tzinfo=UTC)
BOUND = {"roc_auc": Bound(at_least=0.67)}
LABELS = LabelReport(source="arrivals.parquet", start=LATE[0], end=LATE[1], rows=1000, labelled=900, contradicting=3)


def interval(metric: str, low: float, high: float) -> Interval:
    return Interval(metric=metric, low=low, high=high, confidence=0.95, method="delong")


def measured(value: float | None, low: float = 0.0, high: float = 1.0, version: str = "2") -> Performance:
    return Performance(
        version=version,
        metrics={"log_loss": 0.4512, "roc_auc": value},
        intervals=(interval("roc_auc", low, high),) if value is not None else (),
        start=LATE[0],
        end=LATE[1],
        rows=900,
        predictions="logged",
    )


ESTIMATE = Estimate(
    version="2",
    metrics={"roc_auc": 0.7123},
    intervals=(interval("roc_auc", 0.6987, 0.7259),),
    start=START,
    end=END,
    rows=1234,
    calibration="isotonic",
)


def watched(performance: Performance | None = None, *, why: tuple[str, ...] = (), **more: Any) -> Watched:
    found = MonitorReport(
        model="m", version="2", start=START, end=END, rows=1234, labelled=900, performance=performance, **more
    )
    return Watched(report=found, bounds=BOUND, why=why)


def shown(of: Watched) -> Page:
    return Page(page(drift_report([evidence("wind")]), of))


@pytest.mark.parametrize(
    ("value", "low", "high", "fired", "head", "state"),
    [
        (0.71, 0.70, 0.72, (), "Performance holds", "holds"),
        (0.665, 0.657, 0.674, (), "Performance beyond its bound, no alarm", "beyond, may be chance"),
        (0.655, 0.646, 0.663, ("performance",), "Performance alarm", "alarm"),
        (0.655, 0.646, 0.663, (), "Performance beyond its bound, no alarm", "beyond, replaced"),
    ],
)
def test_each_metric_stands_with_its_interval_against_its_bound(
    value: float, low: float, high: float, fired: tuple[str, ...], head: str, state: str
) -> None:
    found = shown(watched(measured(value, low, high), fired=fired, labels=LABELS))
    for text in (head, f"{state} {value:.4f} {low:.4f} to {high:.4f} (95 %) at least 0.67", "2013-06-29 – 2013-07-30"):
        assert text in found.text
    assert "log_loss – no bound 0.4512 – –" in found.text
    assert "900 of 1,000 (90%)" in found.text
    assert "Keys with contradicting labels 3" in found.text
    assert "version 2, as it predicted then" in found.text
    assert "estimate" not in found.text


def test_it_stands_above_the_columns_and_in_the_title() -> None:
    text = page(drift_report([evidence("wind")]), watched(measured(0.65, 0.64, 0.66), fired=("performance",)))
    assert text.index('id="performance"') < text.index('id="columns"')
    assert "<title>Performance alarm; Drift: " in text


def test_the_champion_before_stands_beside_it() -> None:
    found = shown(watched(measured(0.71, 0.70, 0.72), previous=measured(0.6912, version="1")))
    assert "Version 1 before it" in found.text
    assert "at least 0.67 0.6912" in found.text


def test_an_estimate_is_called_one_beside_every_figure_and_is_drawn_as_none_that_was_measured() -> None:
    found = shown(watched(measured(0.71, 0.70, 0.72), estimate=ESTIMATE))
    for text in (
        "estimate No measurement: what version 2 probably does from 2013-07-01 – 2013-08-01",
        "From the 1,234 scores alone, without their labels",
        "gives no alarm",
        "roc_auc estimated 0.7123 0.6987 to 0.7259 (95 %) at least 0.67",
    ):
        assert text in found.text
    kinds = [attributes["class"] for tag, attributes in found.tags if tag == "circle"]
    assert kinds == ["dot", "dot guess"]


def test_rows_that_another_version_scored_are_told_to_be_left_out() -> None:
    of = dataclasses.replace(measured(0.71, 0.70, 0.72), others={"1": 1980})
    assert "Left out, as others scored them 1,980 by version 1" in shown(watched(of)).text


def test_why_there_is_nothing_to_measure_is_said() -> None:
    why = "performance from 2013-06-29 to 2013-07-30: 0 of 0 rows are labelled; no champion was in force at 2013-06-29"
    assert why[1:] in shown(watched(why=(why,))).text
    assert why[1:] not in shown(watched(measured(0.71, 0.70, 0.72), why=(why,))).text


def test_without_labels_there_is_the_estimate_alone_and_why() -> None:
    of = watched(estimate=ESTIMATE, why=("performance is not judged: 0 of 1,234 rows have a target",))
    assert headline(of) == "Performance estimated, not measured"
    assert "Performance is not judged: 0 of 1,234 rows have a target" in shown(of).text


def test_a_metric_that_does_not_exist_is_not_judged() -> None:
    found = shown(watched(measured(None), why=("roc_auc is not judged on the 900 rows that have a target: one class",)))
    assert "roc_auc – not judged – – – at least 0.67" not in found.text  # no bar, and the columns keep their order
    assert "roc_auc – not judged – – at least 0.67" in found.text
    assert "Performance measured" in found.text


def test_a_page_without_columns() -> None:
    text = performance_page(watched(measured(0.71, 0.70, 0.72)), "flights, July")
    assert "<title>Performance holds: flights, July</title>" in text
    assert "flights, July Performance Performance holds" in Page(text).text


def test_without_anything_to_say_the_page_is_as_it_was() -> None:
    report = drift_report([evidence("wind")])
    assert page(report, watched()) == page(report)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_the_data_becomes_markup(attack: str) -> None:
    of = watched(measured(0.71, 0.70, 0.72, version=attack), why=(attack,), previous=measured(0.6, version=attack))
    found = shown(of)
    harmless = watched(measured(0.71, 0.70, 0.72), why=("x",), previous=measured(0.6))
    assert found.tags == shown(harmless).tags
