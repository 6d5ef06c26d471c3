"""Every measure by layer and epoch."""

import dataclasses
import math
from html import escape
from typing import Any

import numpy as np

from deepcollapse.report.figures.laws import times
from deepcollapse.report.figures.style import (
    GREY,
    INK,
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
from deepcollapse.report.figures.text import tick
from deepcollapse.report.summary import at
from deepcollapse.report.view import View
from deepcollapse.report.words import WORDS, words_for

_BASELINES = {"untrained": "dot", "shuffled labels": "dash"}
# Light to dark as values fall, so that collapse is what stands out.
_SCALE = [[0, "#2d1160"], [0.25, "#5c3a8f"], [0.5, "#8f6bb8"], [0.75, "#c6b0dd"], [1, "#f6f2fa"]]


def section(view: View) -> Section | None:
    """A heat map of layer and epoch, a line a layer over epochs, and a line a time over depth; they change together."""
    measures = [
        m for m in _ordered(view) if sum(len(view.series(m, layer, view.split)) > 0 for layer in view.layers) > 1
    ]
    if not measures:
        return None
    group: dict[str, Any] = {"group": "measure", "start": 0}
    by_depth = Figure(
        "By depth",
        [_over_depth(view, measure) for measure in measures],
        layout({"type": "category", "automargin": True, "title": {"text": "layer", "standoff": 10}}, {}),
        height=350,
        looks="At collapse, the end lies far below TPT onset and the baselines, most of all in the last layers.",
        **group,
    )
    if view.start is None:
        figures = [dataclasses.replace(by_depth, control="select")]
    else:
        figures = [_heat_map(view, measures, **group), _by_epoch(view, measures, **group), by_depth]
    count = len(view.layers)
    legend = [Key(view.name_of(layer), depth_color(i, count)) for i, layer in enumerate(view.layers)]
    legend = legend if view.start is not None else []
    legend += [Key(label, color) for label, _, color in times(view)]
    legend += [Key(name, GREY, _BASELINES.get(name, "dot")) for name in view.baselines]
    intro = (
        "The same measures in every layer that was captured, from the input to the head. Choose one to see it in every "
        "layer and at every measured epoch. Collapse begins at the head and works its way towards the input."
    )
    return Section("Layer by layer", intro, figures, legend)


def _heat_map(view: View, measures: list[str], **group: Any) -> Figure:
    """A row a layer, the head at the top; a column a measured epoch, TPT onset marked."""
    columns = list(view.epochs)
    marks = []
    if view.onset in columns:
        x, stroke = columns.index(view.onset) - 0.5, {"color": INK, "width": 1.5, "dash": "dash"}
        text = {"text": "TPT onset", "textposition": "end", "textangle": 0, "xanchor": "left", "font": {"size": 10}}
        marks = [{"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": stroke, "label": text}]
    every = math.ceil(len(columns) / 9)
    shown = columns[::every]
    x = {"type": "category", "tickvals": [str(e) for e in shown], "tickangle": 0, "title": {"text": "measured epoch"}}
    return Figure(
        "By layer and epoch",
        [_heat(view, measure, columns) for measure in measures],
        layout({**x, "showgrid": False}, {"type": "category", "showgrid": False}, shapes=marks),
        control="select",
        wide=True,
        height=110 + 34 * min(12, max(3, len(view.layers))),
        looks="At collapse, what falls to 0 darkens at the upper right: in the last layers, late in training.",
        **group,
    )


def _heat(view: View, measure: str, columns: list[int]) -> Frame:
    rows = {layer: view.series(measure, layer, view.split).reindex(columns).to_numpy(float) for layer in view.layers}
    z = np.array(list(rows.values()))
    log = wants_log(z.ravel())
    ticks = value_axis(z.ravel().tolist(), log)
    bar = {"thickness": 10, "outlinewidth": 0}
    if ticks["type"] == "log":
        bar |= {"tickvals": [math.log10(t) for t in ticks["tickvals"]], "ticktext": ticks["ticktext"]}
    trace = {
        "type": "heatmap",
        "x": [str(epoch) for epoch in columns],
        "y": [tick(view.name_of(layer)) for layer in rows],
        "z": plain(np.log10(z) if log else z),
        "customdata": plain(z),
        "colorscale": _SCALE,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": bar,
        "hovertemplate": "%{y}<br>epoch %{x}: %{customdata:.4g}<extra></extra>",
    }
    return Frame(_title(measure), [trace])


def _by_epoch(view: View, measures: list[str], **group: Any) -> Figure:
    return Figure(
        "By epoch",
        [_over_epochs(view, measure) for measure in measures],
        layout(epoch_axis(view.epochs), {}, shapes=onset_line(view.onset, "#555555")),
        height=350,
        looks="At collapse, the lines of the last layers keep falling after TPT onset.",
        **group,
    )


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
            data.append(line(view.name_of(layer), list(series.index), series, depth_color(i, len(view.layers))))
    return Frame(_title(measure), data, {"yaxis": _axis(data)})


def _over_depth(view: View, measure: str) -> Frame:
    data = []
    for label, epoch, color in times(view):
        values = {view.name_of(layer): at(view.series(measure, layer, view.split), epoch) for layer in view.layers}
        data.append(_profile(label, values, color, "solid"))
    for baseline in view.baselines:
        ends = {view.name_of(layer): view.series(measure, layer, view.split, baseline) for layer in view.layers}
        values = {layer: float(series.iloc[-1]) if len(series) else None for layer, series in ends.items()}
        data.append(_profile(baseline, values, GREY, _BASELINES.get(baseline, "dot")))
    data = [trace for trace in data if trace["x"]]
    return Frame(_title(measure), data, {"yaxis": _axis(data)})


def _profile(name: str, values: dict[str, float | None], color: str, dash: str) -> Trace:
    known = {layer: value for layer, value in values.items() if value is not None}
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "x": [tick(layer) for layer in known],
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
