"""What importing some modules costs in a process that holds what Airflow's dag-processor holds.

    python benchmarks/_imports.py MODULE...

The dag-processor forks for each parse, so what its manager has imported is there; what a DAG file imports beyond
that is paid at each parse. Prints one JSON object: CPU seconds, and how many modules came.
"""

from __future__ import annotations

import importlib
import json
import sys
import time

LOADED = (
    "airflow.cli.commands.dag_processor_command",
    "airflow.dag_processing.manager",
    "airflow.dag_processing.processor",
    "airflow.dag_processing.dagbag",
    "airflow.jobs.dag_processor_job_runner",
    "airflow.sdk.execution_time.comms",
    "airflow.sdk.execution_time.task_runner",
)
"""What the manager and a parse import by themselves."""


def main() -> None:
    """Import the modules named on the command line."""
    for module in LOADED:
        importlib.import_module(module)
    before, cpu = len(sys.modules), time.process_time()
    for module in sys.argv[1:]:
        importlib.import_module(module)
    print(json.dumps({"cpu": time.process_time() - cpu, "modules": len(sys.modules) - before}))


if __name__ == "__main__":
    main()
