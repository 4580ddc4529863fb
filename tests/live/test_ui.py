"""What a person sees in Airflow's pages, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.browser import Ui, signed_in
from tests.live.conftest import SPEC, Live

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def ui(live: Live) -> Iterator[Ui]:
    address = live.address
    with signed_in(address.airflow, address.user, address.password) as page:
        yield page


def test_a_dag_with_its_documentation_its_yaml_and_a_finished_run(live: Live, ui: Ui) -> None:
    live.dag_file("seen.yaml", SPEC)
    live.wait_for_dag("seen")
    run = live.api.start("seen", "by-hand", {})["dag_run_id"]
    live.finish("seen", run)

    ui.open(f"/dags/seen/runs/{run}", "promote")
    assert "Success" in ui.text()
    ui.open("/dags/seen/code", "Rows that were made up")
    assert "tidemill: 1" in ui.text()
    ui.open("/dags/seen", "seen")
    ui.page.get_by_role("button", name="Dag Docs").first.click()
    ui.page.get_by_text("Code tab shows it").first.wait_for(timeout=15_000)


def test_a_broken_specs_import_error_in_full(live: Live, ui: Ui) -> None:
    path = live.dag_file("unseen.yaml", SPEC.replace("roc_auc: {at_least", "roc_acu: {at_least"))
    try:
        live.wait_for("its import error", lambda: any("unseen" in e for e in live.api.import_errors().values()))
        ui.open("/", "Dag Import Error")
        ui.page.get_by_text("Dag Import Error").first.click()
        ui.page.get_by_text("tidemill_errors.py").first.click()
        ui.page.get_by_text('did you mean "roc_auc"?').first.wait_for(timeout=15_000)
        assert 'dags/unseen.yaml:13:10: promote.when: unknown metric "roc_acu"' in ui.text()
    finally:
        path.unlink()


def test_the_drift_report_opens_from_its_task(live: Live, ui: Ui) -> None:
    live.wait_for_dag("watched.monitor")
    live.finish("watched", live.api.start("watched", None, {"as_of": "2020-03-01"})["dag_run_id"])
    run = live.api.start("watched.monitor", "march", {"as_of": "2020-04-01"})["dag_run_id"]
    live.finish("watched.monitor", run)

    ui.open(f"/dags/watched.monitor/runs/{run}/tasks/monitor/details", "Drift report")
    ui.page.get_by_text("Drift report").first.click()
    ui.page.get_by_text("Columns, worst first").first.wait_for(timeout=15_000)
    assert ui.page.url.endswith("/tidemill/reports/watched.monitor/march")
    assert "1 of 2 columns has drifted" in ui.text()
    assert ui.page.locator("svg").count() > 1
