"""The user code of the pipelines in ``dags/``, as a user of Tidemill would keep it."""
