"""What a backtest adds up to, and how it is drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import pytest

from tidemill.backtest.picture import picture
from tidemill.backtest.result import Backtest, Story, Training, Window


def window(month: int, value: float | None, spread: float | None = 0.01, rows: int = 1000, **more: object) -> Window:
    metrics = {} if value is None else {"roc_auc": value}
    intervals = {} if value is None or spread is None else {"roc_auc": (value - spread, value + spread)}
    bounds = {"start": f"2013-{month:02}-01", "end": f"2013-{month + 1:02}-01"}
    given: dict[str, Any] = {
        **bounds,
        "version": "1",
        "rows": rows,
        "labelled": rows,
        "metrics": metrics,
        "intervals": intervals,
    }
    return Window(**{**given, **more})


def training(outcome: str, seconds: float = 1800.0) -> Training:
    return Training(
        as_of="2013-08-01",
        cause="asset",
        reasons=("drift",),
        outcome=outcome,
        version="2",
        why=("<b>",),
        seconds=seconds,
    )


def story(policy: str = "given", windows: tuple[Window, ...] = (), trainings: tuple[Training, ...] = ()) -> Story:
    return Story(policy=policy, title=policy, windows=windows, trainings=trainings)


def backtest(
    windows: Mapping[str, tuple[Window, ...]],
    metric: str = "roc_auc",
    price: str | None = None,
    pipeline: str = "flights",
) -> Backtest:
    stories = tuple(story(name, windows.get(name, ())) for name in ("given", "never", "always"))
    return Backtest(
        pipeline="a<b>",
        spec_hash="c0",
        since="2013-06-01",
        until="2013-09-01",
        metric=metric,
        price=price,
        stories=stories,
    )


def test_windows_weigh_by_their_labelled_rows() -> None:
    mean = story(windows=(window(6, 0.6, rows=3000), window(7, 0.8, rows=1000), window(8, None))).mean("roc_auc")
    assert mean is not None
    assert mean.value == pytest.approx(0.65)
    assert mean.windows == 2
    half = math.hypot(0.01 * 3000, 0.01 * 1000) / 4000
    assert mean.low is not None
    assert mean.high is not None
    assert mean.value - mean.low == pytest.approx(half)
    assert mean.high - mean.value == pytest.approx(half)


def test_a_mean_over_windows_without_interval_has_none_and_over_no_windows_is_none() -> None:
    mean = story(windows=(window(6, 0.6), window(7, 0.8, None))).mean("roc_auc")
    assert mean is not None
    assert (mean.low, mean.high) == (None, None)
    assert story(windows=(window(6, None),)).mean("roc_auc") is None
    assert story().mean("roc_auc") is None


def test_a_gain_is_positive_for_an_improvement_whatever_the_direction() -> None:
    better = backtest({"given": (window(6, 0.7),), "never": (window(6, 0.6),)})
    assert better.gain("given", "never") == pytest.approx(0.1)
    assert better.gain("always", "never") is None
    errors = {name: (window(6, None, metrics={"rmse": value}),) for name, value in (("given", 7.0), ("never", 6.0))}
    assert backtest(errors, "rmse").gain("given", "never") == pytest.approx(-1)


def test_a_training_costs_its_time_at_the_price_of_an_hour_whatever_became_of_it() -> None:
    told = story(trainings=(training("promoted"), training("refused"), training("not trained", 0.0)))
    assert (told.trained, told.seconds, told.cost(Decimal("0.50"))) == (2, 3600.0, Decimal("0.5000"))
    assert (told.count("promoted"), told.count("refused"), told.count("not trained")) == (1, 1, 1)


def test_json_says_null_where_there_is_no_number() -> None:
    found = backtest({"given": (window(6, 0.7, None),)}, price="0.5 USD").to_json()
    text = json.dumps(found, allow_nan=False)
    given, never, _ = json.loads(text)["stories"]
    assert given["summary"]["metric"] == {"value": 0.7, "low": None, "high": None, "windows": 1}
    assert (given["summary"]["cost"], never["summary"]["metric"]) == ("0.0000 USD", None)


def test_the_picture_is_svg_that_names_every_policy_and_runs_nothing() -> None:
    drawn = picture(
        Backtest(
            pipeline="<script>alert(1)</script>",
            spec_hash="c0",
            since="2013-06-01",
            until="2013-09-01",
            metric="roc_auc",
            price=None,
            stories=(
                story("given", (window(6, 0.7), window(7, 0.6, fired=("drift",))), (training("promoted"),)),
                story("never", (window(6, 0.7), window(7, 0.5, None)), (training("refused"),)),
                story("always", (window(6, None),), (training("failed"), training("superseded"))),
            ),
        )
    )
    root = ElementTree.fromstring(drawn)
    assert not [e for e in root.iter() if e.tag.endswith("script")]
    texts = [e.text or "" for e in root.iter() if e.tag.endswith(("text", "title", "desc"))]
    assert any("this policy" in text for text in texts)
    assert any("alarm: drift" in text for text in texts)
    assert any("promoted: <b>" in text for text in texts)
    assert len([e for e in root.iter() if e.get("class") == "dot"]) == 4


@pytest.mark.parametrize("windows", [(), (window(6, None),), (window(6, 0.5, None),), (window(6, 0.5, 0.0),)])
def test_little_to_draw_is_drawn_all_the_same(windows: tuple[Window, ...]) -> None:
    given = {name: windows or (window(6, None),) for name in ("given", "never", "always")}
    ElementTree.fromstring(picture(backtest(given)))
