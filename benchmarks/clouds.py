"""What a task pays for the neighbours it does not use: from fork to `execute()`, in a pipeline whose other tasks are
operators of SageMaker, Vertex AI and Azure Data Factory.

    python benchmarks/clouds.py           a hand-written DAG file against the same pipeline as a spec
    python benchmarks/clouds.py --json    one JSON object on standard output, nothing else

As LocalExecutor does it: a process that has imported what an executor's worker holds forks for the task; the child has
the parsing context of its task set, reads the DAG file through Airflow's DAG bag as Airflow's task runner does, and
takes its task out of it. A hand-written file imports the classes of all its tasks, as people write them. A spec's
task's process builds its own task from its class and the others as placeholders; a spec of the same shape whose tasks
all run here stands beside it. Bytecode is present on all sides. The sides take turns; each figure is the median of the
rounds. The dag-processor has seen the spec, unless it says "no cache".
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _start import fork

ROUNDS = 7

_SPEC = """\
tidemill: 1
schedule: daily
start: 2024-01-01
steps:
  check:
    operator: BashOperator
    with: {bash_command: "echo ready"}
  sagemaker:
    after: check
    operator: airflow.providers.amazon.aws.operators.sagemaker.SageMakerTrainingOperator
    with: {config: {TrainingJobName: churn}, wait_for_completion: true}
  vertex:
    after: check
    operator: airflow.providers.google.cloud.operators.vertex_ai.custom_job.CreateCustomContainerTrainingJobOperator
    with: {project_id: acme, region: europe-west4, display_name: churn, container_uri: "acme/churn:1", staging_bucket: "gs://acme"}
  azure:
    after: check
    operator: airflow.providers.microsoft.azure.operators.data_factory.AzureDataFactoryRunPipelineOperator
    with: {pipeline_name: churn, resource_group_name: acme, factory_name: acme}
"""

_LOCAL = """\
tidemill: 1
schedule: daily
start: 2024-01-01
steps:
  check:
    operator: BashOperator
    with: {bash_command: "echo ready"}
  first: {after: check, operator: BashOperator, with: {bash_command: "echo 1"}}
  second: {after: check, operator: BashOperator, with: {bash_command: "echo 2"}}
  third: {after: check, operator: BashOperator, with: {bash_command: "echo 3"}}
"""

_HAND = """\
from datetime import datetime

from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTrainingOperator
from airflow.providers.google.cloud.operators.vertex_ai.custom_job import CreateCustomContainerTrainingJobOperator
from airflow.providers.microsoft.azure.operators.data_factory import AzureDataFactoryRunPipelineOperator
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

with DAG(
    "clouds",
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime.fromisoformat("2023-12-31T00:00:00+00:00"),
    catchup=False,
):
    check = BashOperator(task_id="check", bash_command="echo ready")
    sagemaker = SageMakerTrainingOperator(
        task_id="sagemaker", config={"TrainingJobName": "churn"}, wait_for_completion=True
    )
    vertex = CreateCustomContainerTrainingJobOperator(
        task_id="vertex",
        project_id="acme",
        region="europe-west4",
        display_name="churn",
        container_uri="acme/churn:1",
        staging_bucket="gs://acme",
    )
    azure = AzureDataFactoryRunPipelineOperator(
        task_id="azure", pipeline_name="churn", resource_group_name="acme", factory_name="acme"
    )
    check >> [sagemaker, vertex, azure]
"""

_LOADER = """\
from tidemill.airflow.loader import load  # an Airflow DAG file

globals().update(load(__file__))
"""


def main() -> None:
    """Measure both sides and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder, contextlib.redirect_stdout(sys.stderr):
        figures = measure(Path(folder))
    cpu, wall = (
        {side: statistics.median(times[i] for times in found) * 1000 for side, found in figures.items()} for i in (0, 1)
    )
    if arguments.json:
        print(json.dumps({"cpu": cpu, "wall": wall, "ratio": cpu["hand-written"] / cpu["spec"]}))
        return
    print("A task beside SageMaker, Vertex AI and Azure operators, from fork to execute(): ms, median")
    print(f"{'':38}{'CPU':>8}{'wall':>8}")
    for side in cpu:
        print(f"  {side:36}{cpu[side]:8.1f}{wall[side]:8.1f}")
    ratio = cpu["hand-written"] / cpu["spec"]
    said = "reached" if ratio >= 20 else "MISSED"
    print(f"  hand-written against spec {ratio:.1f} × CPU, {wall['hand-written'] / wall['spec']:.1f} × wall", end="   ")
    print(f"(CPU at least 20)   {said}")
    beside = cpu["spec"] / cpu["local spec"]
    said = "reached" if beside <= 1.1 else "MISSED"
    print(f"  spec of three clouds against a local one {beside:.2f} × CPU", end=", ")
    print(f"{wall['spec'] / wall['local spec']:.2f} × wall   (CPU at most 1.1)   {said}")


def measure(root: Path) -> dict[str, list[tuple[float, float]]]:
    """CPU and wall seconds of each round, by side."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    loaders = {
        "hand-written": root / "hand" / "dags" / "clouds.py",
        "spec": root / "spec" / "dags" / "loader.py",
        "local spec": root / "local" / "dags" / "loader.py",
    }
    for side, loader in loaders.items():
        (loader.parent.parent / "include").mkdir(parents=True)
        loader.parent.mkdir()
        loader.write_text(_HAND if side == "hand-written" else _LOADER)
    (loaders["spec"].parent / "clouds.yaml").write_text(_SPEC)
    (loaders["local spec"].parent / "clouds.yaml").write_text(_LOCAL)

    import airflow.dag_processing.dagbag
    import airflow.executors.local_executor
    import airflow.providers.standard.operators.bash
    import airflow.sdk.execution_time.supervisor
    import airflow.sdk.execution_time.task_runner  # noqa: F401 - an executor's worker holds it

    for side in ("spec", "local spec"):
        subprocess.run(
            [sys.executable, loaders[side]], check=True
        )  # as the dag-processor does first: keeps the verdict
    cache = root / "spec" / ".tidemill"
    found: dict[str, list[tuple[float, float]]] = {
        side: [] for side in ("hand-written", "spec", "spec, no cache", "local spec")
    }
    for number in range(ROUNDS + 1):
        for side, times in found.items():
            if side == "spec, no cache":
                cache.rename(cache.with_name("aside"))
            took = fork(loaders[side.partition(",")[0]], "clouds", "check", "BashOperator")
            if side == "spec, no cache":
                shutil.rmtree(cache, ignore_errors=True)
                cache.with_name("aside").rename(cache)
            if number:  # the first writes bytecode
                times.append(took)
    return found


if __name__ == "__main__":
    main()
