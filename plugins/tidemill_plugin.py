"""Tidemill as a plugin of this folder.

Where the package is installed (``pip install tidemill``), its entry point registers it; then this file registers
nothing: with both, Airflow's task processes drop every other entry-point plugin.
"""

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="tidemill"):
    from tidemill.airflow.plugin import TidemillPlugin  # noqa: F401 - Airflow finds it here
