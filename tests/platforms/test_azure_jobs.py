"""Command jobs of Azure ML, over the wire, through the emulator that really runs them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.emulators import Emulation, start
from tests.platforms import clouds
from tests.platforms.azure import PLATFORM, connected, needs_azurite, platform
from tidemill.platforms.azure.errors import told
from tidemill.platforms.azure.jobs import AzureMlJobs, fault_of, open_jobs
from tidemill.platforms.ports import JobRef, PlatformError, RemoteJob
from tidemill.spec.platform import Resources

pytestmark = needs_azurite
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulation]:
    with start("azure", tmp_path_factory.mktemp("azure"), PLATFORM) as running:
        yield running


@pytest.fixture
def jobs(emulation: Emulation, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureMlJobs]:
    yield open_jobs(platform(), "azureml", connected(monkeypatch, emulation))
    emulation.set_faults()


def job(jobs: AzureMlJobs, folder: Path, params: dict[str, Any] | None = None, **changes: Any) -> RemoteJob:
    """A job with its code, data and params in the store."""
    found = clouds.remote_job(platform(), "azureml", f"tm-job-{next(NUMBERS)}", **changes)
    clouds.upload(jobs.storage, found, folder, **(params or {}))
    return found


def bare(**changes: Any) -> RemoteJob:
    """A job of which nothing is in the store."""
    return clouds.remote_job(platform(), "azureml", f"tm-job-{next(NUMBERS)}", **changes)


def test_a_job_runs_in_its_container_and_its_output_is_collected(
    emulation: Emulation, jobs: AzureMlJobs, tmp_path: Path
) -> None:
    first = job(jobs, tmp_path, environment={"PYTHONHASHSEED": "7"}, timeout=timedelta(minutes=5))
    ref = jobs.submit(first)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    told = emulation.report()["jobs"][first.name]
    assert status.state == "succeeded", told["log"]
    assert status.seconds is not None
    jobs.collect(first, ref, tmp_path / "got")
    seen = clouds.seen(tmp_path / "got")
    assert seen["train"] == f"rows of {first.name}"
    assert (seen["rank"], seen["world"]) == (0, 1)
    assert (tmp_path / "got" / "output.result.json").is_file()
    assert not (tmp_path / "got" / "output" / ".tidemill").exists()
    body = told["body"]["properties"]
    assert body["tags"] == dict(first.tags)
    assert body["limits"]["timeout"] == "PT5M"
    assert body["computeId"].endswith("/computes/cpu-cluster")
    assert body["identity"] == {"identityType": "Managed"}
    assert jobs.links(ref).console.startswith(f"https://ml.azure.com/runs/{first.name}?wsid=/subscriptions/0000")


def test_one_name_is_one_job(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(hold=True)
    first = bare()
    assert jobs.find(first) is None
    ref = jobs.submit(first)
    assert jobs.find(first) == ref
    assert jobs.submit(first) == ref
    # The same job as another version of this program would word it.
    assert jobs.submit(replace(first, environment={"NEW": "1"}, timeout=timedelta(hours=1))) == ref
    jobs.stop(ref)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "stopped"
    jobs.stop(ref)
    jobs.stop(JobRef("azureml", "never-was", "never-was"))


@pytest.mark.parametrize("operation", ["Jobs_CreateOrUpdate", "EnvironmentVersions_CreateOrUpdate"])
def test_a_lost_answer_makes_no_second_job(emulation: Emulation, jobs: AzureMlJobs, operation: str) -> None:
    emulation.set_faults(lose={operation: 1}, noop=True)
    first = bare(image=f"registry.example/{operation.lower()}:1")
    ref = jobs.submit(first)
    assert jobs.find(first) == ref
    assert [name for name in emulation.report()["jobs"] if name == first.name] == [first.name]


def test_a_strangers_job_of_the_name_is_left_alone(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(hold=True)
    theirs = bare()
    ref = jobs.submit(theirs)
    ours = replace(theirs, tags={**theirs.tags, "tidemill-installation": "ffffffff"}, output=f"{theirs.output}-ours")
    for call in (jobs.find, jobs.submit):
        with pytest.raises(PlatformError, match="not this pipeline's") as caught:
            call(ours)
        assert caught.value.fault == "user"
    tags = emulation.report()["jobs"][theirs.name]["body"]["properties"]["tags"]
    assert tags == dict(theirs.tags)
    jobs.stop(ref)


def test_a_users_error_and_a_container_that_is_killed_are_told_apart(
    jobs: AzureMlJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake = job(jobs, tmp_path, {"fail": "no such column"})
    killed = job(jobs, tmp_path)
    refs = [jobs.submit(mistake)]
    monkeypatch.setattr("tidemill.platforms.azure.jobs.command_line", lambda checkpoint: "kill -9 $$")
    refs.append(jobs.submit(killed))
    found = clouds.until_ended(jobs, refs)
    first, second = (found[ref.id] for ref in refs)
    assert (first.state, first.fault) == ("failed", "user")
    assert "status code 10" in first.reason
    assert (second.state, second.fault) == ("failed", "system")
    assert "137" in second.reason
    jobs.collect(mistake, refs[0], tmp_path / "got")
    assert "no such column" in (tmp_path / "got" / "output.result.json").read_text()
    assert not any((tmp_path / "got" / "output").iterdir())


def test_data_that_is_not_there_is_the_users_fault(jobs: AzureMlJobs) -> None:
    ref = jobs.submit(bare())
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "does not exist" in status.reason


def test_a_machine_that_is_taken_away_costs_no_work(emulation: Emulation, jobs: AzureMlJobs, tmp_path: Path) -> None:
    emulation.set_faults(preempt=1, preempt_after=1.5)
    spot = job(jobs, tmp_path, {"sleep": 60}, spot=True, checkpoint=f"{PLATFORM['bucket']}/checkpoints/one")
    ref = jobs.submit(spot)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    told = emulation.report()["jobs"][spot.name]
    assert status.state == "succeeded", told["log"]
    assert told["starts"] == 2
    assert told["body"]["properties"]["computeId"].endswith("/computes/spot-cluster")
    jobs.collect(spot, ref, tmp_path / "got")
    assert clouds.seen(tmp_path / "got")["attempts"] == 2


def test_several_machines_know_their_ranks(emulation: Emulation, jobs: AzureMlJobs, tmp_path: Path) -> None:
    several = job(jobs, tmp_path, resources=Resources(count=2))
    ref = jobs.submit(several)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert status.state == "succeeded", emulation.report()["jobs"][several.name]["log"]
    jobs.collect(several, ref, tmp_path / "got")
    seen = clouds.seen(tmp_path / "got")
    assert (seen["rank"], seen["world"]) == (0, 2)


def test_without_machines_a_job_stays_queued(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(no_capacity=["spot"])
    ref = jobs.submit(bare(spot=True, checkpoint=f"{PLATFORM['bucket']}/checkpoints/two"))
    for _ in range(3):
        assert jobs.poll([ref])[ref.id].state == "queued"
    jobs.stop(ref)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "stopped"


def test_an_image_that_does_not_exist_is_the_users_fault(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(no_image=["registry.example/none:1"])
    ref = jobs.submit(bare(image="registry.example/none:1"))
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "registry.example/none:1" in status.reason


def test_a_job_that_runs_too_long_is_cancelled_by_the_service(
    emulation: Emulation, jobs: AzureMlJobs, tmp_path: Path
) -> None:
    slow = job(jobs, tmp_path, {"sleep": 60}, timeout=timedelta(seconds=1))
    ref = jobs.submit(slow)
    status = clouds.until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("failed", "user")
    assert "1 s" in status.reason


def test_an_output_that_is_missing_or_cut_is_never_half_collected(
    emulation: Emulation, jobs: AzureMlJobs, tmp_path: Path
) -> None:
    emulation.set_faults(missing_output=True)
    gone = job(jobs, tmp_path)
    ref = jobs.submit(gone)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "succeeded"
    jobs.collect(gone, ref, tmp_path / "got")
    assert not (tmp_path / "got" / "output.result.json").exists()

    emulation.set_faults()
    cut = job(jobs, tmp_path)
    ref = jobs.submit(cut)
    assert clouds.until_ended(jobs, [ref])[ref.id].state == "succeeded"
    jobs.storage.delete(f"{cut.output}/seen.json")
    with pytest.raises(PlatformError, match=r"half an output: seen\.json"):
        jobs.collect(cut, ref, tmp_path / "cut")
    assert not (tmp_path / "cut" / "output.result.json").exists()


def test_a_thousand_jobs_are_polled_in_ten_calls(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(noop=True)
    refs = [jobs.submit(bare()) for _ in range(30)]
    unknown = [JobRef("azureml", f"gone-{n}", f"/jobs/gone-{n}") for n in range(970)]
    before = sum(emulation.report()["calls"].values())
    found = jobs.poll([*refs, *unknown])
    assert sum(emulation.report()["calls"].values()) - before <= 20
    assert {ref.id for ref in refs} == found.keys()
    assert all(status.state == "succeeded" for status in found.values())


def test_a_job_that_history_does_not_show_yet_is_found_by_its_name(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(listing_delay=60.0, hold=True)
    late = bare()
    ref = jobs.submit(late)
    assert jobs.find(late) == ref
    assert not jobs.poll([ref])[ref.id].ended
    jobs.stop(ref)


def test_a_job_deleted_behind_our_back_is_missing(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(noop=True)
    ref = jobs.submit(bare())
    jobs.workspace.client.jobs.begin_delete(jobs.workspace.group, jobs.workspace.name, ref.name, polling=False)
    assert jobs.poll([ref]) == {}


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"access_token": "expired"}, "have expired"),
        ({"access_token": "wrong"}, "are wrong or have expired"),
        ({"access_token": "early"}, "set its clock"),
    ],
)
def test_wrong_credentials_are_told(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, extra: dict[str, str], says: str
) -> None:
    found = open_jobs(platform(), "azureml", connected(monkeypatch, emulation, **extra))
    with pytest.raises(PlatformError, match=says) as caught:
        found.submit(bare())
    assert caught.value.fault == "user"


def test_a_missing_permission_names_the_action_and_the_role(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(denied=["Jobs_CreateOrUpdate"])
    with pytest.raises(PlatformError) as caught:
        jobs.submit(bare())
    assert caught.value.fault == "user"
    assert "AzureML Data Scientist" in str(caught.value)
    assert "workspaces/jobs/write" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"workspace": "other-ml"}, "workspaces/other-ml"),
        ({"resource_group": "other"}, "Resource group 'other'"),
        ({"compute": "no-cluster"}, "no-cluster"),
    ],
)
def test_what_does_not_exist_is_named(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], says: str
) -> None:
    found = open_jobs(platform(**changes), "azureml", connected(monkeypatch, emulation))
    with pytest.raises(PlatformError, match=says) as caught:
        found.submit(replace(bare(), platform=platform(**changes)))
    assert caught.value.fault == "user"


def test_too_many_tags_are_refused_before_a_call(jobs: AzureMlJobs) -> None:
    tags = {f"tag-{n}": "x" for n in range(51)}
    with pytest.raises(PlatformError, match="50") as caught:
        jobs.submit(bare(tags=tags))
    assert caught.value.fault == "user"


def test_throttling_is_waited_for_and_then_told(emulation: Emulation, jobs: AzureMlJobs) -> None:
    emulation.set_faults(throttle={"BatchGetRunData": 2}, noop=True)
    ref = jobs.submit(bare())
    assert jobs.poll([ref])[ref.id].state == "succeeded"
    emulation.set_faults(throttle={"BatchGetRunData": 100})
    with pytest.raises(PlatformError) as caught:
        jobs.poll([ref])
    assert caught.value.throttled


@pytest.mark.parametrize("fault", ["half", "fail"])
def test_an_answer_cut_in_half_is_asked_for_again(emulation: Emulation, jobs: AzureMlJobs, fault: str) -> None:
    emulation.set_faults(noop=True)
    first = bare()
    ref = jobs.submit(first)
    emulation.set_faults(**{fault: {"Jobs_Get": 1}})
    assert jobs.find(first) == ref


@pytest.mark.parametrize("endpoint", ["http://management.example.com", "http://10.0.0.1"])
def test_a_token_is_never_sent_in_the_clear_to_another_machine(
    emulation: Emulation, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    found = open_jobs(platform(), "azureml", connected(monkeypatch, emulation, resource_manager_endpoint=endpoint))
    with pytest.raises(PlatformError, match="not https"):
        found.find(bare())


def test_what_entra_refuses_is_told_as_wrong_credentials() -> None:
    from azure.core.exceptions import ClientAuthenticationError

    error = ClientAuthenticationError("AADSTS7000222: The provided client secret keys are expired.")
    found = told(error, "job x", "azure_default", "azureml")
    assert found.fault == "user"
    assert "'azure_default' are wrong or have expired" in str(found)


@pytest.mark.parametrize(
    ("code", "message", "fault"),
    [
        ("UserError", "Execution failed. User process 'sh' exited with status code 10.", "user"),
        ("UserError", "Execution failed. User process 'sh' exited with status code 20.", "system"),
        ("UserError", "User process 'sh' exited with status code 137: out of memory", "system"),
        ("UserError", "sh: python3: not found, exit code 127", "user"),
        ("UserError", "The input data does not exist", "user"),
        ("ServiceError", "An internal error", "system"),
        ("UserError", "AllocationFailed: no Standard_NC6 in this region", "capacity"),
        ("UserError", "The requested cores exceed the quota", "capacity"),
        ("", "", "system"),
    ],
)
def test_whose_fault_a_failure_is(code: str, message: str, fault: str) -> None:
    assert fault_of(code, message) == fault
