"""What a step does at run time: one module a step, named as in the YAML, runnable without Airflow."""
