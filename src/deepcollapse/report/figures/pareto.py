"""What compression costs: accuracy over size of every network that was tried, and what each layer takes."""

import math
from html import escape
from typing import Any

from deepcollapse.report.figures.style import GREY, INK, PALETTE, Figure, Frame, Key, Trace, layout, plain, value_axis
from deepcollapse.report.tried import Change, Compression

BEFORE, AFTER = GREY, PALETTE[0]


def figure(found: list[Compression]) -> Figure:
    """Accuracy over the share of bytes that is left, a line through each run's front, the original as a star."""
    data = [trace for i, one in enumerate(found) for trace in _traces(one, PALETTE[i % len(PALETTE)])]
    shares = [share for trace in data for share in trace["x"] if share is not None]
    points = [value for trace in data for value in trace["y"] if value is not None] or [0.0, 100.0]
    x = value_axis([*shares, 100.0], log=True) | {"title": {"text": "size, % of the original's bytes"}}
    low, high = min(points), max(points)
    margin = max(0.3, 0.08 * (high - low))
    y = {"title": {"text": "accuracy, %"}, "range": [low - margin, min(100.5, high + margin)]}
    return Figure(
        "Networks that were tried",
        [Frame("", data)],
        layout(x, y, shapes=[_limit(limit) for limit in _limits(found)]),
        wide=True,
        height=340,
        looks="Up and to the left is better; on a line lies what nothing that was tried beats in both.",
        note="On the samples by which a network was chosen.",
    )


def legend(found: list[Compression]) -> list[Key]:
    """The runs and the signs."""
    runs = [Key(one.name, PALETTE[i % len(PALETTE)], "●") for i, one in enumerate(found)]
    target = [Key("least accuracy that was asked for", GREY, "dash")] if _limits(found) else []
    return [*runs, Key("chosen", INK, "◎"), Key("original", INK, "★"), *target]


def _traces(one: Compression, color: str) -> list[Trace]:
    tried = [{"x": 100 * t.size / one.size, "y": 100 * t.accuracy, "setting": t.setting} for t in one.tried]
    front = sorted((t for t in tried if not any(_beats(other, t) for other in tried)), key=lambda t: t["x"])
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": plain([t["x"] for t in front]),
            "y": plain([t["y"] for t in front]),
            "line": {"color": color, "width": 1.5},
            "hoverinfo": "skip",
        },
        _points(one.name, tried, color, "circle", 8),
        _points(f"{one.name}, chosen", [t for t in tried if t["setting"] == one.setting], INK, "circle-open", 15),
        _points("original", [{"x": 100.0, "y": 100 * one.choosing_accuracy, "setting": "as it was"}], INK, "star", 12),
    ]
    return [trace for trace in traces if trace["x"]]


def _beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
    no_worse = one["x"] <= other["x"] and one["y"] >= other["y"]
    return no_worse and (one["x"] < other["x"] or one["y"] > other["y"])


def _points(name: str, points: list[dict[str, Any]], color: str, symbol: str, size: int) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": plain([p["x"] for p in points]),
        "y": plain([p["y"] for p in points]),
        "text": [escape(p["setting"]) for p in points],
        "marker": {"size": size, "color": color, "symbol": symbol},
        "hovertemplate": "%{fullData.name}<br>%{text}<br>%{x:.3g} % of the bytes, %{y:.2f} % right<extra></extra>",
    }


def _limits(found: list[Compression]) -> list[float]:
    """The accuracy that had to be kept, of a single run: the lines of several could not be told apart."""
    least = [one.least_accuracy for one in found]
    return [one for one in least if one is not None and math.isfinite(one)] if len(found) == 1 else []


def _limit(least: float) -> dict[str, Any]:
    y, stroke = 100 * least, {"color": GREY, "width": 1.2, "dash": "dash"}
    return {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": y, "y1": y, "line": stroke}


def layers(changes: list[Change]) -> Figure:
    """What each layer takes before and after."""
    names = [escape(change.layer) for change in changes]
    x = value_axis([], log=False) | {"title": {"text": "bytes"}}
    data = [
        _bars("before", names, [change.before for change in changes], BEFORE),
        _bars("after", names, [change.after for change in changes], AFTER),
    ]
    y = {"type": "category", "autorange": "reversed", "tickfont": {"size": 11}}
    return Figure(
        "Bytes of each layer, before and after",
        [Frame("", data)],
        layout(x, y, barmode="group", bargap=0.3),
        wide=True,
        height=110 + 40 * len(names),
    )


def _bars(name: str, layers: list[str], values: list[float], color: str) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "x": plain(values),
        "y": layers,
        "marker": {"color": color},
        "hovertemplate": "%{y}, %{fullData.name}: %{x:.4g} bytes<extra></extra>",
    }
