"""NC1 of each class by itself: which classes have collapsed, and which lag behind."""

from html import escape

import numpy as np

from deepcollapse.report.figures.laws import times
from deepcollapse.report.figures.style import Figure, Frame, Key, Section, Trace, layout, plain, value_axis
from deepcollapse.report.figures.text import short
from deepcollapse.report.view import View
from deepcollapse.report.words import number

MOST_CLASSES = 60


def section(view: View) -> Section | None:
    """A column of points a class, one for each time worth comparing; None where no per-class NC1 was kept."""
    references = view.references("class_variability", "head.input", view.split)
    found = [(label, color, view.array(references[e])) for label, e, color in times(view) if e in references]
    known = [(label, color, np.asarray(a, dtype=float).ravel()) for label, color, a in found if a is not None]
    if not known or len({len(values) for _, _, values in known}) > 1:
        return None
    last = known[-1][2]
    shown = np.argsort(-np.nan_to_num(last, nan=-np.inf), kind="stable")[:MOST_CLASSES]
    names = _names(view, len(last))
    x = [escape(short(names[i])) for i in shown]
    data = [_points(label, x, values[shown], color) for label, color, values in known]
    y = value_axis([v for trace in data for v in trace["y"]], log=True)
    axis = {"type": "category", "tickangle": -45 if max(map(len, x)) > 3 else 0, "automargin": True}
    note = f"The {MOST_CLASSES} most scattered of {len(last)} classes are shown." if len(last) > MOST_CLASSES else ""
    figure = Figure(
        "NC1 of each class",
        [Frame("", data)],
        layout(axis | {"title": {"text": "class", "standoff": 8}}, y | {"title": {"text": "NC1 of the class"}}),
        note,
        wide=True,
        height=320,
        looks="At collapse, every class falls towards 0, and none lags behind the others.",
        alt=f"NC1 of each class at the end: {_spread(names, last)}",
    )
    intro = (
        "NC1 taken apart: how far the samples of each class scatter about their own mean, the most scattered class "
        f"first. {_spread(names, last)}"
    )
    return Section("Class by class", intro, [figure], [Key(label, color, "●") for label, color, _ in known])


def _names(view: View, count: int) -> list[str]:
    """The classes' names; where some class has no samples, the records do not say which, and numbers must do."""
    return list(view.class_names) if len(view.class_names) == count else [f"class {i + 1}" for i in range(count)]


def _spread(names: list[str], values: np.ndarray) -> str:
    if not np.isfinite(values).any():
        return "No class has a number."
    worst, best = int(np.nanargmax(values)), int(np.nanargmin(values))
    return (
        f"Most scattered is class {names[worst]} ({number(values[worst])}), "
        f"least is class {names[best]} ({number(values[best])})."
    )


def _points(name: str, x: list[str], y: np.ndarray, color: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": x,
        "y": plain(y),
        "marker": {"size": 9, "color": color},
        "hovertemplate": "class %{x}, %{fullData.name}<br>NC1 %{y:.4g}<extra></extra>",
    }
