"""The angle between two minority classifiers against the imbalance, model beside model, with the three phases."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from deepcollapse.report.figures.style import GREY, INK, Figure, Frame, Key, Section, Trace, layout
from deepcollapse.report.figures.text import listed
from deepcollapse.report.theory.diagram import LAYER_PEELED, SELI, UNCONSTRAINED, Diagram, Row
from deepcollapse.report.theory.pieces import PHASES, colors, curve, log_axis, phase_keys
from deepcollapse.report.words import number

DASHES = {LAYER_PEELED: "solid", SELI: "dash", UNCONSTRAINED: "dot"}
_STRIP = 0.075
_SHOWN = {"angle in degrees": ("angle", "angle, degrees"), "cosine": ("cos_w_minority", "cosine")}


def section(diagram: Diagram) -> Section:
    """A figure for each feature budget; the lists beside them turn angles into cosines in all at once."""
    budgets = sorted({row["feature_budget"] for row in diagram.thresholds})
    models = [model for model in DASHES if any(row["model"] == model for row in diagram.angles)]
    keys = [Key(f"{m} majority classes", color) for m, color in _colors(diagram).items()]
    keys += [Key(model, INK, {"solid": "line"}.get(DASHES[model], DASHES[model])) for model in models]
    return Section(
        "How far apart minority classes stay",
        _intro(diagram, models),
        [_figure(diagram, budget, i == 0) for i, budget in enumerate(budgets)],
        keys + phase_keys(),
    )


def _intro(diagram: Diagram, models: list[str]) -> str:
    classes = diagram.thresholds[0]["majority"] + diagram.thresholds[0]["minority"]
    first = (
        f"The classifiers of {classes} balanced classes stand {_degrees(-1 / (classes - 1))} apart. As majority "
        "classes get R times the samples of minority classes, the layer-peeled model says, minority ones close up, "
        "and from a threshold R0 on coincide: the network cannot tell minority classes apart any more. "
    )
    others = {
        SELI: "SELI, for features and weights without a limit, never collapses at a finite ratio",
        UNCONSTRAINED: "unconstrained features with weight decay collapse where a minority class has too few samples "
        "for the decay",
    }
    beside = "; ".join(others[model] for model in models if model in others)
    return first + (f"The models disagree: {beside}." if beside else "")


def _degrees(cosine: float) -> str:
    return f"{math.degrees(math.acos(cosine)):.1f}°"


def _colors(diagram: Diagram) -> dict[int, str]:
    return colors(row["majority"] for row in diagram.thresholds)


def _figure(diagram: Diagram, budget: float, first: bool) -> Figure:
    of_budget = [row for row in diagram.angles if row["feature_budget"] in (budget, None)]
    marks = [row for row in diagram.thresholds if row["feature_budget"] == budget]
    ratios = [row["ratio"] for row in diagram.angles if math.isfinite(row["ratio"])]
    x = log_axis(min(ratios), max(ratios), "imbalance R: majority over minority samples")
    frames = []
    for label, (column, title) in _SHOWN.items():
        known = [row[column] for row in diagram.angles if math.isfinite(row[column])]
        margin = 0.04 * (max(known) - min(known))
        span = [min(known) - margin, max(known) + margin]
        data = [_line(diagram, rows, column) for rows in _lines(of_budget)]
        data += [_mark(diagram, mark, column) for mark in marks if mark["collapse_ratio"] <= max(ratios)]
        frames.append(Frame(label, data + _strips(of_budget), {"yaxis": {"title": {"text": title}, "range": span}}))
    strip = _STRIP * len(marks)
    names = [str(row["majority"]) for row in sorted(marks, key=lambda row: -row["majority"])]
    more: dict[str, Any] = {
        "tickmode": "array",
        "domain": [0, strip],
        "type": "category",
        "categoryarray": names,
        "range": [-0.5, len(names) - 0.5],
        "title": {"text": "phases", "standoff": 4},
        "fixedrange": True,
    }
    more |= {"tickvals": names, "ticktext": names}
    plan = layout({**x, "anchor": "y2"}, {"domain": [strip + 0.05, 1]}, yaxis2=more, hovermode="closest")
    return Figure(
        f"Feature budget E_H = {number(budget)}",
        frames,
        plan,
        note=_thresholds(marks),
        control="select",
        group="minority angle",
        start=0,
        height=400 + 14 * len(marks),
        looks="Minority collapse is an angle of 0. Below the curves: the phase for each number of majority classes."
        if first
        else "",
        alt=f"The angle between minority classifiers against the imbalance at feature budget {budget:g}.",
    )


def _lines(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each model and number of majority classes, by ratio."""
    keys = sorted({(list(DASHES).index(row["model"]), row["majority"]) for row in rows})
    found = []
    for model, majority in keys:
        own = [r for r in rows if r["majority"] == majority and list(DASHES).index(r["model"]) == model]
        found.append(sorted(own, key=lambda row: row["ratio"]))
    return found


def _line(diagram: Diagram, rows: list[Row], column: str) -> Trace:
    row = rows[0]
    name = f"{row['model']}, {row['majority']} + {row['minority']} classes"
    hover = "R = %{x:.6~g}: " + ("%{y:.6~g}°" if column == "angle" else "cosine %{y:.8~g}") + "<br>%{customdata}"
    return curve(
        name,
        [r["ratio"] for r in rows],
        [r[column] for r in rows],
        _colors(diagram)[row["majority"]],
        hover,
        dash=DASHES[row["model"]],
        customdata=[f"phase: {r['phase']}" if r["phase"] else "never collapses" for r in rows],
    )


def _mark(diagram: Diagram, mark: Row, column: str) -> Trace:
    """The point where minority classes come together."""
    color = _colors(diagram)[mark["majority"]]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(f"threshold R0, {mark['majority']} + {mark['minority']} classes"),
        "x": [mark["collapse_ratio"]],
        "y": [0 if column == "angle" else 1],
        "marker": {"size": 10, "color": "#ffffff", "line": {"color": color, "width": 2.5}},
        "hovertemplate": "%{fullData.name}<br>R0 = %{x:.8~g}<extra></extra>",
    }


def _strips(rows: Sequence[Row]) -> list[Trace]:
    """A bar for each number of majority classes, coloured by phase along the ratios."""
    bars = []
    for line in _lines([row for row in rows if row["model"] == LAYER_PEELED]):
        for phase, color in PHASES.items():
            # The bar of a phase reaches to where the next one begins.
            own = [i for i, row in enumerate(line) if row["phase"] == phase]
            if not own:
                continue
            ends = [line[own[0]]["ratio"], line[min(own[-1] + 1, len(line) - 1)]["ratio"]]
            bars.append(_bar(str(line[0]["majority"]), phase, ends, color))
    return bars


def _bar(name: str, phase: str, ends: list[float], color: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "yaxis": "y2",
        "name": f"{name} majority classes: {phase}",
        "x": ends,
        "y": [name, name],
        "line": {"color": color, "width": 16},
        "marker": {"color": GREY},
        "hovertemplate": "%{fullData.name}<extra></extra>",
    }


def _thresholds(marks: Sequence[Row]) -> str:
    told = []
    for mark in sorted(marks, key=lambda row: row["majority"]):
        erased = mark["erasure_ratio"]
        never = "" if math.isinf(erased) else f", and are erased from R1 = {number(erased, 6)} on"
        told.append(f"with {mark['majority']} majority classes from R0 = {number(mark['collapse_ratio'], 6)} on{never}")
    return f"Minority classes coincide: {listed(told)}." if told else ""
