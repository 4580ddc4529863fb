"""The retraining policy under the real scheduler: monitor → event → decision → gate, each reason where people look."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import polars as pl
import pytest

from tests.live.conftest import SPEC, Live
from tidemill.airflow.addresses import report_path

# An Airflow of its own for minutes: beside the other one of `make test` neither would come to anything.
pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.timeout(900)]

MONITORED = (
    SPEC.replace("platform: {provider: local}", "platform: {provider: local, price: 3600 USD}").replace(
        "include/rows.parquet", "include/shards"
    )
    + """
monitor:
  window: 5 d
  partitions: 2
  drift: {at_least: 0.2, share: 50%, columns: [first, second]}
"""
)
"""From March on every window of this pipeline has drifted from what its champion has seen. Its source is a folder."""

POLICY: Mapping[str, str] = {
    "triggers": "[drift, asset]",
    "assets": "[{name: orders, uri: 's3://acme/orders'}]",
    "cooldown": "3 d",
    "at_most": "3 per month",
    "budget": "100000 USD per month",
    "min_rows": "1440",  # so many hours has a month of 30 days, twice; February has fewer
    "quiet_hours": '[{from: "00:00", to: "24:00", days: [sat]}]',
    "veto": "[data_quality]",
    "stop_after": "5",
}

UPSTREAM = """
from airflow.sdk import DAG, Asset, Metadata, task

orders = Asset("orders", uri="s3://acme/orders")

with DAG("upstream", schedule=None, params={"as_of": ""}):

    @task(outlets=[orders])
    def load(params):
        yield Metadata(orders, {"as_of": params["as_of"]})

    load()
"""


@pytest.fixture(scope="module", autouse=True)
def shards(live: Live) -> Path:
    """The rows as several writers have written them: four files, each of them with rows of every time."""
    folder = live.project.root / "include" / "shards"
    folder.mkdir()
    rows = pl.read_parquet(live.project.root / "include" / "rows.parquet")
    for number in range(4):
        rows.gather_every(4, number).write_parquet(folder / f"{number}.parquet")
    return folder


@dataclass
class Kept:
    """A pipeline in the live Airflow, and what its policy says."""

    live: Live
    name: str

    def write(self, *, gate: str = "0.6", **policy: str) -> None:
        """Put the spec into dags/ and wait until Airflow has it in both of its DAGs."""
        lines = [f"  {key}: {value}" for key, value in policy.items()]
        text = MONITORED.replace("at_least: 0.6", f"at_least: {gate}") + "retrain:\n" + "\n".join(lines) + "\n"
        before = {dag_id: self.live.dag(dag_id) for dag_id in (self.name, f"{self.name}.monitor")}
        self.live.dag_file(f"{self.name}.yaml", text)
        for dag_id, dag in before.items():
            old = dag["doc_md"] if dag else None
            self.live.wait_for(f"the new {dag_id}", lambda d=dag_id, o=old: (self.live.dag(d) or {}).get("doc_md") != o)
            self.live.wait_for_dag(dag_id)

    def train(self, as_of: str) -> dict[str, Any]:
        """A person starts a training; the decision on it."""
        run = self.live.api.start(self.name, None, {"as_of": as_of})["dag_run_id"]
        self.live.finish(self.name, run)
        return self.decision(run)

    def look(self, as_of: str) -> str:
        """The monitor looks, and asks for a training; its run."""
        dag_id = f"{self.name}.monitor"
        run: str = self.live.api.start(dag_id, None, {"as_of": as_of})["dag_run_id"]
        tasks = self.live.finish(dag_id, run)
        assert tasks["request"]["state"] == "success", said(tasks["request"])
        assert "because of drift" in said(tasks["request"])
        return run

    def alarm(self, as_of: str) -> dict[str, Any]:
        """The monitor looks, and its event starts a training run; the decision on that one."""
        return self.caused(f"{self.name}.monitor", self.look(as_of))

    def caused(self, dag_id: str, run: str) -> dict[str, Any]:
        """The decision on the training run that another run's event has started, once that has ended."""

        def started() -> list[str]:
            events = self.live.api.events_of(dag_id, run)
            return [r["run_id"] for e in events for r in e["created_dagruns"] if r["dag_id"] == self.name]

        (found,) = self.live.wait_for(f"what {run} causes", started)
        return self.decision(found)

    def event(self, **extra: Any) -> None:
        """An event for the pipeline's own asset, as anything with access to Airflow's API can send it."""
        assets = self.live.api._call("GET", "/api/v2/assets", params={"name_pattern": f"{self.name}.retrain"})["assets"]
        body = {"asset_id": assets[0]["id"], "extra": extra}
        self.live.api._call("POST", "/api/v2/assets/events", json=body)

    def of_event(self, **extra: Any) -> dict[str, Any]:
        """The decision on the run that such an event starts."""
        before = {run["dag_run_id"] for run in self.live.api.runs(self.name)}
        self.event(**extra)

        def started() -> set[str]:
            return {run["dag_run_id"] for run in self.live.api.runs(self.name)} - before

        (found,) = self.live.wait_for("a run of the event", started)
        return self.decision(found)

    def decision(self, run: str) -> dict[str, Any]:
        """What was decided of a run, when it has ended, as the ledger has it. Whoever looks at Airflow sees as much."""
        tasks = self.live.finish(self.name, run)
        with self.live.ledger() as ledger:
            (entry,) = [e for e in ledger.entries(self.name, kinds={"decision"}) if e.body["dag_run"] == run]
        decision = dict(entry.body)
        go = decision["decision"] == "go"
        assert {name: task["state"] for name, task in tasks.items() if name != "as_of"} == (
            dict.fromkeys(tasks.keys() - {"as_of"}, "success" if go else "skipped")
        )
        shown = said(tasks["retrain"])
        log = "\n".join(self.live.api.log(self.name, run, "retrain", tasks["retrain"]["try_number"]))
        kept = self.live.api.xcom(self.name, run, "retrain")
        for reason in decision["why"]:
            assert reason in shown
            assert reason in log
            assert reason in kept["why"]
        return decision

    def outcomes(self) -> list[str]:
        return [p["outcome"] for p in self.live.promotions(self.name)]


@contextmanager
def spoilt(file: Path, since: str) -> Iterator[None]:
    """For a while, a source whose writer leaves a column empty from a day on."""
    sound = file.read_bytes()
    late = pl.col("time") >= datetime.fromisoformat(since).replace(tzinfo=UTC)
    whole = pl.read_parquet(file)
    whole.with_columns(second=pl.when(late).then(None).otherwise(pl.col("second"))).write_parquet(file)
    try:
        yield
    finally:
        file.write_bytes(sound)


def said(task: Mapping[str, Any]) -> str:
    """What stands on a task's page, under *Rendered Templates*."""
    return str(task["rendered_fields"]["said"])


def guards(decision: Mapping[str, Any], verdict: str = "refuse") -> list[str]:
    """The guards that said so."""
    return [check["guard"] for check in decision["checks"] if check["verdict"] == verdict]


@dataclass
class Watched:
    """The pipeline ``held`` after its first alarm: the monitor's run, the decision on what it caused, the gauges."""

    held: Kept
    run: str
    decision: dict[str, Any]
    gauges: dict[str, float]


@pytest.fixture(scope="module")
def watched(live: Live) -> Watched:
    held = Kept(live, "held")
    held.write(triggers="[drift]", quiet_hours='[{from: "00:00", to: "24:00"}]')
    assert held.train("2020-03-01")["cause"] == "manual"
    live.gauges()
    run = held.look("2020-03-10")
    gauges = live.gauges()
    return Watched(held, run, held.caused("held.monitor", run), gauges)


def test_an_alarm_asks_for_a_training_and_the_policy_refuses_it(live: Live, watched: Watched) -> None:
    assert (watched.decision["cause"], watched.decision["decision"]) == ("asset", "no")
    assert guards(watched.decision) == ["quiet_hours"]
    assert "is Tuesday 2020-03-10 00:00 in UTC" in watched.decision["why"][0]
    assert watched.held.outcomes() == ["promoted"]
    assert live.aliased("held") == "1"


def test_a_window_is_summarised_in_parts_by_mapped_tasks_and_judged_as_a_whole(live: Live, watched: Watched) -> None:
    tasks = live.api.tasks("held.monitor", watched.run)
    states = sorted((task["task_id"], task["map_index"], task["state"]) for task in tasks)
    single = [(name, -1, "success") for name in ("as_of", "partitions", "monitor", "request")]
    assert states == sorted([*single, ("sketch", 0, "success"), ("sketch", 1, "success")])
    report = live.api.xcom("held.monitor", watched.run, "monitor")
    assert report["rows"] == 5 * 24 * 2
    xcom = f"/api/v2/dags/held.monitor/dagRuns/{watched.run}/taskInstances/sketch/xcomEntries/return_value"
    asked = ({"map_index": index, "deserialize": False} for index in range(2))
    parts = [live.api._call("GET", xcom, params=params)["value"] for params in asked]
    assert [part["rows"] for part in parts] == [report["rows"] / 2] * 2
    assert {c["name"]: c["drifted"] for c in report["columns"]} == {"first": True, "second": False}
    assert (report["share_drifted"], report["fired"]) == (0.5, ["drift"])


def test_what_a_monitor_found_arrives_as_metrics(live: Live, watched: Watched) -> None:
    report = live.api.xcom("held.monitor", watched.run, "monitor")
    distances = {f"distance.{column['name']}": column["distance"] for column in report["columns"]}
    outputs = {f"distance.{column['name']}": column["distance"] for column in report["outputs"]}
    wanted = {
        "rows": 240,
        "labelled": 240,
        "alarms": 1,
        "drifted": 1,
        "share_drifted": 0.5,
        "findings_severe": 0,
        **distances,
        **outputs,
    }
    assert distances.keys() == {"distance.first", "distance.second"}
    assert outputs.keys() == {"distance.late"}
    assert watched.gauges == pytest.approx({f"airflow.tidemill.monitor.held.{k}": v for k, v in wanted.items()})


def test_the_report_is_a_page_in_airflow_for_those_who_may_see_the_run(live: Live, watched: Watched) -> None:
    links = live.api._call("GET", f"/api/v2/dags/held.monitor/dagRuns/{watched.run}/taskInstances/monitor/links")
    address = links["extra_links"]["Drift report"]
    assert address.startswith(f"{live.address.airflow}/tidemill/reports/held.monitor/")
    path = urlsplit(address).path

    page = live.page(path, user="admin")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "2020-03-05 to 2020-03-10" in page.text
    assert "<script" not in page.text
    assert live.page(path, user="viewer").text == page.text

    assert live.page(path).status_code == 401
    assert live.page(path, token="garbage").status_code in {401, 403}
    assert live.page(path, user="nobody").status_code == 403
    # Whoever may not see the DAG does not learn which of its runs there are.
    assert live.page("/tidemill/reports/held.monitor/none", user="nobody").status_code == 403
    for none in ("held.monitor/none", "nothing/none", "held.monitor/..%2f..%2fledger.db"):
        assert live.page(f"/tidemill/reports/{none}", user="admin").status_code == 404


def test_a_report_that_another_machine_wrote_is_said_not_to_be_here(live: Live, watched: Watched) -> None:
    state = live.project.state
    moved = live.project.run_folder("held.monitor", watched.run).rename(state / "away")
    try:
        answer = live.page(report_path("held.monitor", watched.run), user="admin")
    finally:
        moved.rename(live.project.run_folder("held.monitor", watched.run))
    assert answer.status_code == 404
    text = f"there is no report of held.monitor, run {watched.run}, in this machine's state folder"
    assert answer.json()["detail"] == text


def test_an_alarm_trains_a_new_champion_and_the_next_one_is_held_back(live: Live) -> None:
    kept = Kept(live, "kept")
    kept.write(triggers="[drift]", cooldown="7 d")
    kept.train("2020-03-01")
    assert live.aliased("kept") == "1"

    asked = kept.alarm("2020-03-10")
    assert (asked["decision"], asked["cause"], asked["why"][0]) == ("go", "asset", "asked for by drift")
    assert kept.outcomes() == ["promoted", "promoted"]
    assert live.aliased("kept") == "2"
    with live.ledger() as ledger:
        costs = [e.body for e in ledger.entries("kept", kinds={"cost"})]
        runs = [e.body for e in ledger.entries("kept", kinds={"run"})]
    assert [c["seconds"] for c in costs] == [r["seconds"] for r in runs]
    assert [float(c["amount"]) for c in costs] == pytest.approx([r["seconds"] for r in runs], abs=1e-6)

    refused = kept.alarm("2020-03-11")
    assert guards(refused) == ["cooldown"]
    assert "the cooldown of 7 d since the last training, 2020-03-10 (asset, run" in refused["why"][0]
    assert refused["why"][0].endswith("ends only at 2020-03-17")
    assert live.aliased("kept") == "2"


def test_each_guard_refuses_in_its_turn_and_says_why(live: Live, shards: Path) -> None:
    live.dag_file("upstream.py", UPSTREAM)
    guarded = Kept(live, "guarded")
    guarded.write(**POLICY)
    live.wait_for_dag("upstream")
    assert guarded.train("2020-03-01")["decision"] == "go"

    refused: dict[str, dict[str, Any]] = {}

    def refuses(guard: str, ask: Callable[[], dict[str, Any]], *others: str) -> str:
        refused[guard] = ask()
        assert guards(refused[guard]) == [guard, *others], refused[guard]["why"]
        return str(refused[guard]["why"][0])

    assert guarded.alarm("2020-03-10")["decision"] == "go"
    assert "already ended: version 2 was promoted" in refuses("once", lambda: guarded.alarm("2020-03-10"), "cooldown")
    assert "2020-03-09 is earlier than" in refuses("order", lambda: guarded.alarm("2020-03-09"))
    assert "ends only at 2020-03-13" in refuses("cooldown", lambda: guarded.alarm("2020-03-11"))
    assert "is Saturday 2020-03-14 00:00 in UTC" in refuses("quiet_hours", lambda: guarded.alarm("2020-03-14"))
    with spoilt(shards / "1.parquet", "2020-03-12"):
        assert "second: nulls have risen from 0% to 20%" in refuses("veto", lambda: guarded.alarm("2020-03-16"))
    assert "reasons (none)" in refuses("triggers", lambda: guarded.of_event(as_of="2020-03-16"))
    assert "1,392 training rows" in refuses("min_rows", lambda: guarded.alarm("2020-04-15"))

    # An asset of somebody else's.
    run = live.api.start("upstream", None, {"as_of": "2020-03-16"})["dag_run_id"]
    live.finish("upstream", run)
    asked = guarded.caused("upstream", run)
    assert (asked["decision"], asked["why"][0]) == ("go", "asked for by asset (orders)")
    assert guarded.outcomes() == ["promoted"] * 3

    guarded.write(**{**POLICY, "at_most": "2 per month"})
    assert "2 trainings in the month from 2020-03-01" in refuses("at_most", lambda: guarded.alarm("2020-03-20"))
    guarded.write(**{**POLICY, "budget": "0.01 USD per month"})
    assert "the budget is 0.01 USD per month" in refuses("budget", lambda: guarded.alarm("2020-03-20"))
    by_hand = guarded.train("2020-03-17")
    assert (by_hand["decision"], guards(by_hand, "warn")) == ("go", ["budget"])

    guarded.write(gate="0.999", **{**POLICY, "at_most": "9 per month", "stop_after": "1"})
    assert guarded.alarm("2020-03-20")["decision"] == "go"
    assert guarded.outcomes()[-1] == "refused"
    assert "1 challenger in a row refused" in refuses("stop_after", lambda: guarded.alarm("2020-03-24"))

    guarded.write(**{**POLICY, "at_most": "9 per month", "dry_run": "true"})
    tried = guarded.alarm("2020-03-25")
    assert (tried["decision"], tried["would"], guards(tried)) == ("no", "go", [])
    assert len(live.promotions("guarded")) == 5


def test_a_noisy_source_of_events_starts_one_training_and_no_two_at_once(live: Live) -> None:
    noisy = Kept(live, "noisy")
    noisy.write(triggers="[drift]")
    noisy.train("2020-03-01")
    for _ in range(12):
        noisy.event(as_of="2020-03-10", reasons=["drift"])

    def settled() -> bool:
        runs = live.api.runs("noisy")
        return len(runs) > 1 and all(run["state"] == "success" for run in runs)

    live.wait_for("the end of all runs", settled, 300)
    with live.ledger() as ledger:
        decisions = [e.body for e in ledger.entries("noisy", kinds={"decision"})]
    assert [d["decision"] for d in decisions if d["cause"] == "asset"].count("go") == 1
    assert noisy.outcomes() == ["promoted", "promoted"]
    spans = sorted((run["start_date"], run["end_date"]) for run in live.api.runs("noisy"))
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
