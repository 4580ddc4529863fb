"""``tidemill new``: a working pipeline to start from."""

from __future__ import annotations

import csv
import io
import json
import keyword
import math
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

from tidemill.cli.locate import UsageProblem


def write(name: str, provider: str, root: Path, *, steps: bool = False) -> list[Path]:
    """Write the files of a new pipeline below a root; returns them, relative to where the command was started.

    ``steps``: a workflow of steps alone.

    Raises:
        UsageProblem: the name is none, one of the files exists, the provider is not in this version, or a file
            cannot be written. Nothing is written over.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name):
        raise UsageProblem(f'"{name}" cannot be a pipeline\'s id: letters, digits, "_" and "-"')
    if provider != "local":
        raise UsageProblem(f'the provider "{provider}" is not in this version; it has local')
    module = name.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        module = f"p_{module}"
    wanted = dict(_contents(name, module, root, steps=steps))
    there = [path for path in wanted if path.exists()]
    if there:
        raise UsageProblem(f"{there[0]} exists already; choose another name, or move it away")
    extra = dict(_shared(root))
    wanted |= {path: text for path, text in extra.items() if not path.exists()}
    for path, text in wanted.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as e:
            raise UsageProblem(f"cannot write {path}: {e.strerror}") from e
    here = Path.cwd().resolve()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in wanted]


def _contents(name: str, module: str, root: Path, *, steps: bool) -> Iterator[tuple[Path, str]]:
    starter = files("tidemill.cli") / "starter"

    def fill(file: str) -> str:
        schema = "../include/schemas/tidemill-1.json"
        return (starter / file).read_text().format(name=name, module=module, schema=schema)

    code = root / "include" / module
    yield code / "__init__.py", ""
    if steps:
        yield root / "dags" / f"{name}.yaml", fill("steps.yaml")
        yield code / "tasks.py", fill("tasks.py.txt")
        yield root / "tests" / f"test_{module}.py", fill("test_steps.py.txt")
        return
    yield root / "dags" / f"{name}.yaml", fill("pipeline.yaml")
    yield code / "train.py", fill("train.py.txt")
    yield code / "expectations.yaml", fill("expectations.yaml")
    yield code / "sample.csv", sample()
    yield root / "tests" / f"test_{module}.py", fill("test_pipeline.py.txt")


def _shared(root: Path) -> Iterator[tuple[Path, str]]:
    """What all pipelines of a project share."""
    from tidemill.spec.schema import FILES, schema

    starter = files("tidemill.cli") / "starter"
    for loader in ("tidemill.py", "tidemill_errors.py"):
        yield root / "dags" / loader, (starter / f"{loader}.txt").read_text()
    yield root / "include" / "__init__.py", ""
    for sort, file in FILES.items():
        text = json.dumps(schema(sort), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        yield root / "include" / "schemas" / file, text


def sample() -> str:
    """Made-up customers of 2025, the same each time: 6,000 rows whose leaving depends on calls, bill and months."""
    rng = random.Random(2025)
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["customer", "seen_at", "months", "calls", "bill", "plan", "left"])
    for number in range(6000):
        seen = begin + timedelta(minutes=number * 365 * 24 * 60 / 6000)
        months, calls = rng.randrange(1, 72), min(int(rng.expovariate(0.6)), 12)
        plan = rng.choices(["basic", "family", "business"], [5, 3, 2])[0]
        bill = round(rng.gauss({"basic": 25, "family": 45, "business": 70}[plan], 6), 2)
        odds = -1.2 + 0.55 * calls - 0.04 * months + 0.02 * (bill - 40)
        left = int(rng.random() < 1 / (1 + math.exp(-odds)))
        rows.writerow([f"c{number:05}", seen.strftime("%Y-%m-%dT%H:%M:%SZ"), months, calls, bill, plan, left])
    return out.getvalue()
