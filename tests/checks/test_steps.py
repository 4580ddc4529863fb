"""What a task's own process looks at of its pipeline's steps."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SPEC = """\
tidemill: 1
steps:
  defaults: {operator: airflow.providers.http.operators.http.HttpOperator, with: {endpoint: x}}
  alone: {operator: BashOperator, with: {bash_command: x}}
  group:
    defaults:
      on_failure: {notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier, with: {to: ops@example.org}}
    steps:
      inside: {operator: EmptyOperator}
"""
HTTP = "airflow.providers.http.operators.http"
SMTP = "airflow.providers.smtp.notifications.smtp"
ASKS = """\
import json, sys
from pathlib import Path
import airflow.sdk
from tidemill.project import Project
from tidemill.verdict import judge
file = Path(sys.argv[1])
verdict = judge(file, file.parent, Project.of(file.parent), file.read_bytes(), None, sys.argv[2])
assert verdict.plans, verdict.errors
print(json.dumps([name in sys.modules for name in sys.argv[3:]]))
"""


@pytest.mark.parametrize(
    ("task", "imported"),
    [
        pytest.param("alone", [False, False], id="another step is called defaults"),
        pytest.param("group.inside", [False, True], id="the defaults of its group are its own"),
    ],
)
def test_a_task_imports_what_it_and_the_defaults_around_it_name_alone(
    task: str, imported: list[bool], tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    file = tmp_path / "dags" / "flow.yaml"
    file.write_text(SPEC, encoding="utf-8")
    command = [sys.executable, "-c", ASKS, str(file), task, HTTP, SMTP]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == imported
