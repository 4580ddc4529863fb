"""When a DAG runs, and between which instants."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tidemill import settings
from tidemill.convert.assets import asset_of, condition_of, is_asset, uris_of
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import object_name, permitted
from tidemill.convert.values import ARGS, TYPE, length_of, object_of, relative, text_of, type_of, value_of
from tidemill.plan.schedule import explain_cron
from tidemill.spec.timing import CONTINUOUS, ONCE, PRESETS
from tidemill.spec.units import format_duration

_INSTANT = re.compile(
    r"(\d{4})-?(\d{2})-?(\d{2})(?:[T ](\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d+)?)?\s*(?:Z|[+-]\d{2}:?\d{2})?)?"
)
_POSITIONS = {
    "CronTriggerTimetable": ("cron",),
    "CronDataIntervalTimetable": ("cron", "timezone"),
    "DeltaTriggerTimetable": ("delta",),
    "DeltaDataIntervalTimetable": ("delta",),
    "EventsTimetable": ("event_dates", "restrict_to_events", "presorted", "description"),
}
"""What the timetables of Airflow take by position."""
_CRON, _SEVERAL = "CronTriggerTimetable", "MultipleCronTriggerTimetable"


def schedule_of(item: Item, zone: str, conversion: Conversion) -> Any:
    """The language's ``schedule``; ``None`` where a DAG runs by hand alone, or if it was noted as not carried over.

    ``zone``: the DAG's time zone, which dag-factory takes from its start date.
    """
    value = item.value
    if isinstance(value, list):
        found = [asset_of(one, f"schedule[{i}]", conversion) for i, one in enumerate(value) if one.value]
        return {"assets": [one for one in found if one is not None]} if found else None
    if type_of(item) == "builtins.list":
        return schedule_of(item.at(value["items"].value), zone, conversion)
    if isinstance(value, str):
        return _word(item, zone, conversion)
    if is_asset(item):
        found = asset_of(item, "schedule", conversion)
        return {"assets": found} if found is not None else None
    if type_of(item) is not None:
        return _object(item, conversion)
    if isinstance(value, dict) and "datasets" in value:
        return _datasets(value, zone, conversion)
    if isinstance(value, dict) and value.keys() <= {"callable", "params"} and "callable" in value:
        given = value["params"].value if "params" in value else None
        named = {TYPE: value["callable"], **(given if isinstance(given, dict) else {})}
        return _object(item.at(named), conversion)
    if value is not None:
        conversion.lost(item, "schedule", "this is no schedule that Airflow 3 knows", "write the spec's `schedule:`")
    return None


def _word(item: Item, zone: str, conversion: Conversion) -> Any:
    written = text_of(item, "schedule", conversion).strip()
    plain = written.removeprefix("@")
    if not written or written.lower() == "none":
        return None
    if written.startswith("@") and plain in (ONCE, CONTINUOUS):
        return plain
    cron = PRESETS.get(plain, written) if written.startswith("@") else written
    problem = explain_cron(cron)
    if problem:
        conversion.lost(item, "schedule", problem, "write a cron expression of five fields")
        return None
    zoned = {"timezone": zone} if zone != "UTC" else {}
    if settings.setting("create_cron_data_intervals", "scheduler").lower() == "true":
        name = "airflow.timetables.interval.CronDataIntervalTimetable"
        return {"timetable": name, "with": {"cron": cron, "timezone": zone}}
    return {"cron": cron, **zoned, "data_interval": False}


def _object(item: Item, conversion: Conversion) -> Any:
    written = str(type_of(item))
    short = written.rpartition(".")[2]
    if written == "datetime.timedelta":
        length = length_of(item)
        if length is None or length <= dt.timedelta():
            conversion.lost(item, "schedule", "this is no duration", "write e.g. every: 6 h")
            return None
        intervals = settings.setting("create_delta_data_intervals", "scheduler").lower() == "true"
        return {"every": format_duration(length), "data_interval": intervals}
    if short == "relativedelta":
        name = "airflow.timetables.trigger.DeltaTriggerTimetable"
        return {"timetable": name, "with": {"delta": object_of(item, "schedule", conversion)}}
    if short in ("AssetOrTimeSchedule", "DatasetOrTimeSchedule"):
        return _either(item.value, conversion)
    return _timetable(item, written, short, conversion)


def _either(parts: Items, conversion: Conversion) -> Any:
    found: dict[str, Any] = {}
    if "timetable" in parts:
        time = _object(parts["timetable"], conversion) if type_of(parts["timetable"]) else None
        found |= time or {}
    assets = parts.get("assets") or parts.get("datasets")
    if assets is not None:
        made = schedule_of(assets, "UTC", conversion)
        if isinstance(made, dict) and "assets" in made:
            found["assets"] = made["assets"]
    return found or None


def _timetable(item: Item, written: str, short: str, conversion: Conversion) -> Any:
    parts: Items = item.value
    args: list[Item] = parts[ARGS].value if ARGS in parts and isinstance(parts[ARGS].value, list) else []
    given = {k: value_of(v, f"schedule.{k}", conversion) for k, v in parts.items() if k not in (TYPE, ARGS)}
    standard = written.startswith(("airflow.timetables.", "airflow.sdk."))
    if standard and short == _SEVERAL and set(given) <= {"timezone"}:
        return {"cron": [str(one.plain) for one in args], **_zoned(given)}
    positions = _POSITIONS.get(short, ())
    if len(args) > len(positions):
        message = f"{short} is given values by position"
        conversion.lost(item, "schedule", message, "give them by name below `with:`")
    by_position = zip(positions, args, strict=False)
    given = {name: value_of(one, f"schedule.{name}", conversion) for name, one in by_position} | given
    if standard and short == _CRON and set(given) <= {"cron", "timezone"} and "cron" in given:
        cron = PRESETS.get(str(given["cron"]).removeprefix("@"), given["cron"])
        return {"cron": cron, **_zoned(given), "data_interval": False}
    name = object_name(written)
    permitted(name, "timetable", parts[TYPE], "schedule", conversion)
    return {"timetable": name, **({"with": given} if given else {})}


def _zoned(given: dict[str, Any]) -> dict[str, Any]:
    zone = given.get("timezone", "UTC")
    return {"timezone": zone} if zone != "UTC" else {}


def _datasets(parts: Items, zone: str, conversion: Conversion) -> Any:
    datasets = parts["datasets"]
    known = None
    if "file" in parts:
        known = uris_of(parts["file"], "schedule.file", conversion)
        if known is None:
            return None
    if isinstance(datasets.value, list):
        named = [one.at(known.get(one.text, one.value) if known else one.value) for one in datasets.value]
        found = asset_of(datasets.at({"__and__": datasets.at(named)}), "schedule.datasets", conversion)
    elif isinstance(datasets.value, dict):
        found = asset_of(datasets, "schedule.datasets", conversion)
    else:
        found = condition_of(datasets, "schedule.datasets", conversion, known)
    if found is None:
        return None
    time = schedule_of(parts["timetable"], zone, conversion) if "timetable" in parts else None
    return {**(time if isinstance(time, dict) else {}), "assets": found}


def zone_of(around: Items) -> str:
    """The time zone that dag-factory gives a date: the `timezone` beside it."""
    named = around.get("timezone")
    return named.text if named is not None and named.value else "UTC"


def instant_of(item: Item, zone: str, path: str, conversion: Conversion, *, moves: bool) -> str | None:
    """A date of dag-factory, in its time zone, as an instant of the language; `2 days` counts back from today.

    ``moves``: whether it matters that such a date was another one each day.
    """
    value = item.value
    try:
        clock = ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        conversion.lost(item, path, f'unknown time zone "{zone}"', "a name of the IANA database")
        return None
    moment: dt.datetime | None = None
    if isinstance(value, dt.datetime):
        moment = value.replace(tzinfo=clock)
    elif isinstance(value, dt.date):
        moment = dt.datetime.combine(value, dt.time(), clock)
    elif isinstance(value, str) and (found := _INSTANT.fullmatch(value.strip())):
        try:
            year, month, day, hour, minute, second = (int(part or 0) for part in found.groups())
            moment = dt.datetime(year, month, day, hour, minute, second, tzinfo=clock)
        except ValueError:
            moment = None
    elif isinstance(value, str) and (length := relative(value)) is not None:
        today = dt.datetime.now(clock).replace(hour=0, minute=0, second=0, microsecond=0)
        moment = today - length
        message = f"{value!r} moves with the day; the spec says what it means today, {moment.date()}"
        note = conversion.lost if moves else conversion.told
        note(item, path, message, "write the date you mean")
    if moment is None:
        conversion.lost(item, path, f"this is no date: {value!s:.60}", "write e.g. start: 2024-01-01")
        return None
    return _written(moment)


def _written(moment: dt.datetime) -> str:
    offset = moment.utcoffset() or dt.timedelta()
    if not offset and moment.time() == dt.time():
        return moment.date().isoformat()
    if offset.total_seconds() % 60:  # an old local time, whose offset no instant of the language can say
        moment = moment.astimezone(dt.UTC)
    text = moment.isoformat(timespec="minutes" if not moment.second else "seconds")
    return text.replace("+00:00", "Z")
