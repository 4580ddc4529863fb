"""Where a training may run, and in which order that is tried."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from tidemill.platforms.places import Choice, choices, following
from tidemill.spec.models import Train
from tidemill.spec.platform import Platform

AWS: dict[str, Any] = {
    "provider": "aws",
    "region": "eu-west-1",
    "bucket": "s3://eu",
    "price": "2 USD",
    "tags": {"a": "b"},
}
US: dict[str, Any] = {"region": "us-east-1", "bucket": "s3://us", "image": "us", "checkpoint": "s3://us/c"}


def made(platform: dict[str, Any], service: str = "sagemaker", **resources: Any) -> list[Choice]:
    train = {"code": "a:b", "image": "eu", "service": service, "resources": resources}
    return choices(Platform.model_validate(platform), Train.model_validate(train))


def told(found: list[Choice]) -> list[tuple[str | None, str, bool]]:
    return [(choice.platform.region, " ".join(choice.machines), choice.spot) for choice in found]


def test_a_spot_machine_elsewhere_comes_before_one_on_demand_here() -> None:
    spot = {"checkpoint": "s3://eu/c"}
    found = made({**AWS, "fallback": [US]}, machine=["m", "l"], spot=spot)
    assert told(found) == [
        ("eu-west-1", "m", True), ("eu-west-1", "l", True), ("us-east-1", "m", True), ("us-east-1", "l", True),
        ("eu-west-1", "m l", False), ("us-east-1", "m l", False),
    ]  # fmt: skip
    assert [(choice.image, choice.checkpoint) for choice in found[1:3]] == [("eu", "s3://eu/c"), ("us", "s3://us/c")]
    assert told(made({**AWS, "fallback": [US]}, machine="m", spot={**spot, "fallback": "fail"})) == [
        ("eu-west-1", "m", True), ("us-east-1", "m", True),
    ]  # fmt: skip


def test_a_place_is_the_platform_but_for_what_it_says() -> None:
    _, there = made({**AWS, "fallback": [{"region": "us-east-1", "price": "1 USD"}]})
    assert there.platform == Platform.model_validate({**AWS, "region": "us-east-1", "price": "1 USD"})
    assert there.image == "eu"
    assert there.after is None


@pytest.mark.parametrize(
    ("service", "changes", "groups"),
    [
        ("sagemaker", {}, ["1 2 3 4 5", "6"]),
        ("sagemaker", {"encryption_key": "k"}, list("123456")),
        ("batch", {}, list("123456")),
    ],
)
def test_a_job_names_as_many_machine_types_as_its_service_takes(
    service: str, changes: dict[str, Any], groups: list[str]
) -> None:
    assert [" ".join(c.machines) for c in made({**AWS, **changes}, service, machine=list("123456"))] == groups


def test_what_follows_is_the_next_machine_or_the_next_place() -> None:
    found = made({**AWS, "fallback": [{**US, "after": "5 min"}]}, "batch", machine=["m", "l"])
    assert following(found, found[0]) is found[1]
    assert following(found, found[0], elsewhere=True) is found[2]
    assert found[2].after == timedelta(minutes=5)
    assert following(found, found[3]) is None
    assert following(found, found[2], elsewhere=True) is None


def test_a_machine_type_that_stands_twice_is_tried_once() -> None:
    found = made({**AWS, "fallback": [US]}, "vertex", machine=["m", "l", "m"])
    tried = [found[0]]
    while (choice := following(found, tried[-1])) is not None and len(tried) < 9:
        tried.append(choice)
    assert [" ".join(choice.machines) for choice in tried] == ["m", "l", "m", "l"]


def test_a_choice_is_remembered_as_it_was_though_the_spec_has_another_list_by_then() -> None:
    network = {"subnets": ["s"], "isolated": True}
    found = made({**AWS, "network": network, "fallback": [US]}, machine=["m", "l"], spot={"checkpoint": "s3://eu/c"})
    for choice in found:
        again = Choice.from_json(json.loads(json.dumps(choice.to_json())))
        assert following(found, again) == following(found, choice)
    edited = made({**AWS, "region": "eu-north-1"}, machine="m")
    assert following(edited, found[0]) == edited[0]


def test_what_is_told_of_a_choice() -> None:
    found = made({**AWS, "fallback": [US]}, machine=["m", "l"], spot={"checkpoint": "s3://eu/c"})
    assert (str(found[0]), str(found[-1])) == ("m (spot) in eu-west-1", "m or l in us-east-1")
    here = {"provider": "kubernetes", "namespace": "ml", "connection": "one"}
    assert str(made(here, "kubernetes")[0]) == "the platform’s choice in one/ml"
