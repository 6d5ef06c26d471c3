"""Cosines between classes, of the class means and of the classifier, against the simplex's -1/(C-1)."""

from html import escape
from typing import Any

import numpy as np

from deepcollapse.report.figures.style import DIVERGING, Figure, Frame, Section, layout, plain
from deepcollapse.report.figures.text import MOST_EPOCHS, epoch_label, short
from deepcollapse.report.view import View, few

# More classes than this are pixels on a screen, and their numbers swell the page.
MOST_CLASSES = 100
_SHOWN = (
    ("Class means", "cosines_means", "head.input"),
    ("Classifier", "cosines_classifier", "head"),
)


def section(view: View) -> Section | None:
    """Two heat maps with a slider over epochs; None where no cosines were kept."""
    figures = [drawn for title, m, layer in _SHOWN if (drawn := _figure(view, title, m, layer)) is not None]
    if not figures:
        return None
    intro = (
        "Each square is one pair of classes; its colour is how far their cosine lies from the simplex target, "
        "-1/(C-1), the widest angle that all pairs can have at once. Blue: wider apart than that; red: closer; "
        "white: on target."
    )
    return Section("Angles between classes", intro, figures)


def _figure(view: View, title: str, measure: str, layer: str) -> Figure | None:
    references = view.references(measure, layer, view.split)
    epochs = few(list(references), MOST_EPOCHS, [view.onset])
    matrices = {epoch: m for epoch in epochs if (m := view.array(references[epoch])) is not None and m.ndim == 2}
    if not matrices:
        return None
    classes = max(len(m) for m in matrices.values())
    target = -1 / max(1, classes - 1)
    away = {e: _away(m, target) for e, m in matrices.items()}
    largest = max([0.05, *(float(np.nanmax(np.abs(a))) for a in away.values() if np.isfinite(a).any())])
    shown = min(classes, MOST_CLASSES)
    names = view.class_names if len(view.class_names) == classes else tuple(f"class {i}" for i in range(classes))
    frames = [_frame(view, epoch, away[epoch][:shown, :shown], m, largest) for epoch, m in matrices.items()]
    note = f"Target: cosine {target:.3g}."
    if shown < classes:
        note += f" The first {shown} of {classes} classes are shown."
    axis = {"showgrid": False, "tickvals": list(range(shown)), "ticktext": [escape(short(n)) for n in names[:shown]]}
    axis |= {"tickmode": "auto", "nticks": 0} if shown > 30 else {}
    x = {**axis, "title": {"text": "class"}, "tickangle": -45 if max(map(len, names)) > 3 else 0, "automargin": True}
    y = {**axis, "title": {"text": "class"}, "autorange": "reversed", "scaleanchor": "x", "constrain": "domain"}
    control: dict[str, Any] = {"control": "slider", "group": "angles"} if len(frames) > 1 else {}
    drawn = layout(x | {"constrain": "domain"}, y, plot_bgcolor="#e3e6ea")
    looks = "At collapse, every square off the diagonal is white: all pairs are on target."
    return Figure(f"Angles of the {title.lower()}", frames, drawn, note, height=380, looks=looks, **control)


def _away(cosines: np.ndarray, target: float) -> np.ndarray:
    """Cosines minus the target; the diagonal, which is 1 whatever happens, left blank."""
    away = np.asarray(cosines, dtype=float) - target
    np.fill_diagonal(away, np.nan)
    return away


def _frame(view: View, epoch: int, away: np.ndarray, cosines: np.ndarray, largest: float) -> Frame:
    trace = {
        "type": "heatmap",
        "z": plain(away),
        "customdata": plain(np.asarray(cosines)[: len(away), : len(away)]),
        "zmin": -plain(largest),
        "zmax": plain(largest),
        "colorscale": DIVERGING,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": "cosine<br>− target", "font": {"size": 11}}},
        "hovertemplate": "classes %{y} and %{x}<br>cosine %{customdata:.3f}, %{z:+.3f} from target<extra></extra>",
    }
    return Frame(epoch_label(view, epoch), [trace], epoch=epoch)
