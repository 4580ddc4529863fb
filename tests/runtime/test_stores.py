"""The runtime's own clients of the stores, on the wire."""

from __future__ import annotations

import datetime
import json
import os
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from tidemill.runtime import s3, stores, web
from tidemill.runtime.web import StoreError

KEYS = ["a.txt", "deep/er/b é+&?#%.bin", "deep/=~'()!*.txt"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No credentials of the machine's, and no waiting between tries."""
    for name in os.environ:
        if name.startswith(("AWS_", "AZURE_", "GCE_", "STORAGE_")):
            monkeypatch.delenv(name)
    monkeypatch.setattr(web, "_credentials", {})
    monkeypatch.setattr(web.time, "sleep", lambda seconds: None)


class Server:
    """A small server on loopback: ``answer`` is asked, ``seen`` is what was asked."""

    def __init__(self) -> None:
        self.answers: Callable[[Request], Response] = lambda request: Response("", 500)
        self.seen: list[Request] = []
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        request = Request(environ)
        request.get_data()
        self.seen.append(request)
        return self.answers(request)(environ, start)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.server.shutdown()


@pytest.fixture
def bucket(moto: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    boto3.resource("s3", region_name="us-east-1").create_bucket(Bucket="stores-ml")
    return "s3://stores-ml/x"


class Memory:
    """Objects of one bucket as Cloud Storage's JSON API and Azure Blob Storage have them; two a page."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.blocks: dict[str, bytes] = {}

    def gcs(self, request: Request) -> Response:
        listing, _, key = request.path.partition("/storage/v1/b/acme-ml/o")
        if request.path == "/upload/storage/v1/b/acme-ml/o":
            assert request.args["uploadType"] == "media"
            self.kept[request.args["name"]] = request.get_data()
            return Response("{}")
        assert listing == ""
        key = urllib.parse.unquote(key.lstrip("/"))
        if key:
            return self.one(request, key)
        names, token = self.page(request.args["prefix"], request.args.get("pageToken"))
        body = {"items": [{"name": n, "size": str(len(self.kept[n]))} for n in names], "nextPageToken": token}
        return Response(json.dumps(body))

    def blob(self, request: Request) -> Response:
        assert request.headers["x-ms-version"]
        key = request.path.removeprefix("/account/data").lstrip("/")
        if not key:
            names, token = self.page(request.args["prefix"], request.args.get("marker"))
            found = "".join(
                f"<Blob><Name>{n.replace('&', '&amp;')}</Name><Properties><Content-Length>{len(self.kept[n])}"
                "</Content-Length></Properties><Metadata/></Blob>"
                for n in names
            )
            folder = "<Blob><Name>x/deep</Name><Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>"
            return Response(
                f"<EnumerationResults><Blobs>{found}{folder}</Blobs><NextMarker>{token}</NextMarker></EnumerationResults>"
            )
        if request.method == "PUT":
            if request.args.get("comp") == "block":
                self.blocks[request.args["blockid"]] = request.get_data()
            elif request.args.get("comp") == "blocklist":
                named = request.get_data(as_text=True).split("<Latest>")[1:]
                self.kept[key] = b"".join(self.blocks[n.partition("<")[0]] for n in named)
            else:
                assert request.headers["x-ms-blob-type"] == "BlockBlob"
                self.kept[key] = request.get_data()
            return Response("", 201)
        return self.one(request, key)

    def one(self, request: Request, key: str) -> Response:
        if key not in self.kept:
            return Response("no such object", 404)
        if request.method == "DELETE":
            del self.kept[key]
            return Response("", 204)
        return Response(self.kept[key])

    def page(self, prefix: str, after: str | None) -> tuple[list[str], str]:
        names = sorted(n for n in self.kept if n.startswith(prefix) and n > (after or ""))
        return names[:2], names[1] if len(names) > 2 else ""


@pytest.fixture(params=["s3", "gs", "abfss", "path"])
def place(request: pytest.FixtureRequest, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An empty folder's address in each kind of store."""
    memory = Memory()
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    if request.param == "gs":
        server.answers = memory.gcs
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        return "gs://acme-ml/x"
    if request.param == "abfss":
        server.answers = memory.blob
        monkeypatch.setenv("AZURE_STORAGE_BLOB_ENDPOINT", f"{server.url}/account")
        monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=a%2Bb")
        return "abfss://data@account.dfs.core.windows.net/x"
    return str(tmp_path / "x")


def test_files_go_there_and_back(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, key in enumerate(KEYS):
        (tmp_path / "from").write_bytes(os.urandom(1000 * n))
        stores.put(str(tmp_path / "from"), f"{place}/{key}")
        stores.get(f"{place}/{key}", str(tmp_path / "to" / "a file"))
        assert (tmp_path / "to" / "a file").read_bytes() == (tmp_path / "from").read_bytes()
    (tmp_path / "beside").write_text("")
    stores.put(str(tmp_path / "beside"), f"{place}beside/no")
    assert sorted(stores.objects(place)) == sorted((key, 1000 * n) for n, key in enumerate(KEYS))
    assert sorted(stores.objects(f"{place}/deep/")) == sorted((k[5:], 1000 * n) for n, k in enumerate(KEYS) if n)
    for _ in range(2):
        stores.delete(f"{place}/{KEYS[1]}")
    assert KEYS[1] not in [key for key, _ in stores.objects(place)]
    # A file that is too large for one request.
    for module in (s3, web):
        monkeypatch.setattr(module, "PART", 5 << 20)
    monkeypatch.setattr("tidemill.runtime.blob.PART", 5 << 20)
    (tmp_path / "from").write_bytes(os.urandom((5 << 20) * 2 + 7))
    stores.put(str(tmp_path / "from"), f"{place}/large")
    stores.get(f"{place}/large", str(tmp_path / "to the large"))
    assert (tmp_path / "to the large").read_bytes() == (tmp_path / "from").read_bytes()


def test_what_is_not_there_is_the_users_fault(place: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as e:
        stores.get(f"{place}/none", str(tmp_path / "to"))
    assert e.value.user
    assert "there is no such" in str(e.value)
    assert not (tmp_path / "to").exists()


def test_a_store_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no store of this kind"):
        stores.get("ftp://a/b", str(tmp_path / "to"))


@pytest.mark.parametrize("session", ["", "a/session+token=="])
@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("key", KEYS)
def test_the_signature_is_the_one_of_the_sdk(key: str, method: str, session: str) -> None:
    body = b"content" if method == "PUT" else b""
    query = {"prefix": "a b/+&=~", "list-type": "2", "uploads": ""}
    url = f"http://127.0.0.1:9000/acme-ml/{web.quote(key, '/')}"
    ours = s3.sign(method, url, query, body, "eu-west-1", ("AKIA", "a/secret+", session))
    # The SDK signs at the same instant, and the same headers: those that S3 demands.
    request = AWSRequest(method, url, data=body, params=query)
    auth = S3SigV4Auth(Credentials("AKIA", "a/secret+", session or None), "s3", "eu-west-1")
    at = datetime.datetime.strptime(ours["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")
    request.context["timestamp"] = ours["x-amz-date"]
    request.context["payload_signing_enabled"] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda *given, **named: at)
        auth.add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]


def test_a_bucket_of_another_region_is_asked_there(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(request: Request) -> Response:
        if "/eu-west-1/" not in request.headers["Authorization"]:
            return Response("<Code>AuthorizationHeaderMalformed</Code>", 400, {"x-amz-bucket-region": "eu-west-1"})
        return Response("content")

    server.answers = answer
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    stores.get("s3://acme-ml/x", str(tmp_path / "to"))
    assert (tmp_path / "to").read_text() == "content"
    assert len(server.seen) == 2


@pytest.fixture
def stubborn(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    return server


def test_a_store_that_stumbles_is_asked_again(stubborn: Server, tmp_path: Path) -> None:
    def answer(request: Request) -> Response:
        if len(stubborn.seen) < 3:
            return Response("slow down", 503)
        if len(stubborn.seen) < 5:
            half = Response(b"content"[:3])
            half.automatically_set_content_length = False
            half.headers["Content-Length"] = "7"
            return half
        return Response("content")

    stubborn.answers = answer
    stores.get("gs://acme-ml/x", str(tmp_path / "to"))
    assert (tmp_path / "to").read_text() == "content"
    assert len(stubborn.seen) == 5


def test_a_store_that_never_answers_is_given_up(stubborn: Server, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no answer in 6 tries: HTTP 500") as e:
        stores.get("gs://acme-ml/x", str(tmp_path / "to"))
    assert not e.value.user
    assert len(stubborn.seen) == web.TRIES


def test_no_permission_is_not_asked_for_twice(stubborn: Server, tmp_path: Path) -> None:
    stubborn.answers = lambda request: Response("denied", 403)
    with pytest.raises(StoreError, match="may what the job runs as") as e:
        stores.put(str(Path(__file__)), "gs://acme-ml/x")
    assert e.value.user
    assert len(stubborn.seen) == 1


LATER = "2099-01-01T00:00:00Z"
GIVEN = {"AccessKeyId": "KEY", "SecretAccessKey": "s", "Token": "session", "Expiration": LATER}


def _ecs(request: Request) -> Response | None:
    if request.path == "/keys" and request.headers["Authorization"] == "from the platform":
        return Response(json.dumps(GIVEN))
    return None


def _imds(request: Request) -> Response | None:
    if request.path == "/latest/api/token" and request.method == "PUT":
        return Response("T" if request.headers["X-aws-ec2-metadata-token-ttl-seconds"] else "")
    if request.headers.get("X-aws-ec2-metadata-token") != "T":
        return None
    if request.path == "/latest/meta-data/iam/security-credentials/":
        return Response("role")
    return Response(json.dumps(GIVEN)) if request.path.endswith("/security-credentials/role") else None


def _sts(request: Request) -> Response | None:
    if request.form.get("Action") != "AssumeRoleWithWebIdentity" or request.form["WebIdentityToken"] != "jwt":
        return None
    return Response(
        '<A xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><R><Credentials><AccessKeyId>KEY</AccessKeyId>'
        "<SecretAccessKey>s</SecretAccessKey><SessionToken>session</SessionToken>"
        f"<Expiration>{LATER}</Expiration></Credentials></R></A>"
    )


@pytest.mark.parametrize(
    ("service", "environment"),
    [
        (
            _ecs,
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "{url}/keys",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "from the platform",
            },
        ),
        (
            _ecs,
            {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "{url}/keys", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "{file}"},
        ),
        (_imds, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "{url}/"}),
        (
            _sts,
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "{jwt}", "AWS_ROLE_ARN": "arn:role", "AWS_ENDPOINT_URL_STS": "{url}"},
        ),
    ],
)
def test_aws_gives_a_container_its_credentials(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: Callable[[Request], Response | None],
    environment: dict[str, str],
) -> None:
    def answer(request: Request) -> Response:
        if request.path.startswith("/acme-ml"):
            signed = "Credential=KEY/" in request.headers["Authorization"]
            return Response("content", 200 if signed and request.headers["X-Amz-Security-Token"] == "session" else 403)
        return service(request) or Response("", 403)

    server.answers = answer
    (tmp_path / "file").write_text("from the platform\n")
    (tmp_path / "jwt").write_text("jwt\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value.format(url=server.url, file=tmp_path / "file", jwt=tmp_path / "jwt"))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    for name in ("to", "again"):
        stores.get("s3://acme-ml/x", str(tmp_path / name))
    assert (tmp_path / "again").read_text() == "content"
    # The second request used what the first one had been given.
    assert sum(not r.path.startswith("/acme-ml") for r in server.seen) == (3 if service is _imds else 1)


def test_cloud_storage_takes_the_service_accounts_token(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expires = iter([30, 3600])

    def answer(request: Request) -> Response:
        if request.path.endswith("/service-accounts/default/token"):
            assert request.headers["Metadata-Flavor"] == "Google"
            return Response(json.dumps({"access_token": f"T{len(server.seen)}", "expires_in": next(expires)}))
        return Response("content", 200 if request.headers.get("Authorization", "").startswith("Bearer T") else 401)

    server.answers = answer
    monkeypatch.setenv("GCE_METADATA_HOST", server.url.removeprefix("http://"))
    monkeypatch.setattr("tidemill.runtime.gcs.Store.__init__", _pointed(server.url))
    for _ in range(3):
        stores.get("gs://acme-ml/x", str(tmp_path / "to"))
    # One that is about to expire is not used a second time; the next one is kept.
    assert sum("token" in r.path for r in server.seen) == 2


def _pointed(url: str) -> Callable[[Any, str], None]:
    """Cloud Storage's real address cannot be reached here, and with an emulator's no token is sent."""

    def init(store: Any, bucket: str) -> None:
        store.bucket, store.emulated, store.base = bucket, False, url

    return init


@pytest.mark.parametrize("kind", ["workload", "managed"])
def test_azure_gives_a_container_its_token(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    def answer(request: Request) -> Response:
        token = Response(json.dumps({"access_token": "T", "expires_in": "3600"}))
        if request.path == "/tenant/oauth2/v2.0/token":
            right = request.form["client_assertion"] == "jwt" and request.form["client_id"] == "me"
            return token if right else Response("", 400)
        if request.path == "/metadata/identity/oauth2/token":
            right = request.headers["Metadata"] == "true" and request.args["resource"] == "https://storage.azure.com/"
            return token if right and request.args["client_id"] == "me" else Response("", 400)
        return Response("content", 200 if request.headers.get("Authorization") == "Bearer T" else 401)

    server.answers = answer
    (tmp_path / "jwt").write_text("jwt")
    given = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.url}
    if kind == "workload":
        file = str(tmp_path / "jwt")
        given = {"AZURE_FEDERATED_TOKEN_FILE": file, "AZURE_AUTHORITY_HOST": server.url, "AZURE_TENANT_ID": "tenant"}
    given |= {"AZURE_STORAGE_BLOB_ENDPOINT": server.url, "AZURE_CLIENT_ID": "me"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    stores.get("abfss://data@account.dfs.core.windows.net/x", str(tmp_path / "to"))
    assert (tmp_path / "to").read_text() == "content"
    assert server.seen[-1].path == "/data/x"
