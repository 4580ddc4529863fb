"""The scripts of a delivery pipeline, run: with the real Terraform, with the clouds' own libraries, over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests.delivery.pipelines import PLAIN, script_of
from tidemill.delivery.model import Delivery

ROOT = """\
terraform {
  backend "local" {}
}

variable "size" {
  type = number
}

resource "terraform_data" "one" {
  input = var.size
}
"""
"""A root of the one resource that needs no provider."""


def run(script: str, folder: Path, shell: str = "bash", **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "127.0.0.1", "CHECKPOINT_DISABLE": "1"}
    options = ["--noprofile", "--norc", "-eo", "pipefail"] if shell == "bash" else []
    return subprocess.run(
        [shell, *options, "-c", script], cwd=folder, env=own | environment, capture_output=True, text=True, check=False
    )


def root(folder: Path, name: str = "dev") -> Path:
    """The root of an environment, with a value in a variables file of its own."""
    found = folder / "infra" / name
    found.mkdir(parents=True)
    (found / "main.tf").write_text(ROOT)
    (found / "own.auto.tfvars").write_text(f"size = {len(name)}\n")
    return found


@pytest.mark.terraform
def test_plan_apply_and_drift_with_the_real_terraform(tmp_path: Path) -> None:
    infra = root(tmp_path)
    output = tmp_path / "output"

    def plan(environment: str = "dev") -> subprocess.CompletedProcess[str]:
        output.write_text("")
        script = script_of(PLAIN, "terraform plan")
        return run(script, tmp_path, ENVIRONMENT=environment, GITHUB_OUTPUT=str(output))

    def drift(code: str) -> int:
        return run(
            script_of(PLAIN, "is not what infra/$ENVIRONMENT says"), tmp_path, ENVIRONMENT="dev", code=code
        ).returncode

    said = plan()
    assert said.returncode == 0, said.stderr
    assert output.read_text() == "code=2\n"
    assert "terraform_data.one will be created" in (infra / "plan.txt").read_text()
    said = run(script_of(PLAIN, "terraform apply"), tmp_path, ENVIRONMENT="dev")
    assert said.returncode == 0, said.stderr
    assert (infra / "terraform.tfstate").is_file()
    assert (plan().returncode, output.read_text()) == (0, "code=0\n")
    (infra / "own.auto.tfvars").write_text("size = 2\n")
    assert (plan().returncode, output.read_text()) == (0, "code=2\n")
    assert (drift("0"), drift("2")) == (0, 1)
    assert plan("prod").returncode != 0  # it has no files, and does not silently get those of dev
    (infra / "main.tf").write_text(ROOT.replace("  backend", "  # backend"))
    said = plan()
    assert said.returncode == 1
    assert "infra/dev has no backend" in said.stderr
    assert output.read_text() == ""


@pytest.mark.terraform
def test_environments_with_roots_of_their_own_keep_apart(tmp_path: Path) -> None:
    for name in ("dev", "prod"):
        root(tmp_path, name)
    script = script_of(PLAIN, "terraform apply")
    said = run(script, tmp_path, ENVIRONMENT="prod")
    assert said.returncode == 0, said.stderr
    state = json.loads((tmp_path / "infra" / "prod" / "terraform.tfstate").read_text())
    assert state["resources"][0]["instances"][0]["attributes"]["input"]["value"] == 4
    assert not (tmp_path / "infra" / "dev" / "terraform.tfstate").exists()


@pytest.mark.terraform
def test_gitlab_reports_how_many_resources_would_change(tmp_path: Path) -> None:
    infra = root(tmp_path)
    apk = tmp_path / "bin" / "apk"  # Alpine's installer, where jq is there already
    apk.parent.mkdir()
    apk.write_text("#!/bin/sh\n")
    apk.chmod(0o755)
    script = script_of(replace(PLAIN, system="gitlab"), "terraform plan")
    path = f"{apk.parent}:{os.environ['PATH']}"
    given = {"ENVIRONMENT": "dev", "ID_TOKEN": "token", "PATH": path}
    said = run(script, tmp_path, "sh", **given, CI_PIPELINE_SOURCE="merge_request_event")
    assert said.returncode == 0, said.stderr
    assert json.loads((infra / "plan.json").read_text()) == {"create": 1, "update": 0, "delete": 0}
    assert run(script, tmp_path, "sh", **given, CI_PIPELINE_SOURCE="schedule").returncode == 1


def signed(delivery: Delivery, folder: Path, ending: str, **environment: str) -> str:
    """What a script prints at its end, after it has signed in."""
    script = script_of(delivery, "terraform apply").partition('cd "infra/$ENVIRONMENT"\n')[0]
    said = run(f"{script}{ending}", folder, "sh", ID_TOKEN="a.b.c", **environment)
    assert said.returncode == 0, said.stderr
    return said.stdout


def test_the_signing_files_are_what_the_libraries_of_the_clouds_read(tmp_path: Path) -> None:
    from google.auth import identity_pool
    from kubernetes import config

    gitlab = replace(PLAIN, system="gitlab")
    assert signed(gitlab, tmp_path, 'cat "$AWS_WEB_IDENTITY_TOKEN_FILE"') == "a.b.c"

    pool = "projects/1/locations/global/workloadIdentityPools/ci/providers/gitlab"
    told = json.loads(
        signed(
            replace(gitlab, provider="gcp"), tmp_path, 'cat "$GOOGLE_APPLICATION_CREDENTIALS"',
            GCP_WORKLOAD_IDENTITY_PROVIDER=pool, GCP_SERVICE_ACCOUNT="ci@acme.iam.gserviceaccount.com",
        )
    )  # fmt: skip
    credentials = identity_pool.Credentials.from_info(told)
    assert credentials.service_account_email == "ci@acme.iam.gserviceaccount.com"
    assert told["audience"] == f"//iam.googleapis.com/{pool}"

    ending = 'cat "$scratch/id-token" > token; sed "s#$scratch/id-token#token#" "$TF_VAR_kube_config"'
    kubeconfig = yaml.safe_load(
        signed(replace(gitlab, provider="kubernetes"), tmp_path, ending, KUBE_HOST="https://kube", KUBE_CA_DATA="Q0E=")
    )
    kubeconfig["users"][0]["user"]["tokenFile"] = str(tmp_path / "token")
    client = config.new_client_from_config_dict(kubeconfig)
    assert client.configuration.host == "https://kube"
    assert client.configuration.get_api_key_with_prefix("authorization") == "Bearer a.b.c"


def test_what_signs_in_is_gone_when_a_script_ends(tmp_path: Path) -> None:
    scratch = signed(replace(PLAIN, system="gitlab"), tmp_path, 'echo "$scratch"').strip()
    assert not Path(scratch).exists()


@dataclass
class Threads:
    """The threads of a pull request as Azure DevOps keeps them. ``status``: what every call is answered with."""

    url: str = ""
    status: int = 200
    threads: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)


@pytest.fixture
def azure() -> Iterator[Threads]:
    kept = Threads()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            path, _, query = self.path.partition("?")
            assert query == "api-version=7.1"
            assert self.headers["Authorization"] == "Bearer system-token"
            kept.calls.append((self.command, path))
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if self.command == "POST":
                kept.threads.append({"id": len(kept.threads) + 1, "comments": body["comments"]})
            elif self.command == "PATCH":
                number = int(path.split("/")[-3])
                kept.threads[number - 1]["comments"][0] = body
            text = json.dumps({"value": kept.threads}).encode()
            self.send_response(kept.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_port}/acme/"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(not (shutil.which("jq") and shutil.which("curl")), reason="jq or curl is not on this machine")
def test_a_plan_is_one_comment_for_each_environment_of_a_pull_request_in_azure_devops(
    tmp_path: Path, azure: Threads
) -> None:
    script = script_of(replace(PLAIN, system="azure-devops"), "tidemill-plan")
    azure.threads = [{"id": 1, "comments": [{"content": "Nice!"}]}, {"id": 2, "comments": [{}]}]

    def tell(environment: str, text: str) -> int:
        folder = tmp_path / "infra" / environment
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "plan.txt").write_text(text)
        given = {
            "ENVIRONMENT": environment, "SYSTEM_COLLECTIONURI": azure.url, "SYSTEM_TEAMPROJECTID": "p",
            "BUILD_REPOSITORY_ID": "r", "SYSTEM_PULLREQUEST_PULLREQUESTID": "7", "SYSTEM_ACCESSTOKEN": "system-token",
        }  # fmt: skip
        return run(script, tmp_path, **given).returncode

    hostile = 'create "x" $(touch hacked) `touch hacked` \\ €\n'
    assert tell("dev", hostile) == 0
    assert tell("prod", "nothing\n") == 0
    assert tell("dev", "less\n") == 0
    contents = [thread["comments"][0].get("content") for thread in azure.threads]
    assert len(contents) == 4
    assert contents[0] == "Nice!"
    assert "less\n" in contents[2]
    assert "nothing\n" in contents[3]
    assert azure.calls[-1] == ("PATCH", "/acme/p/_apis/git/repositories/r/pullRequests/7/threads/3/comments/1")
    assert not (tmp_path / "hacked").exists()
    assert tell("dev", "x" * 300_000) == 0
    assert len(azure.threads[2]["comments"][0]["content"]) < 150_000
    azure.status = 403
    assert tell("dev", "more\n") != 0
