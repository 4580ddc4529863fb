"""What a spec names in the project: the training function and the expectations, without running any of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.test_load import BASE
from tidemill.checks.project import check, files_read
from tidemill.project import Project
from tidemill.spec.load import Sources, parse
from tidemill.spec.reader import read


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "include").mkdir()
    return Project(tmp_path, tmp_path / ".tidemill")


def told(project: Project, text: str = BASE) -> list[tuple[str, str | None]]:
    sources = Sources((read(text.encode(), "a.yaml"),))
    spec, _ = parse(sources)
    return [(error.message, error.hint) for error in check(spec, sources, project)]


def code(project: Project, source: str, name: str = "include/train.py") -> list[tuple[str, str | None]]:
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return told(project)


@pytest.mark.parametrize(
    "source",
    [
        "def train(context): ...",
        "def train(context, /): ...",
        "def train(*args): ...",
        "def train(context=None): ...",
        "def train(context, extra=1, *, more=2, **rest): ...",
        "from elsewhere import train",
        "from elsewhere import work as train",
        "from elsewhere import *",
        "train = lambda context: None",
        "class train:\n    def __init__(self, context): ...",
        "try:\n    from fast import train\nexcept ImportError:\n    def train(context): ...",
        "@decorated\ndef train(context): ...",
        "if True:\n    def train(a, b, c): ...",
    ],
)
def test_a_function_that_takes_the_context_is_found_however_it_is_made(project: Project, source: str) -> None:
    assert code(project, source) == []


@pytest.mark.parametrize(
    "source",
    ["def train(): ...", "def train(a, b): ...", "def train(a, *, rate): ...", "def train(*, context): ..."],
)
def test_a_function_that_cannot_be_called_with_the_context_alone(project: Project, source: str) -> None:
    assert code(project, source) == [('"train" must take one argument', "def train(context): …")]


def test_an_async_function_is_refused(project: Project) -> None:
    assert code(project, "async def train(context): ...") == [
        ('"train" is async, which nobody awaits', "def train(context): …")
    ]


def test_what_is_not_there(project: Project) -> None:
    assert told(project) == [('there is no module "include.train"', "expected at include/train.py")]
    assert code(project, "x = 1") == [('"include.train" has no function "train"', "it defines: no function")]
    assert code(project, "def trian(context): ...") == [
        ('"include.train" has no function "train"', 'did you mean "trian"?')
    ]
    assert code(project, "def fit(context): ...\ndef score(context): ...") == [
        ('"include.train" has no function "train"', "it defines: fit, score")
    ]


def test_a_package_counts_as_its_init(project: Project) -> None:
    assert code(project, "def train(context): ...", "include/train/__init__.py") == []


@pytest.mark.parametrize("source", ["def train(context)\n    pass", "x = '\0'", "# coding: nonsense\n"])
def test_code_that_is_no_python_is_told_with_its_line(project: Project, source: str) -> None:
    ((message, _),) = code(project, source)
    assert message.startswith("include/train.py")
    assert "is not valid Python" in message


def test_code_outside_of_include_is_refused(project: Project) -> None:
    ((message, _),) = told(project, BASE.replace("include.train:train", "os:system"))
    assert message == '"os" is not in the project\'s include folder'


def test_nothing_of_the_users_is_run(project: Project) -> None:
    ran = project.root / "ran"
    assert code(project, f"open({str(ran)!r}, 'w')\ndef train(context): ...") == []
    assert not ran.exists()


def test_expectations_must_be_a_file(project: Project) -> None:
    text = BASE.replace("  source:", "  expect: include/suite.yaml\n  source:")
    (project.root / "include" / "train.py").write_text("def train(context): ...\n")
    expected = [('there is no file "include/suite.yaml"', "paths start at the project's root")]
    assert told(project, text) == expected
    (project.root / "include" / "suite.yaml").mkdir()
    assert told(project, text) == expected
    (project.root / "include" / "suite.yaml").rmdir()
    (project.root / "include" / "suite.yaml").write_text("expectations: []\n")
    assert told(project, text) == []


def test_every_file_that_is_looked_at_is_named(project: Project) -> None:
    text = BASE.replace("  source:", "  expect: include/suite.yaml\n  source:")
    spec, _ = parse(Sources((read(text.encode(), "a.yaml"),)))
    assert files_read(spec, project) == [project.root / "include/train.py", project.root / "include/suite.yaml"]


def test_a_spec_with_a_broken_section_is_checked_for_the_rest(project: Project) -> None:
    text = BASE.replace("train:\n  code: include.train:train\n", "train: 5\n").replace(
        "  source:", "  expect: include/none.yaml\n  source:"
    )
    assert told(project, text) == [('there is no file "include/none.yaml"', "paths start at the project's root")]
