"""Jobs of a cluster, through the emulated API server with the real client and the provider's own connection."""

from __future__ import annotations

import json
import pickle
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.emulators import Emulation, start
from tests.emulators.kubernetes_rules import faults, selects
from tests.platforms.clouds import connections, platform_of, remote_job, until_ended
from tidemill.platforms.kubernetes.body import job_body
from tidemill.platforms.kubernetes.jobs import KubernetesJobs, open_jobs
from tidemill.platforms.kubernetes.metrics import open_metrics
from tidemill.platforms.kubernetes.storage import FolderStorage, open_storage
from tidemill.platforms.kubernetes.tracking import open_tracking
from tidemill.platforms.packing import pack
from tidemill.platforms.ports import Connection, PlatformError, RemoteJob
from tidemill.runtime.files import Result
from tidemill.spec.platform import Platform, Resources

Prepared = Callable[..., RemoteJob]
WELL = """
    def train(context):
        context.log_metric("loss", 0.5)
        return {"rank": context.rank, "of": context.world_size}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulation, Platform]]:
    folder = tmp_path_factory.mktemp("cluster")
    spec = {
        "provider": "kubernetes",
        "namespace": "ml",
        "service_account": "trainer",
        "volume": {"claim": "ml-data", "path": str(folder / "volume")},
    }
    with start("kubernetes", folder / "emulator", spec) as emulation:
        yield emulation, platform_of(spec)


@pytest.fixture
def jobs(cluster: tuple[Emulation, Platform], monkeypatch: pytest.MonkeyPatch) -> KubernetesJobs:
    emulation, platform = cluster
    emulation.set_faults()
    monkeypatch.setattr("tidemill.platforms.kubernetes.errors.random.uniform", lambda a, b: 0.01)
    return open_jobs(platform, "kubernetes", connections(monkeypatch, emulation))


@pytest.fixture
def emulation(cluster: tuple[Emulation, Platform], jobs: KubernetesJobs) -> Emulation:
    return cluster[0]


@pytest.fixture
def prepared(cluster: tuple[Emulation, Platform], tmp_path: Path, request: pytest.FixtureRequest) -> Prepared:
    """A job whose code, data and file are in the store."""
    return _preparer(cluster[1], FolderStorage(Path(cluster[1].volume.path)), tmp_path, request)


def _preparer(platform: Platform, storage: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Prepared:
    def make(source: str = WELL, name: str = "", told: dict[str, Any] | None = None, **changes: Any) -> RemoteJob:
        root = tmp_path / "project"
        (root / "include").mkdir(parents=True, exist_ok=True)
        (root / "include" / "mine.py").write_text(textwrap.dedent(source))
        name = (name or request.node.name).lower().translate({ord(c): "-" for c in "_[] :,/="}).strip("-")[:60]
        base = f"{(platform.bucket or platform.volume.path).rstrip('/')}/tidemill/{name}"
        places = {place: f"{base}/{place}" for place in ("code", "data", "job", "output")}
        job = remote_job(platform, "kubernetes", name, **{**places, **changes})
        storage.put(pack(root, "include.mine:train").file, f"{job.code}/code.tar.gz")
        pl.DataFrame({"x": [1.0]}).write_parquet(tmp_path / "rows.parquet")
        for table in ("train", "holdout"):
            storage.put(tmp_path / "rows.parquet", f"{job.data}/{table}.parquet")
        (tmp_path / "job.json").write_text(
            json.dumps({"code": "include.mine:train", "params": {}, "seed": 7, **(told or {})})
        )
        storage.put(tmp_path / "job.json", f"{job.job}/job.json")
        return job

    return make


def run(jobs: KubernetesJobs, job: RemoteJob) -> Any:
    ref = jobs.submit(job)
    return until_ended(jobs, [ref])[ref.id]


def test_a_job_runs_on_the_volume_and_is_collected(jobs: KubernetesJobs, prepared: Prepared, tmp_path: Path) -> None:
    job = prepared()
    ref = jobs.submit(job)
    status = until_ended(jobs, [ref])[ref.id]
    assert (status.state, status.fault) == ("succeeded", None)
    assert status.seconds is not None
    jobs.collect(job, ref, tmp_path / "got")
    assert pickle.loads((tmp_path / "got" / "output" / "model.pkl").read_bytes()) == {"rank": 0, "of": 1}
    assert Result.read(tmp_path / "got" / "output.result.json").last() == {"loss": 0.5}
    assert [p.name for p in (tmp_path / "got" / "output").iterdir()] == ["model.pkl"]


def test_a_job_runs_with_a_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    spec = {
        "provider": "kubernetes",
        "namespace": "ml",
        "connection": "our_cluster",
        "bucket": "s3://acme-ml/here",
        "bucket_connection": "our_bucket",
    }
    platform = platform_of(spec)
    with start("kubernetes", tmp_path / "emulator", spec) as emulation:
        known = connections(monkeypatch, emulation)
        jobs, storage = open_jobs(platform, "kubernetes", known), open_storage(platform, known)
        source = """
            def train(context):
                (context.checkpoint / "seen").write_text("1")
                return 1
        """
        job = _preparer(platform, storage, tmp_path, request)(source, checkpoint="s3://acme-ml/kept/1")
        status = run(jobs, job)
        assert status.state == "succeeded", status
        jobs.collect(job, jobs.find(job), tmp_path / "got")  # type: ignore[arg-type]
        assert pickle.loads((tmp_path / "got" / "output" / "model.pkl").read_bytes()) == 1
        assert [stored.uri for stored in storage.list("s3://acme-ml/kept")] == ["s3://acme-ml/kept/1/seen"]
        emulation.set_faults(missing_output=True)
        job = replace(job, name="without-output", tags={**job.tags, "tidemill-job": "without-output"})
        assert run(jobs, job).state == "succeeded"
        jobs.collect(job, jobs.find(job), tmp_path / "none")  # type: ignore[arg-type]
        assert not (tmp_path / "none" / "output.result.json").exists()


@pytest.mark.parametrize(
    ("source", "fault", "said"),
    [
        ("def train(context):\n    raise ValueError('no column late')\n", "user", "ValueError: no column late"),
        ("import os\ndef train(context):\n    os._exit(3)\n", "user", "exit code 3 before the function returned"),
        ("import os\ndef train(context):\n    os.kill(os.getpid(), 9)\n", "system", "was killed from outside"),
        (
            "import os\ndef train(context):\n    os.kill(os.getppid(), 9)\n    import time\n    time.sleep(60)\n",
            "system",
            "ended without a result",
        ),
        (
            "import os\ndef train(context):\n    p = open(f'/proc/{os.getppid()}/stat').read().split()[3]\n"
            "    os.kill(int(p), 9)\n    import time\n    time.sleep(60)\n",
            "system",
            "exit code 137",
        ),
    ],
    ids=["raises", "exits", "killed", "guard-killed", "container-killed"],
)
def test_whose_fault_a_failure_is(
    jobs: KubernetesJobs, prepared: Prepared, tmp_path: Path, source: str, fault: str, said: str
) -> None:
    job = prepared(source)
    status = run(jobs, job)
    assert (status.state, status.fault) == ("failed", fault)
    assert said in status.reason
    ref = jobs.find(job)
    assert ref is not None
    jobs.collect(job, ref, tmp_path / "got")
    result = tmp_path / "got" / "output.result.json"
    assert result.exists() == ("137" not in said)
    assert not list((tmp_path / "got" / "output").iterdir())


def test_the_timeout_is_the_users(jobs: KubernetesJobs, prepared: Prepared) -> None:
    source = "import time\ndef train(context):\n    time.sleep(60)\n"
    status = run(jobs, prepared(source, told={"timeout": 0.5}, timeout=timedelta(seconds=0.5)))
    assert (status.state, status.fault) == ("failed", "user")
    assert "train.timeout" in status.reason


def test_every_machine_of_a_job_knows_its_place(jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation) -> None:
    source = "def train(context):\n    print('I am', context.rank, 'of', context.world_size)\n    return 1\n"
    job = prepared(source, resources=Resources(count=3))
    assert run(jobs, job).state == "succeeded"
    log = next(found["log"] for found in emulation.report()["jobs"] if found["name"] == job.name)
    assert sorted(line for line in log.splitlines() if line.startswith("I am")) == [f"I am {n} of 3" for n in range(3)]


RESUMES = """
    import time
    def train(context):
        mark = context.checkpoint / "last"
        if mark.exists():
            return "resumed from " + mark.read_text()
        mark.write_text("4")
        time.sleep(100)
"""


def test_a_spot_node_that_is_taken_away_is_no_failure(
    jobs: KubernetesJobs, prepared: Prepared, cluster: tuple[Emulation, Platform], tmp_path: Path
) -> None:
    cluster[0].set_faults(preempt=1, preempt_after=1.5)
    kept = f"{cluster[1].volume.path}/kept/spot"
    resources = Resources.model_validate({"spot": {"checkpoint": kept}})
    job = prepared(RESUMES, spot=True, checkpoint=kept, resources=resources)
    status = run(jobs, job)
    assert (status.state, status.interruptions) == ("succeeded", 1)
    jobs.collect(job, jobs.find(job), tmp_path / "got")  # type: ignore[arg-type]
    assert pickle.loads((tmp_path / "got" / "output" / "model.pkl").read_bytes()) == "resumed from 4"


def test_a_job_waits_for_a_node_and_says_so(jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation) -> None:
    emulation.set_faults(no_capacity=["nvidia.com/gpu"])
    ref = jobs.submit(prepared(resources=Resources(gpu=1)))
    _until(lambda: jobs.poll([ref])[ref.id].reason.startswith("Unschedulable: 0/3 nodes"))
    assert jobs.poll([ref])[ref.id].state == "queued"
    emulation.set_faults()
    assert until_ended(jobs, [ref])[ref.id].state == "succeeded"


def test_an_image_that_does_not_exist_ends_the_job(
    jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation
) -> None:
    emulation.set_faults(no_image=["registry.example/flights:1"])
    status = run(jobs, prepared())
    assert (status.state, status.fault) == ("failed", "user")
    assert status.reason.startswith("train.image registry.example/flights:1 cannot be pulled")


def test_an_image_without_a_shell_is_the_users(
    jobs: KubernetesJobs, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidemill.platforms.kubernetes.body._command", lambda job: ["/no/such/shell"])
    status = run(jobs, prepared())
    assert (status.state, status.fault) == ("failed", "user")
    assert status.reason.startswith("train.image has no sh, tar or python3 to run: StartError")


def test_a_job_is_stopped_and_stays_to_be_looked_at(
    jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation
) -> None:
    ref = jobs.submit(prepared("import time\ndef train(context):\n    time.sleep(100)\n"))
    _until(lambda: jobs.poll([ref])[ref.id].state == "running")
    for _ in range(2):
        jobs.stop(ref)
    status = until_ended(jobs, [ref])[ref.id]
    assert status.state == "stopped"
    jobs.stop(ref)
    assert jobs.poll([ref])[ref.id] == status


def test_stopping_what_has_ended_or_is_unknown_changes_nothing(jobs: KubernetesJobs, prepared: Prepared) -> None:
    job = prepared()
    assert run(jobs, job).state == "succeeded"
    ref = jobs.find(job)
    assert ref is not None
    jobs.stop(ref)
    assert jobs.poll([ref])[ref.id].state == "succeeded"
    gone = replace(ref, name="nobody", id="ml/nobody")
    jobs.stop(gone)
    assert jobs.poll([ref, gone]).keys() == {ref.id}


def test_a_second_submit_finds_the_first(jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation) -> None:
    emulation.set_faults(hold=True)
    job = prepared()
    assert jobs.find(job) is None
    first = jobs.submit(job)
    assert jobs.submit(job) == first == jobs.find(job)
    emulation.set_faults(lose={"create_namespaced_job": 2}, hold=True)
    other = replace(job, name="lost-once", tags={**job.tags, "tidemill-job": "lost-once"})
    assert jobs.submit(other).name == "lost-once"
    assert [found["name"] for found in emulation.report()["jobs"]].count("lost-once") == 1


def test_a_strangers_job_of_that_name_is_left_alone(
    jobs: KubernetesJobs, prepared: Prepared, emulation: Emulation
) -> None:
    emulation.set_faults(hold=True)
    job = prepared()
    jobs.submit(replace(job, tags={**job.tags, "tidemill-installation": "another"}))
    for call in (jobs.submit, jobs.find):
        with pytest.raises(PlatformError, match="taken by a stranger's job") as e:
            call(job)
        assert e.value.fault == "user"


def test_many_jobs_are_polled_in_few_calls(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation
) -> None:
    emulation.set_faults(hold=True)
    bodies = [remote_job(cluster[1], "kubernetes", f"many-{n}") for n in range(60)]
    refs = [jobs.submit(job) for job in bodies]
    before = emulation.report()["calls"]
    found = jobs.poll(refs)
    after = emulation.report()["calls"]
    assert {status.state for status in found.values()} == {"running"}
    assert len(found) == 60
    made = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert made == {"list_namespaced_job": 1}


def test_a_long_list_is_read_page_by_page(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulation.set_faults(hold=True)
    refs = [jobs.submit(remote_job(cluster[1], "kubernetes", f"paged-{n}")) for n in range(7)]
    monkeypatch.setattr("tidemill.platforms.kubernetes.jobs._PAGE", 3)
    assert len(jobs.poll(refs)) == 7


@pytest.mark.parametrize("kind", ["throttle", "fail", "half", "lose"])
@pytest.mark.parametrize("operation", ["create_namespaced_job", "list_namespaced_job", "patch_namespaced_job"])
def test_a_stumbling_api_server_is_asked_again(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation, kind: str, operation: str
) -> None:
    name = f"stumble-{kind}-{operation.partition('_')[0]}"
    emulation.set_faults(hold=True, **{kind: {operation: 1}})
    ref = jobs.submit(remote_job(cluster[1], "kubernetes", name))
    assert jobs.poll([ref])[ref.id].state == "running"
    if operation == "patch_namespaced_job":
        jobs.stop(ref)
        assert until_ended(jobs, [ref])[ref.id].state == "stopped"
    assert [found["name"] for found in emulation.report()["jobs"]].count(name) == 1
    assert not any(emulation.report()["faults"][kind].values())


def test_an_api_server_that_goes_on_refusing_is_told(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation
) -> None:
    job = remote_job(cluster[1], "kubernetes", "never")
    for kind, throttled in (("throttle", True), ("fail", False)):
        emulation.set_faults(**{kind: {"create_namespaced_job": 99}})
        with pytest.raises(PlatformError, match="does not answer") as e:
            jobs.submit(job)
        assert (e.value.fault, e.value.throttled) == ("system", throttled)
    emulation.set_faults(denied=["create_namespaced_job"])
    with pytest.raises(PlatformError, match=r'cannot create resource "jobs".*a role with create, get') as e:
        jobs.submit(job)
    assert e.value.fault == "user"


def test_a_namespace_that_is_not_there_and_credentials_that_have_expired(
    cluster: tuple[Emulation, Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    emulation, platform = cluster
    emulation.set_faults()
    known = connections(monkeypatch, emulation)
    other = platform.model_copy(update={"namespace": "nobodys"})
    with pytest.raises(PlatformError, match=r'namespaces "nobodys" not found; platform.namespace has to exist'):
        open_jobs(other, "kubernetes", known).submit(remote_job(other, "kubernetes", "x"))
    variable = "AIRFLOW_CONN_KUBERNETES_DEFAULT"
    monkeypatch.setenv(variable, emulation.environment[variable].replace('\\"test\\"}}]', '\\"expired\\"}}]'))
    with pytest.raises(PlatformError, match="credentials; they may have expired") as e:
        open_jobs(platform, "kubernetes", known).poll([jobs_ref("ml/x")])
    assert e.value.fault == "user"
    monkeypatch.delenv(variable)
    with pytest.raises(PlatformError) as e:
        open_jobs(platform, "kubernetes", known).poll([jobs_ref("ml/x")])
    assert e.value.fault == "user"


def jobs_ref(place: str) -> Any:
    from tidemill.platforms.ports import JobRef

    return JobRef("kubernetes", place.partition("/")[2], place, "ml")


def test_half_an_output_is_not_collected(jobs: KubernetesJobs, prepared: Prepared, tmp_path: Path) -> None:
    job = prepared()
    assert run(jobs, job).state == "succeeded"
    ref = jobs.find(job)
    assert ref is not None
    (Path(job.output) / "left-by-an-earlier-attempt.pkl").write_text("x")
    jobs.collect(job, ref, tmp_path / "got")
    assert [p.name for p in (tmp_path / "got" / "output").iterdir()] == ["model.pkl"]
    model = Path(job.output) / "model.pkl"
    model.write_bytes(model.read_bytes()[:-1])
    with pytest.raises(PlatformError, match=r"half an output: model.pkl has .* bytes"):
        jobs.collect(job, ref, tmp_path / "got")
    model.unlink()
    with pytest.raises(PlatformError, match=r"half an output: model\.pkl is missing"):
        jobs.collect(job, ref, tmp_path / "got")


def test_links_come_from_the_connection() -> None:
    class Known:
        def get(self, conn_id: str) -> Connection:
            return Connection(conn_id, "kubernetes", extra={"dashboard_url": "https://k/#/job/{namespace}/{name}"})

    jobs = open_jobs(platform_of({"provider": "kubernetes", "namespace": "ml"}), "kubernetes", Known())  # type: ignore[arg-type]
    assert jobs.links(jobs_ref("ml/x")).console == "https://k/#/job/ml/x"
    assert jobs.links(jobs_ref("ml/x")).log == ""


PLATFORM = {"provider": "kubernetes", "namespace": "ml", "bucket": "s3://acme-ml"}


def body(**changes: Any) -> dict[str, Any]:
    from kubernetes.client import ApiClient

    job = remote_job(platform_of(PLATFORM), "kubernetes", "job", **changes)
    made: dict[str, Any] = ApiClient().sanitize_for_serialization(job_body(job, "ml"))
    assert not list(faults(made))
    return made


def test_resources_become_requests_and_limits() -> None:
    resources = Resources.model_validate({"cpu": 2, "memory": "4 GiB", "gpu": 1, "accelerator": "amd.com/gpu"})
    made = body(resources=resources)["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert made["requests"] == {"cpu": "2", "memory": str(4 << 30)}
    assert made["limits"] == {"cpu": "2", "memory": str((4 << 30) + (256 << 20)), "amd.com/gpu": "1"}
    assert body()["spec"]["template"]["spec"]["containers"][0]["resources"] == {}


SPOT = {"spot": {"checkpoint": "s3://acme-ml/kept"}}


def test_spot_nodes_are_those_of_the_spec_or_of_any_cloud() -> None:
    own = {"cloud.google.com/gke-spot": "true", "disk": "ssd"}
    tolerations = [{"key": "cloud.google.com/gke-spot", "operator": "Exists"}, {"key": "gpu", "value": "yes"}]
    resources = Resources.model_validate({**SPOT, "node_selector": own, "tolerations": tolerations})
    on_spot = body(resources=resources, spot=True)["spec"]["template"]["spec"]
    assert on_spot["nodeSelector"] == own
    assert len(on_spot["tolerations"]) == 2
    assert "affinity" not in on_spot
    # Fallen back to on-demand: what asks for spot machines is left out.
    fallen = body(resources=resources, spot=False)["spec"]["template"]["spec"]
    assert fallen["nodeSelector"] == {"disk": "ssd"}
    assert [t["key"] for t in fallen["tolerations"]] == ["gpu"]
    plain = body(resources=Resources.model_validate(SPOT), spot=True)["spec"]["template"]["spec"]
    assert len(json.dumps(plain["affinity"])) > 100
    assert {t["key"] for t in plain["tolerations"]} == {
        "cloud.google.com/gke-spot",
        "kubernetes.azure.com/scalesetpriority",
    }
    assert "affinity" not in body(resources=Resources.model_validate(SPOT), spot=False)["spec"]["template"]["spec"]


def test_a_commands_dollars_survive_kubernetes(cluster: tuple[Emulation, Platform]) -> None:
    from tests.emulators.kubernetes_jobs import expanded
    from tidemill.platforms.packing import folder_command

    job = remote_job(cluster[1], "kubernetes", "x")
    command = job_body(job, "ml").spec.template.spec.containers[0].command
    places = {"code": job.code, "data": job.data, "job": job.job, "output": job.output, "checkpoint": None}
    assert [expanded(part, {"mktemp -d": "wrong"}) for part in command] == folder_command(
        platform="kubernetes", **places
    )
    assert "$$(mktemp -d)" in command[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b["metadata"].update(name="A_b"), "RFC 1123"),
        (lambda b: b["metadata"].update(labels={"a": "-x"}), "a valid label"),
        (lambda b: b["spec"]["template"]["spec"].update(restartPolicy="OnFailure"), "podFailurePolicy"),
        (lambda b: b["spec"]["template"]["spec"]["containers"][0].update(image=""), "image: Required"),
        (lambda b: b["spec"].update(completionMode="Indexed", completions=None), "completions: Required"),
    ],
)
def test_the_emulator_refuses_what_the_api_server_refuses(change: Callable[[Any], None], said: str) -> None:
    made = body()
    change(made)
    assert said in " ".join(faults(made))


def test_the_emulator_selects_as_the_api_server_does() -> None:
    labels = {"tidemill-job": "a", "team": "ml"}
    assert selects("tidemill-job in (b, a),team=ml", labels)
    assert selects("tidemill-job,!other", labels)
    assert not selects("tidemill-job in (b),team=ml", labels)
    assert not selects("other", labels)
    assert not selects("team!=ml", labels)


def test_a_volume_keeps_whole_files_and_stays_inside(tmp_path: Path) -> None:
    volume = FolderStorage(tmp_path / "volume")
    (tmp_path / "file").write_text("content")
    with pytest.raises(PlatformError, match=r"platform\.volume\.path is where Airflow's workers mount the volume"):
        volume.put(tmp_path / "file", str(tmp_path / "volume" / "a"))
    (tmp_path / "volume").mkdir()
    place = str(tmp_path / "volume" / "deep" / "a")
    volume.put(tmp_path / "file", place)
    before = Path(place).stat().st_ino
    volume.put(tmp_path / "file", place)
    assert Path(place).stat().st_ino == before
    volume.get(place, tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"
    assert [(s.uri, s.size) for s in volume.list(str(tmp_path / "volume"))] == [(place, 7)]
    assert list(volume.versions(place)) == []
    for uri in (str(tmp_path / "file"), f"{tmp_path}/volume/../file", "/etc/passwd"):
        with pytest.raises(PlatformError, match=r"does not lie in platform\.volume\.path"):
            volume.delete(uri)
    with pytest.raises(PlatformError, match="there is no such file"):
        volume.get(f"{place}/none", tmp_path / "none")
    for _ in range(2):
        volume.delete(place)
    assert not list(volume.list(str(tmp_path / "volume")))


def test_what_a_cluster_does_not_have_is_said_clearly() -> None:
    platform = platform_of(PLATFORM)
    for opened in (open_metrics, open_tracking):
        with pytest.raises(PlatformError, match="Kubernetes has no") as e:
            opened(platform, None)  # type: ignore[arg-type]
        assert e.value.fault == "user"
    with pytest.raises(PlatformError, match="neither a bucket"):
        open_storage(platform_of({"provider": "kubernetes", "namespace": "ml"}), None)  # type: ignore[arg-type]


def _until(check: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_hundred_lost_answers_make_no_second_job(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation
) -> None:
    for n in range(100):
        emulation.set_faults(hold=True, lose={"create_namespaced_job": 1 + n % 2})
        assert jobs.submit(remote_job(cluster[1], "kubernetes", f"lost-{n}")).name == f"lost-{n}"
    names = [found["name"] for found in emulation.report()["jobs"] if found["name"].startswith("lost-")]
    assert len([name for name in names if name != "lost-once"]) == 100


@pytest.mark.slow
def test_a_thousand_jobs_are_polled_in_a_few_calls(
    jobs: KubernetesJobs, cluster: tuple[Emulation, Platform], emulation: Emulation
) -> None:
    emulation.set_faults(noop=True, start_delay=3600)
    refs = [jobs.submit(remote_job(cluster[1], "kubernetes", f"thousand-{n}")) for n in range(1000)]
    before = sum(emulation.report()["calls"].values())
    found = jobs.poll(refs)
    assert len(found) == 1000
    # Pages of 500 of all jobs of the namespace, of which other tests have made some.
    assert sum(emulation.report()["calls"].values()) - before <= 4
