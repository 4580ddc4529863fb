"""``tidemill new``: a working pipeline to start from."""

from __future__ import annotations

import csv
import io
import json
import keyword
import math
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Final

from tidemill.cli.locate import UsageProblem


@dataclass(frozen=True)
class _Provider:
    """What a provider's spec says: the lines of ``platform`` below its provider, and those of ``train``."""

    platform: str = ""
    train: str = ""


_PROVIDERS: Final[Mapping[str, _Provider]] = {
    "local": _Provider(),
    "aws": _Provider(
        """\
  region: eu-west-1
  bucket: s3://acme-ml                                # yours, in that region
  role: arn:aws:iam::123456789012:role/ml-training    # what jobs run as
""",
        """\
  service: sagemaker                                  # or batch
  image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/{image}:1
  resources: {{machine: ml.m5.large}}
""",
    ),
    "gcp": _Provider(
        """\
  project: acme-ml                                    # yours
  region: europe-west4
  bucket: gs://acme-ml-models
""",
        """\
  image: europe-west4-docker.pkg.dev/acme-ml/training/{image}:1
  resources: {{machine: n1-standard-4}}
""",
    ),
    "azure": _Provider(
        """\
  subscription: 00000000-0000-0000-0000-000000000000  # yours
  resource_group: ml
  workspace: acme-ml
  compute: cpu-cluster
  bucket: abfss://models@acmeml.dfs.core.windows.net
""",
        """\
  image: acmeml.azurecr.io/{image}:1
""",
    ),
    "kubernetes": _Provider(
        """\
  namespace: ml
  bucket: s3://acme-ml                                # or gs://, abfss://, or volume: {{claim: …, path: …}}
  bucket_connection: aws_default
""",
        """\
  image: registry.example.org/acme/{image}:1
  resources: {{cpu: 1, memory: 2 GiB}}
""",
    ),
}
PROVIDERS: Final = tuple(_PROVIDERS)


def write(name: str, provider: str, root: Path, *, steps: bool = False) -> list[Path]:
    """Write the files of a new pipeline below a root; returns them, relative to where the command was started.

    ``steps``: a workflow of steps alone.

    Raises:
        UsageProblem: the name is none, one of the files exists, there is no such provider, or a file cannot be
            written. Nothing is written over.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,200}", name):
        raise UsageProblem(f'"{name}" cannot be a pipeline\'s id: letters, digits, "_" and "-"')
    if provider not in _PROVIDERS:
        raise UsageProblem(f'there is no provider "{provider}": choose one of {", ".join(_PROVIDERS)}')
    if steps and provider != "local":
        raise UsageProblem("--steps makes a workflow without a training: it has no provider")
    module = name.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        module = f"p_{module}"
    wanted = dict(_contents(name, module, root, None if steps else provider))
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


def _contents(name: str, module: str, root: Path, provider: str | None) -> Iterator[tuple[Path, str]]:
    """The files of a pipeline on a provider, or of a workflow of steps alone."""
    starter, where = files("tidemill.cli") / "starter", _PROVIDERS[provider or "local"]
    filled = {
        "name": name,
        "module": module,
        "schema": "../include/schemas/tidemill-1.json",
        "provider": provider,
        "platform": where.platform.format(),
        "training": where.train.format(image=module.strip("_").lower()),
    }

    def fill(file: str) -> str:
        return (starter / file).read_text().format(**filled)

    code = root / "include" / module
    yield code / "__init__.py", ""
    if provider is None:
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
