"""Builds the DAGs of every Tidemill spec in this folder (an Airflow DAG file)."""

from tidemill.airflow.loader import load

globals().update(load(__file__))
