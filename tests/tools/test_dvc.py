"""Data versions: equal bytes are one version, in any number of processes, whatever was killed, full or damaged."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.project import Project
from tidemill.tools.dvc import DvcStore
from tidemill.tools.versions import DataChanged, VersionError


@pytest.fixture
def store(tmp_path: Path) -> DvcStore:
    return DvcStore(Project(root=tmp_path, state=tmp_path / "state"))


def folder(path: Path, train: bytes = b"train", holdout: bytes = b"holdout") -> Path:
    path.mkdir(exist_ok=True)
    (path / "train.parquet").write_bytes(train)
    (path / "holdout.parquet").write_bytes(holdout)
    return path


def stored(store: DvcStore, part: str) -> list[Path]:
    """The objects in the cache or the remote, leftovers included."""
    root = {"cache": store.root / ".dvc/cache/files/md5", "remote": store.root / "remote/files/md5"}[part]
    return sorted(p for p in root.rglob("*") if p.is_file())


def holding(store: DvcStore, part: str, data: bytes) -> Path:
    return next(p for p in stored(store, part) if p.read_bytes() == data)


def overwrite(path: Path, data: bytes) -> None:
    """Change a file in place, as a failing disk would: its mode, and DVC's trust in it, stay."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


class TestAdd:
    def test_a_version_is_the_hash_that_dvc_gives_the_folder(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        assert version == store.add(folder(tmp_path / "elsewhere"))
        assert version != store.add(folder(tmp_path / "in", train=b"other"))
        own = subprocess.run(
            [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"],
            cwd=tmp_path, check=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        )  # fmt: skip
        assert own.returncode == 0
        subprocess.run([sys.executable, "-m", "dvc", "add", "-q", "elsewhere"], cwd=tmp_path, check=True)
        assert version in (tmp_path / "elsewhere.dvc").read_text()

    def test_dvc_itself_works_in_the_store(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        shutil.rmtree(store.root / ".dvc" / "cache")
        pulled = subprocess.run(
            [sys.executable, "-m", "dvc", "pull"], cwd=store.root / "versions", capture_output=True, text=True
        )
        assert pulled.returncode == 0, pulled.stderr
        assert (store.root / "versions" / version / "train.parquet").read_bytes() == b"train"
        settings = subprocess.run(
            [sys.executable, "-m", "dvc", "config", "core.analytics"], cwd=store.root, capture_output=True, text=True
        )
        assert settings.stdout.strip() == "False", "no telemetry from a command in the store either"

    def test_the_cache_and_the_remote_hold_it_and_nothing_more(self, store: DvcStore, tmp_path: Path) -> None:
        store.add(folder(tmp_path / "in"))
        store.add(folder(tmp_path / "in"))
        assert len(stored(store, "cache")) == len(stored(store, "remote")) == 3
        assert len(list((store.root / "versions").iterdir())) == 1

    @pytest.mark.parametrize("extra", ["more.parquet", ".hidden"])
    def test_another_file_beside_them_is_refused(self, store: DvcStore, tmp_path: Path, extra: str) -> None:
        (folder(tmp_path / "in") / extra).touch()
        with pytest.raises(VersionError, match=r"must hold holdout.parquet and train.parquet alone"):
            store.add(tmp_path / "in")

    def test_a_missing_folder_is_refused(self, store: DvcStore, tmp_path: Path) -> None:
        with pytest.raises(VersionError, match="alone"):
            store.add(tmp_path / "nowhere")

    def test_what_was_added_does_not_change_with_the_folder(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        folder(tmp_path / "in", train=b"changed")
        assert (store.fetch(version) / "train.parquet").read_bytes() == b"train"


class TestFetch:
    def test_hands_out_the_two_files_and_nothing_else(self, store: DvcStore, tmp_path: Path) -> None:
        found = store.fetch(store.add(folder(tmp_path / "in")))
        assert {p.name: p.read_bytes() for p in found.iterdir()} == {
            "train.parquet": b"train",
            "holdout.parquet": b"holdout",
        }

    def test_another_process_finds_it(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        again = DvcStore(Project(root=tmp_path, state=tmp_path / "state"))
        assert (again.fetch(version) / "train.parquet").read_bytes() == b"train"

    def test_what_a_user_did_to_the_folder_is_undone(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        found = store.fetch(version)
        (found / "train.parquet").unlink()
        (found / "more").touch()
        assert sorted(p.name for p in store.fetch(version).iterdir()) == ["holdout.parquet", "train.parquet"]

    def test_a_damaged_cache_is_repaired_from_the_remote(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        store.fetch(version)
        overwrite(holding(store, "cache", b"train"), b"trai!")
        assert (store.fetch(version) / "train.parquet").read_bytes() == b"train"

    def test_a_lost_cache_comes_back_from_the_remote(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        shutil.rmtree(store.root / ".dvc" / "cache")
        shutil.rmtree(store.root / "data", ignore_errors=True)
        assert (store.fetch(version) / "holdout.parquet").read_bytes() == b"holdout"

    def test_nothing_damaged_is_handed_out(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        store.fetch(version)
        overwrite(holding(store, "cache", b"train"), b"trai!")
        overwrite(holding(store, "remote", b"train"), b"trai?")
        with pytest.raises(DataChanged, match=r"train.parquet has changed"):
            store.fetch(version)

    @pytest.mark.parametrize("version", ["", "x", "../../etc", "0" * 32, "0" * 32 + ".dir/.."])
    def test_what_is_no_version_is_refused(self, store: DvcStore, version: str) -> None:
        with pytest.raises(VersionError, match="is not a data version"):
            store.fetch(version)

    def test_an_unknown_version_is_named(self, store: DvcStore, tmp_path: Path) -> None:
        store.add(folder(tmp_path / "in"))
        with pytest.raises(DataChanged, match="0" * 32 + r".*cannot be read \(No such file"):
            store.fetch("0" * 32 + ".dir")


class TestVerify:
    def test_passes_what_is_whole(self, store: DvcStore, tmp_path: Path) -> None:
        store.verify(store.add(folder(tmp_path / "in")))

    @pytest.mark.parametrize("part", ["train", "holdout"])
    def test_names_the_file_that_changed(self, store: DvcStore, tmp_path: Path, part: str) -> None:
        version = store.add(folder(tmp_path / "in"))
        damaged = holding(store, "remote", part.encode())
        overwrite(damaged, part.encode()[::-1])
        with pytest.raises(DataChanged) as error:
            store.verify(version)
        assert f"{part}.parquet has changed ({damaged})" in str(error.value)
        assert store.fetch(version), "the cache is whole: the data can still be read"

    def test_names_the_file_that_is_gone(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        holding(store, "remote", b"holdout").unlink()
        with pytest.raises(DataChanged, match=r"holdout.parquet cannot be read .*No such file"):
            store.verify(version)

    def test_sees_that_the_list_of_files_changed(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        listing = next(p for p in stored(store, "remote") if p.suffix == ".dir")
        overwrite(listing, listing.read_bytes().replace(b"train", b"trein"))
        with pytest.raises(DataChanged, match=r"\.dir has changed"):
            store.verify(version)

    def test_adding_again_repairs(self, store: DvcStore, tmp_path: Path) -> None:
        version = store.add(folder(tmp_path / "in"))
        overwrite(holding(store, "remote", b"train"), b"trai?")
        overwrite(holding(store, "cache", b"holdout"), b"hol")
        assert store.add(folder(tmp_path / "in")) == version
        store.verify(version)
        assert (store.fetch(version) / "holdout.parquet").read_bytes() == b"holdout"


_ADD = """
import sys
from pathlib import Path
from tidemill.project import Project
from tidemill.tools.dvc import DvcStore
from tidemill.tools.versions import DataChanged, VersionError
store = DvcStore(Project(root=Path(sys.argv[1]), state=Path(sys.argv[1]) / "state"))
for source in sys.argv[2:]:
    version = store.add(Path(source))
    found = store.fetch(version)
    assert (found / "train.parquet").read_bytes() == (Path(source) / "train.parquet").read_bytes()
    print(version)
"""


def adding(root: Path, *sources: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _ADD, root, *sources], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_processes_may_add_the_same_and_other_data_at_once(store: DvcStore, tmp_path: Path) -> None:
    same = folder(tmp_path / "same", train=b"s" * 3_000_000)
    own = [folder(tmp_path / f"own{i}", train=bytes([i]) * 2_000_000) for i in range(4)]
    started = [adding(tmp_path, same, one, same) for one in own]
    printed = [p.communicate(timeout=120) for p in started]
    assert [p.returncode for p in started] == [0] * 4, printed
    versions = [out.split() for out, _ in printed]
    assert len({v for each in versions for v in (each[0], each[2])}) == 1
    assert len({each[1] for each in versions}) == 4
    for version in {v for each in versions for v in each}:
        store.verify(version)
    leftovers = [p for part in ("cache", "remote") for p in stored(store, part) if p.suffix == ".tmp"]
    assert leftovers == []


@pytest.mark.parametrize("where", ["cache", "remote"])
def test_a_process_killed_while_it_copies_is_repaired(store: DvcStore, tmp_path: Path, where: str) -> None:
    large = folder(tmp_path / "in", train=os.urandom(64_000_000))
    place = store.root / (".dvc/cache" if where == "cache" else "remote") / "files/md5"
    for _ in range(20):  # it may be faster than we are
        process = adding(tmp_path, large)
        while process.poll() is None and not any(place.glob("*/.*.tmp")):
            pass
        process.kill()
        process.communicate()
        if any(place.glob("*/.*.tmp")):
            break
        shutil.rmtree(store.root)
    else:
        pytest.fail("no process could be killed in the middle of its copy")
    assert process.returncode == -signal.SIGKILL
    version = store.add(large)
    store.verify(version)
    assert len(stored(store, "cache")) == len(stored(store, "remote")) == 3, "nothing half-written remains"
    assert (store.fetch(version) / "train.parquet").stat().st_size == 64_000_000


def test_a_repository_half_made_is_finished(store: DvcStore, tmp_path: Path) -> None:
    (store.root / ".dvc" / "tmp").mkdir(parents=True)
    (store.root / ".dvc" / ".config.tmp").write_text("[core]")
    store.verify(store.add(folder(tmp_path / "in")))


def test_a_dvc_command_at_work_is_waited_for_or_named(store: DvcStore, tmp_path: Path) -> None:
    from dvc.lock import Lock

    store.add(folder(tmp_path / "in"))
    with (
        Lock(str(store.root / ".dvc" / "tmp" / "lock")),
        pytest.raises(VersionError, match="a dvc command holds") as error,
    ):
        store.add(folder(tmp_path / "in", train=b"new"))
    assert error.value.retry
    store.add(folder(tmp_path / "in", train=b"new"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB with few inodes; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=64", "tmpfs", place], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a full disk cannot be tried: no file system may be mounted here ({mounted.stderr.strip()})")
    yield place
    subprocess.run(["umount", place], check=True)


class TestFullDisk:
    def test_is_named_with_what_is_needed_and_free(self, small_disk: Path, tmp_path: Path) -> None:
        store = DvcStore(Project(root=tmp_path, state=small_disk))
        large = folder(tmp_path / "in", train=os.urandom(3_000_000))
        with pytest.raises(VersionError) as error:
            store.add(large)
        assert str(store.root) in str(error.value)
        assert "3,000,155 bytes needed, " in str(error.value)
        assert " bytes free" in str(error.value)
        assert not error.value.retry
        subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
        store.verify(store.add(large))

    def test_room_for_the_cache_and_not_for_the_remote(self, small_disk: Path, tmp_path: Path) -> None:
        store = DvcStore(Project(root=tmp_path, state=small_disk))
        large = folder(tmp_path / "in", train=os.urandom(1_200_000))
        with pytest.raises(VersionError, match=r"no room to version the data in .*/dvc: 1,200,\d+ bytes needed"):
            store.add(large)
        assert stored(store, "remote") == []
        subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
        store.verify(store.add(large))

    def test_that_fills_while_it_is_written_to(self, small_disk: Path, tmp_path: Path) -> None:
        store = DvcStore(Project(root=tmp_path, state=small_disk))
        store.add(folder(tmp_path / "first"))
        fillers = []
        for i in range(64):  # every inode but three
            fillers.append(small_disk / f"{i}")
            try:
                fillers[-1].touch()
            except OSError:
                break
        for one in fillers[-4:]:
            one.unlink(missing_ok=True)
        new = folder(tmp_path / "in", train=os.urandom(100_000))
        with pytest.raises(VersionError, match=r"no room to version .* and no free inodes"):
            store.add(new)
        assert not [p for part in ("cache", "remote") for p in stored(store, part) if p.suffix == ".tmp"]
        for one in fillers:
            one.unlink(missing_ok=True)
        store.verify(store.add(new))


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(VersionError, match="state"):
        DvcStore(Project(root=tmp_path, state=tmp_path / "state")).add(folder(tmp_path / "in"))


def test_importing_the_module_imports_no_dvc() -> None:
    code = (
        "import sys, tidemill.tools.dvc; sys.exit(any(m.partition('.')[0] in ('dvc', 'dvc_data') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
