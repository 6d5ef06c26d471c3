"""Several runs that differ in weight decay: rank, variability and accuracy over it, before and after truncation."""

import math
from typing import Any

from deepcollapse.report.figures.style import PALETTE, Figure, Frame, Key, Section, Trace, depth_color, layout, line
from deepcollapse.report.summary import at
from deepcollapse.report.view import View

# Fewer points are no sweep; decay 0 stands at this share of the smallest other on a logarithmic axis.
LEAST, ZERO = 3, 0.3
CUT = "truncated_accuracy"
# Ticks that stand closer than this share of the axis run into each other.
CLOSE = 0.14
_ACCURACIES = (("as trained", "accuracy", PALETTE[0], "line"), ("every layer cut", CUT, PALETTE[1], "dash"))


def section(seen: list[View]) -> Section | None:
    """Rank and cluster variation of every layer over weight decay, and what truncation costs; None for no sweep."""
    runs = sorted((view for view in seen if "decay" in view.recipe), key=lambda view: view.recipe["decay"])
    decays = [float(view.recipe["decay"]) for view in runs]
    if len(set(decays)) < max(LEAST, len(runs)):
        return None
    figures = [
        _by_layer(runs, decays, "rank_at_one_percent_weight", "Rank of each layer's weight (above 1 %)", "rank"),
        _by_layer(runs, decays, "relative_cluster_variation", "Cluster variation of each layer's output", "share"),
        _accuracy(runs, decays),
    ]
    drawn = [figure for figure in figures if figure is not None]
    intro = (
        "The same recipe at several weight decays. With more decay, samples of a class come closer together in every "
        "layer, and the weights lose rank with them; what a network does not use can be cut without a loss of accuracy."
    )
    legend = [
        Key(f"{name if kind == 'weight' else runs[0].name_of(name)}, {kind}", color)
        for kind, names in _layers(runs).items()
        for name, color in names.items()
    ]
    if figures[-1] is not None:
        legend += [Key(name, color, sign) for name, _, color, sign in _ACCURACIES]
    return Section("Over weight decay", intro, drawn, legend) if drawn else None


def _layers(runs: list[View]) -> dict[str, dict[str, str]]:
    """Weights and outputs by name, with their colours from shallow to deep."""
    found = {}
    for kind, measure in (("weight", "rank_at_one_percent_weight"), ("output", "relative_cluster_variation")):
        frame: Any = runs[0].frame
        names = list(frame.loc[(frame["measure"] == measure) & frame["baseline"].isna(), "layer"].unique())
        # What enters the head is the last layer's output under another name, and drawn once.
        names = [name for name in names if kind == "weight" or name in runs[0].layers]
        found[kind] = {str(name): depth_color(i, len(names)) for i, name in enumerate(names)}
    return found


def _by_layer(runs: list[View], decays: list[float], measure: str, title: str, unit: str) -> Figure | None:
    kind = "weight" if measure.endswith("_weight") else "output"
    data = []
    for layer, color in _layers(runs)[kind].items():
        values = [at(view.series(measure, layer, view.split), view.end) for view in runs]
        if any(value is not None for value in values):
            name = layer if kind == "weight" else runs[0].name_of(layer)
            data.append(_line(name, decays, values, color))
    if not data:
        return None
    y = {"title": {"text": unit}, "rangemode": "tozero"}
    return Figure(
        title,
        [Frame("", data)],
        layout(_axis(decays), y),
        height=300,
        looks="Where rank collapses, both fall with decay.",
    )


def _accuracy(runs: list[View], decays: list[float]) -> Figure | None:
    """Accuracy as trained, and with every layer cut to its rank."""
    data = []
    for name, measure, color, _ in _ACCURACIES:
        values = [_last(view, measure) for view in runs]
        if any(value is not None for value in values):
            data.append(_line(name, decays, [None if v is None else 100 * v for v in values], color))
    if len(data) < 2:
        return None
    data[1]["line"]["dash"] = "dash"
    y = {"title": {"text": "accuracy, %"}}
    looks = "The two lines agree where what is cut was not used."
    return Figure(
        "Accuracy, as trained and cut to rank", [Frame("", data)], layout(_axis(decays), y), height=300, looks=looks
    )


def _last(view: View, measure: str) -> float | None:
    for split in ("test", "train"):
        rows = view.series(measure, "network", split)
        if len(rows):
            return float(rows.iloc[-1])
    return None


def _line(name: str, decays: list[float], values: list[float | None], color: str) -> Trace:
    trace = line(name, range(len(decays)), values, color)
    hover = "%{fullData.name}<br>decay %{customdata}: %{y:.4g}<extra></extra>"
    return trace | {"x": _places(decays), "customdata": [f"{decay:g}" for decay in decays], "hovertemplate": hover}


def _places(decays: list[float]) -> list[float]:
    least = min((decay for decay in decays if decay > 0), default=1.0)
    return [decay or ZERO * least for decay in decays]


def _axis(decays: list[float]) -> dict[str, Any]:
    places = _places(decays)
    span = math.log(places[-1] / places[0])
    shown = [0]
    for i in range(1, len(places)):
        if math.log(places[i] / places[shown[-1]]) >= CLOSE * span:
            shown.append(i)
    ticks = {"tickvals": [places[i] for i in shown], "ticktext": [f"{decays[i]:g}" for i in shown], "tickangle": 0}
    return {"type": "log", "title": {"text": "weight decay"}, **ticks}
