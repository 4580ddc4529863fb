"""Archives that SageMaker makes of what a job left, and such as nobody should have made."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tidemill.platforms.aws.outputs import unpack
from tidemill.platforms.ports import PlatformError

MODEL = b"the model"


def archive(file: Path, *odd: tarfile.TarInfo) -> Path:
    files = {
        "a/model.pkl": MODEL,
        ".tidemill/files.json": json.dumps({"a/model.pkl": len(MODEL), **{m.name: len(MODEL) for m in odd}}).encode(),
        ".tidemill/result.json": b"{}",
    }
    with tarfile.open(file, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in odd:
            tar.addfile(member, io.BytesIO(MODEL[: member.size]))
    return file


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


def test_a_link_within_the_archive_becomes_what_it_leads_to(tmp_path: Path) -> None:
    unpack(archive(tmp_path / "m.tar.gz", link("a/latest.pkl", "model.pkl")), "s3://b/m", tmp_path / "left")
    assert (tmp_path / "left" / "output" / "a" / "latest.pkl").read_bytes() == MODEL
    assert not (tmp_path / "left" / "output" / "a" / "latest.pkl").is_symlink()
    assert (tmp_path / "left" / "output.result.json").read_text() == "{}"


@pytest.mark.parametrize(
    "odd",
    [tarfile.TarInfo("../out"), tarfile.TarInfo("/tmp/out"), link("a/l", "/etc/passwd"), link("a/l", "../../x")],
    ids=["above", "absolute", "link out", "link above"],
)
def test_what_leads_out_of_the_output_is_refused(odd: tarfile.TarInfo, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="does not belong into an output") as error:
        unpack(archive(tmp_path / "m.tar.gz", odd), "s3://b/m", tmp_path / "left")
    assert error.value.fault == "user"
    assert not (tmp_path / "out").exists()


def test_an_archive_that_is_cut_is_half_an_output(tmp_path: Path) -> None:
    file = archive(tmp_path / "m.tar.gz")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(PlatformError, match="half an output") as error:
        unpack(file, "s3://b/m", tmp_path / "left")
    assert error.value.fault == "system"
