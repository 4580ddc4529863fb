"""The tags of jobs: the scheme that what Terraform makes for them has, too."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidemill.platforms.tags import OF_JOBS, SHARED, common, label, tags_of
from tidemill.steps.context import StepContext
from tidemill.steps.job_names import job_tags


def test_a_job_has_the_tags_of_its_pipeline_and_its_own(
    make_context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"Cost-Centre": "4711 / B", "team": "x"}
    monkeypatch.setenv("TIDEMILL_ENVIRONMENT", "Prod")
    ctx = make_context("train", owner="Ops Research", platform={"provider": "local", "tags": own})
    found = dict(job_tags(ctx, "0123abcd", "tm-0123abcd-flights-1", 1))
    shared = tags_of("flights", "Ops Research", "Prod", own)
    assert shared.items() <= found.items()
    assert {key: found[key] for key in SHARED} == {
        "tidemill-pipeline": "flights", "tidemill-environment": "prod", "tidemill-owner": "ops-research",
    }  # fmt: skip
    assert found["cost-centre"] == "4711-b"
    # As many as the checks count on: a spec may not name so many that a job is refused.
    assert found.keys() == {*SHARED, *OF_JOBS, "cost-centre", "team"}


def test_without_an_environment_there_is_no_tag_of_one(
    make_context: Callable[..., StepContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEMILL_ENVIRONMENT", raising=False)
    found = job_tags(make_context("train", owner={"name": "me", "link": "mailto:me@x.org"}), "0123abcd", "tm-1", 1)
    assert found["tidemill-owner"] == "me"
    assert "tidemill-environment" not in found
    assert job_tags(make_context("train"), "0123abcd", "tm-1", 1)["tidemill-owner"] == "tidemill"


@pytest.mark.parametrize(
    ("text", "told"),
    [("Fraud & Risk", "fraud-risk"), ("", "none"), ("--", "none"), ("Zürich", "z-rich"), ("a" * 80, "a" * 63)],
)
def test_a_value_is_one_that_every_cloud_takes(text: str, told: str) -> None:
    assert label(text) == told


def test_what_pipelines_share_has_the_tags_that_they_share() -> None:
    one = {"tidemill-pipeline": "a", "tidemill-owner": "me", "team": "ml"}
    other = {"tidemill-pipeline": "b", "tidemill-owner": "me"}
    assert common([one, other]) == {"tidemill-owner": "me"}
    assert common([one]) == dict(sorted(one.items()))
