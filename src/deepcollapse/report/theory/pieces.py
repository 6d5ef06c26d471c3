"""What the figures of theory share: phases and their colours, axes of ratios, lines that keep their digits."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from deepcollapse.report.figures.style import PALETTE, Key, Trace, power

# The three phases of minority classes, in the order in which a growing ratio meets them.
PHASES = {"full": "#cfe3f1", "collapse": "#f7d3b5", "erased": "#c9ccd1"}
_MEANING = {"full": "apart", "collapse": "coinciding (minority collapse)", "erased": "erased (all zero)"}


def phase_keys() -> list[Key]:
    """The legend of the phases."""
    return [Key(f"{phase}: minority classes {_MEANING[phase]}", color, "■") for phase, color in PHASES.items()]


def colors(majorities: Iterable[int]) -> dict[int, str]:
    """A colour for each number of majority classes."""
    return {m: PALETTE[i % len(PALETTE)] for i, m in enumerate(sorted(set(majorities)))}


def log_axis(low: float, high: float, title: str) -> dict[str, Any]:
    """A logarithmic axis from `low` to `high` with whole powers of ten written out."""
    first, last = math.log10(low), math.log10(high)
    step = max(1, round((last - first) / 5))
    powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1, step)
    return {
        "type": "log",
        "title": {"text": title},
        "tickvals": [10.0**e for e in powers],
        "ticktext": [power(1, e) for e in powers],
        "range": [first, last],
    }


def curve(name: str, x: Sequence[float | int], y: Sequence[float | int], color: str, hover: str, **more: Any) -> Trace:
    """A line whose points keep nine figures for the hover; what is not finite is a gap."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": escape(name),
        "x": exact(x),
        "y": exact(y),
        "line": {"color": color, "width": 2, "dash": more.pop("dash", "solid")},
        "hovertemplate": f"%{{fullData.name}}<br>{hover}<extra></extra>",
        **more,
    }


def exact(values: Iterable[float | int]) -> list[float | None]:
    """Numbers with nine figures, and None where they are not finite.

    >>> exact([1 / 3, float("nan")])
    [0.333333333, None]
    """
    return [float(f"{value:.9g}") if np.isfinite(value) else None for value in values]
