"""The Airflow plugin. Airflow executes it once in each of its processes and again in every task's process, so it
imports nothing but Airflow's plugin base."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from tidemill.airflow.addresses import PREFIX


async def pages(scope: Any, receive: Any, send: Any) -> None:
    """The pages, imported when the first of them is asked for: only an API server ever is."""
    from importlib import import_module

    # By name: the pages stand above this package and know it, not the other way round.
    await import_module("tidemill.web.app").app(scope, receive, send)


_PAGES = [{"app": pages, "url_prefix": PREFIX, "name": "Tidemill"}]


class TidemillPlugin(AirflowPlugin):
    """Registers Tidemill with Airflow."""

    name = "tidemill"
    fastapi_apps = _PAGES
