"""The demonstration: a local Airflow and MLflow, and real flights moved through them."""
