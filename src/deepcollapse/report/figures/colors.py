"""A colour for each name of a page's curves: the same in every chart, and another one than its neighbours have."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from deepcollapse.records.charts import Chart, Curve, Panel
from deepcollapse.report.figures.style import GREY, PALETTE, depth_color

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "star", "hexagon")
GLYPHS = ("●", "■", "◆", "▲", "▼", "✚", "★", "⬢")
# So many names that differ in one number alone are in order, and get colours that are.
_ORDERED = 4


@dataclass(frozen=True)
class Colors:
    """The colours and markers by name."""

    of: dict[str, str]
    marker: dict[str, int]

    @classmethod
    def for_charts(cls, charts: Iterable[Chart]) -> "Colors":
        """Colours for every curve of these charts but thresholds, which are grey."""
        charts = list(charts)
        together = [list(dict.fromkeys(curve.name for curve in colored(chart))) for chart in charts]
        of = _in_order(together)
        for chart in together:
            for name in chart:
                if name not in of:
                    of[name] = _free(name, together, of)
        dotted = dict.fromkeys(curve.name for chart in charts for curve in colored(chart) if curve.kind == "points")
        return cls(of, {name: i % len(SYMBOLS) for i, name in enumerate(dotted)})

    def color(self, curve: Curve) -> str:
        """The colour of a curve."""
        return GREY if curve.kind == "threshold" else self.of[curve.name]


def colored(chart: Chart) -> list[Curve]:
    """A chart's curves that are to be told apart by colour."""
    panels = [panel for panel in chart.panels if isinstance(panel, Panel)]
    return [curve for panel in panels for curve in panel.curves if curve.kind != "threshold"]


def _free(name: str, together: Sequence[list[str]], of: dict[str, str]) -> str:
    """A colour that no curve has beside which this one is drawn, one that is new to the page where there still is."""
    beside = [of[other] for chart in together if name in chart for other in chart if other in of]
    whole = list(of.values())
    return min(PALETTE, key=lambda color: (beside.count(color), whole.count(color)))


def _in_order(together: Sequence[list[str]]) -> dict[str, str]:
    """Colours from dark to light for the names of a chart that differ in one number: layers, decays, classes."""
    families: dict[str, set[str]] = {}
    for chart in together:
        for name in chart:
            parts = _NUMBER.findall(name)
            if len(parts) == 1:
                families.setdefault(_NUMBER.sub("#", name), set()).add(name)
    found = {}
    for members in families.values():
        if len(members) >= _ORDERED:
            ordered = sorted(members, key=lambda name: float(_NUMBER.findall(name)[0]))
            found |= {name: depth_color(i, len(ordered)) for i, name in enumerate(ordered)}
    return found


_NUMBER = re.compile(r"(?:(?<!\w)-)?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
