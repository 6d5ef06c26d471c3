"""What all figures share: the colours, the axes, and a figure as plain data."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

# Okabe and Ito's palette, told apart by every kind of colour vision, without the yellow that white paper swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7B4B94", "#6B6B6B")
MEANS, CLASSIFIER = TRAIN, TEST = PALETTE[0], PALETTE[1]
INK, GREY, GRID = "#1b1f24", "#8a8f98", "#e7e9ec"
# From deep purple to green-yellow, cut before it gets too light: an order that also reads in grey.
_DEPTH = ("#440154", "#443983", "#31688e", "#21918c", "#35b779", "#90c33c")
# Signed, white at the target.
DIVERGING = [[0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#ffffff"], [0.75, "#f4a582"], [1, "#b2182b"]]

Trace = dict[str, Any]


@dataclass(frozen=True)
class Frame:
    """One state of a figure: what the slider's or the list's label names, its traces, and changes to the layout.

    `epoch` is where the slider stands; figures of one group whose epochs differ show the nearest that they have.
    """

    label: str
    data: list[Trace]
    layout: dict[str, Any] = field(default_factory=dict)
    epoch: int | None = None


@dataclass(frozen=True)
class Figure:
    """A figure as plain data. `control` is None, "slider" (with a play button) or "select"; texts are plain, not HTML.

    `looks` is one sentence on what collapse looks like in it, `alt` what it shows, for those who cannot see it. Figures
    of one `group` change state together, those without a control following. `wide` figures take the page's whole width;
    `plays` starts the slider once by itself.
    """

    title: str
    frames: list[Frame]
    layout: dict[str, Any]
    note: str = ""
    control: str | None = None
    group: str | None = None
    wide: bool = False
    height: int = 260
    start: int = -1
    looks: str = ""
    alt: str = ""
    plays: bool = False


@dataclass(frozen=True)
class Key:
    """One entry of a legend: its text, colour and sign ("line", "dash", "dot", or a marker's glyph)."""

    label: str
    color: str
    sign: str = "line"


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading, a plain introduction, a legend and figures."""

    title: str
    intro: str
    figures: list[Figure]
    legend: list[Key] = field(default_factory=list)


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A quiet layout with these two axes."""
    axis = {"gridcolor": GRID, "linecolor": GREY, "zeroline": False, "ticks": "outside", "tickcolor": GREY}
    return {
        "margin": {"l": 58, "r": 14, "t": 14, "b": 46},
        "font": {"family": "system-ui, sans-serif", "size": 12, "color": INK},
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "hoverlabel": {"bgcolor": "#ffffff", "font": {"color": INK}},
        "showlegend": False,
        # A finger that scrolls the page must not zoom the figure.
        "dragmode": False,
        "xaxis": {**axis, **x},
        "yaxis": {**axis, "automargin": True, **y},
        **more,
    }


def epoch_axis(epochs: Iterable[int]) -> dict[str, Any]:
    """A logarithmic axis of epochs with round ticks, on which epoch 0 stands at 1/2 (see `place`)."""
    epochs = set(epochs)
    last = max([1, *epochs])
    ticks = [m * 10**e for e in range(len(str(last))) for m in (1, 2, 5) if m * 10**e <= last]
    ticks = [tick for tick in ticks if last <= 500 or str(tick)[0] != "5"]
    first = [0] if 0 in epochs else []
    return {
        "type": "log",
        "title": {"text": "epoch"},
        "tickvals": [place(tick) for tick in (*first, *ticks)],
        "ticktext": [str(tick) for tick in (*first, *ticks)],
        "range": [math.log10(place(first[0] if first else min([1, *epochs])) * 0.9), math.log10(last * 1.12)],
    }


def value_axis(values: Iterable[float | None], log: bool) -> dict[str, Any]:
    """An axis of values from 0, or where asked a logarithmic one with its ticks written out: 0.01, 10⁻⁴."""
    known = [value for value in values if value is not None and value > 0]
    if not log or not known:
        return {"type": "linear", "rangemode": "tozero", "tickmode": "auto"}
    low, high = math.log10(min(known)), math.log10(max(known))
    steps = (1, 2, 5) if high - low < 2.2 else (1,)
    every = max(1, round((high - low) / 5))
    powers = [e for e in range(math.floor(low) - 1, math.ceil(high) + 1) if e % every == 0]
    ticks = [(step, e) for e in powers for step in steps]
    texts = [power(step, e) for step, e in ticks]
    margin = 0.06 * (high - low) + 0.04
    span = [low - margin, high + margin]
    return {"type": "log", "tickvals": [s * 10.0**e for s, e in ticks], "ticktext": texts, "range": span}


def power(step: int, exponent: int) -> str:
    """A tick of a logarithmic axis, `step` times ten to `exponent`.

    >>> power(5, -2), power(1, -4), power(2, 6)
    ('0.05', '10⁻⁴', '2·10⁶')
    """
    if -3 <= exponent <= 3:
        return np.format_float_positional(float(f"{step}e{exponent}"), trim="-")
    ten = "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return ten if step == 1 else f"{step}·{ten}"


def place(epoch: int) -> int | float:
    """Where an epoch stands on an axis that may be logarithmic, which has no 0."""
    return epoch or 0.5


def line(name: str, x: Sequence[Any], y: Iterable[float | None], color: str, dash: str = "solid", **more: Any) -> Trace:
    """A line with points; `x` are epochs, or whatever `at` in `more` says otherwise."""
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(name),
        "x": [place(e) for e in x],
        "y": plain(y),
        "customdata": list(x),
        "line": {"color": color, "width": 2, "dash": dash},
        "marker": {"size": 4, "color": color},
        "hovertemplate": "%{fullData.name}<br>epoch %{customdata}: %{y:.4g}<extra></extra>",
        **more,
    }


def onset_line(epoch: int | None, color: str = INK, label: str = "TPT onset") -> list[dict[str, Any]]:
    """The vertical line at TPT onset; none where it was never reached."""
    if epoch is None:
        return []
    x, stroke = place(epoch), {"color": color, "width": 1.2, "dash": "dash"}
    text = {
        "text": label,
        "textposition": "end",
        "textangle": 0,
        "xanchor": "left",
        "font": {"size": 10, "color": GREY},
    }
    return [{"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": stroke, "label": text}]


def depth_color(index: int, count: int) -> str:
    """The colour of one layer among `count`, from the input to the head.

    >>> depth_color(0, 3), depth_color(2, 3)
    ('#440154', '#90c33c')
    """
    place = index / max(1, count - 1) * (len(_DEPTH) - 1)
    stop = min(int(place), len(_DEPTH) - 2)
    near, far = (bytes.fromhex(color[1:]) for color in _DEPTH[stop : stop + 2])
    return "#" + bytes(round(a + (b - a) * (place - stop)) for a, b in zip(near, far, strict=True)).hex()


def plain(values: Any) -> Any:
    """Numbers as nested lists with five figures (a screen shows three), and None where they are not finite."""
    array = np.asarray(values, dtype=float)
    if array.ndim:
        return [plain(item) for item in array]
    return float(f"{array:.5g}") if np.isfinite(array) else None


def wants_log(values: Iterable[float]) -> bool:
    """Whether values are better seen on a logarithmic axis: all above 0 and far apart."""
    known = [value for value in values if np.isfinite(value)]
    return len(known) > 1 and bool(min(known) > 0 and max(known) / min(known) > 30)
