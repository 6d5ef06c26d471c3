"""The charts of a study as figures: curves with bands, predictions, thresholds and marks, and heat maps."""

from collections.abc import Sequence
from html import escape
from typing import Any

from deepcollapse.records.charts import Chart, Curve, Heat, Panel
from deepcollapse.report.figures import heat
from deepcollapse.report.figures.colors import GLYPHS, SYMBOLS, Colors
from deepcollapse.report.figures.scale import Scale, is_number
from deepcollapse.report.figures.style import GREY, Figure, Frame, Key, Trace, layout
from deepcollapse.report.words import number

# Lines with more points than this have no markers.
_MARKED = 40
_DASH = {"prediction": "dash", "threshold": "dot"}
_SIGN = {"line": "line", "prediction": "dash", "threshold": "dot"}


def figures(chart: Chart, colors: Colors) -> list[Figure]:
    """A figure for each panel; one that has nothing to show says so in its place."""
    alone = len(chart.panels) == 1
    height = 360 if alone else 300
    drawn = [
        heat.figure(panel) if isinstance(panel, Heat) else _panel(panel, colors, height, chart.title)
        for panel in chart.panels
    ]
    if not alone and _one_space(chart.panels):
        _share_axes(drawn)
    return drawn


def _one_space(panels: Sequence[Panel | Heat]) -> bool:
    """Whether panels show points of one space, such as samples at several times, without lines over anything."""
    kinds = {curve.kind for panel in panels if isinstance(panel, Panel) for curve in panel.curves}
    titles = {(panel.x, panel.y) for panel in panels}
    linear = not any(panel.x.log or panel.y.log for panel in panels)
    return linear and len(titles) == 1 and "points" in kinds and "line" not in kinds


def _share_axes(drawn: Sequence[Figure]) -> None:
    """The same range for all panels, or what has moved would seem to have stayed."""
    for axis, letter in (("xaxis", "x"), ("yaxis", "y")):
        values = [v for one in drawn for trace in one.frames[0].data for v in trace[letter] if v is not None]
        if values:
            margin = 0.06 * (max(values) - min(values)) or 1.0
            for one in drawn:
                one.layout[axis]["range"] = [min(values) - margin, max(values) + margin]


def legend(chart: Chart, colors: Colors) -> list[Key]:
    """One legend for all panels: each name and kind once, and the band where there is one."""
    curves = [curve for panel in chart.panels if isinstance(panel, Panel) for curve in panel.curves]
    keys = {(curve.name, curve.kind): curve for curve in curves if _points(curve)}
    found = [Key(name, colors.color(curve), _sign(curve, colors)) for (name, _), curve in keys.items()]
    if any(_banded(curve) for curve in keys.values()):
        found.append(Key("band: spread over seeds", GREY, "▒"))
    return found


def is_empty(panel: Panel | Heat) -> bool:
    """Whether a panel has no point that could be drawn."""
    if isinstance(panel, Heat):
        return not any(is_number(value) for row in panel.values for value in row)
    return not any(_points(curve) for curve in panel.curves)


def _sign(curve: Curve, colors: Colors) -> str:
    return GLYPHS[colors.marker[curve.name]] if curve.kind == "points" else _SIGN[curve.kind]


def _panel(panel: Panel, colors: Colors, height: int, chart: str) -> Figure:
    drawn = [curve for curve in panel.curves if _points(curve)]
    across = Scale.of(panel.x, [x for curve in drawn for x, _ in _points(curve)] + [x for x, _ in panel.marks])
    edges = [edge for curve in drawn for pair in _edges(curve) for edge in pair]
    up = Scale.of(panel.y, [y for curve in drawn for _, y in _points(curve)], edges)
    data = [band for curve in drawn if (band := _band(curve, colors.color(curve), across, up))]
    data += [_trace(curve, colors, across, up, panel) for curve in drawn]
    shapes, words = _marks(panel.marks, across)
    if not drawn:
        words = [_nothing()]
    y = {**up.plan, "exponentformat": "power"}
    plan = layout(across.plan, y, shapes=shapes, annotations=words, hovermode="closest")
    plan["margin"]["t"] = 20
    named = ", ".join(dict.fromkeys(curve.name for curve in drawn)) or "nothing"
    title = "" if panel.title == chart else panel.title
    alt = f"{panel.title or chart}: {panel.y.title} against {panel.x.title}, of {named}."
    return Figure(title, [Frame("", data)], plan, height=height, alt=alt)


def _points(curve: Curve) -> list[tuple[Any, Any]]:
    """The points that are there; lists of unequal length end with the shorter."""
    return [(x, y) for x, y in zip(curve.x, curve.y, strict=False) if is_number(x) and is_number(y)]


def _edges(curve: Curve) -> list[tuple[Any, Any]]:
    """The band about each point, None where there is none."""
    low, high = (list(side or ()) for side in (curve.low, curve.high))
    filled = [side + [None] * (len(curve.x) - len(side)) for side in (low, high)]
    pairs = zip(*filled, strict=False)
    return [(a, b) if is_number(a) and is_number(b) else (None, None) for a, b in pairs]


def _banded(curve: Curve) -> bool:
    return any(low is not None and low != high for low, high in _edges(curve))


def _band(curve: Curve, color: str, across: Scale, up: Scale) -> Trace | None:
    """The band as one shape; where points are missing it has a gap."""
    if curve.kind == "points" or not _banded(curve):
        return None
    outline_x: list[Any] = []
    outline_y: list[Any] = []
    for piece in _pieces(curve, across):
        outline_x += [*(x for x, _, _ in piece), *(x for x, _, _ in reversed(piece)), None]
        outline_y += [*(up.bound(high) for *_, high in piece), *(up.bound(low) for _, low, _ in reversed(piece)), None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": outline_x[:-1],
        "y": outline_y[:-1],
        "fill": "toself",
        "fillcolor": _faint(color),
        "line": {"width": 0, "color": color},
        "hoverinfo": "skip",
        "connectgaps": False,
    }


def _pieces(curve: Curve, across: Scale) -> list[list[tuple[Any, Any, Any]]]:
    """Stretches of the band without a gap, each with at least two points."""
    found: list[list[tuple[Any, Any, Any]]] = [[]]
    for x, (low, high) in zip(curve.x, _edges(curve), strict=False):
        place = across.place(x)
        if place is None or low is None:
            found.append([])
        else:
            found[-1].append((place, low, high))
    return [piece for piece in found if len(piece) > 1]


def _trace(curve: Curve, colors: Colors, across: Scale, up: Scale, panel: Panel) -> Trace:
    color, few = colors.color(curve), len(curve.x) <= _MARKED
    points, dots = curve.kind == "points", curve.kind in ("points", "line") and few
    mode = "markers" if points else "lines+markers" if dots or len(_points(curve)) == 1 else "lines"
    marker = {"size": 8 if points else 5, "color": color}
    if points:
        marker |= {"symbol": SYMBOLS[colors.marker[curve.name]], "opacity": 0.8}
    trace = {
        "type": "scatter",
        "mode": mode,
        "name": escape(curve.name),
        "x": [across.place(x) for x in curve.x],
        "y": [up.place(y) for y in curve.y],
        "text": _texts(curve, panel),
        "line": {
            "color": color,
            "width": 1.6 if curve.kind == "threshold" else 2,
            "dash": _DASH.get(curve.kind, "solid"),
        },
        "marker": marker,
        "hovertemplate": "%{text}<extra></extra>",
    }
    return trace | _bars(curve, up) if points else trace


def _bars(curve: Curve, up: Scale) -> Trace:
    """The spread about single points."""
    if not _banded(curve):
        return {}
    edges = [
        (up.bound(low), up.place(y), up.bound(high)) for y, (low, high) in zip(curve.y, _edges(curve), strict=False)
    ]
    known = [edge if None not in edge else (0, 0, 0) for edge in edges]
    above, below = [high - y for _, y, high in known], [y - low for low, y, _ in known]  # pyright: ignore
    return {"error_y": {"type": "data", "array": above, "arrayminus": below, "symmetric": False, "thickness": 1}}


def _texts(curve: Curve, panel: Panel) -> list[str]:
    """What the hover says of each point, with the numbers as they are and not as they are drawn."""
    found = []
    for x, y, (low, high) in zip(curve.x, curve.y, _edges(curve), strict=False):
        spread = "" if low is None else f" ({number(low)} to {number(high)})"
        across = f"{escape(panel.x.title)} {number(x, 6) if is_number(x) else '–'}"
        up = f"{escape(panel.y.title)} {number(y, 4) if is_number(y) else '–'}{spread}"
        found.append(f"{escape(curve.name)}<br>{across}<br>{up}")
    return found


def _marks(marks: Sequence[tuple[float | int, str]], across: Scale) -> tuple[list[Any], list[Any]]:
    """Vertical lines and their words, one below the other so that neighbours do not overlap."""
    shapes, words = [], []
    stroke = {"color": "#555555", "width": 1.2, "dash": "dash"}
    middle = (across.edge(across.least) + across.edge(across.most)) / 2
    for i, (x, word) in enumerate((x, word) for x, word in marks if across.place(x) is not None):
        place = across.place(x)
        shapes.append({"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "yref": "paper", "line": stroke})
        right = across.edge(x) > middle
        text = {"text": escape(word), "font": {"size": 10.5, "color": "#444444"}, "bgcolor": "rgba(255,255,255,0.75)"}
        place = {"x": across.edge(x), "y": 1, "yref": "paper", "yanchor": "top", "yshift": 2 - 15 * (i % 4)}
        words.append({**text, **place, "xanchor": "right" if right else "left", "showarrow": False})
    return shapes, words


def _nothing() -> dict[str, Any]:
    place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper", "showarrow": False}
    return {"text": "nothing was measured for this", "font": {"color": GREY, "size": 13}, **place}


def _faint(color: str) -> str:
    red, green, blue = bytes.fromhex(color[1:])
    return f"rgba({red},{green},{blue},0.16)"
