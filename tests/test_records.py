"""Records: exact inverses over JSON, and clear words about what is none."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.records import RECORDS, AsOf, Decision, Evaluation, Record, RecordError, Scores, Slice, base, from_json

INSTANTS = st.datetimes(
    datetime.fromisoformat("1900-01-01"), datetime.fromisoformat("2199-01-01"), timezones=st.just(UTC)
)
TEXTS = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(TEXTS, below, max_size=3),
    max_leaves=6,
)


def build(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any record of a class; free mappings hold any JSON."""
    hints = base._hints(cls)
    return st.builds(cls, **{field.name: of(hints[field.name]) for field in dataclasses.fields(cls)})


def of(hint: Any) -> st.SearchStrategy[Any]:
    from types import UnionType
    from typing import Literal, Union, get_args, get_origin

    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        return st.one_of(*(st.none() if a is type(None) else of(a) for a in arguments))
    if origin is tuple:
        return st.lists(of(arguments[0]), max_size=2).map(tuple)
    if origin is Literal:
        return st.sampled_from(arguments)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return build(hint)
    if origin is not None:  # a mapping
        return st.dictionaries(TEXTS, JSON if arguments[1] is Any else of(arguments[1]), max_size=3)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        datetime: INSTANTS, str: TEXTS, bool: st.booleans(), int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False, allow_infinity=False), Any: JSON,
    }  # fmt: skip
    return plain[hint]


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_record_is_the_same_after_json(kind: str, data: st.DataObject) -> None:
    record = data.draw(build(RECORDS[kind]))
    wire = json.loads(json.dumps(record.to_json(), allow_nan=False))
    assert RECORDS[kind].from_json(wire) == record
    assert from_json(wire) == record


def test_every_kind_of_record_is_known_by_its_name() -> None:
    def below(cls: type[Record]) -> set[type[Record]]:
        return {sub for direct in cls.__subclasses__() for sub in {direct} | below(direct)}

    assert {cls for cls in below(Record) if cls.__module__.startswith("tidemill.records.")} == set(RECORDS.values())
    assert all(kind == cls.kind for kind, cls in RECORDS.items())


def test_instants_are_written_in_utc() -> None:
    berlin = datetime(2013, 7, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert AsOf(instant=berlin, cause="manual").to_json()["instant"] == "2013-07-01T00:00:00+00:00"


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(RecordError, match="without a time zone"):
        AsOf(instant=datetime(2013, 7, 1), cause="manual").to_json()  # noqa: DTZ001 - that is the mistake


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_becomes_null(number: float) -> None:
    scores = Scores(metrics={"roc_auc": number}, slices=(Slice(column="a", value="b", rows=1, metrics={"f1": number}),))
    record = Evaluation(data_version="d", run_id="r", rows=1, challenger=scores)
    wire = record.to_json()
    json.dumps(wire, allow_nan=False)
    assert wire["challenger"]["metrics"] == {"roc_auc": None}
    assert wire["challenger"]["slices"][0]["metrics"] == {"f1": None}


SCORED = Evaluation(data_version="d", run_id="r", rows=1, challenger=Scores(metrics={})).to_json()
GOOD = Decision(decision="go", cause="manual", why=("a",)).to_json()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "not a record: None"),
        ({"record": "nothing/1"}, "not a record: 'nothing/1'"),
        ({"record": 5}, "not a record: 5"),
        (GOOD | {"record": "decision/2"}, "expected a record 'decision/1', got 'decision/2'"),
        (GOOD | {"extra": 1}, "Decision: unknown field 'extra'"),
        ({k: v for k, v in GOOD.items() if k != "why"}, "why"),
        (GOOD | {"decision": "perhaps"}, "Decision.decision: 'perhaps' is not of its type"),
        (GOOD | {"cause": None}, "Decision.cause: None is not of its type"),
        (GOOD | {"why": "because"}, "Decision.why: 'because' is not of its type"),
        (GOOD | {"why": [5]}, "Decision.why: 5 is not of its type"),
        (GOOD | {"inputs": []}, r"Decision.inputs: \[\] is not of its type"),
        ({"record": "as_of/1", "instant": "soon", "cause": "manual"}, "AsOf.instant: Invalid isoformat string: 'soon'"),
        ({"record": "as_of/1", "instant": 5, "cause": "manual"}, "AsOf.instant: 5 is not of its type"),
        (SCORED | {"rows": "1"}, "Evaluation.rows: '1' is not of its type"),
        (SCORED | {"rows": True}, "Evaluation.rows: True is not of its type"),
        (SCORED | {"challenger": 5}, "Scores: expected an object, got 5"),
    ],
)
def test_what_is_no_record_is_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        from_json(wrong)


def test_records_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        AsOf(instant=datetime.now(UTC), cause="manual").cause = "asset"  # type: ignore[misc]
