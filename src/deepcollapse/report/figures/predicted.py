"""What theory's models predict, drawn over what was measured: the minority's angle over epochs, and sizes as ratios."""

from html import escape
from typing import Any

from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.report.figures.style import (
    GREY,
    INK,
    PALETTE,
    Figure,
    Frame,
    Trace,
    epoch_axis,
    layout,
    line,
    onset_line,
    place,
    plain,
    value_axis,
)
from deepcollapse.report.summary import at
from deepcollapse.report.view import View
from deepcollapse.report.words import number

MEASURED = INK
COLORS = {LAYER_PEELED: PALETTE[1], UNCONSTRAINED: PALETTE[0], SELI: PALETTE[2]}
SIGNS = {LAYER_PEELED: "▲", UNCONSTRAINED: "■", SELI: "◆"}
_MARKERS = {LAYER_PEELED: "triangle-up", UNCONSTRAINED: "square", SELI: "diamond"}
_DASHES = {LAYER_PEELED: "solid", UNCONSTRAINED: "dash", SELI: "dot"}
_ANGLES = (
    ("Angle between small classes: classifier", "minority_angle_mean_classifier", "head"),
    ("Angle between small classes: class means", "minority_angle_mean_means", "head.input"),
)
# Numbers above 0 whose size says something; those that are 0 at the optimum have no ratio to it.
_SIZES = (
    ("weight_budget", "head", "E_W"),
    ("feature_budget", "head.input", "E_H"),
    ("mean_norm_classifier", "head", "mean length,<br>classifier"),
    ("mean_norm_means", "head.input", "mean length,<br>class means"),
    ("minority_norm_ratio_classifier", "head", "small over large,<br>classifier"),
    ("minority_norm_ratio_means", "head.input", "small over large,<br>class means"),
    ("effective_rank_classifier", "head", "effective rank,<br>classifier"),
    ("effective_rank_features", "head.input", "effective rank,<br>features"),
    ("loss", "network", "loss"),
)


def figures(view: View, models: list[str]) -> list[Figure]:
    """All that can be drawn of these models' predictions."""
    angles = [_over_epochs(view, models, *one) for one in _ANGLES]
    return [drawn for drawn in (*angles, _ratios(view, models)) if drawn is not None]


def _over_epochs(view: View, models: list[str], title: str, measure: str, layer: str) -> Figure | None:
    """The mean cosine between small classes over epochs, each model's prediction a level line."""
    own = view.series(measure, layer, view.split)
    levels = {
        m: value for m in models if (value := at(view.series(measure, layer, view.split, m), view.end)) is not None
    }
    if len(own) < 2 or not levels:
        return None
    epochs = [int(epoch) for epoch in own.index]
    ends = [place(epochs[0]), place(epochs[-1])]
    data = [line("measured", epochs, own, MEASURED)]
    data += [_level(model, ends, value) for model, value in levels.items()]
    x = epoch_axis(epochs)
    y = {"title": {"text": "mean cosine"}, "range": _span([*own, *levels.values()])}
    told = ", ".join(f"{model} {number(value)}" for model, value in levels.items())
    return Figure(
        title,
        [Frame("", data)],
        layout(x, y, shapes=onset_line(view.onset)),
        f"Predicted: {told}; measured at the end: {number(float(own.iloc[-1]))}.",
        height=300,
        looks="At 1 the small classes have become one: minority collapse. Balanced classes stand at -1/(C-1).",
    )


def _span(values: list[float]) -> list[float]:
    low, high = min(values), max(values)
    margin = max(0.04, 0.08 * (high - low))
    return [max(-1.05, low - margin), min(1.05, high + margin)]


def _level(model: str, ends: list[Any], value: float) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(model),
        "x": ends,
        "y": plain([value, value]),
        "line": {"color": COLORS[model], "width": 2, "dash": _DASHES[model]},
        "marker": {"size": 8, "color": COLORS[model], "symbol": _MARKERS[model]},
        "hovertemplate": "%{fullData.name} predicts %{y:.4g}<extra></extra>",
    }


def _ratios(view: View, models: list[str]) -> Figure | None:
    """For each size, what every model predicts over what was measured; agreement stands at 1."""
    names, points = [], {model: [] for model in models}
    for measure, layer, name in _SIZES:
        own = at(view.series(measure, layer, view.split), view.end)
        told = {model: at(view.series(measure, layer, view.split, model), view.end) for model in models}
        if own is None or own <= 0 or not any(told.values()):
            continue
        names.append(name)
        for model in models:
            value = told[model]
            points[model].append(None if not value or value < 1e-9 else value / own)
    if not names:
        return None
    data = [_markers(model, names, points[model]) for model in models]
    known = [value for one in points.values() for value in one if value]
    x = value_axis([*known, 0.9, 1.1], log=True) | {"title": {"text": "predicted / measured"}}
    at_one = {
        "type": "line",
        "x0": 1,
        "x1": 1,
        "y0": 0,
        "y1": 1,
        "yref": "paper",
        "line": {"color": GREY, "width": 1.5},
    }
    y = {"type": "category", "autorange": "reversed", "tickfont": {"size": 11}}
    return Figure(
        "Sizes: predicted over measured",
        [Frame("", data)],
        layout(x, y, shapes=[at_one]),
        wide=True,
        height=90 + 38 * len(names),
        looks="On the line at 1 a model predicts just what was measured; to its right it predicts more.",
    )


def _markers(model: str, names: list[str], ratios: list[float | None]) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(model),
        "x": [None if ratio is None else plain(ratio) for ratio in ratios],
        "y": names,
        "marker": {"size": 11, "color": COLORS[model], "symbol": _MARKERS[model], "opacity": 0.85},
        "hovertemplate": "%{y}<br>%{fullData.name}: %{x:.4g} times what was measured<extra></extra>",
    }
