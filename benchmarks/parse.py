"""What N pipelines cost the dag-processor, against the same DAGs in plain Python, dag-factory and blueprint.

    python benchmarks/parse.py            100, 1,000 and 10,000 pipelines
    python benchmarks/parse.py --quick    100 and 1,000
    python benchmarks/parse.py --json     one JSON object on standard output, nothing else

Builds the same 10-task pipeline N times on each side (`_pipelines.py` says what the sides are and what differs)
by executing the loader file in a fresh process, as the dag-processor does at each parse. The sides take turns, so
that a busy machine slows all alike; each figure is the median of the rounds. What is counted is the process's CPU
time, user and system, of executing the loader file: with what that file imports, since each parse pays for it, and
without Airflow's DagBag module, which all start with.

cold       no spec cache, bytecode present: every spec is read, checked, compiled and kept
warm       each spec's content is the one that was checked
safety     what the check by serialization adds to cold (first parse of a spec only, kept with the verdict)

Then, each in a process of its own: importing what the loader needs, in a process that holds what the dag-processor
holds; and the start of a task (`_start.py`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import _pipelines

HERE = Path(__file__).resolve().parent
COUNTS = (100, 1_000, 10_000)
ROUNDS = {100: 5, 1_000: 5, 10_000: 2}
SLOW = {"Tidemill cold, safety", "dag-factory", "blueprint"}
"""What takes minutes for 10,000 pipelines; it is measured once there."""

_UNCHECKED = """\
import tidemill.airflow.safety

tidemill.airflow.safety.SafetyCheck.__call__ = lambda self, plan, file: ()
from tidemill.airflow.loader import load  # an Airflow DAG file

globals().update(load(__file__))
"""
"""The loader without the check by serialization: for the benchmark alone."""


@dataclass(frozen=True)
class Variant:
    """One line of the table: which side, which loader file, and whether the spec cache is emptied before."""

    name: str
    side: str
    cold: bool = False
    checked: bool = True


VARIANTS = (
    Variant("plain Python", "plain"),
    Variant("Tidemill cold", "tidemill", cold=True, checked=False),
    Variant("Tidemill cold, safety", "tidemill", cold=True),
    Variant("Tidemill warm", "tidemill"),
    Variant("blueprint", "blueprint"),
    Variant("dag-factory", "dag-factory"),
)


@dataclass
class Figures:
    """CPU milliseconds a DAG of each round, by variant."""

    count: int
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def median(self, name: str) -> float:
        """The median of a variant's rounds."""
        return statistics.median(self.rounds[name])

    def ratio(self, name: str, base: str) -> float:
        """The median over the rounds of a variant's figure by another's of the same round."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=False)
        return statistics.median(one / other for one, other in pairs)


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 pipelines only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--rounds", type=int, help="how often each side is measured")
    arguments = parser.parse_args()
    counts = COUNTS[:2] if arguments.quick else COUNTS
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        root = Path(folder)
        environment = prepare(root)
        tables = [measure_builds(root, count, arguments.rounds or ROUNDS[count], environment) for count in counts]
        imports = measure_imports(root, environment, arguments.rounds or 7)
        starts = measure_starts(root, environment, counts[-1])
    if arguments.json:
        print(
            json.dumps(
                {"machine": machine(), "builds": [as_json(t) for t in tables], "imports": imports, "starts": starts},
                indent=1,
            )
        )
    else:
        print(machine())
        report(tables, imports, starts)
    return 0


def machine() -> str:
    """What was measured, on what, and how busy that was."""
    names = ("apache-airflow", "dag-factory", "airflow-blueprint")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {packages}; {os.cpu_count()} processors, load average {load}"


def prepare(root: Path) -> dict[str, str]:
    """The environment of the measured processes: an Airflow home of their own, bytecode allowed, no telemetry, and
    a copy of the package, so that an edit in the meantime changes nothing."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE.parent / "plugins" / "tidemill", root / "package" / "tidemill", ignore=ignored)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "_AIRFLOW"))}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment | {
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # Without a limit the loader reads all files at once, however many there are: that is what is measured.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
        "AIRFLOW__CORE__DAGS_FOLDER": str(root),
        "AIRFLOW__DAG_FACTORY__ENABLE_TELEMETRY": "False",
        "PYTHONPATH": str(root / "package"),
    }


def measure_builds(root: Path, count: int, rounds: int, environment: dict[str, str]) -> Figures:
    """Build `count` pipelines on each side, `rounds` times in turns."""
    say(f"writing {count:,} pipelines for each side")
    loaders = {side: _pipelines.write(root / str(count) / side, side, count) for side in _pipelines.SIDES}
    files = {}
    for variant in VARIANTS:
        loader = loaders[variant.side]
        files[variant.name] = loader if variant.checked else unchecked(loader)
    figures = Figures(count)
    if count == COUNTS[0]:
        for variant in VARIANTS:  # compiles bytecode, warms the disk's cache
            build(files[variant.name], count, environment)
    for number in range(rounds):
        for variant in VARIANTS:
            if variant.name in SLOW and count == COUNTS[-1] and number > 0:
                continue
            if variant.cold:
                shutil.rmtree(root / str(count) / variant.side / ".tidemill", ignore_errors=True)
            took = build(files[variant.name], count, environment)
            figures.rounds.setdefault(variant.name, []).append(took)
            say(f"{count:,} pipelines, round {number + 1} of {rounds}: {variant.name} {took:.2f} ms a DAG")
    return figures


def unchecked(loader: Path) -> Path:
    """A loader beside `loader` that leaves out the check by serialization."""
    other = loader.with_name("loader_unchecked.py")
    other.write_text(_UNCHECKED)
    return other


def build(loader: Path, count: int, environment: dict[str, str]) -> float:
    """CPU milliseconds a DAG of executing a loader file in a fresh process."""
    done = run([str(HERE / "_build.py"), str(loader)], environment)
    if (done["dags"], done["tasks"]) != (count, 10 * count):
        raise SystemExit(f"{loader}: expected {count} DAGs of 10 tasks, got {done['dags']} with {done['tasks']}")
    return float(done["cpu"]) / count * 1000


def measure_imports(root: Path, environment: dict[str, str], rounds: int) -> dict[str, float]:
    """CPU milliseconds of importing what each side's loader needs, beyond what the dag-processor has loaded."""
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        say(f"imports, round {number + 1} of {rounds}")
        for name, modules in {
            "tidemill, specs in the cache": ["tidemill.airflow.loader", "tidemill.airflow.factory"],
            "tidemill, specs to be read": ["tidemill.airflow.loader", "tidemill.airflow.factory", *_JUDGING],
            "blueprint": ["blueprint"],
            "dag-factory": ["dagfactory"],
        }.items():
            done = run([str(HERE / "_imports.py"), *modules], environment)
            found.setdefault(name, []).append(float(done["cpu"]) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


_JUDGING = [
    "tidemill.airflow.safety",
    "tidemill.checks.meaning",
    "tidemill.checks.project",
    "tidemill.plan.compile",
    "tidemill.spec.models",
    "tidemill.tools.great_expectations",
]


def measure_starts(root: Path, environment: dict[str, str], count: int) -> dict[str, dict[str, float]]:
    """CPU and wall milliseconds from fork to a task that is ready, by folder size and state of the cache."""
    one = _pipelines.write(root / "1" / "tidemill", "tidemill", 1)
    many = root / str(count) / "tidemill" / "dags" / "loader.py"
    for loader in (one, many):
        say(f"filling the spec cache of {loader.parent}")
        run([str(HERE / "_build.py"), str(unchecked(loader))], environment)
    say("starting tasks")
    done: dict[str, dict[str, float]] = run([str(HERE / "_start.py"), str(one), str(many)], environment)
    return {name.replace("MANY", f"{count:,}"): figures for name, figures in done.items()}


def run(command: list[str], environment: dict[str, str]) -> dict[str, Any]:
    """The JSON object that a helper prints in its last line."""
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr or done.stdout}")
    value: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return value


def as_json(figures: Figures) -> dict[str, Any]:
    """A table as JSON."""
    return {
        "pipelines": figures.count,
        "ms_per_dag": {name: round(figures.median(name), 3) for name in figures.rounds},
        "rounds": {name: [round(v, 3) for v in values] for name, values in figures.rounds.items()},
        "ratios": {label: round(ratio, 3) for label, ratio, _ in ratios(figures)},
    }


def ratios(figures: Figures) -> Iterator[tuple[str, float, float]]:
    """What is compared with what, the ratio, and what it should be at most (at 1,000 pipelines)."""
    yield "warm against plain Python", figures.ratio("Tidemill warm", "plain Python"), 1.3
    yield "cold against plain Python", figures.ratio("Tidemill cold", "plain Python"), 1.8
    yield "cold against blueprint", figures.ratio("Tidemill cold", "blueprint"), 0.5
    yield "cold against dag-factory", figures.ratio("Tidemill cold", "dag-factory"), 0.5


def report(tables: list[Figures], imports: dict[str, float], starts: dict[str, dict[str, float]]) -> None:
    """Print the tables."""
    for figures in tables:
        print(f"\n{figures.count:,} pipelines of 10 tasks: CPU ms a DAG, median (least to most)")
        for name, values in figures.rounds.items():
            print(f"  {name:<24}{figures.median(name):>8.2f}   ({min(values):.2f} to {max(values):.2f})")
        safety = figures.median("Tidemill cold, safety") - figures.median("Tidemill cold")
        print(f"  {'the safety check alone':<24}{safety:>8.2f}   (once for each content of a spec)")
        for label, ratio, bound in ratios(figures):
            verdict = "" if figures.count != 1_000 else "   reached" if ratio <= bound else "   MISSED"
            print(f"  {label:<34}{ratio:>6.2f} ×   (at most {bound}){verdict}")
    print("\nImports beyond what the dag-processor has loaded: CPU ms, median (Tidemill at most 50)")
    for name, value in imports.items():
        verdict = "" if not name.startswith("tidemill") else "   reached" if value <= 50 else "   MISSED"
        print(f"  {name:<34}{value:>8.1f}{verdict}")
    print("\nStart of a task's process, from fork to a task that is ready: ms, median")
    print(f"  {'':<34}{'CPU':>8}{'wall':>8}")
    for name, figure in starts.items():
        print(f"  {name:<34}{figure['cpu']:>8.1f}{figure['wall']:>8.1f}")
    for state in ("cache present", "no cache"):
        one, many = (next(f for n, f in starts.items() if n.endswith(f"{state}, {k}")) for k in _sizes(starts))
        cpu, wall = many["cpu"] / one["cpu"], many["wall"] / one["wall"]
        verdict = "reached" if cpu <= 1.3 else "MISSED"
        print(f"  {state}: many against one {cpu:.2f} × CPU, {wall:.2f} × wall   (CPU at most 1.3)   {verdict}")


def _sizes(starts: dict[str, dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(name.rpartition(", ")[2] for name in starts))


def say(text: str) -> None:
    """Progress, beside what is printed as the result."""
    print(f"  … {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
