"""How fast, how small, how exact and how honest drift is measured: the whole table, in one run.

    python benchmarks/drift.py             everything; a quarter of an hour on two cores, and 16 GB of disk
    python benchmarks/drift.py --quick     without the 100 million rows, the 1,000 columns and Evidently
    python benchmarks/drift.py --only WORD ...   lines with one of these words in their name
    python benchmarks/drift.py --json      one JSON object on standard output, nothing else

Each measurement runs in a process of its own (`_drift_run.py`), whose CPU time and peak resident memory are those
reported; the rows are made from a seed (`_drift_data.py`) in a temporary folder, part by part, and deleted. What is
compared is measured on the same rows in the same run, in turns; where others are to be beaten, the better of the ratios
of wall and of CPU time counts: on a busy machine two threads that wait are no measure, and CPU time leaves out that
there are two. Evidently and NannyML get environments of their own, made by uv when they are first needed and kept in
the user's cache; where that fails, the line says why and the run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tidemill-benchmarks"
ROWS = 1_000_000
RIVALS = {
    "evidently": ["evidently==0.7.23", "pandas<3", "pyarrow"],
    "nannyml": ["nannyml==0.13.1", "statsmodels", "pandas<3", "pyarrow"],
}
QUIET = {"DO_NOT_TRACK": "1", "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONWARNINGS": "ignore"}
"""No telemetry from anyone."""


@dataclass(frozen=True)
class Line:
    """A line of the table: what was measured, what it must be, what it is, and whether that is reached; ``None``
    where it was not measured."""

    name: str
    bound: str
    found: str
    reached: bool | None
    figures: dict[str, Any]


class NotMeasured(Exception):
    """Something outside is missing; the text says what."""


def main() -> int:
    """Measure, print, and return 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes minutes")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="lines with one of these words in their name")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tidemill-drift-") as folder:
        bench = Bench(Path(folder), quick=arguments.quick)
        lines = [
            line
            for name, measure in bench.lines().items()
            if wanted(name, arguments.only)
            for line in run(name, measure)
        ]
    if arguments.json:
        print(json.dumps({"machine": machine(), "lines": [asdict(line) for line in lines]}, indent=1))
    else:
        print(machine())
        report(lines)
    return int(any(line.reached is False for line in lines))


def wanted(name: str, words: list[str] | None) -> bool:
    """Whether a line is asked for."""
    return words is None or any(word.lower() in name.lower() for word in words)


def run(name: str, measure: Callable[[], list[Line]]) -> list[Line]:
    """The lines of a measurement."""
    say(name)
    try:
        return measure()
    except NotMeasured as error:
        return [Line(name, "", f"not measured: {error}", None, {})]


class Bench:
    """The measurements, and the files that they share."""

    def __init__(self, root: Path, *, quick: bool) -> None:
        """In this folder."""
        self.root, self.quick = root, quick

    def lines(self) -> dict[str, Callable[[], list[Line]]]:
        """The lines of the table by name."""
        small = {
            "1M rows x 25 columns against reading them with Arrow": self.against_arrow,
            "against NannyML (JS)": self.against_nannyml,
            "merge of 1,000 sketches of 100 columns": self.merging,
            "distances against scipy": self.against_scipy,
            "1,000 replications without drift": self.calibration,
        }
        large = {
            "against Evidently's data-drift preset": self.against_evidently,
            "100M rows x 25 columns": self.long,
            "3M rows x 1,000 columns": self.wide,
        }
        return small if self.quick else small | large

    @cached_property
    def files(self) -> tuple[Path, Path, Path]:
        """A million rows of a reference, a million later ones, and the reference's sketch."""
        before, now = (
            self.made(name, 1, ROWS, seed) / "part-0000.parquet" for name, seed in (("before", 1), ("now", 2))
        )
        sketch = self.root / "reference.sketch"
        self.reference = child("_drift_run.py", "reference", before, sketch)
        return before, now, sketch

    @cached_property
    def ours(self) -> dict[str, Any]:
        """All distances of a million rows from a stored sketch, beside reading them."""
        _, now, sketch = self.files
        return child("_drift_run.py", "against-arrow", sketch, now, "9")

    def made(self, name: str, parts: int, rows: int, seed: int, columns: int | None = None) -> Path:
        """A folder of Parquet files."""
        folder = self.root / name
        say(f"making {parts * rows:,} rows")
        child("_drift_data.py", folder, parts, rows, seed, *([columns] if columns else []), plain=True)
        return folder

    def against_arrow(self) -> list[Line]:
        """A window against a stored sketch."""
        found = self.ours
        made = self.reference
        text = (
            f"{found['ratio_wall']:.2f} x ({found['wall']:.3f} s against {found['arrow_wall']:.3f} s; CPU "
            f"{found['ratio_cpu']:.2f} x: {found['cpu']:.3f} s against {found['arrow_cpu']:.3f} s); the sketch took "
            f"{made['wall']:.2f} s and is {made['bytes'] / 1e3:.0f} kB"
        )
        return [
            Line("1M rows x 25 columns, time against Arrow's reading", "<= 3 x", text, found["ratio_wall"] <= 3, found)
        ]

    def against_nannyml(self) -> list[Line]:
        """Fitting on the reference and calculating, as it knows no sketch."""
        found, ours = self.rival("nannyml")
        both, cpu = (found["fit"][i] + found["work"][i] for i in (0, 1))
        ratio = both / ours[0]
        text = (
            f"{ratio:.0f} x ({both:.1f} s against {ours[0]:.3f} s; CPU {cpu / ours[1]:.0f} x; without its fit on the "
            f"reference {found['work'][0] / ours[0]:.0f} x)"
        )
        return [
            Line(
                "against NannyML (JS), same rows and columns",
                ">= 15 x faster",
                text,
                max(ratio, cpu / ours[1]) >= 15,
                found,
            )
        ]

    def against_evidently(self) -> list[Line]:
        """The data-drift preset."""
        found, ours = self.rival("evidently")
        ratio, cpu = (found["work"][i] / ours[i] for i in (0, 1))
        text = f"{ratio:.0f} x ({found['work'][0]:.1f} s against {ours[0]:.3f} s; CPU {cpu:.0f} x)"
        name = "against Evidently's data-drift preset, same rows and columns"
        return [Line(name, ">= 100 x faster", text, max(ratio, cpu) >= 100, found)]

    def rival(self, name: str) -> tuple[dict[str, Any], tuple[float, float]]:
        """What another tool needs for the same rows; and what Tidemill does, measured right before and after, so
        that a busy machine slows both."""
        before, now, sketch = self.files
        python = environment(name)
        ours = [child("_drift_run.py", "against-arrow", sketch, now, "3")]
        say(f"running {name}; it takes its time")
        found = child("_drift_rivals.py", name, before, now, python=python)
        ours.append(child("_drift_run.py", "against-arrow", sketch, now, "3"))
        return found, (sum(o["wall"] for o in ours) / 2, sum(o["cpu"] for o in ours) / 2)

    def long(self) -> list[Line]:
        """Ten and a hundred million rows."""
        folder = self.made("long", 100, ROWS, 1000)
        sketch, few = self.files[2], self.root / "few"
        few.mkdir()
        for part in sorted(folder.iterdir())[:10]:
            (few / part.name).hardlink_to(part)
        ten, hundred = (child("_drift_run.py", "window", sketch, where) for where in (few, folder))
        made = child("_drift_run.py", "reference", folder, self.root / "long.sketch")
        shutil.rmtree(folder)
        shutil.rmtree(few)
        growth = hundred["cpu"] / ten["cpu"]
        peak = max(hundred["resident"], made["resident"])
        text = (
            f"{hundred['resident'] / 1e6:,.0f} MB and {hundred['wall']:.0f} s; {growth:.1f} x the CPU of 10M rows; "
            f"as a reference {made['resident'] / 1e6:,.0f} MB and {made['wall']:.0f} s"
        )
        reached = peak < 1e9 and growth < 12
        return [
            Line(
                "100M rows x 25 columns",
                "< 1 GB resident, linear time",
                text,
                reached,
                {"ten": ten, "hundred": hundred, "reference": made},
            )
        ]

    def wide(self) -> list[Line]:
        """A thousand columns of 32-bit floats."""
        folder = self.made("wide", 6, 500_000, 5000, 1000)
        sketch = self.root / "wide.sketch"
        made = child("_drift_run.py", "reference", folder, sketch)
        found = child("_drift_run.py", "window", sketch, folder)
        shutil.rmtree(folder)
        text = (
            f"{found['wall']:.0f} s and {found['resident'] / 1e6:,.0f} MB; the sketch of as many rows "
            f"{made['wall']:.0f} s, {made['resident'] / 1e6:,.0f} MB, {made['bytes'] / 1e3:,.0f} kB"
        )
        reached = max(found["wall"], made["wall"]) < 180 and max(found["resident"], made["resident"]) < 2e9
        reached = reached and made["bytes"] < 1_000_000
        return [
            Line(
                "3M rows x 1,000 columns (float32)",
                "< 3 min, < 2 GB",
                text,
                reached,
                {"window": found, "reference": made},
            )
        ]

    def merging(self) -> list[Line]:
        """A thousand partial sketches; one thread, so that its CPU time is what it takes on an idle machine."""
        found = child("_drift_run.py", "merge", 1000, 100)
        text = f"{found['cpu']:.2f} s of CPU, {found['wall']:.2f} s"
        return [Line("merge of 1,000 sketches of 100 columns", "< 1 s", text, found["cpu"] < 1, found)]

    def against_scipy(self) -> list[Line]:
        """Every pair of the tests' columns, and the benchmark's own million rows."""
        found = child("_drift_exact.py", *self.files)
        missed = ", ".join(found["missed"]) or "none missed"
        worst = found["worst"]
        text = (
            f"{found['cases']} cases, {missed}; at most off by KS {worst['ks']:.4f}, JS {worst['js']:.4f}, PSI "
            f"{worst['psi']:.4f}, Wasserstein {worst['wasserstein']:.0%} of its bound"
        )
        bound = "KS 0.005, JS and PSI 0.01, Wasserstein max(0.02, 5 %)"
        return [Line("distances against scipy on the raw rows", bound, text, not found["missed"], found)]

    def calibration(self) -> list[Line]:
        """False alarms, and the power to see small changes."""
        count = 200 if self.quick else 1000
        found = child("_drift_calibration.py", count)
        alarms, shift, category = (found[name] / count for name in ("alarms", "seen_shift", "seen_category"))
        alarm = f"{alarms:.1%} (with the strictest rules {found['strict_alarms'] / count:.1%})"
        power = f"{shift:.1%} and {category:.1%}; the shift was called drift in {found['drifted_shift'] / count:.1%}"
        name = f"{count:,} replications, n = 10,000 x 25 columns"
        return [
            Line(f"{name}: alarms without drift", "<= 5 %", alarm, alarms <= 0.05, found),
            Line(f"{name}: seen 0.1 deviations, 5 points", ">= 90 % each", power, min(shift, category) >= 0.9, found),
        ]


def environment(name: str) -> Path:
    """The Python of an environment with a tool in it; made if it is not there."""
    folder = CACHE / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        say(f"installing {name} in {folder}")
        uv = [shutil.which("uv") or sys.executable, *([] if shutil.which("uv") else ["-m", "uv"])]
        for command in (
            ["venv", "--clear", "--python", sys.executable, folder],
            ["pip", "install", "--python", python, *RIVALS[name]],
        ):
            done = subprocess.run([*map(str, uv), *map(str, command)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise NotMeasured(
                    f"{name} cannot be installed: {(done.stderr.strip().splitlines() or ['uv failed'])[-1]}"
                )
        ready.touch()
    return python


def child(script: str, *arguments: object, python: Path | None = None, plain: bool = False) -> Any:
    """Run a script in a process of its own; the JSON object in its last line."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "_AIRFLOW"))} | QUIET
    if python is None:
        environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parent / "plugins"), str(HERE.parent)])
    command = [str(python or sys.executable), str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        text = f"{script} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        if python is not None:
            raise NotMeasured(text)
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    last = done.stdout.strip().splitlines()[-1]
    return last if plain else json.loads(last)


def machine() -> str:
    """What was measured, on what, and how busy that was."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "pyarrow", "polars", "scipy"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return f"Python {platform.python_version()}, {packages}; {os.cpu_count()} processors, load average {load}"


def report(lines: list[Line]) -> None:
    """Print the table."""
    for line in lines:
        verdict = "not measured" if line.reached is None else "reached" if line.reached else "MISSED"
        print(f"\n{line.name}{f'   ({line.bound})' if line.bound else ''}   {verdict}\n    {line.found}")


def say(text: str) -> None:
    """Progress, beside what is printed as the result."""
    print(f"  … {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
