"""The page: it says what was found, needs nothing else, and obeys nothing that the data holds."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from tests.drift.reports.making import HISTOGRAM, categories, evidence, finding, report
from tidemill.drift.reports.html import MAX_CHARTS, page

_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """A page as a browser takes it: elements, attributes and texts. Elements must be closed as they were opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "<!--",
    "]]>",
    "name\u202egnp.exe",
    "a\x00b\x1b[31m",
    "שם עמודה",
    "",
    "  ",
    "very long " * 200,
]


def test_it_says_what_was_found() -> None:
    shown = Page(page(report([evidence("moved"), evidence("still", psi=0.01, p=0.5)], finding())))
    assert "Drift of february.parquet against january.parquet" in shown.text
    assert "1 of 2 columns has drifted (50%; drift is from 30% on): moved psi 0.500" in shown.text
    assert "1 severe finding" in shown.text
    assert "dest : missing in the current data" in shown.text
    rows = [cells for tag, cells in shown.tags if tag == "th" and cells.get("scope") == "row"]
    assert [cells["title"] for cells in rows] == ["moved", "still"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_names_and_values_are_text_wherever_they_stand(attack: str) -> None:
    columns = [evidence(attack), evidence("b", psi=None, kind=attack)]
    found = report(columns, finding(attack, detail=attack), pictures={attack: HISTOGRAM, "b": categories(attack, "x")})
    shown = Page(page(found))
    forbidden = {"script", "img", "iframe", "object", "embed", "form", "input", "link", "base", "foreignobject", "use"}
    assert forbidden.isdisjoint(tag for tag, _ in shown.tags)
    for tag, attributes in shown.tags:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "srcset", "action"}], tag
        assert not (attributes.get("href") or "#").startswith(("javascript", "http", "//"))
    assert "\u202e" not in page(found)
    assert "\x1b" not in page(found)
    assert "\x00" not in page(found)


def test_it_needs_nothing_else() -> None:
    text = page(
        report([evidence("x"), evidence("y", kind="categorical")], pictures={"x": HISTOGRAM, "y": categories("a")})
    )
    assert "default-src 'none'" in text
    assert not re.search(r"https?://|url\(|@import|<script|<link|<iframe", text)


def test_links_lead_somewhere_and_ids_are_there_once() -> None:
    many = [evidence(f"c{i}", psi=0.5 if i < 3 else 0.0, p=1e-9 if i < 3 else 0.9) for i in range(40)]
    shown = Page(page(report(many, finding())))
    ids = [attributes["id"] for _, attributes in shown.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(attributes["href"]) for tag, attributes in shown.tags if tag == "a"]
    assert {link.removeprefix("#") for link in links} <= set(ids)
    assert len(links) == 42
    labelled = [str(attributes["aria-labelledby"]) for _, attributes in shown.tags if "aria-labelledby" in attributes]
    assert set(labelled) <= set(ids)


def test_every_picture_is_told_in_words() -> None:
    shown = Page(page(report([evidence("x"), evidence("c")], pictures={"x": HISTOGRAM, "c": categories("a", "b")})))
    told = [attributes["aria-label"] for tag, attributes in shown.tags if attributes.get("role") == "img"]
    assert "x: reference and current rows. Largest differences: 0 to 1: 50%, now 15%; 2 to 3: 10%, now 40%" in told[1]
    for tag, attributes in shown.tags:
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes.get("aria-label")
    assert "scope" in next(attributes for tag, attributes in shown.tags if tag == "th")
    assert next(attributes for tag, attributes in shown.tags if tag == "html")["lang"] == "en"


def test_a_thousand_columns_make_a_page_that_opens() -> None:
    text = page(report([evidence(f"column {i}", psi=i / 1000) for i in range(1000)]))
    shown = Page(text)
    assert sum(tag == "article" for tag, _ in shown.tags) == MAX_CHARTS
    assert sum(cells.get("scope") == "row" for tag, cells in shown.tags if tag == "th") == 1000
    assert f"Charts of the {MAX_CHARTS} worst columns; 700 others are in the table." in shown.text
    assert len(text) < 2_000_000


def test_what_could_not_be_judged_is_said() -> None:
    found = report([evidence("x", psi=None)], finding(None, detail="the two have no column in common"))
    shown = Page(page(found))
    assert "Not judged" in shown.text
    assert "Drift is not judged: none of 1 columns could be compared" in shown.text
    assert "no bins" in shown.text
    assert "Not judged" in Page(page(report([]))).text
