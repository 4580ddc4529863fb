"""The address of a drift report: who is refused, what is not there, and that a page cannot do anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi import HTTPException, Request
from starlette.testclient import TestClient


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The pages as a caller sees them who may see DAGs whose id begins with "mine"."""
    import tidemill.web.app as web

    monkeypatch.setenv("TIDEMILL_ROOT", str(tmp_path))
    monkeypatch.setenv("TIDEMILL_STATE", str(tmp_path / "state"))
    route = next(r for r in web.app.routes if getattr(r, "path", "").startswith("/reports"))
    (guard,) = [d.dependency for d in route.dependencies]  # type: ignore[attr-defined]

    def allowed(request: Request) -> None:
        if not request.path_params["dag_id"].startswith(("mine", ".")):
            raise HTTPException(403)

    # Airflow's own guard, which needs its database, is asked in the test with real servers.
    monkeypatch.setitem(web.app.dependency_overrides, guard, allowed)
    return TestClient(web.app)


def written(tmp_path: Path, dag_id: str, run_id: str, text: str = "<h1>report</h1>") -> None:
    from tidemill.project import Project

    file = Project(tmp_path, tmp_path / "state").run_folder(dag_id, run_id) / "monitor" / "report.html"
    file.parent.mkdir(parents=True)
    file.write_text(text)


RUN = "scheduled__2013-08-01T00:00:00+00:00"


def test_a_report_is_shown_as_a_page_in_which_nothing_runs(client: Any, tmp_path: Path) -> None:
    from tidemill.airflow.addresses import PREFIX, report_path

    written(tmp_path, "mine.monitor", RUN)
    answer = client.get(report_path("mine.monitor", RUN).removeprefix(PREFIX))
    assert (answer.status_code, answer.text) == (200, "<h1>report</h1>")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "script" not in policy


def test_a_stranger_is_refused_before_anything_is_looked_for(client: Any, tmp_path: Path) -> None:
    written(tmp_path, "theirs.monitor", RUN)
    assert client.get(f"/reports/theirs.monitor/{RUN}").status_code == 403
    assert client.get("/reports/theirs.monitor/none").status_code == 403


@pytest.mark.parametrize("dag_id", ["mine.monitor", "mine%20monitor", "..", "%2e%2e", "mine%00", "mine" * 100])
def test_what_is_not_there_is_not_found(client: Any, dag_id: str) -> None:
    assert client.get(f"/reports/{dag_id}/run").status_code == 404


@pytest.mark.parametrize("run_id", ["../../secret", "..%2f..%2fsecret", "/etc/passwd", "a/../../../x"])
def test_a_run_id_leads_to_its_own_folder_only(client: Any, tmp_path: Path, run_id: str) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "secret").write_text("secret")
    assert client.get(f"/reports/mine/{run_id}").status_code == 404


def test_a_link_out_of_the_state_folder_is_not_followed(client: Any, tmp_path: Path) -> None:
    written(tmp_path, "mine", "run")
    file = next((tmp_path / "state" / "runs").rglob("report.html"))
    file.unlink()
    outside = tmp_path / "outside.html"
    outside.write_text("secret")
    file.symlink_to(outside)
    assert client.get("/reports/mine/run").status_code == 404


def test_the_pages_are_not_imported_with_the_plugin() -> None:
    import subprocess
    import sys

    code = "import sys; import tidemill.airflow.plugin; print([m for m in sys.modules if m.startswith('tidemill.web')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
