"""The plan as Airflow DAGs: factory, loader, operators, connections."""
