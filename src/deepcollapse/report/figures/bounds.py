"""Each layer's distance to rank k, and the bounds on it, on a logarithmic axis."""

from html import escape

from deepcollapse.report.figures.style import GREY, INK, PALETTE, Figure, Frame, Key, Trace, layout, plain, value_axis
from deepcollapse.report.figures.text import tick
from deepcollapse.report.summary import at
from deepcollapse.report.view import View

DISTANCE = "relative_distance_to_rank_k_weight"
# Measure -> its name, colour and marker, with the sign of it in the legend.
BOUNDS = {
    "rank_collapse_bound_alignment_weight": ("bound without decay", PALETTE[2], "diamond", "◆"),
    "rank_collapse_bound_weight": ("bound", PALETTE[1], "triangle-down", "▼"),
    "rank_collapse_bound_product_weight": ("product bound", PALETTE[0], "square", "■"),
    "rank_collapse_bound_variability_weight": ("variability bound", PALETTE[3], "triangle-up", "▲"),
}
# A distance below this is 0 but for rounding, and would squeeze the rest.
_FLOOR = 1e-6


def shown(view: View) -> list[str]:
    """The layers that have a distance above rounding, in order of depth."""
    named = dict.fromkeys(view.frame.loc[view.frame["measure"] == DISTANCE, "layer"])
    return [layer for layer in named if (value(view, DISTANCE, layer) or 0.0) > _FLOOR]


def value(view: View, measure: str, layer: str) -> float | None:
    """A layer's number at the end."""
    return at(view.series(measure, layer, view.split), view.end)


def keys(view: View) -> list[Key]:
    """The legend: the distance, and those bounds that any layer has."""
    found = [Key("distance to rank k", INK, "●")]
    for measure, (name, color, _, sign) in BOUNDS.items():
        if any(value(view, measure, layer) is not None for layer in shown(view)):
            found.append(Key(name, color, sign))
    return found


def figure(view: View) -> Figure | None:
    """A column a layer: the distance as a dot, each bound a marker above it; None where every distance is 0."""
    layers = shown(view)
    if not layers:
        return None
    names = [tick(view.name_of(layer)) for layer in layers]
    data = [_markers("distance to rank k", names, [value(view, DISTANCE, n) for n in layers], INK, "circle")]
    for measure, (name, color, symbol, _) in BOUNDS.items():
        data.append(_markers(name, names, [value(view, measure, n) for n in layers], color, symbol))
    known = [y for trace in data for y in trace["y"] if y is not None]
    axis = value_axis([*known, 1.2], log=True) | {"title": {"text": "share of the weight's norm"}}
    one = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 1, "y1": 1}
    x = {"type": "category", "automargin": True, "title": {"text": "layer", "standoff": 10}}
    return Figure(
        "Distance to rank k, and what bounds it",
        [Frame("", [trace for trace in data if any(y is not None for y in trace["y"])])],
        layout(x, axis, shapes=[one | {"line": {"color": GREY, "width": 1.2, "dash": "dash"}}]),
        height=360,
        wide=True,
        looks="No bound lies below its layer's dot. Above the dashed line, where a bound is longer than the weight "
        "itself, it says nothing.",
    )


def _markers(name: str, x: list[str], y: list[float | None], color: str, symbol: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": x,
        "y": [None if one is None else plain(one) for one in y],
        "marker": {"size": 10, "color": color, "symbol": symbol, "opacity": 0.85},
        "hovertemplate": "%{x}<br>%{fullData.name}: %{y:.3g}<extra></extra>",
    }
