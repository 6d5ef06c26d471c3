"""Every measure by layer and epoch."""

from html import escape
from typing import Any

from deepcollapse.report.figures.style import (
    GREY,
    INK,
    PALETTE,
    Figure,
    Frame,
    Key,
    Section,
    Trace,
    depth_color,
    epoch_axis,
    layout,
    line,
    onset_line,
    plain,
    value_axis,
    wants_log,
)
from deepcollapse.report.summary import at
from deepcollapse.report.view import View
from deepcollapse.report.words import WORDS, words_for

_BASELINES = {"untrained": "dot", "shuffled labels": "dash"}


def section(view: View) -> Section | None:
    """Two figures that change together: a line a layer over epochs, and a line an epoch over depth."""
    measures = [
        m for m in _ordered(view) if sum(len(view.series(m, layer, view.split)) > 0 for layer in view.layers) > 1
    ]
    if not measures:
        return None
    over_time = [_over_epochs(view, measure) for measure in measures] if view.start is not None else []
    over_depth = [_over_depth(view, measure) for measure in measures]
    x = {"type": "category", "tickangle": -35, "automargin": True}
    group = {"control": "select", "group": "measure", "height": 330, "start": 0}
    figures = [Figure("By depth", over_depth, layout(x, {}), **group)]
    if over_time:
        marks = onset_line(view.onset, "#555555")
        figures.insert(0, Figure("By epoch", over_time, layout(epoch_axis(view.epochs), {}, shapes=marks), **group))
    count = len(view.layers)
    legend = [Key(layer, depth_color(i, count)) for i, layer in enumerate(view.layers)] if over_time else []
    legend += [Key(label, color, "dash" if dash != "solid" else "line") for label, _, color, dash in _moments(view)]
    legend += [Key(name, GREY, _BASELINES.get(name, "dot")) for name in view.baselines]
    intro = (
        "The same measures in every layer that was captured, from the input (dark) to the head (light). Choose a "
        "measure to see it over epochs in each layer, and over depth at three times."
    )
    return Section("Layer by layer", intro, figures, legend)


def _ordered(view: View) -> list[str]:
    """Measures as words.py lists them, those it does not know after."""
    known = list(WORDS)
    bases = {
        m: next((i for i, base in enumerate(known) if m == base or m.startswith(f"{base}_")), 99) for m in view.measures
    }
    return sorted(view.measures, key=lambda m: (known.index(m) if m in WORDS else bases[m], view.measures.index(m)))


def _over_epochs(view: View, measure: str) -> Frame:
    data = []
    for i, layer in enumerate(view.layers):
        series = view.series(measure, layer, view.split)
        if len(series):
            data.append(line(layer, list(series.index), series, depth_color(i, len(view.layers))))
    return Frame(_title(measure), data, {"yaxis": _axis(data)})


def _over_depth(view: View, measure: str) -> Frame:
    data = []
    for label, epoch, color, dash in _moments(view):
        values = {layer: at(view.series(measure, layer, view.split), epoch) for layer in view.layers}
        data.append(_profile(label, values, color, dash))
    for baseline in view.baselines:
        ends = {layer: view.series(measure, layer, view.split, baseline) for layer in view.layers}
        values = {layer: float(series.iloc[-1]) if len(series) else None for layer, series in ends.items()}
        data.append(_profile(baseline, values, GREY, _BASELINES.get(baseline, "dot")))
    data = [trace for trace in data if trace["x"]]
    return Frame(_title(measure), data, {"yaxis": _axis(data)})


def _moments(view: View) -> list[tuple[str, int, str, str]]:
    """The times at which depth is shown: label, epoch, colour, dash."""
    if view.end is None:
        return []
    if view.start is None:
        return [("measured", view.end, INK, "solid")]
    first = [(f"epoch {view.epochs[0]}", view.epochs[0], PALETTE[5], "solid")]
    middle = [(f"TPT onset (epoch {view.start})", view.start, PALETTE[4], "dash")] if view.from_onset else []
    first = [] if middle and view.start == view.epochs[0] else first
    return [*first, *middle, (f"end (epoch {view.end})", view.end, PALETTE[3], "solid")]


def _profile(name: str, values: dict[str, float | None], color: str, dash: str) -> Trace:
    known = {layer: value for layer, value in values.items() if value is not None}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "x": [escape(layer) for layer in known],
        "y": plain(list(known.values())),
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"size": 6, "color": color},
        "hovertemplate": "%{fullData.name}<br>%{x}: %{y:.4g}<extra></extra>",
    }


def _axis(data: list[Trace]) -> dict[str, Any]:
    values = [y for trace in data for y in trace["y"] if y is not None]
    return value_axis(values, wants_log(values))


def _title(measure: str) -> str:
    words = words_for(measure)
    return f"{words.symbol}: {words.plain}" if words.symbol else words.plain
