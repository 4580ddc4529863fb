"""The report for machines."""

from __future__ import annotations

import json
import math

from tests.drift.reports.making import evidence, finding, report
from tidemill.drift.reports.json import as_json


def test_the_keys_that_are_promised() -> None:
    found = as_json(report([evidence("calm", psi=0.0, p=1.0), evidence("x", ks=0.2, wasserstein=0.9)], finding()))
    assert found["drifted"] is True
    assert found["rows"] == {"reference": 10_000, "current": 8_000}
    first = found["columns"][0]
    assert {k: first[k] for k in ("name", "kind", "psi", "js", "ks", "wasserstein", "drifted", "significant")} == {
        "name": "x", "kind": "numeric", "psi": 0.5, "js": 0.3, "ks": 0.2, "wasserstein": 0.9,
        "drifted": True, "significant": True,
    }  # fmt: skip
    assert found["findings"] == [
        {"kind": "missing_column", "column": "dest", "severity": "severe", "detail": "missing in the current data"}
    ]
    assert found["rules"]["categorical"] == {"distance": "psi", "at_least": 0.2}


def test_no_number_is_written_that_json_does_not_have() -> None:
    odd = [
        evidence("n", psi=math.nan),
        evidence("i", psi=math.inf),
        evidence("p", p=math.nan),
        evidence("none", psi=None),
    ]
    found = as_json(report(odd))
    text = json.dumps(found, allow_nan=False)
    columns = {column["name"]: column for column in json.loads(text)["columns"]}
    assert columns["n"]["psi"] is columns["i"]["psi"] is columns["none"]["psi"] is None
    assert as_json(report([]))["share_drifted"] is None


def test_severe_findings_come_first() -> None:
    found = as_json(report([evidence("x")], finding(severity="info"), finding("b"), finding(severity="warning")))
    assert [f["severity"] for f in found["findings"]] == ["severe", "warning", "info"]
