"""The curves of NC1 to NC4 as one SVG file, for a paper or a README: plotly would need a browser for this."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepcollapse.records import Run, atomic_write
from deepcollapse.report import draw
from deepcollapse.report.figures.collapse import DASHED, PANELS, Panel, color_of, curves
from deepcollapse.report.figures.style import GREY, GRID, PALETTE, epoch_axis, value_axis
from deepcollapse.report.strip import strip
from deepcollapse.report.view import View, views

_WIDTH, _HEIGHT = 300.0, 200.0  # of one panel
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 12.0, 30.0, 36.0
_COLUMNS = 3


def svg(
    runs: str | os.PathLike[str] | Run | Iterable[str | os.PathLike[str] | Run], out: str | os.PathLike[str]
) -> Path:
    """Write the collapse as one SVG picture to `out`; returns its path.

    At the top, where the arrays are there, samples of three classes falling onto the simplex at the first measured
    epoch, at TPT onset and at the end; beneath, the curves of NC1 to NC4 over epochs with TPT onset marked. Takes runs
    as `write_page` does. A measure that was not recorded leaves its panel empty, and says so. RunError where there are
    no runs, or `out` cannot be written.
    """
    return atomic_write(out, drawing(views(runs)).encode())


def drawing(seen: list[View]) -> str:
    """The picture's SVG text."""
    above, top = strip(seen)
    top += 14 if above else 0
    rows = math.ceil(len(PANELS) / _COLUMNS)
    width, height = _COLUMNS * _WIDTH, top + rows * _HEIGHT + 30
    parts = [above]
    for i, panel in enumerate(PANELS):
        x, y = i % _COLUMNS * _WIDTH, top + i // _COLUMNS * _HEIGHT
        parts.append(f'<g transform="translate({x:g},{y:g})">{_panel(seen, panel)}</g>')
    parts.append(_legend(seen, height - 14))
    return draw.whole(width, height, "Neural collapse over training: NC1 to NC4 by epoch", "".join(parts)) + "\n"


def _panel(seen: list[View], panel: Panel) -> str:
    """One panel: title, grid, TPT onset, lines."""
    drawn = [(i, what, series) for i, view in enumerate(seen) for what, series in curves(view, panel)]
    title = draw.text(_LEFT, 18, panel.title, more=' font-weight="600" font-size="12"')
    if not drawn:
        return title + draw.text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT / 2, "not recorded", "middle", GREY)
    scales = _scales([series for _, _, series in drawn], panel.log)
    parts = [title, _axes(scales)]
    for i, view in enumerate(seen):
        if view.onset is not None:
            x, color = scales.across(view.onset), PALETTE[i % len(PALETTE)] if len(seen) > 1 else "#555555"
            parts.append(draw.stroke(x, _TOP, x, _HEIGHT - _BOTTOM, color, "5 4"))
    for i, what, series in drawn:
        known = [(e, v) for e, v in zip(series.index, series, strict=True) if v > 0 or not scales.log]
        points = " ".join(f"{scales.across(e):.1f},{scales.up(v):.1f}" for e, v in known)
        dash = ' stroke-dasharray="1 3" stroke-linecap="round"' if what in DASHED and len(seen) > 1 else ""
        color = color_of(what, i, len(seen))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"{dash}/>')
    return "".join(parts)


@dataclass(frozen=True)
class _Scales:
    """Where epochs and values stand in a panel, and its ticks."""

    epochs: dict[str, Any]
    ticks: dict[float, str]
    low: float
    high: float
    log: bool

    def across(self, epoch: Any) -> float:
        start, end = self.epochs["range"]
        return _LEFT + (math.log10(epoch or 0.5) - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def up(self, value: Any) -> float:
        value = math.log10(value) if self.log else float(value)
        return _HEIGHT - _BOTTOM - (value - self.low) / (self.high - self.low or 1.0) * (_HEIGHT - _TOP - _BOTTOM)


def _scales(lines: list[pd.Series], log: bool) -> _Scales:
    epochs = epoch_axis(int(epoch) for series in lines for epoch in series.index)
    values = [float(value) for series in lines for value in series]
    axis = value_axis(values, log)
    if axis["type"] == "log":
        ticks = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
        return _Scales(epochs, ticks, *axis["range"], log=True)
    ticks = _round_ticks(max(values))
    return _Scales(epochs, ticks, min(0.0, *values), max(*ticks, *values), log=False)


def _axes(scales: _Scales) -> str:
    """The grid and the ticks of a panel."""
    bottom, right, parts = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT, []
    for tick, text in scales.ticks.items():
        y = scales.up(tick)
        if _TOP - 1 <= y <= bottom + 1:
            parts += [draw.stroke(_LEFT, y, right, y, GRID), draw.text(_LEFT - 6, y + 4, text, "end")]
    for tick, text in zip(scales.epochs["tickvals"], scales.epochs["ticktext"], strict=True):
        parts.append(draw.text(scales.across(tick), bottom + 14, text, "middle"))
    parts.append(draw.stroke(_LEFT, bottom, right, bottom, GREY))
    return "".join([*parts, draw.text((_LEFT + right) / 2, bottom + 29, "epoch", "middle", GREY)])


def _round_ticks(highest: float) -> dict[float, str]:
    """Ticks from 0 to just past the highest value, at 1, 2 or 5 times a power of ten."""
    if highest <= 0:
        return {0.0: "0", 1.0: "1"}
    step = next(s for e in range(-30, 30) for m in (1, 2, 5) if (s := float(f"{m}e{e}")) * 5 >= highest)
    count = math.ceil(highest / step - 1e-9)
    return {
        float(f"{i * step:.6g}"): np.format_float_positional(float(f"{i * step:.6g}"), trim="-")
        for i in range(count + 1)
    }


def _legend(seen: list[View], y: float) -> str:
    """One line of names under the panels."""
    if len(seen) == 1:
        entries = [("class means; train", PALETTE[0], ""), ("classifier; test", PALETTE[1], "")]
    else:
        entries = [(view.label, PALETTE[i % len(PALETTE)], "") for i, view in enumerate(seen)]
        entries.append(("classifier; test", "#555555", "1 3"))
    entries.append(("TPT onset", "#555555", "5 4"))
    parts, x = [], float(_LEFT)
    for label, color, dash in entries:
        parts.append(f'<g stroke-width="2">{draw.stroke(x, y - 4, x + 22, y - 4, color, dash)}</g>')
        parts.append(draw.text(x + 28, y, label))
        x += 52 + 6.2 * len(label)
    return "".join(parts)
