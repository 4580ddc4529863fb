"""Airflow's pages in the machine's own Chromium, for tests and for the pictures in the documentation.

python -m tests.live.browser     takes the pictures of a finished `make run` into docs/images
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx

from tidemill.cli.airflow_api import NotFound

_WORKFLOW = """\
tidemill: 1
description: Sales by country.
schedule: once
start: 2013-01-01
defaults: {retries: 1, retry_delay: 1 s}
steps:
  wait: {operator: TimeDeltaSensor, with: {delta: 1 s}}
  countries: {operator: BashOperator, after: wait, with: {bash_command: "echo dk no se"}}
  load:
    after: countries
    steps:
      rows: {operator: BashOperator, for_each: {bash_command: ["echo dk", "echo no", "echo se"]}}
      check: {operator: BashOperator, after: rows, with: {bash_command: "echo checked"}}
  weather: {operator: BashOperator, after: wait, with: {bash_command: "echo 12 degrees"}}
  report: {operator: BashOperator, after: [load, weather], with: {bash_command: "echo {{ steps.weather }} {{ as_of }}"}}
"""

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
SCREEN: Final = {"width": 1440, "height": 860}
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run")


class Ui:
    """One signed-in browser page."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self._address = address.rstrip("/")

    def open(self, path: str, *shows: str) -> None:
        """Open a page of Airflow and wait until it shows each of the texts."""
        self.page.goto(f"{self._address}{path}")
        for text in shows:
            self.page.get_by_text(text).first.wait_for(timeout=30_000)

    def text(self) -> str:
        """All the text of the page, with plain spaces."""
        return str(self.page.locator("body").inner_text()).replace("\xa0", " ")

    def picture(self, file: Path) -> None:
        """Take a picture of what is on the screen, once nothing moves any more."""
        self.page.wait_for_timeout(1_500)
        file.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=file)


@contextmanager
def signed_in(address: str, user: str, password: str) -> Iterator[Ui]:
    """A browser page that is signed in to Airflow at ``address``."""
    from playwright.sync_api import sync_playwright

    token = httpx.post(
        f"{address}/auth/token", json={"username": user, "password": password}, timeout=30, trust_env=False
    ).raise_for_status()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        context = browser.new_context(viewport=SCREEN, color_scheme="light")
        context.add_cookies([{"name": "_token", "value": token.json()["access_token"], "url": address}])
        try:
            yield Ui(context.new_page(), address)
        finally:
            browser.close()


def take_pictures(root: Path) -> None:
    """The pictures of the demonstration, from the Airflow that ``make run`` left running in a checkout."""
    from tidemill.airflow.addresses import report_path
    from tidemill.cli.airflow_api import connect
    from tidemill.cli.local_stack import LocalStack

    images = root / "docs" / "images"
    stack = LocalStack.read(root / ".tidemill")
    assert stack is not None, "nothing is running here: make run"
    api = connect(root / ".tidemill", url=stack.airflow)
    run = next(r["dag_run_id"] for r in api.runs("flight_delays") if "2013-10-01" in r["dag_run_id"])
    broken = root / "dags" / "broken.yaml"
    with signed_in(stack.airflow, stack.user, stack.password) as ui:
        ui.open("/dags", "flight_delays.monitor")
        ui.picture(images / "dags.png")
        ui.open(f"/dags/flight_delays/runs/{run}", "promote")
        ui.page.get_by_label("Show Graph (Press g)").first.click()
        ui.picture(images / "dag.png")
        ui.open("/dags/flight_delays/code", "which departures".capitalize())
        ui.picture(images / "code.png")
        ui.open("/dags/flight_delays", "flight_delays")
        ui.page.get_by_role("button", name="Dag Docs").first.click()
        ui.page.get_by_text("Code tab shows it").first.wait_for()
        ui.picture(images / "docs.png")
        months = {r["dag_run_id"][8:18]: r["dag_run_id"] for r in api.runs("flight_delays.monitor")}
        for month, name, height in (("2013-08-01", "drift-report", 1434), ("2013-12-01", "performance-report", 940)):
            ui.page.set_viewport_size({"width": 1440, "height": height})
            ui.open(report_path("flight_delays.monitor", months[month]), "Columns, worst first")
            ui.picture(images / f"{name}.png")
        ui.page.set_viewport_size(SCREEN)
        broken.write_text(
            (root / "dags" / "flight_delays.yaml").read_text().replace("when:\n    roc_auc:", "when:\n    roc_acu:")
        )
        try:
            while not any("broken.yaml" in text for text in api.import_errors().values()):
                ui.page.wait_for_timeout(500)
            ui.open("/", "Dag Import Error")
            ui.page.get_by_text("Dag Import Error").first.click()
            ui.page.get_by_text("tidemill_errors.py").first.click()
            ui.page.get_by_text("unknown metric").first.wait_for()
            ui.picture(images / "import-error.png")
        finally:
            broken.unlink()
        _workflow(ui, api, root / "dags" / "sales.yaml", images / "workflow.png")
    api.close()


def _workflow(ui: Ui, api: Any, spec: Path, picture: Path) -> None:
    """The picture of a DAG of steps alone, run once."""
    spec.write_text(_WORKFLOW)
    try:
        runs: list[dict[str, Any]] = []
        while not any(run["state"] == "success" for run in runs):
            ui.page.wait_for_timeout(1_000)
            with suppress(NotFound):
                runs = list(api.runs("sales"))
        ui.open(f"/dags/sales/runs/{runs[0]['dag_run_id']}", "report")
        ui.page.get_by_label("Show Graph (Press g)").first.click()
        ui.picture(picture)
    finally:
        spec.unlink()


if __name__ == "__main__":
    take_pictures(Path.cwd())
