"""Tidemill: one YAML file becomes a machine-learning pipeline that Airflow runs."""

__version__ = "0.1.0"
