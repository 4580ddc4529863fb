"""Discovery: which files are pipelines, that one is found by its name alone, and what two of one name do."""

from __future__ import annotations

import builtins
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.spec.test_load import BASE
from tidemill import discovery
from tidemill.discovery import duplicates, files_of, find, looks_like_spec, pipeline_of, row_of


def write(folder: Path, *names: str, text: str = BASE) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder: Path) -> list[str]:
    return [file.relative_to(folder).as_posix() for file, _ in find(folder)]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are opened from now on."""
    opened: list[str] = []

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def opens(file: object, *args: object, **options: object) -> object:
            if isinstance(file, str | os.PathLike):
                opened.append(os.fspath(file))
            return real(file, *args, **options)

        return opens

    monkeypatch.setattr(builtins, "open", counting(builtins.open))
    monkeypatch.setattr(io, "open", counting(io.open))
    monkeypatch.setattr(os, "open", counting(os.open))
    return opened


def test_specs_are_found_below_the_folder_in_the_order_of_their_paths(tmp_path: Path) -> None:
    write(tmp_path, "b.yaml", "a.yml", "team/c.yaml", "team/deep/er/d.yaml")
    assert names(tmp_path) == ["a.yml", "b.yaml", "team/c.yaml", "team/deep/er/d.yaml"]


def test_defaults_templates_and_hidden_folders_hold_no_pipelines(tmp_path: Path) -> None:
    write(tmp_path, "defaults.yaml", "team/defaults.yaml", "templates/t.yaml", ".git/x.yaml", "__pycache__/y.yaml")
    write(tmp_path, "..data/z.yaml", "a.json", "b.yaml.bak", "README.md")
    assert names(tmp_path) == []


def test_other_yaml_is_left_alone_and_what_was_meant_to_be_a_spec_is_not(tmp_path: Path) -> None:
    others = {
        "compose": "services:\n  tidemill:\n    image: x\n",
        "list": "- a\n- b\n",
        "values": "data: 1\ntrain: 2\n",
        "text": "just a text\n",
        "nested": "x:\n  tidemill: 1\n",
    }
    meant = {
        "empty": "",
        "comments": "# tidemill: 1\n\n---\n# nothing\n",
        "no_version": BASE.replace("tidemill: 1\n", ""),
        "quoted": '"tidemill": 1\n',
        "later_version": "tidemill: 2\n",
        "flow": "{tidemill: 1}\n",
        "json": '{\n  "tidemill": 1\n}\n',
        "bom": "\ufefftidemill: 1\n",
        "below_comments": "# a\n\n---\ntidemill: 1\n",
        "broken": "tidemill: 1\n\tx: [\n",
    }
    for name, text in (others | meant).items():
        write(tmp_path, f"{name}.yaml", text=text)
    (tmp_path / "utf16.yaml").write_bytes("tidemill: 1\n".encode("utf-16"))
    assert {name.removesuffix(".yaml") for name in names(tmp_path)} == {*meant, "utf16"}


def test_defaults_by_the_other_suffix_are_handed_on_since_nobody_reads_them(tmp_path: Path) -> None:
    write(tmp_path, "defaults.yml", text="platform: {provider: local}\n")
    write(tmp_path, "other/defaults.yml", text="ansible: true\n")
    assert names(tmp_path) == ["defaults.yml"]


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    write(tmp_path, "outside/a.yaml", "outside/b.yaml")
    dags = tmp_path / "dags"
    dags.mkdir()
    (dags / "a.yaml").symlink_to(tmp_path / "outside" / "a.yaml")
    (dags / "folder").symlink_to(tmp_path / "outside")
    (dags / "loop").symlink_to(dags)
    (dags / "dangling.yaml").symlink_to(tmp_path / "nowhere.yaml")
    assert names(dags) == ["a.yaml"]


def test_a_folder_that_goes_while_it_is_searched_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.yaml", "gone/b.yaml", "c/d.yaml")
    real = os.scandir

    def scandir(folder: str) -> object:
        if str(folder).endswith("gone"):
            raise FileNotFoundError(folder)
        return real(folder)

    monkeypatch.setattr(discovery.os, "scandir", scandir)
    assert names(tmp_path) == ["a.yaml", "c/d.yaml"]


def test_a_file_that_cannot_be_read_is_handed_on_to_be_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "a.yaml")

    def refuse(self: Path, mode: str) -> bytes:
        raise PermissionError(self)

    monkeypatch.setattr(Path, "open", refuse)
    assert find(tmp_path) == [(tmp_path / "a.yaml", b"")]


# One pipeline among many


def test_one_of_ten_thousand_is_found_without_reading_any(tmp_path: Path, reads: list[str]) -> None:
    for folder in range(10):
        (tmp_path / f"team{folder}").mkdir()
        for n in range(1000):
            (tmp_path / f"team{folder}" / f"p{folder}_{n}.yaml").touch()
    reads.clear()
    assert files_of(tmp_path, "p7_123") == [tmp_path / "team7" / "p7_123.yaml"]
    assert reads == []


def test_only_files_of_the_name_are_read_where_there_are_several(tmp_path: Path, reads: list[str]) -> None:
    write(tmp_path, "flights.yaml", "other.yaml")
    write(tmp_path, "config/flights.yml", text="airline: AA\n")
    reads.clear()
    assert files_of(tmp_path, "flights") == [tmp_path / "flights.yaml"]
    assert {Path(file).name for file in reads} == {"flights.yaml", "flights.yml"}


def test_a_pipeline_that_is_not_there_or_twice(tmp_path: Path) -> None:
    write(tmp_path, "a/flights.yaml", "b/flights.yml", "defaults.yaml")
    assert files_of(tmp_path, "flights") == [tmp_path / "a/flights.yaml", tmp_path / "b/flights.yml"]
    assert files_of(tmp_path, "fligh") == []
    assert files_of(tmp_path, "defaults") == []


def test_a_dag_belongs_to_the_pipeline_before_its_first_dot() -> None:
    assert pipeline_of("flights") == "flights"
    assert pipeline_of("flights.monitor") == "flights"


@pytest.mark.parametrize(
    ("dag_id", "row"),
    [
        ("flights", None),
        ("flights.monitor", None),
        ("flights.score", None),
        ("flights.eu", "eu"),
        ("flights.eu.monitor", "eu"),
    ],
)
def test_a_dag_of_a_matrix_belongs_to_a_row(dag_id: str, row: str | None) -> None:
    assert pipeline_of(dag_id) == "flights"
    assert row_of(dag_id) == row


# Ignore files


IGNORE_FILES = [
    "old.yaml\n",
    "team/\n",
    "team\n",
    "/team/a.yaml\n",
    "team/deep/*.yaml\n",
    "*.yml\n!keep.yml\n",
    "# team\nb*.yaml # all of them\n\n",
    "**/deep\n",
    "*\n!team/\n!team/a.yaml\n",
    "deep/\n!deep/\n",
    "te?m/[ab].yaml\n",
    "/\n",
    "!\n",
    " \n",
    "a.yaml/\n",
]


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Airflow's own
@pytest.mark.parametrize("syntax", ["glob", "regexp"])
@pytest.mark.parametrize("text", [*IGNORE_FILES, "team/.*\\.yaml\n", "^old\n", "(\nold\n"])
def test_ignore_files_leave_out_what_airflow_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, text: str
) -> None:
    from airflow._shared.module_loading import find_path_from_directory

    files = ("old.yaml", "b1.yaml", "x.yml", "keep.yml", "team/a.yaml", "team/b.yaml", "team/deep/c.yaml", "z/a.yaml")
    write(tmp_path, *files, "z/deep/old.yaml")
    (tmp_path / ".airflowignore").write_text(text)
    (tmp_path / "z" / ".airflowignore").write_text("a.yaml\n!deep/\n")
    monkeypatch.setenv("AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX", syntax)
    try:
        airflows = find_path_from_directory(tmp_path, ".airflowignore", syntax)
        taken = {Path(path).relative_to(tmp_path).as_posix() for path in airflows}
    except ValueError:  # a pattern by which Airflow finds nothing at all is left out here
        taken = {*files, "z/deep/old.yaml"} - {"z/a.yaml"}
    assert set(names(tmp_path)) == {name for name in taken if name.endswith((".yaml", ".yml"))}
    for name in ("b1.yaml", "keep.yml"):
        assert (files_of(tmp_path, Path(name).stem) == [tmp_path / name]) is (name in taken)


def test_an_ignored_double_is_none(tmp_path: Path) -> None:
    write(tmp_path, "flights.yaml", "old/flights.yaml")
    assert len(files_of(tmp_path, "flights")) == 2
    (tmp_path / ".airflowignore").write_text("old/\n")
    assert files_of(tmp_path, "flights") == [tmp_path / "flights.yaml"]


def test_without_an_ignore_file_nothing_is_loaded_for_it(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tidemill.discovery import find; find(Path(sys.argv[1]))\n"
    code += "print([name for name in ('pathspec', 'tidemill.ignored') if name in sys.modules])"
    write(tmp_path, "a.yaml")
    ran = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


# Two of one name


def test_two_files_of_one_stem_are_both_refused_each_naming_the_other(tmp_path: Path) -> None:
    write(tmp_path, "a/flights.yaml", "b/flights.yml", "other.yaml")
    found = duplicates((file for file, _ in find(tmp_path)), tmp_path)
    assert {file.relative_to(tmp_path).as_posix(): error.message for file, error in found.items()} == {
        "a/flights.yaml": 'two files for one pipeline: "flights" is also b/flights.yml',
        "b/flights.yml": 'two files for one pipeline: "flights" is also a/flights.yaml',
    }
    assert all(error.render().splitlines()[2] == "1 | tidemill: 1" for error in found.values())


def test_three_of_one_name_name_both_others(tmp_path: Path) -> None:
    write(tmp_path, "a/x.yaml", "b/x.yaml", "c/x.yaml")
    found = duplicates([file for file, _ in find(tmp_path)], tmp_path)
    assert found[tmp_path / "b/x.yaml"].message == 'two files for one pipeline: "x" is also a/x.yaml, c/x.yaml'


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_makes_a_spec_does_not_depend_on_line_ends(end: str) -> None:
    assert looks_like_spec(f"# a{end}{end}tidemill: 1{end}".encode())
    assert looks_like_spec(f"# a{end}---{end}".encode())
    assert not looks_like_spec(f"a: 1{end}b: 2{end}".encode())
