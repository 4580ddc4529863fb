"""One DAG of dag-factory as the values of a spec."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.checks.allowed import Use
from tidemill.convert.callbacks import callbacks_in
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.names import expanded, function_name, operator_name
from tidemill.convert.params import params_of
from tidemill.convert.schedule import instant_of, schedule_of, zone_of
from tidemill.convert.settings import defaults_of
from tidemill.convert.tasks import Place, Steps, Tree
from tidemill.convert.values import length_of, relative, text_of, value_of
from tidemill.settings import setting
from tidemill.spec.reader import MAX_SCALAR
from tidemill.spec.units import format_duration, instant

OWNER = "airflow"
"""The owner of a DAG that names none, as Airflow calls it."""
_SCHEDULES = ("schedule", "schedule_interval", "timetable")
_AIRFLOW_2 = ("default_view", "orientation")
_IGNORED = frozenset({"task_groups", "tasks", "default_args", "timezone", "vars"})
_FORMER = ("sla_miss_callback", "sla_miss_callback_name", "sla_miss_callback_file")


def spec_of(item: Item, conversion: Conversion) -> dict[str, Any]:
    """The spec of a DAG whose defaults were merged in."""
    return _Dag(item, conversion).spec()


def _by_default(name: str) -> bool:
    return setting(name, "scheduler").lower() == "true"


class _Dag:
    def __init__(self, item: Item, conversion: Conversion) -> None:
        self._item = item
        self._left: Items = dict(item.value)
        self._seen = frozenset(item.value)
        self._conversion = conversion
        given = self._left.pop("default_args", None)
        self._defaults: Items = dict(given.value) if given is not None and isinstance(given.value, dict) else {}
        self._params = self._defaults.pop("params", None)

    def spec(self) -> dict[str, Any]:
        conversion = self._conversion
        owner = self._defaults.pop("owner", None)
        spec: dict[str, Any] = {"tidemill": 1}
        self._text("description", spec)
        spec["owner"] = text_of(owner, "default_args.owner", conversion) if owner and owner.value else OWNER
        tags = self._take("tags")
        if tags is not None and tags.value:
            listed = tags.value if isinstance(tags.value, list) else [tags]
            spec["tags"] = list(dict.fromkeys(one.text for one in listed))
        self._time(spec)
        self._settings(spec)
        self._documentation(spec)
        defaults, rest = defaults_of(self._defaults, "default_args.", conversion)
        if defaults:
            spec["defaults"] = defaults
        self._steps(spec, rest)
        self._told_of_the_rest()
        return spec

    def _take(self, key: str) -> Item | None:
        item = self._left.pop(key, None)
        return item if item is not None and item.value is not None else None

    def _text(self, key: str, spec: dict[str, Any]) -> None:
        item = self._take(key)
        if item is not None and (written := item.text.strip()):
            spec[key] = text_of(item.at(written) if key != "doc_md" else item, key, self._conversion)
            if key == "description" and "\n" in written:
                self._conversion.told(item, key, "Airflow shows the first line; the rest stands in the documentation")

    # Time

    def _time(self, spec: dict[str, Any]) -> None:
        conversion = self._conversion
        catchup = self._take("catchup")
        wanted = catchup.value is True if catchup is not None else _by_default("catchup_by_default")
        zone = "UTC"
        written: dict[str, str] = {}
        for key, name in (("start_date", "start"), ("end_date", "end")):
            own, inherited = self._take(key), self._defaults.pop(key, None)
            given = [
                (item, zone_of(around))
                for item, around in ((own, self._left), (inherited, self._defaults))
                if item is not None and item.value is not None
            ]
            if not given:
                continue
            item, found = given[0]
            text = instant_of(item, found, key, conversion, moves=wanted)
            if text is not None:
                written[name] = text
                if not isinstance(item.value, dt.date) and relative(item.text) is not None:
                    conversion.comment((name,), f"{item.value!r} in the source, on the day of the conversion")
            if key == "start_date":
                zone = found
            for other, its in given[1:]:
                if instant_of(other, its, key, conversion, moves=wanted) != text:
                    message = f"tasks have a {key} of their own in default_args, {other.text} ({its})"
                    hint = "the spec has one for the DAG and its tasks"
                    conversion.lost(other, f"default_args.{key}", message, hint)
            if name == "end" and text is not None and "start" in written and instant(text) < instant(written["start"]):
                message = "the DAG ends before it begins, so that it never runs; no spec may say that"
                conversion.lost(item, key, message, "correct one of the dates, or leave the DAG out")
        self._defaults.pop("timezone", None)
        schedule = self._schedule(zone)
        if schedule is not None:
            spec["schedule"] = schedule
        spec.update(written)
        if wanted:
            if schedule is not None and "start" in written:
                spec["catchup"] = True
            elif catchup is not None:
                conversion.told(catchup, "catchup", "there is nothing to catch up with without a schedule and a start")

    def _schedule(self, zone: str) -> Any:
        items = [self._take(key) for key in _SCHEDULES]
        given = [item for item in items if item is not None]
        if not any(key in self._seen for key in _SCHEDULES):
            message = "without a schedule it is run by hand, as with dag-factory 1.x; 0.x ran it each day"
            self._conversion.told(self._item, "schedule", message)
        for other in given[1:]:
            self._conversion.lost(other, "schedule", "there is another schedule already", "keep one of them")
        return schedule_of(given[0], zone, self._conversion) if given else None

    # Settings of the DAG itself

    def _settings(self, spec: dict[str, Any]) -> None:
        conversion = self._conversion
        # As Airflow has it: those of default_args win.
        given = [params_of(one, "params", conversion) for one in (self._take("params"), self._params) if one]
        if params := {name: value for one in given for name, value in one.items()}:
            spec["params"] = params
        older = self._take("concurrency")
        tasks = self._take("max_active_tasks")
        for key, item in (("max_active_runs", self._take("max_active_runs")), ("max_active_tasks", older or tasks)):
            if item is not None:
                spec[key] = value_of(item, key, conversion)
        timeout = self._take("dagrun_timeout") or self._take("dagrun_timeout_sec")
        if timeout is not None:
            length = length_of(timeout)
            if length is None:
                conversion.lost(timeout, "dagrun_timeout", "this is no duration", "write one, e.g. 2 h")
            else:
                spec["dagrun_timeout"] = format_duration(length)
        for key in ("render_template_as_native_obj", "is_paused_upon_creation"):
            item = self._take(key)
            if item is not None and (item.value or key.startswith("is_paused")):
                spec[key] = value_of(item, key, conversion)
        paths = self._take("template_searchpath")
        if paths is not None:
            listed = paths.value if isinstance(paths.value, list) else [paths]
            found = [self._path(one) for one in listed]
            spec["template_searchpath"] = found[0] if len(found) == 1 else found
        macros = self._take("user_defined_macros")
        if macros is not None and isinstance(macros.value, dict):
            spec["user_defined_macros"] = self._macros(macros, "user_defined_macros")
        access = self._take("access_control")
        if access is not None:
            spec["access_control"] = value_of(access, "access_control", conversion)
        for key in ("dag_display_name",):
            self._text(key, spec)
        self._callbacks(spec)

    def _path(self, item: Item) -> str:
        """A path, from the project's root if it lies below."""
        root = self._conversion.project.root
        place = Path(expanded(item.text))
        if place.is_absolute() and place.is_relative_to(root):
            return place.relative_to(root).as_posix() or "."
        return text_of(item, "template_searchpath", self._conversion)

    def _macros(self, item: Item, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, below in item.value.items():
            at = f"{path}.{key}"
            if isinstance(below.value, str):
                found[key] = {"$function": function_name(below, at, self._conversion)}
            elif isinstance(below.value, dict) and "__type__" not in below.value:
                found[key] = self._macros(below, at)
            else:
                found[key] = value_of(below, at, self._conversion)
        return found

    def _callbacks(self, spec: dict[str, Any]) -> None:
        conversion = self._conversion
        events = [key for key in self._left if key.startswith("on_") and "_callback" in key]
        found, _ = callbacks_in({key: self._left[key] for key in events}, "", conversion)
        for key in events:
            item = self._left.pop(key)
            event = key.partition("_callback")[0]
            if event not in ("on_success", "on_failure"):
                message = f"a DAG has no {event}_callback: Airflow calls it for tasks alone, and dag-factory drops it"
                conversion.told(item, key, message, "write it below `defaults:` if it is meant for all tasks")
        spec.update({key: value for key, value in found.items() if key in ("on_success", "on_failure")})
        for key in _FORMER:
            former = self._take(key)
            if former is not None:
                conversion.lost(former, key, "Airflow 3 has no SLAs any more", "write `deadline:`")

    def _documentation(self, spec: dict[str, Any]) -> None:
        conversion = self._conversion
        self._text("doc_md", spec)
        file = self._take("doc_md_file_path")
        if file is not None:
            place = conversion.folder / expanded(file.text)
            try:
                spec["doc_md"] = text_of(file.at(_text_in(place)), "doc_md", conversion)
            except (OSError, UnicodeDecodeError, ValueError):
                conversion.lost(file, "doc_md_file_path", f"{file.text} cannot be read", "write `doc_md:`")
            else:
                conversion.comment(("doc_md",), f"from {file.text}")
        made = self._take("doc_md_python_callable_name")
        place_of_it, _ = self._take("doc_md_python_callable_file"), self._take("doc_md_python_arguments")
        written_by = made if made is not None else place_of_it
        if written_by is not None:
            message = "documentation that a function writes is not in the language"
            conversion.lost(written_by, "doc_md", message, "write `doc_md:`")

    # Steps

    def _steps(self, spec: dict[str, Any], rest: Items) -> None:
        conversion = self._conversion
        tree = Tree()
        groups = _by_name(self._left.get("task_groups"), "group_name", conversion)
        for name in groups:
            self._group(name, groups, tree, ())
        for name, item in _by_name(self._left.get("tasks"), "task_id", conversion).items():
            named = item.get("task_group_name")
            group = tree.groups.get(str(named)) if named and groups else None
            if named and groups and group is None:
                conversion.lost(item, f"tasks.{name}", f'there is no group "{named}"', "declare it below task_groups")
            around = group.full if group else ()
            tree.tasks[name] = Place(_step_name(name, item, tree, around, conversion), item, around)
        conversion.prepare(_named(tree))
        steps = Steps(tree, rest, conversion)
        spec["steps"] = steps.made()
        if not spec["steps"]:
            conversion.lost(
                self._item, "tasks", "the DAG has no task, and a spec needs a step", "add one, or leave it out"
            )
        for key, item in rest.items():
            if key not in steps.used:
                message = "no operator of the DAG takes it, so Airflow ignores it"
                conversion.told(item, f"default_args.{key}", message)

    def _group(self, name: str, groups: Items, tree: Tree, seen: tuple[str, ...]) -> Place | None:
        if name in tree.groups:
            return tree.groups[name]
        item = groups[name]
        if name in seen:
            self._conversion.lost(item, f"task_groups.{name}", "groups hold each other in a circle", "part them")
            return None
        parent = item.get("parent_group_name")
        outer = None
        if parent is not None and str(parent) in groups:
            outer = self._group(str(parent), groups, tree, (*seen, name))
        elif parent is not None:
            self._conversion.lost(item, f"task_groups.{name}", f'there is no group "{parent}"', "declare it")
        around = outer.full if outer else ()
        place = Place(_step_name(name, item, tree, around, self._conversion), item, around)
        tree.groups[name] = place
        return place

    def _told_of_the_rest(self) -> None:
        for key, item in self._left.items():
            if key in _IGNORED or item.value is None:
                continue
            if key in _AIRFLOW_2:
                self._conversion.told(item, key, "Airflow 3 has no such setting")
            else:
                message = f'dag-factory does nothing with "{key}", and so it is not in the spec'
                self._conversion.told(item, key, message, "add it to the spec if it was meant to do something")


def _text_in(file: Path) -> str:
    if not file.is_file():
        raise OSError("no file")
    with file.open("rb") as content:
        return content.read(MAX_SCALAR).decode("utf-8")


def _by_name(item: Item | None, key: str, conversion: Conversion) -> Items:
    """Tasks or groups by name; a list of them names each by ``key``."""
    found: Items = {}
    if item is None or item.value is None:
        return found
    if isinstance(item.value, dict):
        found = dict(item.value)
    for one in item.value if isinstance(item.value, list) else ():
        name = one.get(key)
        if name is None:
            conversion.lost(one, key, f'this has no "{key}"', f"add `{key}:`")
        elif str(name) in found:
            conversion.lost(one, key, f'there is another "{name}" already', "give it another name")
        else:
            found[str(name)] = one.at({k: v for k, v in one.value.items() if k != key})
    for name in [name for name, one in found.items() if not isinstance(one.value, dict)]:
        conversion.lost(found.pop(name), name, "this holds nothing", "write its settings")
    return found


def _step_name(name: str, item: Item, tree: Tree, around: tuple[str, ...], conversion: Conversion) -> str:
    other = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:200] or "_"
    taken = {place.full for place in (*tree.tasks.values(), *tree.groups.values())}
    while (*around, other) in taken:
        other += "_"
    if other != name:
        message = f'"{name}" cannot be the name of a step; it is "{other}" in the spec'
        conversion.lost(item, name, message, 'letters, digits, "_" and "-"')
    return other


def _named(tree: Tree) -> Iterator[tuple[str, Use]]:
    """The operators of all tasks."""
    for place in tree.tasks.values():
        name = place.item.get("operator")
        if isinstance(name, str):
            yield operator_name(name), "operator"
