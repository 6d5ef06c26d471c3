"""The page of a study: its claims with their verdicts, what was scaled down, and the paper's figures redrawn."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deepcollapse.records import atomic_write
from deepcollapse.records.charts import Chart, Shown, Table
from deepcollapse.records.study import FILE, Failure, StudyRecord
from deepcollapse.report import claims, frame, html
from deepcollapse.report.figures import charts
from deepcollapse.report.figures.colors import Colors
from deepcollapse.report.figures.style import Section
from deepcollapse.report.papers import PAPERS
from deepcollapse.report.words import number

# A table longer than this is folded away.
_MOST_ROWS = 16
_SCALES = {
    "smoke": "the smallest scale, which is there for tests",
    "laptop": "the scale for a laptop",
    "gpu": "the scale for one graphics card",
    "paper": "the scale of the paper",
}


def is_study(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds what a study found."""
    return (Path(folder) / FILE).is_file()


def write_study_page(folder: str | os.PathLike[str], out: str | os.PathLike[str]) -> Path:
    """Write one HTML page on the study in `folder` to `out`; returns its path.

    The page is drawn from `study.json` alone. Raises RunError where there is none that can be read, or `out` cannot be
    written.
    """
    return atomic_write(out, page(StudyRecord.read(folder)).encode())


def page(record: StudyRecord) -> str:
    """The page's HTML."""
    parts: list[str] = []
    places: list[tuple[str, str]] = []

    def place(name: str) -> str:
        places.append((f"part-{len(places) + 1}", name))
        return places[-1][0]

    if record.claims:
        intro = (
            "Each claim is a sentence of the paper; its criterion was fixed before the run. Open a row for what it "
            "rests on."
        )
        parts.append(f'<h2 id="{place("Claims")}">Claims</h2><p class="intro">{intro}</p>{claims.table(record.claims)}')
    parts.append(_scaled_down(record, place))
    parts.append(_shown(record.shown, place))
    parts.append(_failures(record, place))
    parts.append(f'<h2 id="{place("Provenance")}">Provenance</h2>{_provenance(record)}')
    top = [_top(record), frame.contents(places), frame.NO_SCRIPT]
    foot = "<footer>Made by deepcollapse from the study's records alone.</footer>"
    return frame.whole(f"{record.title}: reproduced", "".join([*top, *parts, foot]))


def _top(record: StudyRecord) -> str:
    scale = _SCALES.get(record.scale, "a scale of one's own")
    runs = f"{record.runs:,} run{'' if record.runs == 1 else 's'}" if record.runs else "no runs"
    ran = f"{record.words[0].upper()}{record.words[1:].rstrip('.')}." if record.words else ""
    ran += f" {runs[0].upper()}{runs[1:]} at {scale}, in {_lasted(record.seconds)}."
    failing = any(claim.verdict == "fails" for claim in record.claims)
    kind = "fails" if failing else "fell" if any(claim.verdict == "holds" for claim in record.claims) else "stayed"
    command = record.provenance.get("command") or f"deepcollapse reproduce {record.study} --scale {record.scale}"
    return (
        f'<h1>{html.escape(record.title)}</h1><p class="lead citation">A study of <cite>{_paper(record.citation)}'
        f"</cite> · <code>{html.escape(command)}</code>"
        f"</p><p>{html.escape(record.summary)}</p>"
        f'<p class="ran"><b>What was run.</b> {html.escape(ran.strip())}</p>'
        f'<p class="verdict {kind}">{html.escape(claims.headline(record))}</p>{claims.strip(record.claims)}'
    )


def _paper(citation: str) -> str:
    """Authors and year with a link; the key of a paper that is not known here."""
    if citation not in PAPERS:
        return html.escape(citation)
    words, address = PAPERS[citation]
    return f'<a href="{html.escape(address)}">{html.escape(words)}</a>'


def _lasted(seconds: float | int) -> str:
    """A time in words: 12 s, 7 min, 2.5 h.

    >>> _lasted(0.1), _lasted(420), _lasted(9000)
    ('1 s', '7 min', '2.5 h')
    """
    if seconds < 90:
        return f"{max(1, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _scaled_down(record: StudyRecord, place: Any) -> str:
    title = "What was scaled down or left out, and why"
    told = [*record.left_out, *record.scaled_down]
    if not told:
        if record.scale != "paper":
            return ""
        return f'<h2 id="{place(title)}">{title}</h2><p>Nothing: this is the set-up as published.</p>'
    items = "".join(f"<li>{html.escape(text)}</li>" for text in told)
    return f'<h2 id="{place(title)}">{title}</h2><ul class="models">{items}</ul>'


def _shown(shown: Sequence[Shown], place: Any) -> str:
    """Charts and tables in their order, each under the name of the paper's figure that it redraws."""
    drawn = [one for one in shown if isinstance(one, Chart)]
    colors = Colors.for_charts(drawn)
    parts = []
    for one in shown:
        if isinstance(one, Table):
            parts.append(_table(one, place(one.title)))
            continue
        if not one.panels or all(charts.is_empty(panel) for panel in one.panels):
            nothing = '<p class="note">Nothing was measured for this at this scale.</p>'
            parts.append(f"{_heading(one, place(one.title))}{nothing}")
            continue
        part = Section(_named(one), one.says, charts.figures(one, colors), charts.legend(one, colors))
        parts.append(html.section(part, anchor=place(one.title)))
    return "".join(parts)


def _named(shown: Shown) -> str:
    return f"{shown.title} (paper: {shown.figure})" if shown.figure else shown.title


def _heading(shown: Shown, anchor: str) -> str:
    says = f'<p class="intro">{html.escape(shown.says)}</p>' if shown.says else ""
    return f'<h2 id="{anchor}">{html.escape(_named(shown))}</h2>{says}'


def _table(table: Table, anchor: str) -> str:
    numeric = [all(not isinstance(value, str) for value in column) for column in _columns(table)]
    kinds = [' class="number"' if is_number else "" for is_number in numeric]
    head = "".join(f'<th scope="col"{k}>{html.escape(name)}</th>' for name, k in zip(table.columns, kinds, strict=True))
    lines = []
    for row in table.rows:
        cells = zip(row, kinds, strict=False)
        lines.append(f"<tr>{''.join(f'<td{kind}>{html.escape(_cell(value))}</td>' for value, kind in cells)}</tr>")
    drawn = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    if not lines:
        drawn = '<p class="note">Nothing was measured for this at this scale.</p>'
    if len(lines) > _MOST_ROWS:
        drawn = html.folded(f"All {len(lines)} rows", drawn)
    return f"<section>{_heading(table, anchor)}{drawn}</section>"


def _columns(table: Table) -> Iterable[list[Any]]:
    for i in range(len(table.columns)):
        yield [row[i] for row in table.rows if i < len(row)]


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    return number(value, 4) if isinstance(value, int | float) else "–"


def _failures(record: StudyRecord, place: Any) -> str:
    if not record.failures:
        return ""
    title = "Runs that came to nothing"
    count = len(record.failures)
    said = f"{count} run{'' if count == 1 else 's'} did not come to an end; no claim above rests on them."
    items = "".join(f"<li>{html.escape(_failed(failure))}</li>" for failure in record.failures)
    return f'<h2 id="{place(title)}">{title}</h2><p class="intro">{said}</p><ul class="failures">{items}</ul>'


def _failed(failure: Failure) -> str:
    where = f"{failure.settings} (run {failure.run})" if failure.settings else f"run {failure.run}"
    return f"{where}: {failure.error}"


def _provenance(record: StudyRecord) -> str:
    facts = {"study": record.study, "scale": record.scale, "runs": record.runs, "seconds": round(record.seconds, 1)}
    return html.facts("Where and with what this was run", {**facts, **record.provenance})
