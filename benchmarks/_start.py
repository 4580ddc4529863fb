"""What the start of a task costs: from fork to the task being ready to execute.

    python benchmarks/_start.py LOADER_OF_ONE LOADER_OF_MANY

As LocalExecutor does it: a process that has imported what an executor's worker has forks for each task; the child
has the parsing context of its task set, reads the DAG file through Airflow's DAG bag as Airflow's task runner does,
and takes its task out of it. Measured with the spec cache as it is and with an empty one, in turns. Prints one JSON
object: CPU and wall milliseconds, medians.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

ROUNDS = 15


def main() -> None:
    """Start a task in each situation, in turns."""
    import airflow.dag_processing.dagbag
    import airflow.executors.local_executor
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - an executor's worker holds it

    loaders = dict(zip(("1", "MANY"), map(Path, sys.argv[1:3]), strict=True))
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(ROUNDS):
        for state in ("cache present", "no cache"):
            for size, loader in loaders.items():
                found.setdefault(f"{state}, {size}", []).append(_measure(loader, state == "no cache"))
    print(
        json.dumps(
            {
                name: {key: statistics.median(v[i] for v in values) * 1000 for i, key in enumerate(("cpu", "wall"))}
                for name, values in found.items()
            }
        )
    )


def _measure(loader: Path, empty: bool) -> tuple[float, float]:
    cache = loader.parent.parent / ".tidemill"
    aside = cache.with_name(".tidemill-aside")
    if empty:
        cache.rename(aside)
    try:
        return fork(loader, "pipeline_00000", "train", "StepOperator")
    finally:
        if empty:
            shutil.rmtree(cache, ignore_errors=True)
            aside.rename(cache)


def fork(loader: Path, dag_id: str, task_id: str, kind: str) -> tuple[float, float]:
    """CPU and wall seconds until a forked child holds a task of a DAG file, which is of the class named ``kind``."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            cpu = time.process_time()
            _ready(loader, dag_id, task_id, kind)
            took = (time.process_time() - cpu, time.perf_counter() - began)
            os.write(writing, json.dumps(took).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as answer:
        text = answer.read()
    os.waitpid(pid, 0)
    if not text:
        raise SystemExit(f"a task's process failed on {loader}")
    cpu, wall = json.loads(text)
    return cpu, wall


def _ready(loader: Path, dag_id: str, task_id: str, kind: str) -> None:
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager

    with _airflow_parsing_context_manager(dag_id=dag_id, task_id=task_id):
        bag = BundleDagBag(
            dag_folder=os.fspath(loader),
            safe_mode=False,
            load_op_links=False,
            bundle_path=loader.parent,
            bundle_name="bench",
        )
    task = bag.dags[dag_id].task_dict[task_id]
    assert type(task).__name__ == kind


if __name__ == "__main__":
    main()
