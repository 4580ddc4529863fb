"""``tidemill show --resolved``: every value after inheritance, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command_line import CommandLine
from tests.spec.test_load import BASE
from tidemill.cli.resolved import as_yaml
from tidemill.spec.errors import is_visible, printable
from tidemill.spec.load import Sources
from tidemill.spec.reader import read

TEMPLATE = """\
tidemill: 1
parameters:
  depth: {type: integer, default: 3}
platform: {provider: local}
data:
  source: include/${vars.bucket}.parquet
  window: {column: time, train: 5 months, holdout: 1 month}
train:
  code: include.train:train
  params: {depth: "${with.depth}", odd: ["1e5", "null", "a: b", "- x", "#", "", 1.5, true, [], {}, [[1], {a: 2}]]}
evaluate: {task: classification, target: late, metrics: [roc_auc]}
promote: {when: {roc_auc: {at_least: 0.65}}}
"""
FILE = """\
tidemill: 1
description: |
  Flights of ${row.id}.

    And an indented line.
uses: templates/t.yaml
with: {depth: "${row.depth}"}
vars: {bucket: dev}
environments: {prod: {vars: {bucket: live}}}
matrix:
  eu: {depth: 4}
  us: {depth: 5}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with a matrix on a template."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "train.py").write_text("def train(context): ...\n")
    (tmp_path / "dags" / "templates").mkdir(parents=True)
    (tmp_path / "dags" / "templates" / "t.yaml").write_text(TEMPLATE)
    (tmp_path / "dags" / "defaults.yaml").write_text("owner: ops\n")
    (tmp_path / "dags" / "flights.yaml").write_text(FILE)
    return tmp_path


def test_every_value_is_shown_with_its_origin(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("show", "dags/flights.yaml", "--resolved", "--row", "us", cwd=root)
    assert said.code == 0
    comments = dict(line.split("  # ") for line in said.out.splitlines() if "  # " in line)
    origins = {text.strip(): origin for text, origin in comments.items()}
    assert origins["tidemill: 1"] == "dags/flights.yaml:1"
    assert origins["owner: ops"] == "dags/defaults.yaml:1"
    assert origins["code: include.train:train"] == "dags/templates/t.yaml:9"
    assert origins["depth: 5"] == "dags/flights.yaml:12, used at dags/templates/t.yaml:10:19"
    assert origins["source: include/dev.parquet"] == (
        "dags/templates/t.yaml:6, with ${vars.bucket} from dags/flights.yaml:8:16"
    )
    assert origins["metrics: [roc_auc]"] == "dags/templates/t.yaml:11"


def test_what_is_printed_is_yaml_with_the_same_values(root: Path, tidemill: CommandLine) -> None:
    printed = tidemill("show", "dags/flights.yaml", "--resolved", "--row", "eu", cwd=root).out
    (root / "dags" / "again.yaml").write_text(printed)
    again = tidemill("show", "dags/again.yaml", "--resolved", "--json").json
    first = tidemill("show", "dags/flights.yaml", "--resolved", "--row", "eu", "--json").json
    assert again["spec"] == first["spec"]
    assert first["spec"]["description"] == "Flights of eu.\n\n  And an indented line.\n"
    assert first["origins"]["train.params.depth"] == {
        "file": "dags/flights.yaml", "line": 11, "column": 15, "note": "used at dags/templates/t.yaml:10:19",
    }  # fmt: skip
    assert yaml.safe_load(printed)["train"]["params"]["depth"] == 4


def test_the_environment_is_laid_over_it(root: Path, tidemill: CommandLine) -> None:
    said = tidemill("show", "dags/flights.yaml", "--resolved", "--row", "eu", "--environment", "prod", cwd=root)
    assert "source: include/live.parquet" in said.out
    assert "with ${vars.bucket} from dags/flights.yaml:9:38" in said.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resolved"], "dags/flights.yaml makes a pipeline for each row of its matrix; say which with --row; "
         "its rows: eu, us"),
        (["--resolved", "--row", "de"], 'dags/flights.yaml has no row "de"'),
        (["--row", "de"], 'dags/flights.yaml has no row "de"; its rows: eu, us'),
        (["--resolved", "--row", "eu", "--environment", "x"], 'no file knows the environment "x"; known: prod'),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_told(root: Path, tidemill: CommandLine, arguments: list[str], message: str) -> None:
    said = tidemill("show", "dags/flights.yaml", *arguments, cwd=root)
    assert (said.code, said.out, said.err) == (1, "", f"tidemill: {message}\n")


def test_a_spec_with_mistakes_is_shown_but_for_what_cannot_be_known(root: Path, tidemill: CommandLine) -> None:
    (root / "dags" / "a.yaml").write_text(BASE + "extra: 1\n")
    assert "extra: 1  " in tidemill("show", "dags/a.yaml", "--resolved", cwd=root).out
    (root / "dags" / "a.yaml").write_text(BASE + "owner: ${vars.x}\n")
    said = tidemill("show", "dags/a.yaml", "--resolved")
    assert said.code == 1
    assert said.err.startswith("dags/a.yaml:10:8: owner: there is no vars.x\n")


def test_the_pipelines_of_a_matrix_are_drawn_one_or_all(root: Path, tidemill: CommandLine) -> None:
    drawn = tidemill("show", "dags/flights.yaml", cwd=root).out
    assert drawn.count("as_of ─── retrain") == 2
    assert tidemill("show", "dags/flights.yaml", "--row", "us").out.startswith("flights.us (dags/flights.yaml)\n")
    assert tidemill("show", "dags/flights.yaml", "--row", "us", "--json").json["pipeline"] == "flights.us"
    assert [plan["pipeline"] for plan in tidemill("show", "dags/flights.yaml", "--json").json] == [
        "flights.eu", "flights.us",
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(is_visible),
        st.recursive(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
            | st.integers(-(2**63), 2**63 - 1)
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.booleans(),
            lambda below: st.lists(below, max_size=4) | st.dictionaries(st.sampled_from("abc"), below, max_size=3),
            max_leaves=8,
        ),
        max_size=5,
    )
)
def test_whatever_is_printed_reads_as_what_it_was(values: dict[str, Any]) -> None:
    written = printable(json.dumps({"tidemill": 1, "params": values}, ensure_ascii=False))
    first = Sources((read(written.encode(), "a.yaml"),))
    again = Sources((read(as_yaml(first).encode(), "b.yaml"),))
    assert again.merged == first.merged
