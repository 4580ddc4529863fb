"""Settings that any task has."""

from __future__ import annotations

from typing import Any, get_args

from tidemill.convert.callbacks import callbacks_in
from tidemill.convert.kubernetes import executor_config
from tidemill.convert.model import Conversion, Item, Items
from tidemill.convert.values import duration_of, length_of, value_of
from tidemill.spec.steps import Settings, TriggerRule
from tidemill.spec.units import format_duration

_DURATIONS = ("retry_delay", "max_retry_delay", "execution_timeout")
_SECONDS = {"retry_delay_sec": "retry_delay", "execution_timeout_secs": "execution_timeout"}
"""Keys of dag-factory 0.x that count seconds."""
_RULES = {"none_failed_or_skipped": "none_failed_min_one_success", "dummy": "always"}
OWN = ("task_display_name", "doc_md", "map_index_template")
_OF_TASKS = (*OWN, "inlets", "outlets")
"""What a step has, and defaults have not."""
_NOT_THERE = {
    "sla": "write `deadline:` at the top of the file",
    "sla_secs": "write `deadline:` at the top of the file",
    "start_date": "write `start:` at the top of the file",
    "end_date": "write `end:` at the top of the file",
    **dict.fromkeys(
        ("resources", "pre_execute", "post_execute", "logger_name", "doc", "doc_json", "doc_yaml", "doc_rst"),
        "leave it out, or write it as `doc_md:` if it is documentation",
    ),
}
"""Arguments of any operator that steps do not have."""


def defaults_of(items: Items, path: str, conversion: Conversion) -> tuple[dict[str, Any], Items]:
    """Default settings, and the default arguments of operators among them."""
    found, rest = settings_of(items, path, conversion)
    for key in _OF_TASKS:
        if key in rest and (item := rest.pop(key)).value is not None:
            conversion.lost(item, f"{path}{key}", f'defaults of the language have no "{key}"', "write it at each step")
    return found, rest


def settings_of(items: Items, path: str, conversion: Conversion) -> tuple[dict[str, Any], Items]:
    """The settings of any task among some values, as a spec writes them, and what is left."""
    found, rest = callbacks_in(items, path, conversion)
    for key in [*rest]:
        item, at = rest[key], f"{path}{key}"
        if key in _SECONDS:
            length = length_of(rest.pop(key))
            if length is not None:
                found[_SECONDS[key]] = format_duration(length)
        elif key in _DURATIONS:
            if rest.pop(key).value is not None and (written := duration_of(item, at, conversion)) is not None:
                found[key] = written
        elif key in Settings.model_fields or key == "task_concurrency":
            if rest.pop(key).value is not None:
                name = "max_active_tis_per_dag" if key == "task_concurrency" else key
                value = _setting(name, item, at, conversion)
                if value is not None:
                    found[name] = value
        elif key in _NOT_THERE and rest.pop(key).value is not None:
            conversion.lost(item, at, f'"{key}" is a setting that steps do not have', _NOT_THERE[key])
    order = {name: index for index, name in enumerate(Settings.model_fields)}
    return dict(sorted(found.items(), key=lambda pair: order[pair[0]])), rest


def _setting(name: str, item: Item, path: str, conversion: Conversion) -> Any:
    value = item.value
    if name == "executor_config":
        return executor_config(item, path, conversion)
    if name == "trigger_rule":
        rule = _RULES.get(str(value), str(value))
        if rule in get_args(TriggerRule):
            return rule
        conversion.lost(item, path, f'unknown trigger rule "{value}"', f"one of {', '.join(get_args(TriggerRule))}")
        return None
    if name == "weight_rule" and value not in ("downstream", "upstream", "absolute"):
        conversion.lost(
            item, path, f'the weight rule "{value}" is not in the language', "downstream, upstream, absolute"
        )
        return None
    if name == "retry_exponential_backoff" and isinstance(value, bool):
        return 2 if value else 0
    if name == "retries" and isinstance(value, str) and value.strip().isdigit():
        return int(value)
    return value_of(item, path, conversion)
