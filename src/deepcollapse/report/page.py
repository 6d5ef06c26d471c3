"""One self-contained page from records alone: it opens offline, on a phone, and prints."""

import os
from collections.abc import Iterable
from html import escape
from pathlib import Path

from deepcollapse.records import Run, atomic_write
from deepcollapse.report import beside, bounds, compression, frame, html, top
from deepcollapse.report.figures import (
    angles,
    classes,
    collapse,
    laws,
    layers,
    over_decay,
    ranks,
    simplex,
    spectra,
    training,
)
from deepcollapse.report.figures.style import Section
from deepcollapse.report.summary import at
from deepcollapse.report.tried import Compression
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
    """The page's HTML; compressed networks have a part of their own, or where there are no other runs the page."""
    compressed = [found for view in seen if (found := Compression.of(view))]
    seen = [view for view in seen if Compression.of(view) is None]
    if not seen:
        return compression.page(compressed)
    title = seen[0].label if len(seen) == 1 else f"{len(seen)} runs"
    if compressed:
        several = len(compressed) > 1
        title += f", with {f'{len(compressed)} compressed networks' if several else f'compressed {compressed[0].name}'}"
    return frame.whole(f"{title}: neural collapse", _body(seen, title, compressed))


def _body(seen: list[View], title: str, compressed: list[Compression]) -> str:
    several = len(seen) > 1
    parts = [top.several(seen, title) if several else top.one(seen[0], title), frame.NO_SCRIPT]
    sections: list[tuple[str, str]] = []

    def add(part: Section | None, run: str = "", level: int = 2, extra: str = "") -> None:
        if part:
            anchor = f"part-{len(sections) + 1}"
            sections.append((anchor, part.title if level == 2 else ""))
            parts.append(html.section(part, run, level, extra, anchor))

    add(collapse.section(seen), extra=_AXES)
    add(training.section(seen))
    add(over_decay.section(seen))
    for view in seen:
        if several:
            anchor = f"part-{len(sections) + 1}"
            sections.append((anchor, f"Run {view.label}"))
            parts.append(f'<h2 id="{anchor}">Run {escape(view.label)}</h2>')
        for part in (layers, laws, classes, angles, beside, ranks, bounds, spectra, simplex):
            tables = part.tables(view) if part in (beside, bounds) else ""
            add(part.section(view), view.label, 3 if several else 2, extra=tables)
    if compressed:
        anchor = f"part-{len(sections) + 1}"
        sections.append((anchor, "Compressed networks"))
        told, _ = compression.sections(compressed, first=len(sections) + 1)
        parts += [f'<h2 id="{anchor}">Compressed networks</h2>', *told]
    parts.insert(1, frame.contents([(anchor, name) for anchor, name in sections if name]))
    return "".join([*parts, _sources(seen), "<footer>Made by deepcollapse from the run's records alone.</footer>"])


def _sources(seen: list[View]) -> str:
    """Where the numbers come from: every measure against the baselines, then recipe and provenance."""
    parts = ["<h2>Numbers, recipe and provenance</h2>"]
    for view in seen:
        of = f" of {view.label}" if len(seen) > 1 else ""
        parts.append(html.folded(f"Every layer{of} beside no collapse", _baselines(view), long=True))
        parts.append(html.facts(f"Recipe{of}", view.recipe) + html.facts(f"Provenance{of}", view.provenance))
    return "".join(parts)


def _baselines(view: View) -> str:
    """Every layer's numbers beside an untrained network's or shuffled labels'; nothing where none were measured."""
    rows = []
    for layer in reversed(view.layers):
        for measure in view.measures:
            base = [view.series(measure, layer, view.split, kind) for kind in view.baselines]
            if any(len(series) for series in base):
                own = at(view.series(measure, layer, view.split), view.end)
                values = [own, *(float(series.iloc[-1]) if len(series) else None for series in base)]
                name = f"{words_for(measure).plain} · {view.name_of(layer)}"
                rows.append([name, *(number(value) for value in values)])
    if not rows:
        return ""
    intro = (
        "What the same measures give where nothing was learnt: on the network before training, or for labels dealt out "
        "at random. A number close to these means no collapse."
    )
    return f'<p class="intro">{intro}</p>{html.table(["measure", "this network", *view.baselines], rows)}'


_AXES = (
    '<p class="axes note"><label>Epochs: <select data-axis="x"><option value="log">logarithmic</option>'
    '<option value="linear">linear</option></select></label> '
    '<label>Values: <select data-axis="y"><option value="own">as in the paper</option>'
    '<option value="log">logarithmic</option></select></label></p>'
)
