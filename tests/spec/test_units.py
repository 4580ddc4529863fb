"""The grammar of units: what is read, what is refused and with which words, and back to text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.spec import units
from tidemill.spec.units import Money, Period, Quota, Span, UnitError

INSTANTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90 s", timedelta(seconds=90)),
        ("15min", timedelta(minutes=15)),
        (" 2 h ", timedelta(hours=2)),
        ("1.5 h", timedelta(minutes=90)),
        ("14 d", timedelta(days=14)),
        ("2 w", timedelta(days=14)),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert units.duration(text) == expected


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (units.duration, "5 m", '"m" could be minutes or months; write "5 min" or "5 months"'),
        (units.calendar, "1 m", 'write "1 min" or "1 month"'),
        (units.duration, "5 months", "months and years differ in length"),
        (units.duration, "7 days", 'did you mean "7 d"?'),
        (units.duration, "2 H", 'did you mean "2 h"?'),
        (units.duration, "2 parsec", 'unknown unit "parsec"'),
        (units.duration, "14", "add a unit (s min h d w)"),
        (units.duration, 14, "got 14: add a unit"),
        (units.duration, "0 d", "it must be more than zero"),
        (units.duration, "101 years", "differ in length"),
        (units.duration, "999999999999999 w", "longer than 100 years"),
        (units.duration, "0.000001 min", None),
        (units.duration, "0.0000001 s", "such as 90 s"),
        (units.duration, "0.000033 h", None),
        (units.calendar, "1.5 months", "counted whole"),
        (units.calendar, "0 months", "more than zero"),
        (units.calendar, "3 mo", 'did you mean "3 months"?'),
        (units.calendar, "2 yrs", 'did you mean "2 years"?'),
        (units.calendar, "2000 years", "longer than 100 years"),
        (units.size, "512 mb", 'did you mean "512 MB"?'),
        (units.size, "8 G", 'did you mean "8 GB"?'),
        (units.size, "8 Gi", 'did you mean "8 GiB"?'),
        (units.size, "1024", "add a unit (kB MB"),
        (units.size, "0.0001 kB", "not a whole number of bytes"),
        (units.size, "9999999 TB", "larger than"),
        (units.share, 30, 'did you mean "30%"?'),
        (units.share, "30", 'did you mean "30%"?'),
        (units.share, "130%", "at most 1"),
        (units.share, -0.1, "such as 10% or 0.1"),
        (units.quota, "4/year", 'did you mean "4 per year"?'),
        (units.quota, "4 times a year", 'did you mean "4 per year"?'),
        (units.quota, "4 per yaer", 'did you mean "4 per year"?'),
        (units.quota, "4 weekly", 'did you mean "4 per week"?'),
        (units.quota, "0 per day", "at least 1"),
        (units.quota, "4", "such as 4 per year"),
        (units.money, "$25", 'did you mean "25 USD"?'),
        (units.money, "EUR 30", 'did you mean "30 EUR"?'),
        (units.money, "25 usd", 'did you mean "25 USD"?'),
        (units.money, "25 dollars", 'did you mean "25 USD"?'),
        (units.money, "25", "add a unit"),
        (units.money, "0 USD", "more than zero"),
        (units.instant, "yesterday", "such as 2013-07-01"),
        (units.instant, "2013-02-29", "got \"2013-02-29\": "),
        (units.instant, "20130701", "such as 2013-07-01"),
        (units.instant, "2013-07-01T06:00+99:00", "2013-07-01T06:00+99:00\": "),
        (units.instant, "0001-01-01T00:00+14:00", "out of range"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_write(read, text, words) -> None:  # type: ignore[no-untyped-def]
    if words is None:
        # Microseconds are the finest there is; these are a whole number of them.
        assert read(text) > timedelta()
        return
    with pytest.raises(UnitError) as caught:
        read(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("expected ")


JUNK = ["", " ", "-3 d", "-1 EUR", "-10%", "+3 d", "1e3 d", "1e999 kB", "nan s", "inf d", ".inf", "3 d d", "3 d\n",
        "٣ d", "3\u00a0d", "1_000 d", "0x10 d", "3,5 h", "1. d", "--1 d", "9" * 5000 + " d", "3 d; rm", "d 3", "%",
        "4 per", "per year", "2013-07-01junk", "2013-7-1", "2013-07-01T", "1 USDX", "x" * 10_000, "\0", None, True,
        False, [], {}, ["3 d"], {"d": 3}, b"3 d", float("nan"), float("inf"), -1, 10**30]  # fmt: skip
READERS = [units.duration, units.calendar, units.size, units.share, units.quota, units.money, units.instant]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:20])
def test_junk_is_refused_in_few_words(read, junk) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UnitError) as caught:
        read(junk)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@given(st.one_of(st.text(max_size=30), st.from_regex(r"[0-9.]{1,6} ?[a-zA-Z%$]{0,8}( per [a-z]{1,5})?")))
def test_no_text_makes_a_reader_fail_otherwise(text: str) -> None:
    for read in READERS:
        said = ""
        try:
            read(text)
        except UnitError as error:
            said = str(error)
        assert not said or said.isprintable()


def test_zero_passes_where_it_is_asked_for() -> None:
    assert units.duration("0 d", zero=True) == timedelta()
    assert units.size("0 MB", zero=True) == 0
    assert units.money("0 EUR", zero=True) == Money(Decimal(0), "EUR")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5 months", Span(5)), ("1 quarter", Span(3)), ("2 years", Span(24)), ("1 month", Span(1)),
     ("14 d", Span(delta=timedelta(days=14))), ("36 h", Span(delta=timedelta(hours=36)))],
)  # fmt: skip
def test_spans(text: str, expected: Span) -> None:
    assert units.calendar(text) == expected


def test_a_span_is_one_or_the_other() -> None:
    for months, delta in [(0, timedelta()), (1, timedelta(days=1)), (-1, timedelta()), (0, timedelta(days=-1))]:
        with pytest.raises(ValueError, match="a span is"):
            Span(months, delta)


@pytest.mark.parametrize(
    ("span", "instant", "before", "after"),
    [
        ("1 month", "2013-03-31", "2013-02-28", "2013-04-30"),
        ("1 month", "2012-03-31", "2012-02-29", "2012-04-30"),
        ("1 quarter", "2013-10-01", "2013-07-01", "2014-01-01"),
        ("1 year", "2012-02-29", "2011-02-28", "2013-02-28"),
        ("5 months", "2013-01-15T06:30:00Z", "2012-08-15T06:30:00Z", "2013-06-15T06:30:00Z"),
        ("36 h", "2013-07-01", "2013-06-29T12:00:00Z", "2013-07-02T12:00:00Z"),
    ],
)
def test_calendar_arithmetic_clamps_to_the_end_of_the_month(span: str, instant: str, before: str, after: str) -> None:
    read, moment = units.calendar(span), units.instant(instant)
    assert units.format_instant(read.before(moment)) == before
    assert units.format_instant(read.after(moment)) == after


def test_calendar_arithmetic_is_done_in_utc() -> None:
    # In New York it is still the 31st; in UTC the month has changed.
    local = datetime(2013, 7, 31, 22, tzinfo=timezone(timedelta(hours=-4)))
    assert Span(1).before(local) == datetime(2013, 7, 1, 2, tzinfo=UTC)
    with pytest.raises(ValueError, match="time zone"):
        Span(1).before(datetime(2013, 7, 31))  # noqa: DTZ001


def test_calendar_arithmetic_ends_with_the_calendar() -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        Span(24).before(datetime(1, 6, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match="years 1 to 9999"):
        Span(delta=timedelta(days=400)).after(datetime(9999, 6, 1, tzinfo=UTC))


@given(INSTANTS, st.integers(1, 240))
def test_months_move_the_month_and_keep_or_clamp_the_day(instant: datetime, months: int) -> None:
    moved = Span(months).after(instant)
    assert (moved.year * 12 + moved.month) - (instant.year * 12 + instant.month) == months
    assert moved.timetz() == instant.timetz()
    assert moved.day <= instant.day
    if moved.day < instant.day:
        assert (moved + timedelta(days=1)).day == 1
    assert abs((moved - instant) - Span(months).approx()) < timedelta(days=4)


def test_approximate_lengths() -> None:
    assert Span(12).approx() == timedelta(days=365.2425)
    assert Span(delta=timedelta(days=3)).approx() == timedelta(days=3)


def test_sizes() -> None:
    assert units.size("512 MB") == 512_000_000
    assert units.size("8GiB") == 8 * 1024**3
    assert units.size("1.5 GB") == 1_500_000_000


def test_shares() -> None:
    assert units.share("10%") == units.share(0.1) == units.share("0.1") == 0.1
    assert units.share(1) == units.share("100 %") == 1.0
    assert units.share(0) == 0.0


def test_quota_periods_are_utc_calendar_periods() -> None:
    moment = datetime(2013, 8, 15, 13, 45, tzinfo=UTC)  # a Thursday
    quotas = [Quota(1, period) for period in get_args(Period)]
    text = units.format_instant
    assert {quota.period: (text(quota.start(moment)), text(quota.end(moment))) for quota in quotas} == {
        "day": ("2013-08-15", "2013-08-16"),
        "week": ("2013-08-12", "2013-08-19"),
        "month": ("2013-08-01", "2013-09-01"),
        "quarter": ("2013-07-01", "2013-10-01"),
        "year": ("2013-01-01", "2014-01-01"),
    }


def test_a_quota_counts_an_offset_in_utc() -> None:
    late = datetime(2013, 12, 31, 22, tzinfo=timezone(timedelta(hours=-4)))
    assert Quota(1, "year").start(late) == datetime(2014, 1, 1, tzinfo=UTC)


@given(INSTANTS, st.sampled_from(get_args(Period)))
def test_every_instant_lies_in_its_period_and_the_end_begins_the_next(instant: datetime, period: Period) -> None:
    quota = Quota(3, period)
    start, end = quota.start(instant), quota.end(instant)
    assert start <= instant < end
    assert quota.start(end) == end
    assert quota.start(start) == start


def test_instants() -> None:
    assert units.instant("2013-07-01") == datetime(2013, 7, 1, tzinfo=UTC)
    assert units.instant("2013-07-01T06:00+02:00") == datetime(2013, 7, 1, 4, tzinfo=UTC)
    assert units.instant("2013-07-01 06:00:00.25") == datetime(2013, 7, 1, 6, 0, 0, 250_000, tzinfo=UTC)
    assert units.instant("2013-07-01T06:00Z").tzinfo is UTC


@pytest.mark.parametrize(
    ("delta", "text"),
    [(timedelta(days=14), "14 d"), (timedelta(minutes=90), "90 min"), (timedelta(hours=36), "36 h"),
     (timedelta(seconds=0.25), "0.25 s"), (timedelta(), "0 s")],
)  # fmt: skip
def test_canonical_durations(delta: timedelta, text: str) -> None:
    assert units.format_duration(delta) == text


def test_canonical_texts() -> None:
    assert str(Span(24)) == "2 years"
    assert str(Span(12)) == "1 year"
    assert str(Span(1)) == "1 month"
    assert str(Span(5)) == "5 months"
    assert units.format_size(1024**3) == "1 GiB"
    assert units.format_size(512_000) == "512 kB"
    assert units.format_size(123) == "0.123 kB"
    assert units.format_share(0.3) == "30%"
    assert str(Money(Decimal("25.50"), "EUR")) == "25.5 EUR"
    assert str(Money(Decimal("100"), "EUR")) == "100 EUR"


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=36_000)))
def test_durations_come_back(delta: timedelta) -> None:
    assert units.duration(units.format_duration(delta)) == delta


@given(st.integers(1, 1200) | st.timedeltas(timedelta(microseconds=1), timedelta(days=36_000)))
def test_spans_come_back(length: int | timedelta) -> None:
    span = Span(months=length) if isinstance(length, int) else Span(delta=length)
    assert units.calendar(str(span)) == span


@given(st.integers(1, 10**17))
def test_sizes_come_back(count: int) -> None:
    assert units.size(units.format_size(count)) == count


@given(st.floats(0, 1))
def test_shares_come_back(part: float) -> None:
    assert units.share(part) == part
    assert units.share(units.format_share(part)) == part


@given(st.integers(1, 10**9 - 1), st.sampled_from(get_args(Period)))
def test_quotas_come_back(count: int, period: Period) -> None:
    assert units.quota(str(Quota(count, period))) == Quota(count, period)


@given(st.decimals(Decimal("0.01"), 10**9, places=2), st.sampled_from(["USD", "EUR", "JPY"]))
def test_money_comes_back(amount: Decimal, currency: str) -> None:
    assert units.money(str(Money(amount, currency))) == Money(amount, currency)


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_come_back(instant: datetime) -> None:
    assert units.instant(units.format_instant(instant)) == instant


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("25 USD", "such as 25 USD per month"),
        ("25 usd per month", "the amount is not one of money"),
        ("USD per month", "the amount is not one of money"),
        ("25 USD per fortnight", "such as 25 USD per month"),
        ("25 USD per mnoth", 'did you mean "25 USD per month"?'),
        ("25 USD monthly", "such as 25 USD per month"),
        (25, "such as 25 USD per month"),
    ],
)
def test_a_budget_that_is_none_says_what_one_looks_like(text: object, message: str) -> None:
    with pytest.raises(UnitError, match=re.escape(message)):
        units.budget(text)


def test_a_budget_is_of_a_calendar_period_and_may_be_nothing() -> None:
    budget = units.budget("0.50 EUR per quarter")
    assert (str(budget.money), budget.period, str(budget)) == ("0.5 EUR", "quarter", "0.5 EUR per quarter")
    moment = datetime(2014, 5, 20, tzinfo=UTC)
    assert (budget.start(moment).month, budget.end(moment).month) == (4, 7)
    assert units.budget("0 USD per month").money.amount == 0
