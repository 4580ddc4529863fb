"""Tells what is wrong with the Tidemill specs in this folder (an Airflow DAG file without a DAG).

It stands apart from tidemill.py because Airflow marks every DAG of a file stale when that file raises.
"""

from tidemill.airflow.loader import raise_broken

raise_broken(__file__)
