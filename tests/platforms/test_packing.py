"""What goes into a job's package, and what never does."""

from __future__ import annotations

import base64
import gzip
import os
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest

from tidemill.platforms import packing
from tidemill.platforms.packing import bare, boot_command, folder_command, pack
from tidemill.platforms.ports import PlatformError

CODE = "include.flights.train:train"
PLACES = {"code": "s3://b/c", "data": "s3://b/d", "job": "s3://b/j", "output": "s3://b/o"}


def project(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"include/flights/train.py": "def train(context): ...\n", **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return [name for name in tar.getnames() if not name.startswith("tidemill/")]


def refusal(root: Path, code: str = CODE) -> str:
    with pytest.raises(PlatformError) as e:
        pack(root, code)
    assert e.value.fault == "user"
    return str(e.value)


def test_two_checkouts_at_two_times_give_the_same_bytes(tmp_path: Path) -> None:
    files = {"include/b.py": "b = 1\n", "include/a/settings.yaml": "é: 1\n", "include/a/long" + "g" * 120 + ".py": ""}
    here, there = project(tmp_path / "here", files), project(tmp_path / "else" / "where", dict(reversed(files.items())))
    for n, file in enumerate(there.rglob("*")):
        file.chmod(0o700)
        os.utime(file, (n, n))
    (there / "include" / "__pycache__").mkdir()
    (there / "include" / "__pycache__" / "b.py").write_text("")
    one, two = pack(here, CODE), pack(there, CODE)
    assert one.file.read_bytes() == two.file.read_bytes()
    assert one.version == two.version
    (there / "include" / "b.py").write_text("b = 2\n")
    assert pack(there, CODE).version != one.version


def test_the_version_is_of_the_content_whatever_compressed_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path, {})
    version = pack(root, CODE).version
    real = gzip.GzipFile
    monkeypatch.setattr(gzip, "GzipFile", lambda **given: real(**{**given, "compresslevel": 1}))
    other = pack(root, CODE)
    assert other.version == version


def test_code_goes_in_and_data_secrets_and_history_do_not(tmp_path: Path) -> None:
    packed = ["include/__init__.py", "include/a.sql", "include/b.json", "include/c.toml", "include/flights/train.py"]
    left = ["include/rows.parquet", "include/rows.csv", "include/model.pkl", "include/.env", "include/.git/config.txt"]
    left += ["include/notes.md", ".env", "dags/x.yaml", "other/y.py", "include/.hidden.py"]
    assert names(pack(project(tmp_path, dict.fromkeys([*packed[:-1], *left], "x")), CODE).file) == packed


def test_a_private_key_is_refused(tmp_path: Path) -> None:
    key = '{"private_key": "-----BEGIN PRIVATE KEY-----\\nMII"}'
    said = refusal(project(tmp_path, {"include/account.json": key}))
    assert said.startswith("include/account.json holds a private key")


@pytest.mark.parametrize("link", ["include/secret.py", "include/folder"])
def test_a_link_out_of_the_project_is_refused(tmp_path: Path, link: str) -> None:
    root = project(tmp_path / "project", {})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("password = 1")
    (root / link).symlink_to(tmp_path / "outside" / ("secret.py" if link.endswith(".py") else ""))
    assert "is a link that leads out of the project" in refusal(root)


def test_links_inside_are_followed_and_rings_of_them_end(tmp_path: Path) -> None:
    root = project(tmp_path, {"shared/tools.py": "", "include/flights/more.py": ""})
    (root / "include" / "shared").symlink_to(root / "shared")
    (root / "include" / "flights" / "up").symlink_to(root / "include")
    (root / "include" / "gone.py").symlink_to(root / "nowhere.py")
    (root / "include" / "data.csv").symlink_to("/etc/passwd")
    found = names(pack(root, CODE).file)
    assert "include/shared/tools.py" in found
    assert len(found) < 12
    assert not [name for name in found if "gone" in name or "data" in name]


def test_a_device_in_the_folder_does_not_hang_it(tmp_path: Path) -> None:
    os.mkfifo(project(tmp_path, {}) / "include" / "pipe.py")
    assert names(pack(tmp_path, CODE).file) == ["include/flights/train.py"]


def test_what_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "LIMIT", 1_000_000)
    said = refusal(project(tmp_path, {"include/rows.json": "x" * 1_200_000}))
    assert "holds 1.2 MB" in said
    assert "the largest: include/rows.json (1.2 MB)" in said


@pytest.mark.parametrize("code", ["include.flights.trian:train", "elsewhere.train:train", "include:train"])
def test_a_function_that_is_not_in_the_package_is_refused_before_it_costs_money(tmp_path: Path, code: str) -> None:
    assert refusal(project(tmp_path, {"elsewhere/train.py": ""}), code).startswith(f"train.code {code}: ")


def test_nothing_is_left_behind_by_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    refusal(project(tmp_path / "project", {}), "include.no:train")
    assert not list((tmp_path / "tmp").iterdir())


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfss"])
def test_the_boot_fits_and_is_the_modules_own_code(scheme: str) -> None:
    command = boot_command(platform="batch", checkpoint=None, **{k: scheme + v[2:] for k, v in PLACES.items()})
    assert command[:2] == ["python3", "-c"]
    assert "--checkpoint" not in command
    # AWS Batch: a container's overrides have at most 8,192 characters in all.
    assert len(command[2]) < 6500
    # Nothing that Kubernetes ($(…)), Vertex AI or AWS Batch (Ref::…) would replace, nothing that a shell would.
    assert not {"$", "`", '"', "\\", "\n"} & set("".join(command))
    assert "Ref::" not in command[2]
    source = zlib.decompress(base64.b64decode(command[2].split("'")[1])).decode()
    compile(source, "boot", "exec")
    assert "from ." not in source


def test_a_path_cannot_be_fetched_and_an_unknown_store_is_named() -> None:
    with pytest.raises(PlatformError, match="mounts nothing"):
        boot_command(platform="batch", checkpoint=None, **{**PLACES, "code": "/mnt/code"})
    with pytest.raises(PlatformError, match="no store of this kind"):
        boot_command(platform="batch", checkpoint=None, **{**PLACES, "code": "hdfs://a/b"})


def test_the_folder_command_keeps_to_sagemakers_length() -> None:
    command = folder_command(platform="sagemaker", checkpoint="/opt/ml/checkpoints", **PLACES)
    assert max(map(len, command)) <= 256
    assert command[-2:] == ["--checkpoint", "/opt/ml/checkpoints"]


def test_leaving_words_out_keeps_the_code(tmp_path: Path) -> None:
    source = (
        '"""Words."""\nfrom __future__ import annotations\n# more\nx = """not\n# a\n"""\nif x:\n    "odd"\n    y = 1\n'
    )
    assert bare(source) == 'x = """not\n# a\n"""\nif x:\n    y = 1'
    done = subprocess.run([sys.executable, "-c", bare(source) + "\nprint(len(x), y)"], capture_output=True, text=True)
    assert done.stdout == "8 1\n"
