"""What signs the calls to a cloud, from an Airflow connection: one module a cloud, each with ``open(connection_id)``.

They use the providers' own hooks, so that every way of a provider's connection form works.
"""
