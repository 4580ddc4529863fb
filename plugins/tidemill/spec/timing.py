"""The language's schedules: time, assets, and both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from tidemill.spec.fields import ClassName, Duration, one_or_many, text_or_mapping
from tidemill.spec.section import Section

PRESETS = {
    "hourly": "0 * * * *",
    "daily": "0 0 * * *",
    "weekly": "0 0 * * 0",
    "monthly": "0 0 1 * *",
    "quarterly": "0 0 1 */3 *",
    "yearly": "0 0 1 1 *",
}
"""The schedules that have a name, as cron expressions."""

ONCE, CONTINUOUS = "once", "continuous"
"""The two schedules that no cron expression says: a single run, and a run as soon as the last one has ended."""

NAMED = (*PRESETS, ONCE, CONTINUOUS)


class Watcher(Section):
    """A trigger that waits for something outside of Airflow and then updates an asset."""

    name: str = Field(min_length=1, description="The watcher's name.", examples=["arrivals"])
    trigger: ClassName = Field(
        description="A trigger class for events.",
        examples=["airflow.providers.common.messaging.triggers.msg_queue.MessageQueueTrigger"],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="The trigger's arguments.",
        examples=[{"queue": "https://sqs.eu-west-1.amazonaws.com/123456789012/arrivals"}],
    )


class AssetExpression(Section):
    """An asset, an alias of assets, or a condition over several of them."""

    name: str | None = Field(default=None, min_length=1, description="The asset's name.", examples=["flights"])
    uri: str | None = Field(
        default=None, min_length=1, description="The asset's URI.", examples=["s3://bucket/flights.parquet"]
    )
    group: str | None = Field(default=None, min_length=1, description="The asset's group; `asset` if absent.")
    extra: dict[str, Any] | None = Field(default=None, description="Kept with the asset.", examples=[{"team": "ops"}])
    watch: list[Watcher] = Field(default_factory=list, description="Triggers that update the asset.")
    alias: str | None = Field(
        default=None, min_length=1, description="The name of an alias, which stands for assets known at run time."
    )
    any: list[AssetItem] | None = Field(
        default=None, min_length=1, description="One of these is enough.", examples=[["flights", "weather"]]
    )
    all: list[AssetItem] | None = Field(
        default=None, min_length=1, description="All of these are needed.", examples=[["flights", "weather"]]
    )


class Timing(Section):
    """When a DAG runs, where a word or a cron expression does not say it all: exactly one of `cron`, `every` and
    `timetable`, or `assets`, or `assets` beside one of them."""

    cron: str | list[str] | None = Field(
        default=None,
        description="Five fields: minute, hour, day of month, month, day of week; or a list of such expressions, "
        "whose runs have no data interval.",
        examples=["0 3 * * 1"],
    )
    timezone: str = Field(default="UTC", description="An IANA time zone for `cron`, e.g. `Europe/Berlin`.")
    every: Duration | None = Field(default=None, description="A fixed distance between runs, e.g. `6 h`.")
    timetable: ClassName | None = Field(
        default=None,
        description="A timetable class.",
        examples=["airflow.sdk.definitions.timetables.events.EventsTimetable"],
    )
    with_: dict[str, Any] = Field(
        default_factory=dict,
        alias="with",
        description="The timetable's arguments.",
        examples=[{"event_dates": ["2024-01-01T00:00:00Z"]}],
    )
    data_interval: bool = Field(
        default=True,
        description="A run stands for the span since the tick before it; `false`: for the tick alone. "
        "For `cron` and `every`.",
    )
    assets: AssetItems | None = Field(
        default=None,
        description="Updates of these start a run; a list: of all of them.",
        examples=[["flights", "weather"]],
    )


if TYPE_CHECKING:
    AssetItem = str | AssetExpression
    AssetItems = AssetItem | list[AssetItem]
    Schedule = str | Timing
else:
    AssetItem = text_or_mapping(AssetExpression, {"minLength": 1, "examples": ["s3://bucket/flights.parquet"]})
    AssetItems = one_or_many(AssetItem)
    Schedule = text_or_mapping(Timing, {"anyOf": [{"enum": list(NAMED)}, {"pattern": r"^\S+( +\S+){4}$"}]})
