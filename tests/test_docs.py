"""What is written beside the code says the same as the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tidemill.cli.main import app
from tidemill.project import Project
from tidemill.spec.reference import reference
from tidemill.spec.section import Section, keys_of
from tidemill.verdict import judge

ROOT = Path(__file__).parents[1]


def test_the_language_reference_is_made_from_the_models() -> None:
    assert (ROOT / "docs" / "language.md").read_text() == reference(), "tidemill schema --markdown > docs/language.md"


@pytest.mark.parametrize("name", ["tidemill.py", "tidemill_errors.py"])
def test_new_projects_get_this_ones_loaders(name: str) -> None:
    starter = ROOT / "plugins" / "tidemill" / "cli" / "starter" / f"{name}.txt"
    assert starter.read_text() == (ROOT / "dags" / name).read_text()


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"tidemill {command.callback.__name__}" in text


README = re.findall(r"```yaml\n# dags/(\w+)\.yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


@pytest.mark.parametrize(("name", "text"), README, ids=[name for name, _ in README])
def test_the_readmes_pipelines_are_sound(name: str, text: str, tmp_path: Path) -> None:
    from tidemill.cli.new import write

    write("churn", "local", tmp_path)
    file = tmp_path / "dags" / f"{name}.yaml"
    file.write_text(text)
    verdict = judge(file, tmp_path / "dags", Project.of(tmp_path / "dags"))
    assert [error.render() for error in verdict.errors] == []
    assert verdict.plans


def test_every_pipeline_of_the_readme_is_judged() -> None:
    assert len(README) == (ROOT / "README.md").read_text().count("```yaml") > 0


INCLUDE = {
    "alerts.py": "def page(context, team='ops'): ...\n\nasync def late(team, context=None): ...\n",
    "sales.py": "def countries() -> list[str]: ...\n\ndef clean(country: str, rows: int = 0) -> dict: ...\n",
    "model.py": "def train(context): ...\n",
}


def test_every_key_of_every_section_stands_in_the_reference() -> None:
    text = reference()

    def models(section: type[Section]) -> set[type[Section]]:
        return {section}.union(*(models(sub) for sub in section.__subclasses__()))

    missing = [
        f"{model.__name__}.{key}"
        for model in models(Section) - {Section}
        for key in keys_of(model)
        if f"| `{key}` |" not in text and f"| [`{key}`](" not in text
    ]
    assert missing == []


LANGUAGE = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "language.md").read_text(), re.S)


def test_the_reference_has_examples_of_everything() -> None:
    assert len(LANGUAGE) == (ROOT / "docs" / "language.md").read_text().count("```yaml") > 5
    written = "\n".join(LANGUAGE)
    for key in (
        "operator:",
        "python:",
        "for_each:",
        "steps:",
        "assets:",
        "watch:",
        "deadline:",
        "notifier:",
        "params:",
    ):
        assert key in written, key


@pytest.mark.parametrize("number", range(len(LANGUAGE)))
def test_every_example_of_the_reference_is_sound(number: int, tmp_path: Path) -> None:
    for name, text in INCLUDE.items():
        (tmp_path / "include").mkdir(exist_ok=True)
        (tmp_path / "include" / name).write_text(text)
    file = tmp_path / "dags" / "example.yaml"
    file.parent.mkdir()
    file.write_text(LANGUAGE[number])
    verdict = judge(file, file.parent, Project.of(file.parent))
    assert [error.render() for error in verdict.errors] == []
    assert verdict.plans


def test_every_other_example_is_yaml() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for block in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.S):
            assert isinstance(yaml.safe_load(block), dict), document.name


def headings(document: Path) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    lines = re.sub(r"```.*?```", "", document.read_text(), flags=re.S).splitlines()
    titles = [line.lstrip("#").strip().lower() for line in lines if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


def test_anchors_lead_to_headings() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#([^)\s]+)\)", document.read_text()):
            where = document.parent / target if target else document
            assert anchor in headings(where), f"{document.name}: {target}#{anchor}"


def test_links_between_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
