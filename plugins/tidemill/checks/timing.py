"""What can be said about schedules and their bounds without leaving the spec."""

from __future__ import annotations

from collections.abc import Iterator
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tidemill.plan.compile import cron_of, other_of, shifted
from tidemill.plan.schedule import explain_cron
from tidemill.spec.document import Path
from tidemill.spec.errors import SpecError, suggest
from tidemill.spec.load import Sources
from tidemill.spec.models import Spec, Workflow
from tidemill.spec.timing import NAMED, PRESETS, AssetExpression, Timing

_YEARS = range(1900, 2200)
"""Beyond them neither time zones nor calendars are sure, and arithmetic falls off the ends of time."""
_EXAMPLE = 'e.g. "0 3 * * 1" (Mondays at three)'


def check(spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """Every mistake of a spec's schedules."""
    bounds = list(_bounds_of_time(spec, sources))
    yield from bounds
    written: list[tuple[str | Timing | None, Path]] = [(spec.schedule, ("schedule",))]
    if isinstance(spec, Spec):
        for name, section in (("monitor", spec.monitor), ("score", spec.score)):
            if section is not None:
                written.append((section.schedule, (name, "schedule")))
                yield from _interval(name, section.schedule, sources)
    for schedule, path in written:
        wrong = list(_schedule(schedule, path, sources))
        if not wrong and isinstance(spec, Spec):
            wrong = list(_of_stages(schedule, path, sources))
        yield from wrong
        if schedule is not None and not wrong and not bounds:
            yield from _never(schedule, path, spec, sources)
    if spec.catchup:
        if not any(sources.wrote(*path) for _, path in written):
            yield sources.error(("catchup",), "there is no schedule to catch up with", "add `schedule:`")
        elif not sources.wrote("start"):
            yield sources.error(("catchup",), "catching up needs to know from when", "add `start:`")


def _interval(name: str, schedule: str | Timing | None, sources: Sources) -> Iterator[SpecError]:
    """Runs without a data interval need a window before `as_of`."""
    if sources.wrote(name, "window"):
        return
    what = "judge" if name == "monitor" else "score"
    if not sources.wrote(name, "schedule"):
        yield sources.error(
            (name,),
            f'without a "schedule" there is no interval to {what}',
            "add `schedule: monthly`, or `window: 1 month` for runs by hand",
            key=True,
        )
    elif isinstance(schedule, Timing) and schedule.assets is not None:
        message = f"a run that an asset starts has no interval to {what}"
        yield sources.error((name, "schedule", "assets"), message, f"add `window: 1 d` to {name}", key=True)


def _bounds_of_time(spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    for name in ("start", "end"):
        instant = getattr(spec, name)
        if instant is not None and instant.year not in _YEARS:
            yield sources.error((name,), f"expected a year from {_YEARS[0]} to {_YEARS[-1]}, got {instant.year}")
    if spec.start is not None and spec.end is not None and spec.end < spec.start:
        yield sources.error(("end",), "end is before start", "both are bounds of as_of, and belong to it")


def _never(schedule: str | Timing, path: Path, spec: Workflow, sources: Sources) -> Iterator[SpecError]:
    """A schedule none of whose times lies between start and end."""
    ticks = cron_of(schedule)
    if spec.start is None or spec.end is None or ticks is None:
        return
    start, end = shifted(*ticks, spec.start, spec.end)
    if end is not None and end < start:
        yield sources.error(
            path, "none of its times lies between start and end", "move start or end, or run it oftener"
        )


def _of_stages(written: str | Timing | None, path: Path, sources: Sources) -> Iterator[SpecError]:
    """What a pipeline of models cannot be run by: its runs stand for the intervals of a calendar."""
    if written is None:
        return
    if isinstance(written, Timing) and written.assets is not None and path[0] == "schedule":
        hint = "a file with `steps` alone can run on assets; here `retrain.triggers` starts trainings"
        yield sources.error((*path, "assets"), "a pipeline of models does not run on assets", hint, key=True)
    elif other_of(written) is not None:
        yield sources.error(
            path, "a pipeline of models runs on a calendar", f"a cron expression, or {', '.join(PRESETS)}"
        )


def _schedule(written: str | Timing | None, path: Path, sources: Sources) -> Iterator[SpecError]:
    if isinstance(written, Timing):
        yield from _timing(written, path, sources)
    elif written is not None and written not in NAMED:
        if " " in written.strip():
            problem = explain_cron(written)
            if problem:
                yield sources.error(path, problem, _EXAMPLE)
            return
        plain = written.lstrip("@")
        near = plain if plain in NAMED else suggest(plain, NAMED)
        hint = f'did you mean "{near}"?' if near else f"{', '.join(NAMED)}; or a cron expression"
        yield sources.error(path, f'unknown schedule "{written}"', hint)


def _timing(written: Timing, path: Path, sources: Sources) -> Iterator[SpecError]:
    times = [key for key in ("cron", "every", "timetable") if sources.wrote(*path, key)]
    if len(times) > 1:
        yield sources.error((*path, times[1]), f"there is `{times[0]}` already", "keep one of them", key=True)
    elif not times and written.assets is None and not sources.wrote(*path, "assets"):
        hint = 'add `cron: "0 3 * * 1"`' if sources.wrote(*path, "timezone") else "add cron, every, timetable or assets"
        yield sources.error(path, "says neither a time nor assets", hint, key=True)
        return
    if sources.wrote(*path, "timezone"):
        if "cron" not in times:
            yield sources.error((*path, "timezone"), "only `cron` has a time zone", "remove it", key=True)
        yield from check_timezone(written.timezone, (*path, "timezone"), sources)
    if sources.wrote(*path, "with") and "timetable" not in times:
        yield sources.error((*path, "with"), "only a `timetable` has arguments", "remove it", key=True)
    if sources.wrote(*path, "data_interval"):
        if "cron" not in times and "every" not in times:
            message = "only `cron` and `every` have data intervals"
            yield sources.error((*path, "data_interval"), message, "remove it", key=True)
        elif isinstance(written.cron, list) and written.data_interval:
            message = "runs of several cron expressions have no data interval"
            yield sources.error((*path, "data_interval"), message, "remove it, or name one expression", key=True)
    if written.every is not None and written.every.total_seconds() <= 0:
        yield sources.error((*path, "every"), "must be more than nothing", "e.g. 6 h")
    yield from _crons(written.cron, (*path, "cron"), sources)
    items = written.assets if isinstance(written.assets, list) else [written.assets]
    for index, item in enumerate(items):
        at = (*path, "assets", index) if isinstance(written.assets, list) else (*path, "assets")
        yield from check_asset(item, at, sources, condition=True)


def _crons(written: str | list[str] | None, path: Path, sources: Sources) -> Iterator[SpecError]:
    if isinstance(written, list) and not written:
        yield sources.error(path, "must not be empty", _EXAMPLE)
    several = isinstance(written, list)
    for index, cron in enumerate(written if isinstance(written, list) else [written] if written is not None else []):
        at = (*path, index) if several else path
        if cron in PRESETS:
            hint = f'write "{PRESETS[cron]}"'
            yield sources.error(at, f'"{cron}" is a preset, not a cron expression', hint)
        elif problem := explain_cron(cron):
            yield sources.error(at, problem, _EXAMPLE)


def check_timezone(name: str, path: Path, sources: Sources) -> Iterator[SpecError]:
    """A time zone that the IANA database does not have."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        near = suggest(name, sorted(available_timezones()))
        hint = f'did you mean "{near}"?' if near else "a name of the IANA database, e.g. Europe/Berlin"
        yield sources.error(path, f'unknown time zone "{name}"', hint)


_SORTS = (("name", "uri", "group", "extra", "watch"), ("alias",), ("any",), ("all",))


def check_asset(
    item: str | AssetExpression | None, path: Path, sources: Sources, *, condition: bool
) -> Iterator[SpecError]:
    """What is wrong with an asset; ``condition``: whether it may be one over several assets."""
    if isinstance(item, str):
        if not item.strip() or not item.isprintable():
            yield sources.error(path, "an asset needs a name that can be read", "e.g. flights, or s3://bucket/key")
        return
    if item is None:
        return
    given = [sort for sort in _SORTS if any(sources.wrote(*path, key) for key in sort)]
    if len(given) > 1 and not (given[0] == _SORTS[0] and given[1] == ("alias",) and not _is_asset(item)):
        at = next(key for key in given[1] if sources.wrote(*path, key))
        yield sources.error((*path, at), "an asset, an alias, or a condition: one of them", "write two items", key=True)
    elif not given or (given == [_SORTS[0]] and item.name is None and item.uri is None):
        yield sources.error(path, "an asset needs a name or a URI", "add `name:` or `uri:`", key=True)
    for key, parts in (("any", item.any), ("all", item.all)):
        if parts is not None and not condition:
            yield sources.error((*path, key), "a step reads and updates assets, not conditions", "list them", key=True)
        for index, part in enumerate(parts or ()):
            yield from check_asset(part, (*path, key, index), sources, condition=condition)


def _is_asset(item: AssetExpression) -> bool:
    """Whether more than a group, which an alias has, too, is said of an asset."""
    return item.name is not None or item.uri is not None or item.extra is not None or bool(item.watch)
