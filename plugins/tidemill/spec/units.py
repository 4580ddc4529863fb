"""The one grammar of units: a number and a unit, read from text and written back in one canonical form.

Every reader raises UnitError, a ValueError that says what was expected and what was probably meant.
Instants are UTC; calendar arithmetic is Gregorian, in UTC.
"""

from __future__ import annotations

import calendar as _calendar
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, Literal, NoReturn, get_args

from tidemill.spec.errors import printable, suggest

Period = Literal["day", "week", "month", "quarter", "year"]

_DURATIONS: Final[dict[str, timedelta]] = {
    "s": timedelta(seconds=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_MONTHS: Final = {"month": 1, "months": 1, "quarter": 3, "quarters": 3, "year": 12, "years": 12}
_SIZES: Final = {f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T"), 1)} | {
    f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), 1)
}
_OTHER_NAMES: Final = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "mins": "min", "minute": "min", "minutes": "min",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h",
    "day": "d", "days": "d",
    "wk": "w", "week": "w", "weeks": "w",
    "mo": "months", "mon": "months",
    "qtr": "quarters", "q": "quarters",
    "y": "years", "yr": "years", "yrs": "years",
    "k": "kB", "kb": "kB", "ki": "KiB", "kib": "KiB", "mb": "MB", "mi": "MiB", "mib": "MiB",
    "g": "GB", "gb": "GB", "gi": "GiB", "gib": "GiB", "t": "TB", "tb": "TB", "ti": "TiB", "tib": "TiB",
    "$": "USD", "dollar": "USD", "dollars": "USD", "€": "EUR", "euro": "EUR", "euros": "EUR", "£": "GBP",
}  # fmt: skip
_PERIOD_NAMES: Final[dict[str, Period]] = {
    "day": "day", "days": "day", "daily": "day",
    "week": "week", "weeks": "week", "weekly": "week",
    "month": "month", "months": "month", "monthly": "month",
    "quarter": "quarter", "quarters": "quarter", "quarterly": "quarter",
    "year": "year", "years": "year", "yearly": "year", "annum": "year",
}  # fmt: skip
_MAX_YEARS: Final = 100
_MAX_BYTES: Final = 10**18
_YEAR: Final = timedelta(days=365.2425)  # the mean Gregorian year

# A number has at most 15 digits before and 6 after the point, so that it stays exact; no exponent, no sign.
_NUMBER: Final = r"([0-9]{1,15}(?:\.[0-9]{1,6})?)"
_QUANTITY: Final = re.compile(_NUMBER + r" *([^\W0-9_]+|[$€£]|)")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,400})?) *(%?)")
# Wider than what is allowed, so that `4/year` and `4 times a year` can be told what to write.
_QUOTA: Final = re.compile(r"([0-9]{1,9}) *(per|/|x|times per|times a|an?|every|) *([A-Za-z]{1,20})")
_INSTANT: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)(?: ?(Z|[+-][0-9]{2}:[0-9]{2}))?)?"
)


class UnitError(ValueError):
    """A text that is not of the grammar: `message` says what was expected, `hint` what was probably meant."""

    def __init__(
        self, expected: str, value: object, why: str = "", meant: str | None = None, hint: str | None = None
    ) -> None:
        self.message = f"expected {expected}, got {_quoted(value)}" + (f": {why}" if why else "")
        self.hint = f'did you mean "{meant}"?' if meant else hint
        super().__init__(f"{self.message}; {self.hint}" if self.hint else self.message)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the calendar: whole months, or an exact duration, never both."""

    months: int = 0
    delta: timedelta = timedelta()

    def __post_init__(self) -> None:
        if (self.months > 0) == (self.delta > timedelta()) or self.months < 0 or self.delta < timedelta():
            raise ValueError("a span is either whole months or a duration, and longer than nothing")

    def before(self, instant: datetime) -> datetime:
        """The instant in UTC that lies this span before `instant`; a day that a month lacks becomes its last.

        Raises ValueError outside the years 1 to 9999, or for an instant without a time zone.
        """
        return _shift(instant, -self.months, -self.delta)

    def after(self, instant: datetime) -> datetime:
        """The instant in UTC that lies this span after `instant`; as `before`."""
        return _shift(instant, self.months, self.delta)

    def approx(self) -> timedelta:
        """Its mean length: a month is a twelfth of 365.2425 days."""
        return self.months * _YEAR / 12 + self.delta

    def __str__(self) -> str:
        if not self.months:
            return format_duration(self.delta)
        count, name = (self.months // 12, "year") if self.months % 12 == 0 else (self.months, "month")
        return f"{count} {name}" if count == 1 else f"{count} {name}s"


@dataclass(frozen=True, slots=True)
class Quota:
    """How often something may happen in each UTC calendar period."""

    count: int
    period: Period

    def start(self, instant: datetime) -> datetime:
        """The start of the period that holds `instant`; weeks begin on Monday."""
        day = _utc(instant).replace(hour=0, minute=0, second=0, microsecond=0)
        match self.period:
            case "day":
                return day
            case "week":
                return _shift(day, 0, timedelta(days=-day.weekday()))
            case "month":
                return day.replace(day=1)
            case "quarter":
                return day.replace(month=day.month - (day.month - 1) % 3, day=1)
            case "year":
                return day.replace(month=1, day=1)

    def end(self, instant: datetime) -> datetime:
        """The end of that period, which is the start of the next and no longer part of it."""
        start = self.start(instant)
        if self.period in ("day", "week"):
            return _shift(start, 0, timedelta(days=1 if self.period == "day" else 7))
        return _shift(start, _MONTHS[self.period], timedelta())

    def __str__(self) -> str:
        return f"{self.count} per {self.period}"


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency (an ISO 4217 code). There is no conversion."""

    amount: Decimal
    currency: str

    def __str__(self) -> str:
        return f"{_plain(self.amount)} {self.currency}"


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount of money in each UTC calendar period."""

    money: Money
    period: Period

    def start(self, instant: datetime) -> datetime:
        """The start of the period that holds `instant`."""
        return Quota(1, self.period).start(instant)

    def end(self, instant: datetime) -> datetime:
        """The end of that period, no longer part of it."""
        return Quota(1, self.period).end(instant)

    def __str__(self) -> str:
        return f"{self.money} per {self.period}"


def duration(text: object, *, zero: bool = False) -> timedelta:
    """A duration in `s`, `min`, `h`, `d` or `w`, to the microsecond, at most 100 years."""
    expected = "a duration such as 90 s, 15 min, 2 h, 14 d or 2 w"
    number, unit = _quantity(text, expected, _DURATIONS)
    if unit not in _DURATIONS:
        if unit in _MONTHS:
            raise UnitError(expected, text, "months and years differ in length")
        _unknown_unit(text, unit, expected, [*_DURATIONS])
    length = number * (_DURATIONS[unit] // timedelta(microseconds=1))
    if length > _MAX_YEARS * 366 * 86_400_000_000:
        raise UnitError(expected, text, f"longer than {_MAX_YEARS} years")
    if length != int(length):
        raise UnitError(expected, text, "finer than a microsecond")
    _not_zero(text, length, expected, zero)
    return timedelta(microseconds=int(length))


def calendar(text: object) -> Span:
    """A span of the calendar: `5 months`, `1 quarter`, `2 years`, or any duration."""
    expected = "a span such as 5 months, 1 quarter, 2 years, 14 d or 12 h"
    number, unit = _quantity(text, expected, [*_DURATIONS, *_MONTHS])
    if unit in _DURATIONS:
        return Span(delta=duration(text))
    if unit not in _MONTHS:
        _unknown_unit(text, unit, expected, [*_DURATIONS, *_MONTHS])
    if number != int(number):
        raise UnitError(expected, text, f"{unit} are counted whole")
    _not_zero(text, number, expected, False)
    months = int(number) * _MONTHS[unit]
    if months > _MAX_YEARS * 12:
        raise UnitError(expected, text, f"longer than {_MAX_YEARS} years")
    return Span(months=months)


def size(text: object, *, zero: bool = False) -> int:
    """A size in bytes, from kB MB GB TB (powers of 1000) or KiB MiB GiB TiB (powers of 1024)."""
    expected = "a size such as 512 MB or 8 GiB"
    number, unit = _quantity(text, expected, _SIZES)
    if unit not in _SIZES:
        _unknown_unit(text, unit, expected, [*_SIZES])
    count = number * _SIZES[unit]
    if count > _MAX_BYTES:
        raise UnitError(expected, text, f"larger than {format_size(_MAX_BYTES)}")
    if count != int(count):
        raise UnitError(expected, text, "not a whole number of bytes")
    _not_zero(text, count, expected, zero)
    return int(count)


def share(value: object) -> float:
    """A share of a whole, from 0 to 1: `10%`, or the number `0.1`."""
    expected = "a share such as 10% or 0.1"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnitError(expected, value)
    match = _SHARE.fullmatch(value.strip(" ") if isinstance(value, str) else f"{value}")
    if match is None and (isinstance(value, str) or not 0 <= value <= 1):
        raise UnitError(expected, value)
    part = Decimal(match[1]) / (100 if match[2] else 1) if match else Decimal(repr(value))
    if part > 1:
        meant = f"{_plain(part)}%" if match and not match[2] and part <= 100 else None
        raise UnitError(expected, value, "a share is at most 1", meant)
    return float(part)


def quota(text: object) -> Quota:
    """How often in a calendar period: `4 per year`; day, week, month, quarter or year."""
    expected = "a quota such as 4 per year (day, week, month, quarter or year)"
    match = _QUOTA.fullmatch(text.strip(" ")) if isinstance(text, str) else None
    if match is None:
        raise UnitError(expected, text)
    count, joint, name = int(match[1]), match[2], match[3]
    for period in get_args(Period):
        if name == period and joint == "per":
            if count == 0:
                raise UnitError(expected, text, "it must be at least 1")
            return Quota(count, period)
    near = _PERIOD_NAMES.get(name.lower()) or _PERIOD_NAMES.get(suggest(name, _PERIOD_NAMES) or "")
    raise UnitError(expected, text, meant=f"{count} per {near}" if near else None)


def money(text: object, *, zero: bool = False) -> Money:
    """An amount of money with its ISO 4217 currency code: `25 USD`."""
    expected = "an amount of money such as 25 USD"
    number, unit = _quantity(text, expected, ["USD", "EUR"])
    if not re.fullmatch("[A-Z]{3}", unit):
        code = _OTHER_NAMES.get(unit.lower()) or (unit.upper() if re.fullmatch("[A-Za-z]{3}", unit) else None)
        why = "a currency is a code of three capitals"
        raise UnitError(expected, text, why, f"{_plain(number)} {code}" if code else None)
    _not_zero(text, number, expected, zero)
    return Money(number, unit)


def budget(text: object) -> Budget:
    """Money in a calendar period: `25 USD per month`; nothing at all is a budget, too."""
    expected = "a budget such as 25 USD per month (day, week, month, quarter or year)"
    amount, joint, name = text.rpartition(" per ") if isinstance(text, str) else ("", "", "")
    if not joint:
        raise UnitError(expected, text)
    try:
        found = money(amount, zero=True)
    except UnitError as error:
        raise UnitError(expected, text, "the amount is not one of money") from error
    for period in get_args(Period):
        if name.strip(" ") == period:
            return Budget(found, period)
    near = _PERIOD_NAMES.get(name.lower()) or _PERIOD_NAMES.get(suggest(name, _PERIOD_NAMES) or "")
    raise UnitError(expected, text, meant=f"{found} per {near}" if near else None)


def instant(text: object) -> datetime:
    """An instant in UTC from an ISO date (midnight in UTC) or date and time (UTC without an offset)."""
    expected = "a date such as 2013-07-01, or a date and time such as 2013-07-01T06:00+02:00"
    match = _INSTANT.fullmatch(text.strip(" ")) if isinstance(text, str) else None
    if match is None:
        raise UnitError(expected, text)
    day, clock, offset = match.groups()
    try:
        found = datetime.fromisoformat(f"{day}T{clock or '00:00'}{offset or 'Z'}")
        return found.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UnitError(expected, text, f"{error}") from None


def format_duration(length: timedelta) -> str:
    """The canonical text of a duration: the largest of d, h, min and s that counts it whole, else seconds."""
    for unit in ("d", "h", "min"):
        if length and length % _DURATIONS[unit] == timedelta():
            return f"{length // _DURATIONS[unit]} {unit}"
    return f"{_plain(Decimal(length // timedelta(microseconds=1)) / 1_000_000)} s"


def format_size(count: int) -> str:
    """The canonical text of a size: the shortest that is exact."""
    texts = [f"{count // unit} {name}" for name, unit in _SIZES.items() if count % unit == 0 and count]
    return min(texts, key=len) if texts else f"{_plain(Decimal(count) / 1000)} kB"


def format_share(part: float) -> str:
    """The canonical text of a share, in percent, exactly."""
    return f"{_plain(Decimal(repr(part)) * 100)}%"


def format_instant(moment: datetime) -> str:
    """The canonical text of an instant: a date if it is midnight in UTC, else date and time in UTC."""
    moment = _utc(moment)
    if moment == moment.replace(hour=0, minute=0, second=0, microsecond=0):
        return moment.date().isoformat()
    return moment.replace(tzinfo=None).isoformat() + "Z"


def _quantity(text: object, expected: str, units: Iterable[str]) -> tuple[Decimal, str]:
    """Number and unit of a text; raises ValueError unless it is exactly that."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise UnitError(expected, text)
    match = _QUANTITY.fullmatch(str(text).strip(" "))
    if match is None:
        leading = re.match(r" *([$€£]|[A-Z]{3}) *([0-9.]+) *$", str(text)[:40])
        code = leading and _OTHER_NAMES.get(leading[1], leading[1])
        meant = f"{leading[2]} {code}" if leading and "USD" in units else None
        raise UnitError(expected, text, meant=meant)
    if not match[2]:
        raise UnitError(expected, text, f"add a unit ({' '.join(units)})")
    return Decimal(match[1]), match[2]


def _unknown_unit(text: object, unit: str, expected: str, units: list[str]) -> NoReturn:
    number = str(text).strip(" ").removesuffix(unit).strip(" ")
    if unit in ("m", "M") and "min" in units:
        plural = "month" if number == "1" else "months"
        raise UnitError(
            expected,
            text,
            '"m" could be minutes or months',
            hint=f'write "{number} min" or "{number} {plural}"',
        )
    other = _OTHER_NAMES.get(unit.lower())
    near = other if other in units else suggest(unit, units)
    why = f'unknown unit "{printable(unit[:20])}" ({" ".join(units)})'
    raise UnitError(expected, text, why, meant=f"{number} {near}" if near else None)


def _not_zero(text: object, number: Decimal, expected: str, zero: bool) -> None:
    if number == 0 and not zero:
        raise UnitError(expected, text, "it must be more than zero")


def _quoted(value: object) -> str:
    text = str(value)
    text = printable(text if len(text) <= 40 else text[:39] + "…")
    return f'"{text}"' if isinstance(value, str) else text


def _plain(number: Decimal) -> str:
    """A decimal without exponent and without zeros after the point."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _utc(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return instant.astimezone(UTC)


def _shift(instant: datetime, months: int, delta: timedelta) -> datetime:
    moment = _utc(instant)
    try:
        year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
        last = _calendar.monthrange(year, month + 1)[1] if 1 <= year <= 9999 else 0
        return moment.replace(year=year, month=month + 1, day=min(moment.day, last)) + delta
    except (ValueError, OverflowError):
        raise ValueError(f"{instant.isoformat()} moved by that lies outside the years 1 to 9999") from None
