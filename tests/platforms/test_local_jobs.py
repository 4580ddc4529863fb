"""Real training processes on this machine, well-behaved and not."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidemill.platforms.local.jobs import LocalJobs
from tidemill.platforms.ports import Job, JobError, JobResult
from tidemill.runtime.files import Result, result_of
from tidemill.spec.platform import Resources

Run = Callable[..., JobResult]


def a_job(root: Path, code: str = "include.train:train", **changes: Any) -> Job:
    given: dict[str, Any] = {
        "name": "job",
        "code": code,
        "root": root,
        "train": root / "train.parquet",
        "holdout": root / "holdout.parquet",
        "output": root / "work" / "output",
        "checkpoint": root / "work" / "checkpoint",
        "params": {},
        "seed": 7,
        "resources": Resources(),
    }
    return Job(**{**given, **changes})


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, lines: list[str]) -> Run:
    """Write the function to ``include/train.py`` and run it."""

    def go(source: str, **changes: Any) -> JobResult:
        (tmp_path / "include").mkdir(exist_ok=True)
        (tmp_path / "include" / "train.py").write_text(textwrap.dedent(source))
        return LocalJobs().run(a_job(tmp_path, **changes), lines.append)

    return go


def failing(run: Run, source: str, **changes: Any) -> JobError:
    with pytest.raises(JobError) as e:
        run(source, **changes)
    return e.value


def alive(marker: str) -> list[int]:
    """The processes whose command line holds the marker."""
    found = []
    for p in psutil.process_iter():
        try:
            if marker in " ".join(p.cmdline()) and p.status() != psutil.STATUS_ZOMBIE:
                found.append(p.pid)
        except psutil.Error:
            continue
    return found


def wait_for(check: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := check():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")


def test_a_function_gets_its_context_and_its_model_is_kept(run: Run, lines: list[str], tmp_path: Path) -> None:
    result = run(
        """
        import os, random, sys
        def train(context):
            print("training on", context.data.train.name, context.data.holdout.name)
            print("to stderr", file=sys.stderr)
            context.log_metric("loss", 0.5)
            context.log_metric("loss", 0.25)
            context.log_metric("depth", 3, step=9)
            (context.checkpoint / "state").write_text("kept")
            assert (context.seed, context.rank, context.world_size) == (7, 0, 1)
            assert os.getcwd() == os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
            return {"params": context.params, "random": random.random()}
        """,
        params={"depth": 3, "names": ["a", None]},
    )
    model = pickle.loads(result.model.read_bytes())
    assert model["params"] == {"depth": 3, "names": ["a", None]}
    assert model["random"] == __import__("random").Random(7).random()
    assert lines == ["training on train.parquet holdout.parquet", "to stderr"]
    assert result.metrics == {"loss": 0.25, "depth": 3.0}
    assert 0 <= result.seconds < 10
    assert (tmp_path / "work/checkpoint/state").read_text() == "kept"
    points = Result.read(result_of(tmp_path / "work" / "output")).metrics
    assert [(p.name, p.value, p.step) for p in points] == [("loss", 0.5, 0), ("loss", 0.25, 1), ("depth", 3.0, 9)]


def test_numpy_is_seeded_however_late_it_is_imported(run: Run) -> None:
    import numpy

    result = run("def train(context):\n    import numpy\n    return numpy.random.rand()\n")
    assert pickle.loads(result.model.read_bytes()) == numpy.random.RandomState(7).rand()


def test_a_model_that_the_function_wrote_is_found(run: Run, tmp_path: Path) -> None:
    result = run(
        """
        def train(context):
            (context.output / "model.joblib").write_bytes(b"x")
            (context.output / "curve.csv").write_text("a,b")
        """
    )
    assert result.model == tmp_path / "work/output/model.joblib"


def test_an_mlflow_folder_that_the_function_wrote_is_found(run: Run, tmp_path: Path) -> None:
    result = run(
        """
        def train(context):
            (context.output / "mine").mkdir()
            (context.output / "mine" / "MLmodel").write_text("flavors: {}")
        """
    )
    assert result.model == tmp_path / "work/output/mine"


def test_a_model_keeps_the_code_it_was_trained_with(run: Run, tmp_path: Path) -> None:
    source = """
        class Model:
            def predict(self):
                return helper()
        def helper():
            return 1
        def train(context):
            return Model()
        """
    result = run(source)
    kept = result.model.read_bytes()
    run(source.replace("return 1", "return 2"))
    code = "import pickle, sys; print(pickle.loads(sys.stdin.buffer.read()).predict())"
    out = subprocess.run([sys.executable, "-c", code], input=kept, cwd=tmp_path, capture_output=True, check=True)
    assert out.stdout == b"1\n"


BAD: dict[str, tuple[str, str, bool]] = {
    "raises": (
        """
        import json
        def load(text):
            return json.loads(text)
        def train(context):
            load("{")
        """,
        "train.code include.train:train raised json.decoder.JSONDecodeError: Expecting property name enclosed in "
        "double quotes: line 1 column 2 (char 1) (include/train.py:4)",
        True,
    ),
    "returns nothing": (
        "def train(context): pass",
        "train.code include.train:train returned None and wrote nothing: return a fitted model, or write one under "
        "context.output",
        True,
    ),
    "writes no model": (
        "def train(context): (context.output / 'notes.txt').write_text('hello')",
        "train.code include.train:train returned None, and of what it wrote under context.output (notes.txt) not "
        "exactly one is a model: an MLflow model folder (with its MLmodel), or one file *.pkl, *.pickle or *.joblib",
        True,
    ),
    "no such function": (
        "def trian(context): return 1",
        "train.code include.train:train: include/train.py has no 'train'; did you mean 'trian'?",
        True,
    ),
    "not a function": (
        "train = 3",
        "train.code include.train:train: 'train' in include/train.py is a int, not a function",
        True,
    ),
    "syntax": (
        "x = 1\ndef train(context:\n    return 1\n",
        "train.code include.train:train does not import: include/train.py:2: SyntaxError: '(' was never closed",
        True,
    ),
    "wrong signature": (
        "def train(data, params): return 1",
        "train.code include.train:train: train(data, params) in include/train.py cannot be called with one argument; "
        "it must be train(context)",
        True,
    ),
    "import of a package that is not there": (
        "import lightgbmx\ndef train(context): return 1",
        "importing train.code include.train:train raised ModuleNotFoundError: No module named 'lightgbmx' "
        "(include/train.py:1); is the package 'lightgbmx' installed?",
        True,
    ),
    "import that raises": (
        "1 / 0\ndef train(context): return 1",
        "importing train.code include.train:train raised ZeroDivisionError: division by zero (include/train.py:1)",
        True,
    ),
    "unpicklable": (
        "import threading\ndef train(context): return threading.Lock()",
        "train.code include.train:train returned a model (_thread.lock) that cannot be pickled: TypeError: cannot "
        "pickle '_thread.lock' object; return one that can, or write it under context.output",
        True,
    ),
    "sys.exit": (
        "import sys\ndef train(context):\n    sys.exit(3)",
        "train.code include.train:train called sys.exit(3) (include/train.py:3); it must return",
        True,
    ),
    "os._exit": (
        "import os\ndef train(context):\n    os._exit(0)",
        "train.code include.train:train: the process ended with exit code 0 before the function returned; does it "
        "call os._exit?",
        True,
    ),
    "segfault": (
        "import ctypes\ndef train(context): ctypes.string_at(0)",
        "train.code include.train:train: the process crashed in native code (SIGSEGV)",
        True,
    ),
    "killed": (
        "import os\ndef train(context): os.kill(os.getpid(), 9)",
        "train.code include.train:train: the process was killed from outside (SIGKILL), most often because the "
        "machine ran out of memory; set train.resources.memory, or train on less",
        False,
    ),
    "kills its guard": (
        "import os, time\ndef train(context): os.kill(os.getppid(), 9); time.sleep(60)",
        "train.code include.train:train: the training process ended without a result; it may have been killed",
        False,
    ),
    "full disk": (
        "import errno\ndef train(context): raise OSError(errno.ENOSPC, 'No space left on device')",
        "train.code include.train:train raised OSError: [Errno 28] No space left on device (include/train.py:2)",
        False,
    ),
    "bad metric": (
        "def train(context): context.log_metric('loss', 'low')",
        "train.code include.train:train raised ValueError: log_metric: the value of 'loss' is not a number: 'low' "
        "(include/train.py:1)",
        True,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_function_is_told_what_is_wrong(run: Run, name: str) -> None:
    source, message, user = BAD[name]
    error = failing(run, source)
    assert str(error) == message
    assert error.user is user


def test_another_package_of_the_same_name_does_not_hide_the_projects_own(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "include").mkdir(parents=True)
    (tmp_path / "elsewhere" / "include" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "elsewhere"))
    assert pickle.loads(run("def train(context): return 1").model.read_bytes()) == 1


def test_a_module_that_is_not_there(run: Run, tmp_path: Path) -> None:
    error = failing(run, "def train(context): return 1", code="include.trian:train")
    looked = tmp_path / "include" / "trian.py"
    assert str(error) == (
        f"train.code include.trian:train: no module include.trian (looked for {looked}); did you mean 'train'?"
    )
    assert error.user


def test_the_traceback_holds_the_users_frames_only(run: Run) -> None:
    error = failing(run, BAD["raises"][0])
    assert error.detail.count("File ") == 2
    assert "include/train.py" in error.detail
    assert "json/decoder.py" not in error.detail
    assert "worker.py" not in error.detail


def test_a_function_that_hangs_is_stopped_with_its_children(run: Run, tmp_path: Path) -> None:
    marker = f"hang-{os.getpid()}-{time.time_ns()}"
    started = time.monotonic()
    error = failing(
        run,
        f"""
        import subprocess, sys, time
        def train(context):
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "{marker}"])
            time.sleep(600)
        """,
        timeout=timedelta(seconds=1.5),
    )
    assert str(error) == ("train.code include.train:train ran longer than train.timeout allows (1.5 s); it was stopped")
    assert error.user
    assert time.monotonic() - started < 10
    assert alive(marker) == []


def test_memory_beyond_the_limit_stops_the_tree(run: Run) -> None:
    error = failing(
        run,
        """
        import multiprocessing, time
        def fill(n):
            held = bytearray(n)
            for i in range(0, n, 4096):
                held[i] = 1
            time.sleep(60)
        def train(context):
            fork = multiprocessing.get_context("fork")
            for _ in range(2):
                fork.Process(target=fill, args=(150_000_000,)).start()
            time.sleep(60)
        """,
        resources=Resources.model_validate({"memory": "250 MB"}),
        timeout=timedelta(seconds=30),
    )
    assert str(error).startswith("train.code include.train:train used ")
    assert str(error).endswith(" MiB of memory, more than train.resources.memory allows (238 MiB); it was stopped")
    assert error.user


def test_memory_that_forked_children_share_is_counted_once(run: Run) -> None:
    result = run(
        """
        import multiprocessing, time
        def train(context):
            held = bytearray(b"x" * 150_000_000)
            fork = multiprocessing.get_context("fork")
            workers = [fork.Process(target=time.sleep, args=(1,)) for _ in range(3)]
            for w in workers: w.start()
            for w in workers: w.join()
            return len(held)
        """,
        resources=Resources.model_validate({"memory": "400 MB"}),
    )
    assert pickle.loads(result.model.read_bytes()) == 150_000_000


def test_processors_and_threads_are_limited(run: Run) -> None:
    result = run(
        """
        import os
        def train(context):
            return os.sched_getaffinity(0), os.environ["OMP_NUM_THREADS"], os.environ["POLARS_MAX_THREADS"]
        """,
        resources=Resources(cpu=1),
    )
    cpus, omp, polars = pickle.loads(result.model.read_bytes())
    assert (len(cpus), omp, polars) == (1, "1", "1")


def test_more_processors_than_there_are_is_said(run: Run, lines: list[str]) -> None:
    run("def train(context): return 1", resources=Resources(cpu=4096))
    assert lines == [f"tidemill: train.resources.cpu asks for 4096; this machine has {len(os.sched_getaffinity(0))}"]


def test_two_hundred_megabytes_of_output_fill_neither_memory_nor_log(run: Run, lines: list[str]) -> None:
    before = psutil.Process().memory_info().rss
    run(
        """
        def train(context):
            block = ("x" * 99 + "\\n") * 10_000
            for _ in range(200):
                print(block, end="")
            return 1
        """
    )
    assert len(lines) == 100_001
    assert lines[-1] == "tidemill: 190,000,000 more bytes were printed and dropped; the log keeps 10 MB"
    assert psutil.Process().memory_info().rss - before < 60_000_000


def test_children_that_outlive_the_function_are_stopped(run: Run, lines: list[str]) -> None:
    marker = f"outlive-{os.getpid()}-{time.time_ns()}"
    result = run(
        f"""
        import os, subprocess, sys
        def train(context):
            sleep = [sys.executable, "-c", "import time; time.sleep(600)", "{marker}"]
            subprocess.Popen(sleep)
            subprocess.Popen(sleep, start_new_session=True, env={{}})
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    os.execv(sys.executable, sleep)
                os._exit(0)
            return 1
        """
    )
    assert pickle.loads(result.model.read_bytes()) == 1
    assert lines == ["tidemill: 3 process(es) that the training left running were stopped"]
    assert alive(marker) == []


def test_what_orphans_of_a_killed_guard_is_swept_up(run: Run) -> None:
    marker = f"orphan-{os.getpid()}-{time.time_ns()}"
    failing(
        run,
        f"""
        import os, subprocess, sys, time
        def train(context):
            talk = "import time\\nwhile True: print('still here', flush=True); time.sleep(0.01)"
            subprocess.Popen([sys.executable, "-c", talk, "{marker}"], start_new_session=True)
            os.kill(os.getppid(), 9)
            time.sleep(600)
        """,
    )
    assert alive(marker) == []


def test_exit_handlers_run_and_threads_do_not_hold_a_finished_job(run: Run, lines: list[str]) -> None:
    run(
        """
        import atexit
        def train(context):
            atexit.register(print, "goodbye", flush=True)
            return 1
        """
    )
    assert lines == ["goodbye"]


def test_airflows_secrets_do_not_reach_the_function(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW_CONN_DB", "_AIRFLOW_X", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("MY_SETTING", "kept")
    result = run("import os\ndef train(context): return dict(os.environ)", environment={"ADDED": "1"})
    seen = pickle.loads(result.model.read_bytes())
    assert "secret" not in seen.values()
    assert (seen["MY_SETTING"], seen["ADDED"], seen["PYTHONHASHSEED"]) == ("kept", "1", "7")


def test_a_model_whose_module_does_not_pickle_is_kept_by_reference(run: Run, lines: list[str]) -> None:
    result = run(
        """
        import threading
        LOCK = threading.Lock()
        class Model:
            def predict(self):
                with LOCK:
                    return 1
        def train(context):
            return Model()
        """
    )
    assert b"include.train" in result.model.read_bytes()
    assert lines == [
        "tidemill: the project's own classes are not kept with the model, which later changes of their code will "
        "change: TypeError: cannot pickle '_thread.lock' object"
    ]


def test_params_that_are_no_plain_values(run: Run) -> None:
    error = failing(run, "def train(context): return 1", params={"a": object()})
    assert str(error) == "train.params must be plain values: Object of type object is not JSON serializable"


SLEEPER = """
import os, subprocess, sys, time
def train(context):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "{marker}"], start_new_session=True)
    print("ready")
    time.sleep(600)
"""
CALLER = """
import signal, sys, types
from pathlib import Path
sys.path[:0] = {path!r}
from tests.platforms.test_local_jobs import a_job
from tidemill.platforms.local.jobs import LocalJobs
from tidemill.platforms.ports import JobError
if {handled}:
    signal.signal(signal.SIGTERM, lambda *a: print("on_kill", flush=True))
try:
    LocalJobs().run(a_job(Path({root!r})), lambda line: print(line, flush=True))
except JobError as e:
    print(e, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(
    ("how", "handled", "last"),
    [
        (signal.SIGTERM, True, ["on_kill", "the training was cancelled"]),
        (signal.SIGTERM, False, []),
        (signal.SIGINT, False, ["interrupted"]),
        (signal.SIGKILL, False, []),
    ],
    ids=["SIGTERM handled", "SIGTERM", "SIGINT", "SIGKILL"],
)
def test_the_tree_dies_with_its_caller(tmp_path: Path, how: signal.Signals, handled: bool, last: list[str]) -> None:
    marker = f"caller-{os.getpid()}-{time.time_ns()}"
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text(SLEEPER.format(marker=marker))
    here = Path(__file__).resolve().parents[2]
    source = CALLER.format(path=[str(here), str(here / "plugins")], handled=handled, root=str(tmp_path))
    caller = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "ready\n"
    wait_for(lambda: len(alive(marker)) == 1, 10)
    caller.send_signal(how)
    out, _ = caller.communicate(timeout=30)
    assert out.splitlines() == last
    job = str(tmp_path / "work" / "output.job.json")
    wait_for(lambda: not alive(marker) and not alive(job), 10)


def test_an_exception_out_of_the_log_stops_the_job(run: Run, tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    marker = f"log-{os.getpid()}-{time.time_ns()}"
    (tmp_path / "include" / "train.py").write_text(SLEEPER.format(marker=marker))

    def log(line: str) -> None:
        raise RuntimeError("the log is closed")

    with pytest.raises(RuntimeError, match="the log is closed"):
        LocalJobs().run(a_job(tmp_path), log)
    assert alive(marker) == []


def test_a_job_may_be_run_by_a_thread(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): return 5")
    done: list[JobResult] = []
    thread = threading.Thread(target=lambda: done.append(LocalJobs().run(a_job(tmp_path), lines.append)))
    thread.start()
    thread.join(30)
    assert pickle.loads(done[0].model.read_bytes()) == 5
