"""Where the three phases of minority classes lie: the thresholds R0 and R1 against the budget."""

from collections.abc import Sequence

from deepcollapse.report.figures.style import GREY, INK, PALETTE, Figure, Frame, Key, Section, Trace, layout
from deepcollapse.report.theory.diagram import Diagram, Row
from deepcollapse.report.theory.pieces import PHASES, curve, exact, log_axis, phase_keys

_ERASURE = PALETTE[7]


def section(diagram: Diagram) -> Section:
    """A map of budget and imbalance for each number of majority classes, coloured by phase."""
    majorities = sorted({row["majority"] for row in diagram.boundaries})
    top = 10 * max(row["ratio"] for row in diagram.angles if row["ratio"] < float("inf"))
    intro = (
        "The budget s = √(E_W E_H) is the root-mean-square length of classifiers times that of features; weight decay "
        "keeps it small. Below the line R0 minority classes stand apart, above it they coincide, and above R1, which "
        "there is for small budgets only, nothing is left of them. R0 grows exponentially with the budget: a little "
        "less weight decay bears far more imbalance."
    )
    keys = [*phase_keys(), Key("R0: minority collapse", INK), Key("R1: erasure", _ERASURE, "dash")]
    keys.append(Key("budgets of the figures above", GREY, "dot"))
    return Section("The thresholds", intro, [_map(diagram, m, top) for m in majorities], keys)


def _map(diagram: Diagram, majority: int, top: float) -> Figure:
    rows = sorted((row for row in diagram.boundaries if row["majority"] == majority), key=lambda row: row["budget"])
    minority, s = rows[0]["minority"], [row["budget"] for row in rows]
    one = [1.0] * len(rows)
    low = [min(row["collapse_ratio"], top) for row in rows]
    high = [min(row["erasure_ratio"], top) for row in rows]
    bands = zip(PHASES, ((one, low), (low, high), (high, [top] * len(rows))), strict=True)
    data = [_band(phase, s, *edges) for phase, edges in bands]
    data.append(_edge("R0, minority collapse", rows, "collapse_ratio", INK, top))
    data.append(_edge("R1, erasure", rows, "erasure_ratio", _ERASURE, top, dash="dash"))
    chosen = [row for row in diagram.thresholds if row["majority"] == majority]
    lines = [
        {"type": "line", "x0": row["budget"], "x1": row["budget"], "y0": 0, "y1": 1, "yref": "paper"}
        | {"line": {"color": GREY, "width": 1.2, "dash": "dot"}}
        for row in chosen
    ]
    plan = layout(
        {"title": {"text": "budget s"}, "range": [s[0], s[-1]]},
        log_axis(1.0, top, "imbalance R"),
        shapes=lines,
        hovermode="closest",
    )
    return Figure(
        f"{majority} majority and {minority} minority classes",
        [Frame("", data)],
        plan,
        height=320,
        alt=f"The phases over budget and imbalance for {majority} majority and {minority} minority classes.",
    )


def _band(phase: str, s: Sequence[float], low: Sequence[float], high: Sequence[float]) -> Trace:
    """The region of a phase, between two curves."""
    return {
        "type": "scatter",
        "mode": "none",
        "name": phase,
        "x": exact([*s, *reversed(s)]),
        "y": exact([*low, *reversed(high)]),
        "fill": "toself",
        "fillcolor": PHASES[phase],
        "hoverinfo": "skip",
    }


def _edge(name: str, rows: Sequence[Row], column: str, color: str, top: float, dash: str = "solid") -> Trace:
    """A threshold, up to the first point above the figure."""
    values = [row[column] for row in rows]
    past = next((i for i, value in enumerate(values) if value > top), len(values))
    kept = values[: past + 1]
    hover = "s = %{x:.6~g}: R = %{y:.8~g}"
    return curve(name, [row["budget"] for row in rows[: past + 1]], kept, color, hover, dash=dash)
