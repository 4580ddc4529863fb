"""The shim as any container runs it: a job file in, a result file out, exit codes between."""

from __future__ import annotations

import ast
import json
import math
import pickle
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import tidemill.runtime
from tidemill.runtime.context import MAX_POINTS, Context
from tidemill.runtime.files import BadFile, Failure, JobFile, Point, Result

PACKAGE = Path(tidemill.runtime.__file__).parent


def job_in(tmp_path: Path, source: str, **changes: object) -> Path:
    (tmp_path / "mine.py").write_text(source)
    (tmp_path / "output").mkdir(exist_ok=True)
    job = JobFile(
        **{
            "code": "mine:train",
            "root": str(tmp_path),
            "train": "/data/train.parquet",
            "holdout": "/data/holdout.parquet",
            "output": str(tmp_path / "output"),
            "checkpoint": str(tmp_path),
            "result": str(tmp_path / "result.json"),
            **changes,
        }  # type: ignore[arg-type]
    )
    job.write(tmp_path / "job.json")
    return tmp_path / "job.json"


def shim(job: Path, *options: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-m", "tidemill.runtime", "--job", str(job)],
        env={"PYTHONPATH": str(path or PACKAGE.parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("source", "code", "failure"),
    [
        ("def train(context): return 1", 0, None),
        ("def train(context): raise ValueError('no')", 10, "ValueError"),
        ("def train(context): raise OSError(28, 'full')", 20, "OSError"),
        ("import os\ndef train(context): os.kill(os.getpid(), 9)", 20, "Killed"),
    ],
)
def test_exit_codes_tell_the_users_errors_from_the_systems(
    tmp_path: Path, source: str, code: int, failure: str | None
) -> None:
    done = shim(job_in(tmp_path, source))
    assert (done.returncode, done.stdout) == (code, "")
    result = Result.read(tmp_path / "result.json")
    assert (result.failure.type if result.failure else None) == failure


def test_a_job_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("{}")
    done = shim(tmp_path / "job.json")
    assert done.returncode == 20
    assert done.stdout == f"tidemill: {tmp_path / 'job.json'}: not a job of format 1\n"


def test_it_runs_from_a_zip_and_imports_nothing_but_the_standard_library(tmp_path: Path) -> None:
    archive = tmp_path / "shim.zip"
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("tidemill/__init__.py", "")
        for file in PACKAGE.glob("*.py"):
            z.write(file, f"tidemill/runtime/{file.name}")
    job = job_in(tmp_path, "import sys\ndef train(context): return sorted(sys.modules)")
    # -S leaves site-packages out: what is not of the standard library cannot be imported.
    done = shim(job, "-S", path=archive)
    assert (done.returncode, done.stderr) == (0, "")
    seen = pickle.loads((tmp_path / "output" / "model.pkl").read_bytes())
    assert "tidemill.runtime.worker" in seen
    assert not {"numpy", "pydantic", "cloudpickle"} & set(seen)


@pytest.mark.parametrize("file", sorted(PACKAGE.glob("*.py")), ids=lambda p: p.name)
def test_its_syntax_is_that_of_python_3_9(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    # Under this import annotations such as `int | None` are never evaluated.
    futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
    assert futures or file.name == "__init__.py"
    names = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 0}
    names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {n.partition(".")[0] for n in names} - set(sys.stdlib_module_names) <= {"cloudpickle"}


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = Result(1.5, "m.pkl", "pickle", [Point("a", None, 0, 1), Point("a", 2.0, 1, 2)], None)
    result.write(tmp_path / "r.json")
    assert Result.read(tmp_path / "r.json") == result
    failed = Result(0.1, failure=Failure("E", "why", user=True, traceback="…"))
    failed.write(tmp_path / "r.json")
    assert Result.read(tmp_path / "r.json") == failed
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tidemill_result": 1}', '{"tidemill_result": 1, "x": 1}'])
def test_a_broken_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BadFile, match=r"r\.json"):
        Result.read(tmp_path / "r.json")


def context() -> Context:
    return Context(JobFile("a:b", "/", "/t", "/h", "/o", "/c", "/r"))


def test_metrics_without_a_step_count_up_by_name() -> None:
    c = context()
    for name, step in (("a", None), ("b", None), ("a", None), ("a", 10), ("a", None)):
        c.log_metric(name, 1, step)
    assert [(p.name, p.step) for p in c.points()] == [("a", 0), ("b", 0), ("a", 1), ("a", 10), ("a", 11)]


def test_a_metric_that_is_not_finite_is_kept_as_nothing() -> None:
    c = context()
    c.log_metric("a", math.inf)
    assert c.points()[0].value is None
    json.dumps([p.value for p in c.points()], allow_nan=False)


@pytest.mark.parametrize("name", ["", "a\n", "../a", "/a", "a" * 251, 3])
def test_a_metric_name_that_a_tracker_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="is not a metric name"):
        context().log_metric(name, 1.0)


def test_a_flood_of_metrics_keeps_the_first_ones_and_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    c = context()
    for i in range(MAX_POINTS + 500):
        c.log_metric("loss", i)
    points = c.points()
    assert len(points) == MAX_POINTS + 1
    assert (points[-2].value, points[-1].value) == (MAX_POINTS - 1, MAX_POINTS + 499)
    assert capsys.readouterr().out.count("only the last is kept") == 1


def test_random_is_seeded(tmp_path: Path) -> None:
    shim(job_in(tmp_path, "import random\ndef train(context): return random.random()", seed=3))
    model = pickle.loads((tmp_path / "output" / "model.pkl").read_bytes())
    assert model == random.Random(3).random()
