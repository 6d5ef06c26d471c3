"""Singular values of each layer's features and of the classifier."""

from typing import Any

import numpy as np

from deepcollapse.report.figures.angles import MOST_EPOCHS, epoch_label
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
from deepcollapse.report.view import View, few

MOST_VALUES = 256
# What is this far below the first is rounding, and would squeeze the rest.
_FLOOR = 1e-8


def section(view: View) -> Section | None:
    """One figure with a slider over epochs: a line a layer; None where no spectra were kept."""
    kept = {
        layer: view.references(measure, layer, view.split)
        for layer, measure in [*((layer, "singular_values_features") for layer in view.layers), _HEAD]
    }
    kept = {layer: references for layer, references in kept.items() if references}
    if not kept:
        return None
    colors = {layer: depth_color(i, len(view.layers)) for i, layer in enumerate(view.layers)} | {"head": PALETTE[1]}
    epochs = few(sorted({epoch for references in kept.values() for epoch in references}), MOST_EPOCHS, [view.onset])
    frames = []
    for epoch in epochs:
        arrays = {layer: view.array(r[epoch]) for layer, r in kept.items() if epoch in r}
        data = [
            _line(layer, a, colors[layer]) for layer, a in arrays.items() if a is not None and a.size and a.max() > 0
        ]
        if data:
            frames.append(Frame(epoch_label(view, epoch), data))
    if not frames:
        return None
    values = [y for frame in frames for trace in frame.data for y in trace["y"]]
    y = {**value_axis(values, log=True), "title": {"text": "share of the largest"}}
    rank = (view.num_classes or 0) - 1
    marks = [_rank_line(rank)] if rank > 0 else []
    control: dict[str, Any] = {"control": "slider"} if len(frames) > 1 else {}
    figure = Figure("", frames, layout({"title": {"text": "index"}}, y, shapes=marks), height=360, wide=True, **control)
    legend = [Key("classifier" if layer == "head" else layer, colors[layer]) for layer in kept]
    legend += [Key(f"C − 1 = {rank}", GREY, "dash")] if marks else []
    intro = (
        "How many directions each layer uses: the singular values of its features, largest first, over the largest. "
        "Where the network collapses, all but the first C − 1 (for C classes) fall away."
    )
    return Section("Singular values by layer", intro, [figure], legend)


_HEAD = ("head", "singular_values_classifier")


def _line(layer: str, values: np.ndarray, color: str) -> Trace:
    values = np.sort(np.asarray(values, dtype=float).ravel())[::-1][:MOST_VALUES]
    share = values / values[0]
    name = "classifier" if layer == "head" else layer
    trace = line(name, range(1, len(share) + 1), plain(np.where(share > _FLOOR, share, np.nan)), color)
    return trace | {"hovertemplate": "%{fullData.name}<br>number %{customdata}: %{y:.3g}<extra></extra>"}


def _rank_line(rank: int) -> dict[str, object]:
    stroke = {"color": GREY, "width": 1.2, "dash": "dash"}
    return {"type": "line", "x0": rank, "x1": rank, "y0": 0, "y1": 1, "yref": "paper", "line": stroke}
