"""One self-contained page from records alone: it opens offline, on a phone, and prints."""

import base64
import hashlib
import importlib.resources
import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from deepcollapse.records import Run, atomic_write
from deepcollapse.report import html
from deepcollapse.report.figures import angles, collapse, layers, simplex, spectra, training
from deepcollapse.report.sentences import reading_of
from deepcollapse.report.summary import at, rows_of
from deepcollapse.report.view import View, views
from deepcollapse.report.words import number, words_for

Where = str | os.PathLike[str] | Run


def write_page(runs: Where | Iterable[Where], out: str | os.PathLike[str]) -> Path:
    """Write one HTML page on one run or on several to `out`; returns its path.

    `runs` are run folders, `Run`s, folders of runs, or patterns. Curves of several runs share their figures; what
    cannot be laid over one another gets a part for each run. The page holds its script, asks nothing of any network
    (its content policy forbids it), and shows every name as text. Raises RunError where there are no runs or `out`
    cannot be written.
    """
    return atomic_write(out, page(views(runs)).encode())


def page(seen: list[View]) -> str:
    """The page's HTML."""
    from plotly.offline import get_plotlyjs

    scripts = [get_plotlyjs(), _resource("page.js")]
    title = seen[0].label if len(seen) == 1 else f"{len(seen)} runs"
    inline = "".join(f"<script>{script}</script>" for script in scripts)
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}: neural collapse</title><style>{_resource('page.css')}</style></head>"
        f"<body><main>{_body(seen, title)}</main>{inline}</body></html>\n"
    )


def _policy(scripts: list[str]) -> str:
    """Only the page's own scripts run, known by their digests, and nothing is ever loaded."""
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    # Plotly writes style elements of its own, hence 'unsafe-inline' for those; pictures are what it exports.
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _resource(name: str) -> str:
    return importlib.resources.files("deepcollapse.report").joinpath(name).read_text(encoding="utf-8")


def _body(seen: list[View], title: str) -> str:
    several = len(seen) > 1
    lead = "The geometry of a trained classifier, layer by layer, as training went on."
    parts = [f'<h1>Neural collapse: {escape(title)}</h1><p class="lead">{lead}</p>', _NO_SCRIPT]
    for view in seen:
        heading = f"<h2>What is seen: {escape(view.label)}</h2>" if several else "<h2>What is seen</h2>"
        parts.append(f"<section>{heading}{html.reading(reading_of(view))}{html.summary(rows_of(view))}</section>")
    overlaid = [part for part in (collapse.section(seen), training.section(seen)) if part]
    parts += [html.section(part, extra="" if i else _AXIS) for i, part in enumerate(overlaid)]
    for view in seen:
        parts += [f"<h2>Run {escape(view.label)}</h2>"] if several else []
        parts.append(_alone(view, 3 if several else 2))
    parts.append("<h2>Recipe and provenance</h2>")
    for view in seen:
        of = f" of {view.label}" if several else ""
        parts.append(html.facts(f"Recipe{of}", view.recipe) + html.facts(f"Provenance{of}", view.provenance))
    return "".join([*parts, "<footer>Made by deepcollapse from the run's records alone.</footer>"])


def _alone(view: View, level: int) -> str:
    """What is drawn for each run by itself."""
    drawn = (layers.section(view), angles.section(view), spectra.section(view), simplex.section(view))
    parts = [html.section(part, view.label, level) for part in drawn if part]
    return "".join([*parts, _baselines(view, level)])


def _baselines(view: View, level: int) -> str:
    """The same numbers from an untrained network or from shuffled labels; nothing where none were measured."""
    rows = []
    for layer in reversed(view.layers):
        for measure in view.measures:
            base = [view.series(measure, layer, view.split, kind) for kind in view.baselines]
            if any(len(series) for series in base):
                own = at(view.series(measure, layer, view.split), view.end)
                values = [own, *(float(series.iloc[-1]) if len(series) else None for series in base)]
                rows.append([f"{words_for(measure).plain} · {layer}", *(number(value) for value in values)])
    if not rows:
        return ""
    intro = (
        "What the same measures give where nothing was learnt: on the network before training, or for labels dealt out "
        "at random. A number close to these means no collapse."
    )
    head = ["measure", "this network", *view.baselines]
    return f'<section><h{level}>Baselines</h{level}><p class="intro">{intro}</p>{html.table(head, rows)}</section>'


_NO_SCRIPT = "<noscript><p>The figures need JavaScript; the words and tables do not.</p></noscript>"
_AXIS = (
    '<p class="axis note"><label>Axis of epochs: <select><option value="log">logarithmic</option>'
    '<option value="linear">linear</option></select></label></p>'
)
