"""What a step is given."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tidemill.project import Project
from tidemill.steps.context import StepContext, StepError


def test_a_run_has_a_folder_of_its_own(make_context: Callable[..., StepContext]) -> None:
    first, second = make_context("data", run_id="a"), make_context("data", run_id="b")
    assert first.scratch("data").is_dir()
    assert first.scratch("data") == first.scratch("data") != second.scratch("data")


def test_a_folder_that_cannot_be_made_is_told_with_what_to_do(
    make_context: Callable[..., StepContext], project: Project
) -> None:
    project.state.mkdir()
    (project.state / "runs").write_text("in the way")
    with pytest.raises(StepError, match=r"the run's folder .*data cannot be made: .*TIDEMILL_STATE") as told:
        make_context("data").scratch("data")
    assert told.value.retry
