"""The report as one page of HTML that needs nothing else: no network, no scripts, no fonts, light, dark and on paper.

Names and values of the data are escaped wherever they stand, and the page's content security policy forbids scripts
and anything from elsewhere, so that the page may be shown beside other things, as in Airflow's interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from tidemill.drift.decide import ColumnDrift
from tidemill.drift.findings import Finding
from tidemill.drift.percent import percent
from tidemill.drift.reports import performance
from tidemill.drift.reports.chart import draw
from tidemill.drift.reports.numbers import distance, p_value
from tidemill.drift.reports.performance import Watched
from tidemill.drift.reports.report import Report, headline, state_of
from tidemill.drift.reports.text import shown

MAX_CHARTS = 300
"""Charts of so many columns, the worst: nobody looks at more, and a page has to open."""
_OPEN_CHARTS = 12
"""So many charts of columns that have not changed are shown at once, if no others are; the rest is folded."""

_TONE = {"drifted": "bad", "changed": "warn", "stable": "good", "not judged": "mute"}
_SIGN = {"drifted": "▲", "changed": "●", "stable": "✓", "not judged": "–"}
_FINDING_TONE = {"severe": "bad", "warning": "warn", "info": "mute"}
_NAMES = {
    "psi": "PSI",
    "js": "JS",
    "ks": "KS",
    "wasserstein": "Wasserstein",
    "hellinger": "Hellinger",
    "linf": "L∞",
    "chi2": "χ²",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(report: Report, watched: Watched | None = None) -> str:
    """The page as text; write it as UTF-8. ``watched``: how good the model was, if that is known, too."""
    told = performance.headline(watched) if watched is not None else ""
    title = f"{headline(report.verdict)}: {shown(report.current)} against {shown(report.reference)}"
    body = [
        *_head(report),
        *(performance.section(watched) if watched is not None else ()),
        *_findings(report),
        *_table(report),
        *_charts(report),
        *_how(report),
    ]
    skip = '<a class="skip" href="#columns">Skip to the columns</a>\n'
    return _document(f"{told}; {title}" if told else title, skip, body)


def performance_page(watched: Watched, of: str) -> str:
    """The page of a monitor that judged no drift. ``of``: whose rows of which time."""
    told = performance.headline(watched)
    body = ["<main>", *performance.section(watched), "</main>"]
    return _document(f"{told}: {shown(of)}", f'<p class="eyebrow">{_name(of)}</p>\n', body)


def _document(title: str, before: str, body: list[str]) -> str:
    style = files("tidemill.drift.reports").joinpath("page.css").read_text(encoding="utf-8")
    lines = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<div class="wrap">\n{before}{lines}\n</div>\n</body>\n</html>\n'
    )


def _name(text: str) -> str:
    """A name of the data; a right-to-left one does not turn round what stands beside it."""
    return f"<bdi>{shown(text)}</bdi>"


def _head(report: Report) -> Iterator[str]:
    verdict = report.verdict
    judged, columns = verdict.judged, len(verdict.columns)
    drifted, changed = sum(c.drifted for c in judged), sum(c.significant and not c.drifted for c in judged)
    severe = sum(finding.severity == "severe" for finding in report.findings)
    tone = "bad" if verdict.drifted else "mute" if verdict.share_drifted is None else "warn" if severe else "good"
    yield f'<header>\n<p class="eyebrow">Drift of {_name(report.current)} against {_name(report.reference)}</p>'
    yield f'<div class="verdict {tone}">\n<h1>{headline(verdict)}</h1>'
    yield f'<p class="why">{shown(_sentence(verdict.why()))}</p>'
    yield from (f'<p class="note">{shown(_sentence(note))}</p>' for note in verdict.notes if verdict.judged)
    if severe:
        found = "1 severe finding" if severe == 1 else f"{severe:,} severe findings"
        yield f'<p class="why"><a href="#findings">{found}</a></p>'
    yield '<dl class="figures">'
    for term, value in (
        ("Reference rows", f"{verdict.rows[0]:,}"),
        ("Current rows", f"{verdict.rows[1]:,}"),
        ("Columns judged", f"{len(judged):,} of {columns:,}"),
        ("Drifted", f"{drifted:,}"),
        ("Changed, not drifted", f"{changed:,}"),
    ):
        yield f"<div><dt>{term}</dt><dd>{value}</dd></div>"
    if verdict.share_drifted is not None:
        what = "Importance drifted" if verdict.weighted else "Share drifted"
        yield f"<div><dt>{what}; drift from {percent(verdict.rules.share)} on</dt><dd>{_gauge(report)}</dd></div>"
    yield "</dl>\n</div>\n</header>\n<main>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _gauge(report: Report) -> str:
    share, bound = report.verdict.share_drifted or 0.0, report.verdict.rules.share
    tone = "bad" if report.verdict.drifted else "good"
    told = f"{percent(share)} drifted, drift is from {percent(bound)} on"
    return (
        f'<svg class="gauge" viewBox="0 0 220 30" role="img" aria-label="{told}">'
        '<rect class="fill-mute" x="0" y="11" width="160" height="10" rx="5"/>'
        f'<rect class="fill-{tone}" x="0" y="11" width="{max(160 * share, 2 if share else 0):.1f}" height="10" rx="5"/>'
        f'<path class="mark" d="M{160 * bound:.1f} 6V26"/>'
        f'<text class="label" x="170" y="20">{percent(share)}</text></svg>'
    )


def _findings(report: Report) -> Iterator[str]:
    if not report.findings:
        return
    yield '<section aria-labelledby="findings">\n<h2 id="findings">Findings</h2>\n<ul class="findings">'
    yield from map(_finding, report.worst_findings)
    yield "</ul>\n</section>"


def _finding(finding: Finding) -> str:
    what = f"{_name(finding.column)}: " if finding.column is not None else ""
    tone = _FINDING_TONE[finding.severity]
    return (
        f'<li><span><span class="pill {tone}">{finding.severity}</span></span>'
        f'<span class="what">{what}{shown(finding.detail)}</span></li>'
    )


def _distances(report: Report) -> list[str]:
    """The distances that have a column of their own: the usual four, and those that decided."""
    deciding = [c.judged_by for c in report.verdict.columns]
    return list(dict.fromkeys(["psi", "js", "ks", "wasserstein", *deciding]))


def _table(report: Report) -> Iterator[str]:
    shown_distances = _distances(report)
    yield '<section aria-labelledby="columns">\n<h2 id="columns">Columns, worst first</h2>'
    yield '<div class="scroll" role="region" aria-labelledby="columns" tabindex="0">\n<table>'
    yield "<caption>The bar shows the distance that decides, in bold; its mark is where drift begins.</caption>"
    heads = "".join(f'<th scope="col">{_NAMES[name]}</th>' for name in shown_distances)
    yield (
        '<thead><tr><th scope="col" class="left">Column</th><th scope="col" class="left">Verdict</th>'
        f'<th scope="col" class="left">Kind</th><th scope="col" class="left">Distance</th>{heads}'
        '<th scope="col">p-value</th></tr></thead>\n<tbody>'
    )
    places = _places(report)
    yield from (_line(column, shown_distances, places) for column in report.verdict.worst_first)
    yield "</tbody>\n</table>\n</div>\n</section>"


def _places(report: Report) -> dict[str, str]:
    """Column → id of its card."""
    with_chart = [c.name for c in report.verdict.worst_first if c.name in report.pictures][:MAX_CHARTS]
    return {name: f"column-{i}" for i, name in enumerate(with_chart, start=1)}


def _line(column: ColumnDrift, distances: list[str], places: dict[str, str]) -> str:
    place, name = places.get(column.name), _name(column.name)
    head = f'<a href="#{place}">{name}</a>' if place else name
    cells = "".join(
        f'<td class="by">{distance(getattr(column, d))}</td>'
        if d == column.judged_by
        else f"<td>{distance(getattr(column, d))}</td>"
        for d in distances
    )
    return (
        f'<tr><th scope="row" title="{shown(column.name)}">{head}</th><td class="left">{_pill(column)}</td>'
        f'<td class="left">{shown(column.kind)}</td><td class="left">{_bar(column)}</td>{cells}'
        f"<td>{p_value(column.p_value)}</td></tr>"
    )


def _pill(column: ColumnDrift) -> str:
    state = state_of(column)
    return f'<span class="pill {_TONE[state]}"><span aria-hidden="true">{_SIGN[state]} </span>{state}</span>'


def _bar(column: ColumnDrift) -> str:
    """The distance up to twice its bound, with a mark at the bound."""
    if column.value is None or not column.bound:
        return ""
    width = min(1.0, column.value / (2 * column.bound)) * 96
    tone = _TONE[state_of(column)]
    return (
        '<svg class="bar" viewBox="0 0 96 10" aria-hidden="true"><rect class="fill-mute" y="2" width="96" height="6"/>'
        f'<rect class="fill-{"cur" if tone == "mute" else tone}" y="2" width="{width:.1f}" height="6"/>'
        '<path class="mark" d="M48 0V10"/></svg>'
    )


def _charts(report: Report) -> Iterator[str]:
    places = _places(report)
    columns = [c for c in report.verdict.worst_first if c.name in places]
    if not columns:
        return
    notable = [c for c in columns if state_of(c) in {"drifted", "changed"}]
    opened = columns if len(columns) <= max(_OPEN_CHARTS, len(notable)) else notable or columns[:_OPEN_CHARTS]
    folded = columns[len(opened) :]
    yield '<section aria-labelledby="charts">\n<h2 id="charts">Reference against current</h2>'
    yield (
        '<p class="legend"><span><svg viewBox="0 0 16 12" aria-hidden="true"><rect class="ref" width="16" height="12"/>'
        '</svg>reference</span><span><svg viewBox="0 0 16 12" aria-hidden="true"><rect class="cur-area" width="16" '
        'height="12"/><path class="cur" d="M1 12V2H15V12"/></svg>current</span><span>share of all rows</span></p>'
    )
    yield '<div class="charts">'
    yield from (_card(report, c, places[c.name]) for c in opened)
    yield "</div>"
    if folded:
        yield f'<details>\n<summary>{len(folded):,} more columns</summary>\n<div class="charts">'
        yield from (_card(report, c, places[c.name]) for c in folded)
        yield "</div>\n</details>"
    left_out = sum(c.name in report.pictures for c in report.verdict.columns) - len(columns)
    if left_out:
        yield f'<p class="how">Charts of the {len(columns):,} worst columns; {left_out:,} others are in the table.</p>'
    yield "</section>"


def _card(report: Report, column: ColumnDrift, place: str) -> str:
    facts = ""
    if column.value is not None:
        bound = f" (drift from {distance(column.bound)} on)" if column.bound is not None and column.judged else ""
        facts = f"{_NAMES[column.judged_by]} <b>{distance(column.value)}</b>{bound} · p {p_value(column.p_value)} · "
    note = f'<p class="note">{shown(_sentence(column.note))}</p>' if column.note else ""
    return (
        f'<article class="card" id="{place}" aria-labelledby="{place}-name"><header>'
        f'<h3 id="{place}-name">{_name(column.name)}</h3>{_pill(column)}</header>'
        f'<p class="facts">{facts}{shown(column.kind)}</p>'
        f"{draw(report.pictures[column.name], column.name)}{note}</article>"
    )


def _how(report: Report) -> Iterator[str]:
    rules = report.verdict.rules
    numeric, categorical = rules.of_kind("numeric"), rules.of_kind("categorical")
    rule = f"{_NAMES[numeric[0]]} of at least {numeric[1]:g}"
    if categorical != numeric:
        rule += f", for categories {_NAMES[categorical[0]]} of at least {categorical[1]:g}"
    yield (
        '</main>\n<footer class="how">\n<h2>How to read this</h2>\n<dl>\n'
        "<dt>Changed</dt><dd>The difference is not chance: Kolmogorov–Smirnov test for numbers, χ² test for "
        f"categories, at a false discovery rate of {percent(rules.alpha)} over all columns (Benjamini–Hochberg). "
        "With many rows even a small change is certain.</dd>\n"
        f"<dt>Drifted</dt><dd>It has changed, and by enough to matter: {rule}, or more where chance alone would "
        "give as much with so few rows in so many bins.</dd>\n"
        f"<dt>Drift</dt><dd>At least {percent(rules.share)} of the judged columns"
        f"{', by importance,' if report.verdict.weighted else ''} have drifted. "
        f"Fewer than {rules.min_rows:,} rows are not judged.</dd>\n"
        "<dt>PSI</dt><dd>Population stability index; below 0.1 is customarily called stable.</dd>\n"
        "<dt>JS</dt><dd>Jensen–Shannon distance, from 0 (equal) to 1 (nothing in common).</dd>\n"
        "<dt>KS</dt><dd>The largest difference of the two distribution functions, from 0 to 1.</dd>\n"
        "<dt>Wasserstein</dt><dd>How far the values have moved on average, in standard deviations of the reference."
        "</dd>\n</dl>\n</footer>"
    )
