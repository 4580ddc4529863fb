"""One side of benchmarks/parse.py, in a process of its own: executes a loader file and prints what that took.

    python benchmarks/_build.py LOADER MODULE...

The modules are imported before the clock starts, after Airflow's DagBag module. Prints one JSON object: the loader
file's CPU seconds (user and system) and wall seconds, and the DAGs and tasks that it made.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import logging
import sys
import time


def main() -> None:
    """Execute the loader file named on the command line."""
    loader, modules = sys.argv[1], sys.argv[2:]
    import airflow.dag_processing.dagbag  # noqa: F401 - what every side starts with

    for module in modules:
        importlib.import_module(module)
    logging.disable(logging.INFO)  # two of the sides write a line a file; a terminal must not be part of the figure
    from airflow.sdk import DAG

    spec = importlib.util.spec_from_file_location("loader", loader)
    assert spec is not None
    assert spec.loader is not None
    module_ = importlib.util.module_from_spec(spec)
    sys.modules["loader"] = module_
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    spec.loader.exec_module(module_)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    dags = {value.dag_id: value for value in vars(module_).values() if isinstance(value, DAG)}.values()
    print(json.dumps({"cpu": cpu, "wall": wall, "dags": len(dags), "tasks": sum(len(d.tasks) for d in dags)}))


if __name__ == "__main__":
    main()
