"""`tidemill run` of workflows, and of pipelines with steps of their own, by Airflow's in-process runner."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TASKS = """\
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[1] / "out"


def note(name: str, **said: Any) -> None:
    OUT.mkdir(exist_ok=True)
    with (OUT / name).open("a") as file:
        file.write(json.dumps(said, sort_keys=True) + "\\\\n")


def mark(name: str) -> None:
    note("order", step=name)


def facts(n: int) -> dict[str, Any]:
    return {"rows": n, "countries": ["dk", "no"]}


def untyped(n):
    return {"rows": n, "list": [1, 2]}


def countries() -> list[str]:
    return ["dk", "no"]


def choose(rows: int) -> str:
    return "many" if rows > 5 else "few"


def goes_on(rows: int) -> bool:
    return rows > 100


def work(country: str, factor: int = 1):
    note("work", country=country, factor=factor)
    return {"country": country, "factor": factor}


def check(found: Any, text: str, whole: Any = None) -> None:
    note("check", found=found, text=text, whole=whole)


def gather(many: list[Any]) -> None:
    note("gather", many=sorted(f"{one['country']}{one['factor']}" for one in many))


def nothing() -> None:
    return None


def page(context: Any, team: str = "ops") -> None:
    note("page", task=context["ti"].task_id, team=team)
"""

FLOW = """\
tidemill: 1
user_defined_macros: {currency: EUR}
params: {limit: 7}
steps:
  up: {python: "include.tasks:mark", setup: true, with: {name: up}}
  facts: {python: "include.tasks:facts", after: up, with: {n: 9}}
  untyped: {python: "include.tasks:untyped", after: up, with: {n: 3}}
  branch: {python: "include.tasks:choose", decorator: branch, with: {rows: "{{ steps.facts.rows }}"}}
  many:
    operator: BashOperator
    after: branch
    with: {bash_command: "echo {{ currency }} {{ params.limit }} {{ steps.untyped.rows }} {{ as_of }}"}
  few: {python: "include.tasks:mark", after: branch, with: {name: few}}
  stop: {python: "include.tasks:goes_on", decorator: short_circuit, with: {rows: "{{ steps.facts.rows }}"}}
  stopped: {python: "include.tasks:mark", after: stop, with: {name: stopped}}
  countries: {python: "include.tasks:countries", after: facts}
  work:
    python: include.tasks:work
    for_each: {country: "{{ steps.countries }}", factor: [1, 10]}
    map_index_template: "{{ country }}"
  gather: {python: "include.tasks:gather", with: {many: "{{ steps.work }}"}}
  pairs:
    python: include.tasks:work
    for_each: [{country: it, factor: 5}, {country: at, factor: 6}]
  each:
    for_each: {country: "{{ steps.countries }}"}
    steps:
      load: {python: "include.tasks:work", with: {country: "{{ each.country }}", factor: 100}}
      after:
        python: include.tasks:check
        with: {found: "{{ steps.load.factor }}", text: "{{ steps.load.country }}!"}
  check:
    python: include.tasks:check
    with: {found: "{{ steps.untyped.rows }}", text: "{{ steps.many }} {{ steps.untyped.list }}",
           whole: "{{ steps.facts }}"}
  down: {python: "include.tasks:mark", after: [gather, each, check], teardown: {of: up}, with: {name: down}}
"""

MISSING = """\
tidemill: 1
steps:
  nothing: {python: "include.tasks:nothing"}
  facts: {python: "include.tasks:facts", with: {n: 1}}
  text: {operator: BashOperator, with: {bash_command: "echo {{ steps.nothing }}"}}
  alone: {python: "include.tasks:mark", with: {name: "{{ steps.nothing }}"}}
  part:
    python: include.tasks:mark
    on_failure: {callback: "include.tasks:page", with: {team: sales}}
    with: {name: "{{ steps.facts.missing }}"}
  down: {python: "include.tasks:mark", after: [text, alone, part], trigger_rule: all_done, with: {name: down}}
"""

FOLLOWERS = """\
steps:
  before: {operator: BashOperator, after: data, before: train, with: {bash_command: "echo {{ steps.data.version }}"}}
  told: {python: "include.tasks:check", after: promote,
         with: {found: "{{ steps.promote.version }}", text: "{{ as_of }}"}}
  told_group:
    after: promote
    steps:
      one: {python: "include.tasks:mark", with: {name: group}}
      two: {python: "include.tasks:mark", after: one, with: {name: "{{ steps.evaluate.rows }}"}}
  refused: {python: "include.tasks:check", after: {promote: refused},
            with: {found: "{{ steps.promote.reasons }}", text: "{{ steps.promote.outcome }}"}}
"""


def tidemill(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "TIDEMILL", "MLFLOW"))}
    command = [sys.executable, "-m", "tidemill.cli.main", *arguments]
    return subprocess.run(
        command, cwd=root, env=clean, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280, check=False
    )


def written(root: Path, name: str) -> list[dict[str, Any]]:
    """What the steps wrote, each run anew."""
    file = root / "out" / name
    lines = file.read_text().splitlines() if file.is_file() else []
    return [json.loads(line) for line in lines]


def ran(root: Path, name: str, text: str, as_of: str = "2024-02-01") -> dict[str, Any]:
    """What `tidemill run --json` tells of a spec."""
    (root / "dags").mkdir(exist_ok=True)
    (root / "include").mkdir(exist_ok=True)
    (root / "include" / "tasks.py").write_text(TASKS.replace("\\\\n", "\\n"))
    (root / "dags" / f"{name}.yaml").write_text(text)
    for file in (root / "out").glob("*"):
        file.unlink()
    done = tidemill(root, "run", f"dags/{name}.yaml", "--as-of", as_of, "--json")
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_workflow_of_every_sort_of_step(tmp_path: Path) -> None:
    told = ran(tmp_path, "flow", FLOW)
    states = {name: task["state"] for name, task in told["tasks"].items()}
    assert set(states.values()) == {"success"}
    assert {"few", "stopped"}.isdisjoint(states)
    assert len(states) == 14
    # The setup first, the teardown last, and what a branch or a short-circuit leaves out never.
    assert [line["step"] for line in written(tmp_path, "order")] == ["up", "down"]
    # Each with each; the pairs; and the group's, each with its own country.
    assert sorted((line["country"], line["factor"]) for line in written(tmp_path, "work")) == [
        ("at", 6), ("dk", 1), ("dk", 10), ("dk", 100), ("it", 5), ("no", 1), ("no", 10), ("no", 100),
    ]  # fmt: skip
    assert written(tmp_path, "gather") == [{"many": ["dk1", "dk10", "no1", "no10"]}]
    # What stands alone keeps its type, whatever the function's annotation says; inside text it is text.
    checks = sorted(written(tmp_path, "check"), key=lambda line: str(line["text"]))
    assert checks == [
        {"found": 3, "text": "EUR 7 3 2024-02-01T00:00:00+00:00 [1, 2]",
         "whole": {"countries": ["dk", "no"], "rows": 9}},
        {"found": 100, "text": "dk!", "whole": None},
        {"found": 100, "text": "no!", "whole": None},
    ]  # fmt: skip


def test_a_result_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    told = ran(tmp_path, "missing", MISSING)
    states = {name: task["state"] for name, task in told["tasks"].items()}
    assert states == {
        "nothing": "success", "facts": "success", "text": "failed", "alone": "failed", "part": "failed",
        "down": "success",
    }  # fmt: skip
    assert written(tmp_path, "page") == [{"task": "part", "team": "sales"}]
    log = (tmp_path / ".tidemill/try/missing/airflow-run/last-run.log").read_text()
    assert "steps.nothing: the step has no result in manual__" in log
    assert "steps.facts.missing: the step returned a mapping without it" in log


@pytest.mark.parametrize(
    ("gate", "outcome", "ran_", "skipped"),
    [
        ("at_least: 0.5", "promoted", {"told", "told_group.one", "told_group.two"}, {"refused"}),
        ("at_least: 0.9999", "refused", {"refused"}, {"told", "told_group.one", "told_group.two"}),
    ],
)
def test_steps_after_promote_run_on_their_outcome(
    gate: str, outcome: str, ran_: set[str], skipped: set[str], tmp_path: Path
) -> None:
    assert tidemill(tmp_path, "new", "churn").returncode == 0
    spec = (tmp_path / "dags" / "churn.yaml").read_text()
    gated, count = re.subn(r"  when:\n(    .*\n)+", f"  when: {{roc_auc: {{{gate}}}}}\n", spec)
    assert count == 1
    told = ran(tmp_path, "churn", gated + FOLLOWERS, as_of="2026-01-01")
    states = {name: task["state"] for name, task in told["tasks"].items()}
    assert states["promote"] == "success"
    assert {name for name in states if states[name] == "success"} >= ran_ | {"before"}
    assert set(states.values()) == {"success"}
    assert skipped.isdisjoint(states)
    if outcome == "promoted":
        assert written(tmp_path, "check") == [{"found": "1", "text": "2026-01-01T00:00:00+00:00", "whole": None}]
    else:
        (line,) = written(tmp_path, "check")
        assert line["text"] == "refused"
        assert any("0.9999" in reason for reason in line["found"])
