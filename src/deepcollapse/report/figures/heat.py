"""Heat maps over two lists of names, with numbers in the cells where there is room."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from deepcollapse.records.charts import Heat
from deepcollapse.report.figures.scale import is_number
from deepcollapse.report.figures.style import DIVERGING, GREY, INK, Figure, Frame, layout, power, wants_log
from deepcollapse.report.words import number

# From near white to dark blue; the order reads in grey too.
SEQUENTIAL = [[0, "#f3f7fb"], [0.25, "#c3dbee"], [0.5, "#7fb8da"], [0.75, "#3787c0"], [1, "#0b3c7d"]]
# Cells narrower than this hold no numbers.
_MOST_COLUMNS, _MOST_ROWS = 9, 16


def figure(panel: Heat) -> Figure:
    """A heat map: colours are logarithmic where values are far apart, and diverge from 0 where they have both signs."""
    values = [[value if is_number(value) else None for value in row] for row in panel.values]
    known = [value for row in values for value in row if value is not None]
    log = wants_log(known)
    z = [[_color_of(value, log) for value in row] for row in values]
    roomy = len(panel.columns) <= _MOST_COLUMNS and len(panel.rows) <= _MOST_ROWS
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": z,
        "text": _texts(panel, values),
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": True,
        "xgap": 2,
        "ygap": 2,
        **_scale(known, log),
        "colorbar": _bar(known, log, panel.unit),
    }
    blanks = [_word(x, y, "–") for y, row in enumerate(values) for x, value in enumerate(row) if value is None]
    words = blanks + ([_word(x, y, _brief(v), _ink(v, known, log)) for x, y, v in _cells(values)] if roomy else [])
    plan = layout(
        _axis(panel.x.title, panel.columns),
        _axis(panel.y.title, panel.rows) | {"automargin": True},
        annotations=words if known else [],
        plot_bgcolor="#eceef1",
    )
    plan["margin"] |= {"t": 14, "r": 8}
    alt = f"{panel.title}: a heat map over {panel.x.title} and {panel.y.title}."
    if known:
        alt += f" Values from {number(min(known))} to {number(max(known))}."
    note = "" if known else "Nothing was measured for this."
    if 0 < len(known) < sum(map(len, values)):
        note = "–: no value."
    height = max(240, min(520, 110 + 34 * len(panel.rows)))
    return Figure(panel.title, [Frame("", [trace])], plan, height=height, alt=alt, note=note)


def _color_of(value: Any, log: bool) -> float | None:
    if value is None:
        return None
    return float(f"{math.log10(value) if log else value:.6g}")


def _cells(values: Sequence[Sequence[Any]]) -> list[tuple[int, int, float | int]]:
    return [(x, y, value) for y, row in enumerate(values) for x, value in enumerate(row) if value is not None]


def _texts(panel: Heat, values: Sequence[Sequence[Any]]) -> list[list[str]]:
    unit = f" {escape(panel.unit)}" if panel.unit and panel.unit != "1" else ""
    x, y = escape(panel.x.title), escape(panel.y.title)
    names = [*map(escape, panel.columns)] + ["–"] * max(map(len, values), default=0)
    return [
        [
            f"{x} {name}<br>{y} {escape(row)}<br>{number(value, 5)}{unit}"
            for value, name in zip(line, names, strict=False)
        ]
        for line, row in zip(values, panel.rows, strict=False)
    ]


def _scale(known: Sequence[float | int], log: bool) -> dict[str, Any]:
    if known and min(known) < 0 < max(known):
        most = max(-min(known), max(known))
        return {"colorscale": DIVERGING, "zmin": -most, "zmax": most}
    drawn = [math.log10(value) if log else value for value in known] or [0.0, 1.0]
    low, high = min(drawn), max(drawn)
    return {"colorscale": SEQUENTIAL, "zmin": low, "zmax": high if high > low else low + 1}


def _bar(known: Sequence[float | int], log: bool, unit: str) -> dict[str, Any]:
    bar = {"thickness": 11, "outlinewidth": 0, "xpad": 6, "tickfont": {"size": 11}}
    if unit and unit != "1":
        bar["title"] = {"text": escape(unit), "side": "top", "font": {"size": 11}}
    if log:
        low, high = math.log10(min(known)), math.log10(max(known))
        every = max(1, round((high - low) / 5))
        steps = (1, 2, 5) if high - low < 2.2 else (1,)
        ticks = [(s, e) for e in range(math.floor(low), math.ceil(high) + 1) if e % every == 0 for s in steps]
        bar |= {"tickvals": [math.log10(s) + e for s, e in ticks], "ticktext": [power(s, e) for s, e in ticks]}
    return bar


def _ink(value: float | int, known: Sequence[float | int], log: bool) -> str:
    """Dark on light and light on dark."""
    scale = _scale(known, log)
    drawn = math.log10(value) if log else value
    share = (drawn - scale["zmin"]) / (scale["zmax"] - scale["zmin"])
    dark = share > 0.62 if scale["colorscale"] is SEQUENTIAL else abs(share - 0.5) > 0.38
    return "#ffffff" if dark else INK


def _word(x: int, y: int, text: str, color: str = GREY) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "showarrow": False, "font": {"color": color, "size": 11}}


def _brief(value: float | int) -> str:
    """A number for a cell: powers of ten without needless digits.

    >>> _brief(0.0123), _brief(1e-4), _brief(2.34e-6)
    ('0.0123', '10⁻⁴', '2.3 × 10⁻⁶')
    """
    text = number(value) if value == 0 or 1e-3 <= abs(value) < 1e5 else number(value, 2)
    return re.sub(r"^(-?)1\.0 × ", r"\1", text).replace(".0 ×", " ×")


def _axis(title: str, names: Sequence[str]) -> dict[str, Any]:
    every = max(1, math.ceil(len(names) / 20))
    marks = range(0, len(names), every)
    return {
        "title": {"text": escape(title)},
        "tickvals": list(marks),
        "ticktext": [escape(names[i]) for i in marks],
        "range": [-0.5, max(1, len(names)) - 0.5],
        "showgrid": False,
        "ticks": "",
    }
