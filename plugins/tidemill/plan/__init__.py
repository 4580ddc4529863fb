"""The plan: what a spec makes, as plain values that know neither Airflow nor any cloud."""
