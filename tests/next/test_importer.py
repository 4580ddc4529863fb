"""The importer under the coming Airflow's real dag-processor, scheduler and API server (.venv-next)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tidemill.project import Project
from tidemill.spec.errors import SpecErrors
from tidemill.verdict import judge

pytestmark = [pytest.mark.next, pytest.mark.timeout(600)]

REPOSITORY = Path(__file__).parents[2]
AIRFLOW = REPOSITORY / ".venv-next" / "bin" / "airflow"
IMPORTER = "tidemill.airflow.importer.TidemillImporter"

GOOD = """
tidemill: 1
description: Rows that nobody will read.
start: 2020-03-01
end: 2020-05-01
platform: {provider: local}
data:
  source: include/rows.parquet
  window: {column: time, train: 1 month, holdout: 1 month}
train: {code: "include.train:train"}
evaluate: {task: classification, target: late, metrics: [roc_auc]}
promote:
  when: {roc_auc: {at_least: 0.6}}
monitor:
  schedule: monthly
  drift: {at_least: 0.2}
""".lstrip()
BROKEN = GOOD.replace("[roc_auc]", "[roc_acu]")

READ_AS_A_TASK = """
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager

file, dag_id, task_id = sys.argv[1:]
with _airflow_parsing_context_manager(dag_id=dag_id, task_id=task_id):
    bag = BundleDagBag(
        dag_folder=file, safe_mode=False, load_op_links=False, bundle_path=Path(file).parent, bundle_name="dags-folder"
    )
print(json.dumps({dag_id: {t.task_id: type(t).__name__ for t in dag.tasks} for dag_id, dag in bag.dags.items()}))
"""


class Airflow:
    """The coming Airflow's processes over a project of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dags = root / "dags"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.started: list[subprocess.Popen[bytes]] = []
        self.http = httpx.Client(base_url=self.address, timeout=30, trust_env=False)

    def environment(self) -> dict[str, str]:
        outside = {
            k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "_AIRFLOW", "TIDEMILL", "PYTHON"))
        }
        return outside | {
            "AIRFLOW_HOME": str(self.root / "airflow"),
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__API__BASE_URL": self.address,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.root / "plugins"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__DAG_PROCESSOR__DAG_IMPORTER_CONFIGS": f'["{IMPORTER}"]',
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        }

    def start(self) -> None:
        self.run("db", "migrate")
        for command in ("api-server", "dag-processor", "scheduler"):
            with self.log(command).open("wb") as log:
                process = subprocess.Popen(
                    [str(AIRFLOW), command],
                    env=self.environment(),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.started.append(process)
        self.wait_for("the API server", self._token, 180)

    def stop(self) -> None:
        for process in self.started:
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.http.close()

    def run(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(AIRFLOW), *arguments], env=self.environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def log(self, command: str) -> Path:
        return self.root / f"{command}.log"

    def _token(self) -> bool:
        try:
            answer = self.http.get("/auth/token")
        except httpx.TransportError:
            return False
        if answer.is_success:
            self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return answer.is_success

    def get(self, path: str) -> Any:
        answer = self.http.get(f"/api/v2/{path}")
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    def import_errors(self) -> dict[str, str]:
        return {error["filename"]: error["stack_trace"] for error in self.get("importErrors")["import_errors"]}

    def wait_for(self, what: str, ask: Callable[[], Any], seconds: float = 120) -> Any:
        end = time.monotonic() + seconds
        while not (answer := ask()):
            if time.monotonic() > end:
                ends = {p.args[1]: self.log(p.args[1]).read_text()[-3000:] for p in self.started}  # type: ignore[index]
                pytest.fail(f"not in {seconds:.0f} s: {what}\n{ends}")
            time.sleep(0.5)
        return answer

    def drop(self, name: str, text: str) -> None:
        """A file into dags/, whole at once, as a deployment does."""
        path = self.dags / name
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(text)
        new.replace(path)

    def validated(self, name: str) -> str:
        """What ``tidemill validate`` prints of a file."""
        verdict = judge(self.dags / name, self.dags, Project.of(self.dags))
        return SpecErrors(verdict.errors).render()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    assert AIRFLOW.exists(), "scripts/setup.sh next makes the environment of the coming Airflow"
    root = tmp_path_factory.mktemp("next").resolve()
    (root / "dags").mkdir()
    (root / "include").mkdir()
    (root / "include" / "train.py").write_text("def train(context): ...\n")
    # Tidemill is found as it is by a user of the folder layout, and by nothing else.
    (root / "plugins").symlink_to(REPOSITORY / "plugins")
    for loader in ("tidemill.py", "tidemill_errors.py"):
        shutil.copy(REPOSITORY / "dags" / loader, root / "dags")
    running = Airflow(root)
    running.drop("good.yaml", GOOD)
    running.drop("defaults.yaml", "owner: somebody-else\n")
    running.drop("values.yaml", "image: {tag: 1}\n")
    running.drop("templates/half.yaml", "tidemill: 1\n")
    try:
        running.start()
        yield running
    finally:
        running.stop()


def test_a_spec_is_a_dag_of_its_own_file_with_its_yaml_as_source(airflow: Airflow) -> None:
    dag = airflow.wait_for("the DAG good", lambda: airflow.get("dags/good"))
    assert dag["relative_fileloc"] == "good.yaml"
    assert dag["owners"] == ["somebody-else"]  # from defaults.yaml
    airflow.wait_for("the DAG good.monitor", lambda: airflow.get("dags/good.monitor"))
    source = airflow.get("dagSources/good")
    assert source["content"] == GOOD
    # Other YAML files are none of its business, and the loader yields to it.
    airflow.wait_for("the loader", lambda: "tidemill.py" in airflow.log("dag-processor").read_text())
    assert airflow.import_errors() == {}
    assert {d["dag_id"]: d["relative_fileloc"] for d in airflow.get("dags")["dags"]} == {
        "good": "good.yaml",
        "good.monitor": "good.yaml",
    }


def test_a_broken_spec_is_an_import_error_of_its_own_file_until_it_is_mended(airflow: Airflow) -> None:
    airflow.wait_for("the DAG good", lambda: airflow.get("dags/good"))
    airflow.drop("team/broken.yaml", BROKEN)
    errors = airflow.wait_for("the import error", airflow.import_errors)
    assert errors == {"team/broken.yaml": airflow.validated("team/broken.yaml")}
    assert 'did you mean "roc_auc"?' in errors["team/broken.yaml"]
    assert airflow.get("dags/good")["is_stale"] is False
    assert airflow.get("dags/good")["has_import_errors"] is False

    airflow.drop("team/broken.yaml", GOOD)
    airflow.wait_for("the mended DAG", lambda: airflow.get("dags/broken"))
    airflow.wait_for("no import error", lambda: not airflow.import_errors())


def test_a_spec_that_breaks_keeps_its_dags_out_and_its_neighbours_in(airflow: Airflow) -> None:
    airflow.drop("turning.yaml", GOOD)
    airflow.wait_for("the DAG turning", lambda: airflow.get("dags/turning"))
    airflow.drop("turning.yaml", BROKEN)
    airflow.wait_for("the import error", lambda: "turning.yaml" in airflow.import_errors())
    airflow.wait_for("turning to be stale", lambda: airflow.get("dags/turning")["is_stale"])
    assert airflow.get("dags/good")["is_stale"] is False
    (airflow.dags / "turning.yaml").unlink()
    airflow.wait_for("no import error", lambda: not airflow.import_errors())


def test_two_files_with_one_stem_are_both_refused(airflow: Airflow) -> None:
    airflow.drop("one/twin.yaml", GOOD)
    airflow.drop("two/twin.yaml", GOOD)
    errors = airflow.wait_for("both errors", lambda: (e := airflow.import_errors()) and len(e) == 2 and e)
    assert "dags/two/twin.yaml" in errors["one/twin.yaml"]
    assert "dags/one/twin.yaml" in errors["two/twin.yaml"]
    (airflow.dags / "two" / "twin.yaml").unlink()
    airflow.wait_for("the DAG twin", lambda: (dag := airflow.get("dags/twin")) and not dag["is_stale"])
    airflow.wait_for("no import error", lambda: not airflow.import_errors())


def test_a_wrong_row_of_a_matrix_is_told_beside_its_file_and_the_others_live_on(airflow: Airflow) -> None:
    rows = GOOD.replace("at_least: 0.6}", "at_least: '${row.least}'}") + "matrix: {a: {least: 0.6}, b: {least: 0.7}}\n"
    airflow.drop("rows.yaml", rows)
    airflow.wait_for("the DAG rows.b", lambda: airflow.get("dags/rows.b.monitor"))
    airflow.drop("rows.yaml", rows.replace("0.7", "high"))
    # Named after the file, since Airflow marks the DAGs of a file with errors stale.
    errors = airflow.wait_for("the import error", airflow.import_errors)
    assert errors == {"rows.yaml (rows)": airflow.validated("rows.yaml")}
    airflow.wait_for("rows.b to be stale", lambda: airflow.get("dags/rows.b")["is_stale"])
    assert airflow.get("dags/rows.a")["is_stale"] is False
    assert airflow.get("dags/rows.a")["has_import_errors"] is False
    airflow.drop("rows.yaml", rows)
    airflow.wait_for("no import error", lambda: not airflow.import_errors())
    airflow.wait_for("rows.b again", lambda: not airflow.get("dags/rows.b")["is_stale"])
    (airflow.dags / "rows.yaml").unlink()


def test_a_task_runs_from_its_yaml(airflow: Airflow) -> None:
    airflow.wait_for("the DAG good", lambda: airflow.get("dags/good"))
    answer = airflow.http.post("/api/v2/dags/good/dagRuns", json={"logical_date": None, "conf": {}})
    run = answer.raise_for_status().json()["dag_run_id"]
    task = f"dags/good/dagRuns/{run}/taskInstances/as_of"
    states = ("success", "failed")
    airflow.wait_for("the end of as_of", lambda: (t := airflow.get(task)) and t["state"] in states, 180)
    lines = [line for line in airflow.get(f"{task}/logs/1")["content"] if isinstance(line, dict)]
    assert airflow.get(task)["state"] == "success", lines
    value = airflow.get(f"dags/good/dagRuns/{run}/taskInstances/as_of/xcomEntries/return_value")["value"]
    assert "2020-05-01" in str(value)


def test_a_tasks_process_holds_its_own_dag_and_in_it_its_own_task(airflow: Airflow) -> None:
    done = subprocess.run(
        [str(AIRFLOW.with_name("python")), "-c", READ_AS_A_TASK, str(airflow.dags / "good.yaml"), "good", "data"],
        env=airflow.environment() | {"PYTHONPATH": str(REPOSITORY / "plugins")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dags = json.loads(done.stdout.splitlines()[-1])
    assert set(dags) == {"good"}
    assert {name for name, kind in dags["good"].items() if kind == "StepOperator"} == {"data"}
    assert set(dags["good"].values()) == {"StepOperator", "Placeholder"}
