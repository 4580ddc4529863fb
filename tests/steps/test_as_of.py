"""The order in which a run's instant is found, its bounds, its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tidemill.records import AsOf
from tidemill.steps import as_of
from tidemill.steps.context import Event, StepContext, StepError, TriggerFacts

Make = Callable[..., StepContext]

JUN, JUL, AUG, SEP, OCT = (datetime(2013, month, 1, tzinfo=UTC) for month in (6, 7, 8, 9, 10))
TODAY = datetime(2026, 11, 23, 10, 30, tzinfo=UTC)


def resolve(
    make: Make,
    *,
    params: Mapping[str, Any] | None = None,
    run_type: str = "manual",
    interval: tuple[datetime, datetime] | None = None,
    events: tuple[Event, ...] = (),
    run_after: datetime = TODAY,
    **spec: Any,
) -> AsOf:
    start, end = interval or (None, None)
    facts = TriggerFacts(params or {}, run_after, run_type, start, end, events)
    return as_of.run(make("as_of", trigger=facts, **spec))


def event(at: datetime = TODAY, asset: str = "flights.retrain", **extra: Any) -> Event:
    return Event(extra, at, asset)


def test_the_param_goes_before_interval_events_and_clock(make_context: Make) -> None:
    found = resolve(
        make_context,
        params={"as_of": "2013-07-01"},
        run_type="scheduled",
        interval=(AUG, SEP),
        events=(event(as_of="2013-10-01"),),
    )
    assert found.instant == JUL


def test_an_offset_and_a_time_of_day_are_read_as_utc(make_context: Make) -> None:
    assert resolve(make_context, params={"as_of": "2013-07-01T02:00+02:00"}).instant == JUL


@pytest.mark.parametrize("run_type", ["scheduled", "backfill"])
def test_scheduled_and_backfill_runs_stand_at_the_end_of_their_interval(make_context: Make, run_type: str) -> None:
    found = resolve(make_context, run_type=run_type, interval=(AUG, SEP))
    assert found == AsOf(instant=SEP, cause="scheduled", interval_start=AUG, interval_end=SEP)


def test_the_interval_of_a_run_by_hand_is_not_its_as_of(make_context: Make) -> None:
    found = resolve(make_context, interval=(AUG, SEP), run_after=OCT)
    assert found == AsOf(instant=OCT, cause="manual")


def test_events_give_the_latest_as_of_and_all_their_reasons(make_context: Make) -> None:
    found = resolve(
        make_context,
        run_type="asset_triggered",
        events=(
            event(as_of="2013-08-01T00:00:00+00:00", reasons=["performance"]),
            event(as_of="2013-09-01T00:00:00+00:00", reasons=["drift", "performance"]),
            event(as_of="2013-07-01", reasons="not a list"),
        ),
    )
    assert found == AsOf(instant=SEP, cause="asset", reasons=("performance", "drift"))


def test_an_event_without_as_of_counts_with_its_timestamp(make_context: Make) -> None:
    found = resolve(make_context, run_type="asset_triggered", events=(event(AUG), event(OCT, as_of="2013-07-01")))
    assert found.instant == AUG


def test_by_hand_the_earlier_of_the_run_and_the_specs_end(make_context: Make) -> None:
    assert resolve(make_context, run_after=TODAY).instant == TODAY
    assert resolve(make_context, run_after=TODAY, end="2013-10-01").instant == OCT
    assert resolve(make_context, run_after=SEP, end="2013-10-01").instant == SEP


def test_an_empty_param_of_the_trigger_form_is_none(make_context: Make) -> None:
    assert resolve(make_context, params={"as_of": ""}, end="2013-10-01").instant == OCT


@pytest.mark.parametrize("text", ["yesterday", "2013-13-01", "07/01/2013", 20130701, True, ["2013-07-01"]])
def test_bad_text_names_the_param_and_shows_an_example(make_context: Make, text: Any) -> None:
    with pytest.raises(StepError, match=r'The param as_of cannot be read.*\{"as_of": "2013-10-01"\}') as error:
        resolve(make_context, params={"as_of": text})
    assert not error.value.retry


def test_bad_text_of_an_event_names_the_event(make_context: Make) -> None:
    with pytest.raises(StepError, match="as_of of a triggering asset event cannot be read"):
        resolve(make_context, run_type="asset_triggered", events=(event(as_of="soon"),))


def test_start_and_end_are_inclusive(make_context: Make) -> None:
    for text, instant in (("2013-07-01", JUL), ("2013-10-01", OCT)):
        assert resolve(make_context, params={"as_of": text}, start="2013-07-01", end="2013-10-01").instant == instant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2013-06-30T23:59:59Z", "the spec's start, earlier than which no as_of may be, is 2013-07-01"),
        ("2013-10-01T00:00:01Z", "the spec's end, later than which no as_of may be, is 2013-10-01"),
    ],
)
def test_outside_of_start_and_end_is_an_error(make_context: Make, text: str, said: str) -> None:
    with pytest.raises(StepError, match=said):
        resolve(make_context, params={"as_of": text}, start="2013-07-01", end="2013-10-01")


def test_by_hand_before_the_specs_start_is_an_error(make_context: Make) -> None:
    with pytest.raises(StepError, match="when the run was due"):
        resolve(make_context, run_after=JUN, start="2013-07-01")


class TestReplay:
    """The params with which `tidemill replay` starts a run that stands for a scheduled one."""

    def test_the_interval_is_the_tick_before(self, make_context: Make) -> None:
        found = resolve(make_context, params={"as_of": "2013-10-01", "scheduled": True}, schedule="quarterly")
        assert found == AsOf(instant=OCT, cause="scheduled", interval_start=JUL, interval_end=OCT)

    def test_the_monitor_has_its_own_schedule(self, make_context: Make) -> None:
        found = resolve(
            make_context,
            params={"as_of": "2013-10-01", "scheduled": True},
            schedule="quarterly",
            monitor={"schedule": "monthly"},
            dag_id="flights.monitor",
        )
        assert found.interval_start == SEP

    def test_a_time_zone_moves_the_tick(self, make_context: Make) -> None:
        found = resolve(
            make_context,
            params={"as_of": "2013-04-01T05:00:00Z", "scheduled": True},
            schedule={"cron": "0 1 1 * *", "timezone": "America/New_York"},
        )
        assert found.interval_start == datetime(2013, 3, 1, 6, tzinfo=UTC)  # winter time

    def test_interval_start_may_be_given(self, make_context: Make) -> None:
        params = {"as_of": "2013-10-01", "scheduled": True, "interval_start": "2013-08-01"}
        assert resolve(make_context, params=params).interval_start == AUG

    def test_without_a_schedule_there_is_no_interval(self, make_context: Make) -> None:
        found = resolve(make_context, params={"as_of": "2013-10-01", "scheduled": True})
        assert (found.cause, found.interval_start, found.interval_end) == ("scheduled", None, None)

    def test_scheduled_without_as_of_is_an_error(self, make_context: Make) -> None:
        with pytest.raises(StepError, match="no param as_of"):
            resolve(make_context, params={"scheduled": True})

    def test_an_interval_that_ends_before_it_starts_is_an_error(self, make_context: Make) -> None:
        with pytest.raises(StepError, match="must be earlier than as_of"):
            resolve(make_context, params={"as_of": "2013-10-01", "scheduled": True, "interval_start": "2013-10-01"})

    @pytest.mark.parametrize("value", [False, None, "true", 1])
    def test_only_true_is_scheduled(self, make_context: Make, value: Any) -> None:
        assert resolve(make_context, params={"as_of": "2013-10-01", "scheduled": value}).cause == "manual"


def test_a_backfill_with_a_param_has_no_interval_of_its_own(make_context: Make) -> None:
    found = resolve(make_context, run_type="backfill", interval=(AUG, SEP), params={"as_of": "2013-10-01"})
    assert found == AsOf(instant=OCT, cause="scheduled")
    same = resolve(make_context, run_type="backfill", interval=(AUG, SEP), params={"as_of": "2013-09-01"})
    assert same.interval_start == AUG


def test_an_asset_run_with_a_param_keeps_its_cause_and_reasons(make_context: Make) -> None:
    found = resolve(
        make_context,
        run_type="asset_triggered",
        events=(event(as_of="2013-09-01", reasons=["drift"]),),
        params={"as_of": "2013-10-01"},
    )
    assert found == AsOf(instant=OCT, cause="asset", reasons=("drift",))


def test_an_asset_run_whose_events_are_gone_gives_no_reason(make_context: Make) -> None:
    found = resolve(make_context, run_type="asset_triggered", run_after=SEP)
    assert found == AsOf(instant=SEP, cause="asset")


class TestUpstreamAssets:
    def test_give_the_reason_asset_and_their_names(self, make_context: Make) -> None:
        found = resolve(
            make_context,
            run_type="asset_triggered",
            events=(
                event(AUG, asset="orders"),
                event(as_of="2013-09-01", reasons=["drift"]),
                event(JUL, asset="s3://acme/prices"),
                event(JUN, asset="orders"),
            ),
        )
        assert found == AsOf(
            instant=SEP, cause="asset", reasons=("drift", "asset"), assets=("orders", "s3://acme/prices")
        )

    def test_do_not_speak_for_the_monitor(self, make_context: Make) -> None:
        """Who may update an asset upstream cannot pretend that the monitor saw drift, or that the rows are broken."""
        claims = event(AUG, asset="orders", reasons=["drift"], findings=["all is lost"])
        found = resolve(make_context, run_type="asset_triggered", events=(claims,))
        assert (found.reasons, found.findings) == (("asset",), ())

    def test_the_monitor_does_not_speak_for_them(self, make_context: Make) -> None:
        found = resolve(make_context, run_type="asset_triggered", events=(event(AUG, reasons=["asset"]),))
        assert found.reasons == ()

    def test_say_at_which_instant_their_data_stands(self, make_context: Make) -> None:
        events = (event(OCT, asset="orders", as_of="2013-07-01"),)
        assert resolve(make_context, run_type="asset_triggered", events=events).instant == JUL


def test_findings_of_several_events_are_united(make_context: Make) -> None:
    events = (event(AUG, findings=["a is missing", 3]), event(SEP, findings=["b is text", "a is missing"]))
    found = resolve(make_context, run_type="asset_triggered", events=events)
    assert found.findings == ("a is missing", "b is text")


def test_texts_of_events_neither_steer_a_terminal_nor_fill_the_ledger(make_context: Make) -> None:
    reasons = ["\x1b[2J" + "x" * 10_000, *(f"r{i}" for i in range(1000))]
    found = resolve(make_context, run_type="asset_triggered", events=(event(AUG, reasons=reasons),))
    assert len(found.reasons) == 50
    assert found.reasons[0].startswith("\\x1b")
    assert len(found.reasons[0]) < 400


def test_an_event_from_the_future_is_refused_as_all_later_ones_would_be_of_the_past(make_context: Make) -> None:
    with pytest.raises(StepError, match=r"2999-01-01, lies in the future: the run is of 2026-11-23"):
        resolve(make_context, run_type="asset_triggered", events=(event(as_of="2999-01-01"),))
    ahead = (TODAY + timedelta(minutes=5)).isoformat()  # another machine's clock
    assert resolve(make_context, run_type="asset_triggered", events=(event(as_of=ahead),)).instant > TODAY
