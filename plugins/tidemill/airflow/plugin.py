"""The Airflow plugin. Airflow executes it once in each of its processes and again in every task's process, so it
imports nothing but Airflow's plugin base."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class TidemillPlugin(AirflowPlugin):
    """Registers Tidemill with Airflow."""

    name = "tidemill"
