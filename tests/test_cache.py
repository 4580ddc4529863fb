"""The cache of verdicts: what makes an entry none, what invalidates it, that it is never required."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.spec.test_load import BASE
from tidemill import cache, verdict
from tidemill.cache import VerdictCache
from tidemill.entries import digest
from tidemill.plan.model import Plan
from tidemill.project import Project
from tidemill.spec.errors import SpecError
from tidemill.verdict import Verdict

ROOT = Path(__file__).parents[1]
EXPECTING = BASE.replace("  source:", "  expect: include/suite.yaml\n  source:")


class World:
    """A project with one pipeline, and how often it was judged."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project = Project(root, root / ".tidemill")
        self.dags = root / "dags"
        self.file = self.dags / "flights.yaml"
        self.judged = 0
        (root / "include").mkdir()
        self.dags.mkdir()
        self.write("include/train.py", "def train(context): ...\n")
        suite = "expectations:\n- {type: expect_column_to_exist, column: id}\n"
        self.write("include/suite.yaml", suite)
        self.write("dags/flights.yaml", EXPECTING)
        real = verdict.judge

        def counting(*args: object, **options: object) -> Verdict:
            self.judged += 1
            return real(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(verdict, "judge", counting)

    def write(self, name: str, text: str) -> None:
        """Write a file of the project, a while ago: one that has just changed is not trusted yet."""
        path = self.project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        then = time.time_ns() - 10**9
        os.utime(path, ns=(then, then))

    def ask(self, check: cache.Check | None = None, project: Project | None = None, row: str | None = None) -> Verdict:
        asked = VerdictCache(project or self.project, check)
        return asked.verdict(self.file, self.dags, self.file.read_bytes(), row)

    def entry(self) -> Path:
        (found,) = (self.project.state / "cache").rglob("*.json")
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_an_unchanged_spec_is_judged_once(world: World) -> None:
    first, second = world.ask(), world.ask()
    assert world.judged == 1
    assert first == second
    assert len(second.plans) == 1


def test_mistakes_are_kept_as_they_were(world: World) -> None:
    world.write("dags/flights.yaml", BASE + "öxtra: 1\n")
    first, second = world.ask(), world.ask()
    assert world.judged == 1
    assert first == second
    assert second.errors[0].render().startswith('dags/flights.yaml:10:1: unknown key "öxtra"')


# What invalidates


@pytest.mark.parametrize(
    ("name", "text", "sound"),
    [
        ("dags/flights.yaml", EXPECTING + "extra: 1\n", False),
        ("dags/flights.yaml", EXPECTING + "# a comment\n", True),
        ("dags/defaults.yaml", "extra: 1\n", False),
        ("include/train.py", "def trains(context): ...\n", False),
        ("include/suite.yaml", "expectations: []\n", False),
    ],
)
def test_a_change_of_any_file_it_depends_on_is_seen(world: World, name: str, text: str, sound: bool) -> None:
    assert world.ask().errors == ()
    world.write(name, text)
    assert (world.ask().errors == ()) is sound
    assert world.judged == 2
    assert (world.ask().errors == ()) is sound
    assert world.judged == 2


@pytest.mark.parametrize("name", ["include/train.py", "include/suite.yaml"])
def test_a_file_that_goes_and_comes_back_is_seen(world: World, name: str) -> None:
    text = (world.project.root / name).read_text()
    world.ask()
    (world.project.root / name).unlink()
    assert world.ask().errors
    world.write(name, text)
    assert world.ask().errors == ()
    assert world.judged == 3


def test_defaults_that_come_and_go_are_seen(world: World) -> None:
    world.ask()
    world.write("dags/defaults.yaml", "owner: ops\n")
    (plan,) = world.ask().plans
    assert plan.owner == "ops"
    (world.dags / "defaults.yaml").unlink()
    (plan,) = world.ask().plans
    assert plan.owner == "tidemill"
    assert world.judged == 3


def test_the_same_file_in_another_project_is_judged_anew(world: World, tmp_path: Path) -> None:
    world.ask()
    other = Project(tmp_path / "other", world.project.state)
    assert world.ask(project=other).errors
    assert world.judged == 2


def test_another_version_is_judged_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.ask()
    monkeypatch.setattr(cache, "version_tag", lambda: "another")
    assert world.ask().plans
    assert world.judged == 2


def test_a_file_that_changes_while_it_is_judged_is_not_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = verdict.judge

    def changes(*args: object, **options: object) -> Verdict:
        found = real(*args, **options)  # type: ignore[arg-type]
        (world.project.root / "include" / "train.py").write_text("def train(context, more): ...\n")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(verdict, "judge", changes)
        assert world.ask().errors == ()
    assert world.ask().errors


# Environments, templates, rows


def test_the_settings_that_a_verdict_depends_on_are_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEMILL_ENVIRONMENT", raising=False)
    world.write("dags/flights.yaml", BASE + "environments: {prod: {owner: ops}}\n")
    owners = []
    for chosen in ("", "prod", "", "prod"):
        monkeypatch.setenv("TIDEMILL_ENVIRONMENT", chosen)
        owners += [plan.owner for plan in world.ask().plans]
    assert owners == ["tidemill", "ops", "tidemill", "ops"]
    judged = world.judged
    monkeypatch.setenv("AIRFLOW__TIDEMILL__ALLOW", "acme.*")
    world.ask()
    assert world.judged == judged + 1


def test_a_change_of_the_template_is_seen(world: World) -> None:
    template = BASE.replace("tidemill: 1\n", "tidemill: 1\nparameters: {o: {type: text}}\nowner: '${with.o}'\n")
    world.write("dags/flights.yaml", "tidemill: 1\nuses: templates/t.yaml\nwith: {o: ops}\n")
    assert [error.message for error in world.ask().errors] == ['there is no file "templates/t.yaml" in the DAG folder']
    world.write("dags/templates/t.yaml", template)
    assert [plan.owner for plan in world.ask().plans] == ["ops"]
    world.write("dags/templates/t.yaml", template.replace("'${with.o}'", "'the ${with.o}'"))
    assert [plan.owner for plan in world.ask().plans] == ["the ops"]
    assert world.ask() == world.ask()
    assert world.judged == 3


ROWS = BASE + "owner: '${row.owner}'\nmatrix:\n  a: {owner: x}\n  b: {owner: 5}\n  c: {owner: z}\n"


def test_one_row_is_read_from_the_entry_without_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("dags/flights.yaml", ROWS)
    whole = world.ask()
    assert [plan.pipeline for plan in whole.plans] == ["flights.a", "flights.c"]
    assert len(whole.errors) == 1
    assert world.ask() == whole
    read: list[str] = []
    real = Plan.from_json.__func__  # type: ignore[attr-defined]

    def counting(value: dict[str, Any]) -> Plan:
        read.append(value["pipeline"])
        return real(Plan, value)  # type: ignore[no-any-return]

    monkeypatch.setattr(Plan, "from_json", counting)
    assert world.ask(row="c").plans == whole.plans[1:]
    assert world.ask(row="b").plans == ()
    assert world.ask(row="b").errors == whole.errors
    assert read == ["flights.c"]
    assert world.judged == 1


def test_one_row_that_is_not_kept_is_judged_alone_and_not_kept(world: World) -> None:
    world.write("dags/flights.yaml", ROWS)
    assert [plan.owner for plan in world.ask(row="c").plans] == ["z"]
    assert not (world.project.state / "cache").exists()
    assert [plan.owner for plan in world.ask().plans] == ["x", "z"]


def test_a_damaged_row_is_judged_and_the_others_are_not_looked_at(world: World) -> None:
    world.write("dags/flights.yaml", ROWS)
    whole = world.ask()
    data = world.entry().read_bytes()
    world.entry().write_bytes(data[:-200] + b"x" * 200)
    assert world.ask(row="a").plans == whole.plans[:1]
    assert world.judged == 1
    assert world.ask(row="c").plans == whole.plans[1:]
    assert world.judged == 2


def test_a_row_that_airflow_refuses_does_not_take_the_others_with_it(world: World) -> None:
    world.write("dags/flights.yaml", ROWS)
    verdict = world.ask(lambda plan, file: refuses(plan, file) if plan.pipeline == "flights.a" else ())
    assert [plan.pipeline for plan in verdict.plans] == ["flights.c"]
    assert [error.message for error in verdict.errors][-1] == "cannot be taken"


# The further check


def refuses(plan: Plan, file: Path) -> tuple[SpecError, ...]:
    return (SpecError(plan.file, 1, 1, "", "cannot be taken"),)


def test_the_checks_answer_is_kept_with_the_verdict(world: World) -> None:
    asked: list[str] = []

    def passes(plan: Plan, file: Path) -> tuple[SpecError, ...]:
        asked.append(plan.pipeline)
        return ()

    world.ask(passes)
    world.ask(passes)
    assert asked == ["flights"]
    world.ask()
    assert world.judged == 1


def test_a_verdict_without_the_check_does_not_do_for_one_with_it(world: World) -> None:
    assert world.ask().errors == ()
    assert [error.message for error in world.ask(refuses).errors] == ["cannot be taken"]
    assert world.ask().plans == ()


# Entries that are none


def _truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flip(data: bytes) -> bytes:
    return data.replace(b'"flights"', b'"flight5"', 1)


def _of_other_types(data: bytes) -> bytes:
    digest, head, plan = data.split(b"\n")
    value = json.loads(plan)
    value["dags"][0]["tasks"][0]["upstream"] = "as_of"
    return b"\n".join((digest, head, json.dumps(value | {"pipeline": 5}).encode()))


@pytest.mark.parametrize(
    "damage",
    [
        _truncate,
        _flip,
        _of_other_types,
        lambda data: b"",
        lambda data: b"\n",
        lambda data: b"\0" * len(data),
        lambda data: data + b" ",
        lambda data: b"[" * 100_000,
        lambda data: "{}".encode("utf-16"),
        lambda data: data.partition(b"\n")[2],
    ],
    ids=["truncated", "flipped", "types", "empty", "newline", "zeros", "appended", "nested", "utf16", "undigested"],
)
def test_a_damaged_entry_is_none_and_is_replaced(world: World, damage: Callable[[bytes], bytes]) -> None:
    first = world.ask()
    whole = world.entry().read_bytes()
    world.entry().write_bytes(damage(whole))
    assert world.ask() == first
    assert world.judged == 2
    assert world.entry().read_bytes() == whole


def _entry(head: Any, *plans: Any) -> bytes:
    """An entry as it would be written, whatever is in it."""
    lines = [json.dumps(plan).encode() for plan in plans]
    if isinstance(head, dict) and plans:
        head = head | {"plans": [("flights", len(line), digest(line).decode()) for line in lines]}
    text = json.dumps(head).encode()
    return b"\n".join((digest(text), text, *lines))


def test_a_whole_entry_of_another_form_is_none(world: World) -> None:
    """As another version might have left it, were its tag the same."""
    first = world.ask()
    _, head, plan = map(json.loads, (b'""\n' + world.entry().read_bytes().partition(b"\n")[2]).split(b"\n"))
    assert world.judged == 1
    for judged, changed in enumerate(
        (
            _entry(head, {}),
            _entry(head | {"errors": [{"file": "x"}]}, plan),
            _entry(head | {"files": None}, plan),
            _entry(head, {**plan, "dags": [{}]}),
            _entry(head | {"plans": [["flights", 10**9, ""]]}),
            _entry(head | {"plans": [["flights", -1, ""]]}),
            _entry({}),
            _entry([]),
            _entry(None),
        ),
        start=2,
    ):
        world.entry().write_bytes(changed)
        assert world.ask() == first
        assert world.judged == judged


# Folders and disks that do not help


def test_nothing_can_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    monkeypatch.setattr(os, "makedirs", refuse)
    assert world.ask().plans
    assert world.ask().plans
    assert world.judged == 2


def test_the_state_folder_is_a_file(world: World) -> None:
    world.project.state.write_text("not a folder")
    assert world.ask().plans


def test_a_full_disk_leaves_no_half_entry_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    class Full:
        def __init__(self, handle: int, mode: str) -> None:
            self.file = real(handle, mode)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[:100])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache.os, "fdopen", Full)
        assert world.ask().plans
    assert [path for path in (world.project.state / "cache").rglob("*") if path.is_file()] == []
    assert world.ask().plans
    assert world.entry().is_file()


_WORKER = """
    import sys
    from pathlib import Path
    from tidemill.cache import VerdictCache
    from tidemill.project import Project
    root = Path(sys.argv[1])
    file = root / "dags" / "flights.yaml"
    found = set()
    for turn in range(int(sys.argv[2])):
        data = file.read_bytes() + (b"# %d\\n" % (turn % 3))
        verdict = VerdictCache(Project(root, root / ".tidemill")).verdict(file, root / "dags", data)
        found.add((*(plan.spec_hash for plan in verdict.plans), len(verdict.errors)))
    print(found)
"""


def test_many_processes_at_once_all_get_the_right_verdict(world: World) -> None:
    (plan,) = world.ask().plans
    command = [sys.executable, "-c", textwrap.dedent(_WORKER), str(world.project.root), "60"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}
    started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out.strip() == str({(plan.spec_hash, 0)})
    assert not list((world.project.state / "cache").rglob("*.new"))


def test_an_entry_is_replaced_and_not_added_to(world: World) -> None:
    for turn in range(5):
        world.write("dags/flights.yaml", EXPECTING + f"# {turn}\n")
        world.ask()
    assert world.entry().is_file()
