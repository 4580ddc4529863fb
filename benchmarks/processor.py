"""What a parse cycle of the real dag-processor costs, storing included: specs against the same DAGs in plain Python.

    python benchmarks/processor.py               1,000 pipelines of 10 tasks, each side
    python benchmarks/processor.py --count 200   fewer
    python benchmarks/processor.py --json        one JSON object on standard output, nothing else

Each side has an Airflow home of its own, with SQLite, and the pipelines of `parse.py`: as specs with the loader that
the product ships, as one plain file that makes them in a loop, and as one plain file each. `airflow dag-processor` runs
for a number of cycles and ends. What is counted is CPU time, user and system, of the process and all it started; the
first cycle, which reads everything for the first time, is told apart from those after it. Every cycle parses every
file, and compares every DAG with what is stored.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _pipelines

CYCLES = {"plain Python, one file": 4, "Tidemill specs": 4, "plain Python, a file each": 2}
SIDES = {"plain Python, one file": "plain", "Tidemill specs": "tidemill", "plain Python, a file each": "plain"}
LIMITS = {"plain Python, one file": ("at most", 1.3), "plain Python, a file each": ("at most", 0.3)}


def main() -> None:
    """Measure every side and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=1_000, help="pipelines of each side")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        figures = {side: measure(Path(folder), side, arguments.count) for side in SIDES}
    if arguments.json:
        print(
            json.dumps({side: dict(zip(("first", "cycle", "stored"), f, strict=True)) for side, f in figures.items()})
        )
        return
    print(f"A parse cycle of the dag-processor, {arguments.count:,} pipelines of 10 tasks: CPU seconds")
    print(f"{'':32}{'first':>10}{'then':>10}")
    for side, (first, cycle, _) in figures.items():
        print(f"  {side:30}{first:10.1f}{cycle:10.1f}")
    ours = figures["Tidemill specs"][1]
    for side, (word, limit) in LIMITS.items():
        ratio = ours / figures[side][1]
        said = "reached" if ratio <= limit else "MISSED"
        print(f"  specs against {side:28}{ratio:5.2f} ×   ({word} {limit})   {said}")


def measure(root: Path, side: str, count: int) -> tuple[float, float, int]:
    """CPU seconds of the first cycle, of each one after it, and the DAGs that were stored."""
    home = root / side.replace(" ", "-").replace(",", "")
    project = home / "project"
    _pipelines.write(project, SIDES[side], count)
    if side.endswith("each"):
        _apart(project / "dags", count)
    environment = _environment(home, project / "dags")
    _run(["airflow", "db", "migrate"], environment)
    several = CYCLES[side]
    first = _cycles(1, environment, home, side)
    stored = _stored(home)
    if stored != count:
        raise SystemExit(f"{side}: {stored} of {count} DAGs were stored; see {home}")
    idle = _cycles(1, environment, home, side)
    rest = _cycles(several, environment, home, side)
    # Both start Airflow and end it: what more cycles cost is the difference.
    return first, (rest - idle) / (several - 1), stored


def _apart(dags: Path, count: int) -> None:
    """The plain loader's text as a file for each pipeline."""
    loader = dags / "loader.py"
    text = loader.read_text()
    loop = f"for index in range({count}):"
    if loop not in text:
        raise SystemExit("the plain loader has another loop than this benchmark knows")
    loader.unlink()
    for index in range(count):
        (dags / f"pipeline_{index:05d}.py").write_text(text.replace(loop, f"for index in ({index},):"))


def _environment(home: Path, dags: Path) -> dict[str, str]:
    settings = {
        "CORE__DAGS_FOLDER": str(dags),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__PLUGINS_FOLDER": str(home / "plugins"),
        "CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "0",
        "DAG_PROCESSOR__PARSING_PROCESSES": "2",
        "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "LOGGING__LOGGING_LEVEL": "WARNING",
    }
    prefixed = {f"AIRFLOW__{name}": value for name, value in settings.items()}
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    return {**os.environ, "AIRFLOW_HOME": str(home), "PATH": path, **prefixed}


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


def _cycles(count: int, environment: dict[str, str], home: Path, side: str) -> float:
    """CPU seconds of a dag-processor that parses everything a number of times, with all that it started."""
    print(f"  … {side}: {count} cycle{'s' if count > 1 else ''}", file=sys.stderr, flush=True)
    with (home / "processor.log").open("a") as log:
        began = time.monotonic()
        process = subprocess.Popen(
            ["airflow", "dag-processor", "--num-runs", str(count)], env=environment, stdout=log, stderr=log
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side}: the dag-processor ended with {process.returncode}; see {home / 'processor.log'}")
    print(
        f"    {used.ru_utime + used.ru_stime:.1f} s CPU, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
    )
    return used.ru_utime + used.ru_stime


def _stored(home: Path) -> int:
    import sqlite3

    with sqlite3.connect(home / "airflow.db") as database:
        (count,) = database.execute("select count(*) from dag where is_stale = 0").fetchone()
        (errors,) = database.execute("select count(*) from import_error").fetchone()
    if errors:
        raise SystemExit(
            f"there are {errors} import errors; see {shutil.copy(home / 'airflow.db', tempfile.gettempdir())}"
        )
    return int(count)


if __name__ == "__main__":
    main()
