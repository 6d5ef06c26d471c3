"""Singular values of each layer's features, of the classifier, and of every other layer's weights."""

import math
from typing import Any

import numpy as np

from deepcollapse.report.figures.style import (
    GREY,
    PALETTE,
    Figure,
    Frame,
    Key,
    Section,
    Trace,
    depth_color,
    layout,
    line,
    plain,
    value_axis,
)
from deepcollapse.report.figures.text import MOST_EPOCHS, epoch_label
from deepcollapse.report.view import View, few

# Enough for a line on a logarithmic axis; the first ones, where collapse shows, are all there.
MOST_VALUES = 64
# More lines than these no one tells apart.
MOST_WEIGHTS = 12
# What is this far below the first is rounding, and would squeeze the rest.
_FLOOR = 1e-8


def section(view: View) -> Section | None:
    """Features and the classifier in one figure, weights in another, a slider over epochs; None without spectra."""
    layers, weights = view.layers, _evenly(view.weight_layers)
    features = {layer: ("singular_values_features", depth_color(i, len(layers))) for i, layer in enumerate(layers)}
    features |= {"head": ("singular_values_classifier", PALETTE[1])}
    of_weights = {layer: ("singular_values_weight", depth_color(i, len(weights))) for i, layer in enumerate(weights)}
    rank, figures, legend = (view.num_classes or 0) - 1, [], []
    for what, places in (("", features), (" of weights", of_weights)):
        shown, frames = _frames(view, places)
        if frames:
            figures.append(_figure(f"Singular values{what}, largest first", frames, rank))
            legend += [Key(view.name_of(layer) + (what and " (weights)"), places[layer][1]) for layer in shown]
    if not figures:
        return None
    if rank > 0:
        legend.append(Key(f"C − 1 = {rank}", GREY, "dash"))
    intro = (
        "How many directions each layer uses: the singular values of its features, and of its weights, largest first, "
        "over the largest. With C classes, a collapsed layer needs C − 1 of them and no more."
    )
    return Section("Singular values by layer", intro, figures, legend)


def _frames(view: View, places: dict[str, tuple[str, str]]) -> tuple[list[str], list[Frame]]:
    """The layers whose spectra were kept, and a state an epoch: a line a layer."""
    kept = {layer: found for layer, (m, _) in places.items() if (found := view.references(m, layer, view.split))}
    epochs = few(sorted({epoch for references in kept.values() for epoch in references}), MOST_EPOCHS, [view.onset])
    frames = []
    for epoch in epochs:
        arrays = {layer: view.array(r[epoch]) for layer, r in kept.items() if epoch in r}
        known = {layer: a for layer, a in arrays.items() if a is not None and a.size and a.max() > 0}
        data = [_line(view.name_of(layer), a, places[layer][1]) for layer, a in known.items()]
        if data:
            frames.append(Frame(epoch_label(view, epoch), data, epoch=epoch))
    return list(kept), frames


def _evenly(layers: tuple[str, ...]) -> list[str]:
    return [layers[i] for i in few(range(len(layers)), MOST_WEIGHTS)]


def _figure(title: str, frames: list[Frame], rank: int) -> Figure:
    values = [y for frame in frames for trace in frame.data for y in trace["y"]]
    longest = max(trace["x"][-1] for frame in frames for trace in frame.data)
    ticks = [m * 10**e for e in range(len(str(longest))) for m in (1, 2, 5) if m * 10**e <= longest]
    x = {"type": "log", "tickvals": ticks, "ticktext": [str(t) for t in ticks], "title": {"text": "number, from 1"}}
    x["range"] = [math.log10(0.9), math.log10(max(longest, 2) * 1.1)]
    y = {**value_axis(values, log=True), "title": {"text": "singular value, share of the largest"}}
    marks = [_rank_line(rank)] if rank > 0 else []
    control: dict[str, Any] = {"control": "slider"} if len(frames) > 1 else {}
    looks = "At collapse, the lines stay level up to C − 1 (dashed) and drop away steeply after it."
    return Figure(title, frames, layout(x, y, shapes=marks), height=380, wide=True, looks=looks, **control)


def _line(name: str, values: np.ndarray, color: str) -> Trace:
    values = np.sort(np.asarray(values, dtype=float).ravel())[::-1]
    share = values / values[0]
    kept = np.unique(np.geomspace(1, len(share), MOST_VALUES).round().astype(int))
    trace = line(name, kept.tolist(), plain(np.where(share > _FLOOR, share, np.nan)[kept - 1]), color)
    del trace["customdata"]
    return trace | {"hovertemplate": "%{fullData.name}<br>number %{x}: %{y:.3g} of the largest<extra></extra>"}


def _rank_line(rank: int) -> dict[str, object]:
    stroke = {"color": GREY, "width": 1.2, "dash": "dash"}
    return {"type": "line", "x0": rank, "x1": rank, "y0": 0, "y1": 1, "yref": "paper", "line": stroke}
