"""Ranks by layer, of features and of weights, against the C - 1 that a collapsed layer needs."""

from dataclasses import replace
from html import escape

from deepcollapse.report.figures.style import (
    GREY,
    PALETTE,
    Figure,
    Frame,
    Key,
    Section,
    Trace,
    layout,
    plain,
    value_axis,
    wants_log,
)
from deepcollapse.report.figures.text import MOST_EPOCHS, epoch_label, tick
from deepcollapse.report.summary import at
from deepcollapse.report.view import View, few
from deepcollapse.report.words import words_for

# From the coarsest count to the finest: what rounding leaves, what noise leaves, and what carries the energy.
RANKS = ("numerical_rank", "rank_at_one_percent", "rank_above_noise_edge", "effective_rank", "stable_rank")


def section(view: View) -> Section | None:
    """A figure for features and one for weights with one slider over epochs; None where no rank was recorded."""
    features = [(layer, "_features") for layer in view.layers]
    weights = [(layer, "_weight") for layer in view.weight_layers] + [("head", "_classifier")]
    epochs = few(list(view.epochs), MOST_EPOCHS, [view.onset])
    found = [
        figure
        for what, places in (("features", features), ("weights", weights))
        if (figure := _figure(view, what, places, epochs)) is not None
    ]
    if not found:
        return None
    if len(found[0].frames) > 1:
        found[0] = replace(found[0], control="slider")  # which the others of the group follow
    shown = {trace["name"] for figure in found for frame in figure.frames for trace in frame.data}
    legend = [Key(name, color) for rank, color in zip(RANKS, PALETTE, strict=False) if (name := _name(rank)) in shown]
    if view.num_classes:
        legend.append(Key(f"C − 1 = {view.num_classes - 1}", GREY, "dash"))
    intro = (
        "How many directions each layer uses, counted in several ways: above rounding, above 1 % of the strongest, "
        "above what noise of its size would give, by evenness (effective) and by energy (stable). With C classes a "
        "collapsed layer needs C − 1, and whatever a weight matrix has beyond that may be cut."
    )
    return Section("Ranks by layer", intro, found, legend)


def _figure(view: View, what: str, places: list[tuple[str, str]], epochs: list[int]) -> Figure | None:
    """A line a kind of rank over the layers, a state an epoch."""
    frames = [Frame(epoch_label(view, epoch), _lines(view, places, epoch), epoch=epoch) for epoch in epochs]
    frames = [frame for frame in frames if frame.data]
    if not frames:
        return None
    values = [y for frame in frames for trace in frame.data for y in trace["y"] if y is not None]
    y = {**value_axis(values, wants_log(values)), "title": {"text": f"rank of {what}"}}
    x = {"type": "category", "automargin": True, "title": {"text": "layer", "standoff": 10}}
    x |= {"categoryorder": "array", "categoryarray": [tick(view.name_of(layer)) for layer, _ in places]}
    group = "ranks" if len(frames) > 1 else None
    looks = {
        "features": "At collapse, the lines of the last layers come down to C − 1 (dashed).",
        "weights": "After collapse, weight decay takes the lines down to C − 1 (dashed), in the last layers first.",
    }
    shapes = [_limit(view.num_classes - 1)] if view.num_classes and view.num_classes > 1 else []
    return Figure(f"Ranks of {what}", frames, layout(x, y, shapes=shapes), height=340, looks=looks[what], group=group)


def _lines(view: View, places: list[tuple[str, str]], epoch: int) -> list[Trace]:
    data = []
    for rank, color in zip(RANKS, PALETTE, strict=False):
        known = {}
        for layer, suffix in places:
            value = at(view.series(rank + suffix, layer, view.split), epoch)
            if value is not None:
                known[tick(view.name_of(layer))] = value
        if known:
            data.append(_line(_name(rank), known, color))
    return data


def _line(name: str, known: dict[str, float], color: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "x": list(known),
        "y": plain(list(known.values())),
        "line": {"color": color, "width": 2},
        "marker": {"size": 6, "color": color},
        "hovertemplate": "%{fullData.name}<br>%{x}: %{y:.4g}<extra></extra>",
    }


def _limit(rank: int) -> dict[str, object]:
    stroke = {"color": GREY, "width": 1.2, "dash": "dash"}
    return {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": rank, "y1": rank, "line": stroke}


def _name(rank: str) -> str:
    return words_for(rank).plain
