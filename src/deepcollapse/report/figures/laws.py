"""What only shows over the layers together: the law of equi-separation, and effective depth."""

import math
from html import escape
from typing import Any

from deepcollapse.report.figures.style import (
    INK,
    PALETTE,
    Figure,
    Frame,
    Key,
    Section,
    Trace,
    epoch_axis,
    layout,
    line,
    onset_line,
    place,
    plain,
    value_axis,
)
from deepcollapse.report.figures.text import tick
from deepcollapse.report.summary import at
from deepcollapse.report.view import View
from deepcollapse.report.words import number

_FIT = "#555555"


def section(view: View) -> Section | None:
    """Separation fuzziness by layer with its fitted line, and the factor per layer over epochs; None without a fit."""
    rho = view.series("equi_separation_rho", "all", view.split)
    last = at(rho, view.end)
    if last is None:
        return None
    moments = times(view)
    figures = [_by_layer(view, moments)]
    if len(rho) > 1:
        figures.append(_by_epoch(view, rho))
    legend = [Key(label, color, "●") for label, _, color in moments] + [Key("fitted line", _FIT, "dash")]
    intro = (
        "Each layer of a trained network often multiplies the separation fuzziness D (NC1 times the number of classes) "
        f"by one and the same factor ρ (He and Su, 2023). {_reading(view, last)} {_effective_depth(view)}"
    )
    return Section("The law of equi-separation", intro.strip(), figures, legend)


def times(view: View) -> list[tuple[str, int, str]]:
    """The times worth comparing: label, epoch and colour of the first measured epoch, TPT onset and the end."""
    if view.end is None:
        return []
    if view.start is None:
        return [("measured", view.end, INK)]
    found = [(f"epoch {view.epochs[0]}", view.epochs[0], PALETTE[5])] if view.epochs[0] != view.start else []
    start = f"TPT onset (epoch {view.start})" if view.from_onset else f"epoch {view.start}"
    return [*found, (start, view.start, PALETTE[4]), (f"end (epoch {view.end})", view.end, PALETTE[3])]


def _reading(view: View, rho: float) -> str:
    r = at(view.series("equi_separation_correlation", "all", view.split), view.end)
    when = "Here" if view.start is None else f"At the end (epoch {view.end})"
    share = "multiplies D by" if rho < 1 else "even multiplies D by"
    text = f"{when} a layer {share} ρ = {number(rho)}"
    if r is None:
        return f"{text}."
    close = "the law holds well" if r < -0.95 else "the law holds roughly" if r < -0.8 else "the law does not hold"
    return f"{text}, and the points lie on the line with correlation r = {number(r)}: {close} (-1 is to the letter)."


def _effective_depth(view: View) -> str:
    known = at(view.series("effective_depth", "all", view.split), view.end)
    if known is None:
        return ""
    depth, notes = int(known), view.rows("effective_depth", "all", view.split)["note"].dropna()
    what = f" ({notes.iloc[-1]})" if len(notes) else ""
    if depth > len(view.layers):
        return f"Effective depth: no layer is there yet{what}."
    return f"Effective depth: layer {depth} of {len(view.layers)}, {view.name_of(view.layers[depth - 1])}{what}."


def _by_layer(view: View, moments: list[tuple[str, int, str]]) -> Figure:
    data: list[Trace] = []
    names = [tick(view.name_of(layer)) for layer in view.layers]
    for label, epoch, color in moments:
        values = [at(view.series("separation_fuzziness", layer, view.split), epoch) for layer in view.layers]
        fit = _fit(view, epoch)
        if fit:
            data.append(_points(f"fit, {label}", names, fit, _FIT, "lines"))
        data.append(_points(label, names, [math.nan if v is None else v for v in values], color, "markers"))
    y = value_axis([v for trace in data for v in trace["y"]], log=True) | {"title": {"text": "separation fuzziness D"}}
    x = {"type": "category", "automargin": True, "title": {"text": "layer", "standoff": 10}}
    rho, r = (
        at(view.series(f"equi_separation_{part}", "all", view.split), view.end) for part in ("rho", "correlation")
    )
    return Figure(
        f"Separation fuzziness by layer: ρ = {number(rho)}, r = {number(r)}",
        [Frame("", data)],
        layout(x, y),
        height=330,
        looks="At collapse, the points fall along one steep straight line, lower at every layer.",
    )


def _fit(view: View, epoch: int) -> list[float]:
    """The fitted line at each layer: log D = intercept + layer · log ρ, the first layer being number 0."""
    parts = [at(view.series(f"equi_separation_{part}", "all", view.split), epoch) for part in ("intercept", "rho")]
    if parts[0] is None or not parts[1]:
        return []
    return [math.exp(parts[0] + depth * math.log(parts[1])) for depth in range(len(view.layers))]


def _points(name: str, x: list[str], y: list[float], color: str, mode: str) -> Trace:
    return {
        "type": "scatter",
        "mode": mode,
        "name": escape(name),
        "x": x,
        "y": plain(y),
        "line": {"color": color, "width": 1.3, "dash": "dash"},
        "marker": {"size": 9, "color": color},
        "hovertemplate": "%{fullData.name}<br>%{x}: D = %{y:.4g}<extra></extra>",
    }


def _by_epoch(view: View, rho: Any) -> Figure:
    y = value_axis(rho, log=False) | {"title": {"text": "ρ, factor per layer"}}
    marks = onset_line(view.onset, "#555555")
    one = {"color": "#8a8f98", "width": 1, "dash": "dot"}
    ends = {"x0": place(view.epochs[0]), "x1": view.epochs[-1], "y0": 1, "y1": 1}
    marks.append({"type": "line", **ends, "line": one})
    return Figure(
        "What one layer multiplies D by, over epochs",
        [Frame("", [line("ρ", list(rho.index), rho, PALETTE[0])])],
        layout(epoch_axis(view.epochs), y, shapes=marks),
        height=330,
        looks="At collapse, ρ is well below 1 (dotted): every layer separates the classes further.",
    )
