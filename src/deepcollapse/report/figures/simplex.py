"""Features of three and of four classes falling onto the simplex as epochs pass: the paper's figure 1."""

from collections.abc import Iterable
from html import escape
from typing import Any

import numpy as np

from deepcollapse.report.figures.style import GREY, INK, PALETTE, Figure, Frame, Key, Section, Trace, layout, plain
from deepcollapse.report.figures.text import MOST_EPOCHS, epoch_label, listed, short
from deepcollapse.report.view import View, few

# The vertices onto which the recorded coordinates are turned: each row of norm 1, pairwise cosines -1/(k-1).
VERTICES = {
    3: np.array([[2, 0], [-1, 3**0.5], [-1, -(3**0.5)]]) / 2,
    4: np.array([[3, 0, 0], [-1, 8**0.5, 0], [-1, -(2**0.5), 6**0.5], [-1, -(2**0.5), -(6**0.5)]]) / 3,
}
MOST_POINTS = 600
# Glyphs that both kinds of plotly scatter know.
_MEAN, _ROW, _VERTEX = "circle", "diamond", "circle-open"


_WRITTEN = {
    "mode": "text",
    "textposition": ["middle right", "top center", "bottom center"],
    "textfont": {"size": 13},
    "cliponaxis": False,
}
_LOOKS = (
    "At collapse, each class is one point: samples hide under their class mean (disc), and both the mean and the "
    "classifier's row (diamond) sit on a corner (ring)."
)


def picture(view: View, title: str = "Three classes falling onto the simplex") -> Figure | None:
    """Three classes in the plane of their means, epoch by epoch; None where it was not recorded."""
    names = listed(names_of(view, 3))
    looks = f"Shown: {names}, in the plane that their means span. {_LOOKS}"
    return _figure(view, 3, title, looks, plays=True)


def legend(view: View, k: int) -> list[Key]:
    """The classes' colours, and what each kind of mark is."""
    keys = [Key(name, PALETTE[i], "●") for i, name in enumerate(names_of(view, k))]
    marks = (("sample", GREY, "•"), ("class mean", INK, "●"), ("classifier row", INK, "◆"), ("corner", GREY, "◯"))
    return [*keys, *(Key(*mark) for mark in marks)]


def section(view: View) -> Section | None:
    """Four classes in the space of their means, which turns; None where it was not recorded."""
    drawn = _figure(view, 4, "Four classes falling onto the simplex", _LOOKS)
    if drawn is None:
        return None
    intro = (
        "One class more needs one dimension more: four points that are all equally far apart make a tetrahedron. Turn "
        "it with the mouse or a finger, and press play."
    )
    return Section("Four classes in space", intro, [drawn], legend(view, 4))


def names_of(view: View, k: int) -> list[str]:
    """The names of the first k classes that have samples, which the picture shows."""
    references = view.references(f"simplex_{k}_labels", "head.input", view.split)
    labels = next((a for r in references.values() if (a := view.array(r)) is not None), None)
    kinds = range(k) if labels is None else np.unique(labels.astype(int))[:k].tolist()
    names = view.class_names
    told = [names[i] if i < len(names) else str(i) for i in kinds]
    return [f"class {name}" if name.isdigit() else name for name in told]


def states(view: View, k: int, epochs: Iterable[int]) -> dict[int, dict[str, np.ndarray]]:
    """The coordinates of samples, means and classifier rows at each of the epochs that have them."""
    references = {part: view.references(f"simplex_{k}_{part}", "head.input", view.split) for part in _PARTS}
    found = {}
    for epoch in epochs:
        arrays = {part: view.array(r[epoch]) for part, r in references.items() if epoch in r}
        present = {part: np.asarray(a, dtype=float) for part, a in arrays.items() if a is not None}
        if "means" in present and present["means"].shape == VERTICES[k].shape:
            found[epoch] = present
    return found


def measured(view: View, k: int) -> list[int]:
    """The epochs at which the picture of k classes was recorded."""
    return list(view.references(f"simplex_{k}_means", "head.input", view.split))


def reach_of(shown: Iterable[dict[str, np.ndarray]]) -> float:
    """How far from the middle a picture reaches: far outliers of the first epochs may leave it."""
    clouds = [np.abs(arrays.get("points", arrays["means"])) for arrays in shown]
    return min(1.5, max([1.3, *(1.1 * float(np.nanquantile(cloud, 0.97)) for cloud in clouds)]))


def _figure(view: View, k: int, title: str, looks: str, plays: bool = False) -> Figure | None:
    shown = states(view, k, few(measured(view, k), MOST_EPOCHS, [view.onset]))
    if not shown:
        return None
    names = names_of(view, k)
    frames = [
        Frame(epoch_label(view, epoch), _traces(arrays, k, names), epoch=epoch) for epoch, arrays in shown.items()
    ]
    control: dict[str, Any] = {"control": "slider", "group": "simplex"} if len(frames) > 1 else {}
    layout = _layout(k, reach_of(shown.values()))
    return Figure(title, frames, layout, height=400, looks=looks, plays=plays and len(frames) > 1, **control)


_PARTS = ("points", "labels", "means", "classifier")


def _traces(arrays: dict[str, np.ndarray], k: int, class_names: list[str]) -> list[Trace]:
    """Samples by class, then the simplex with its edges, class means, and classifier rows with their sticks."""
    names, colors, small = [escape(short(name)) for name in class_names], list(PALETTE[:k]), k == 4
    data = [_path(VERTICES[k], [(i, j) for i in range(k) for j in range(i)], "#c4c8ce", 3 if small else 1.5)]
    for name, color, points in zip(names, colors, clouds(arrays, k), strict=False):
        data.append(_scatter(points, name, {"size": 2.5 if small else 5, "color": color, "opacity": 0.5}, hover="skip"))
    ring = {"size": 13 if small else 30, "color": GREY, "symbol": _VERTEX, "line": {"color": GREY, "width": 2}}
    data.append(_scatter(VERTICES[k], [f"corner of {name}" for name in names], ring))
    big = {"size": 8 if small else 17, "color": colors, "symbol": _MEAN, "line": {"color": INK, "width": 1.5}}
    data.append(_scatter(arrays["means"], [f"mean of {name}" for name in names], big))
    if "classifier" in arrays:
        rows = np.vstack([np.zeros(k - 1), arrays["classifier"]])
        data.append(_path(rows, [(0, i + 1) for i in range(k)], INK, 3 if small else 1.2))
        marks = {"size": 5 if small else 11, "color": colors, "symbol": _ROW, "line": {"color": INK, "width": 1.2}}
        data.append(_scatter(arrays["classifier"], [f"classifier row of {name}" for name in names], marks))
    if not small:
        data.append(_scatter(1.14 * VERTICES[k], names, {}, "skip") | _WRITTEN)
    return data


def clouds(arrays: dict[str, np.ndarray], k: int) -> list[np.ndarray]:
    """The samples of each class, few enough to draw."""
    if "points" not in arrays or "labels" not in arrays:
        return []
    labels = arrays["labels"].astype(int).ravel()
    # Labels may be class numbers, or positions among the classes shown.
    return [arrays["points"][labels == kind][: MOST_POINTS // k] for kind in np.unique(labels)[:k]]


def _scatter(points: np.ndarray, text: str | list[str], marker: Trace, hover: str = "text") -> Trace:
    axes = dict(zip("xyz", plain(points.T), strict=False))
    kind = "scatter3d" if "z" in axes else "scatter"
    return {"type": kind, "mode": "markers", "marker": marker, "text": text, "hoverinfo": hover, **axes}


def _path(points: np.ndarray, pairs: list[tuple[int, int]], color: str, width: float | int) -> Trace:
    """Lines between pairs of points, as one broken line."""
    gap = np.full(points.shape[1], np.nan)
    path = np.array([point for i, j in pairs for point in (points[i], points[j], gap)])
    return _scatter(path, "", {}, "skip") | {"mode": "lines", "line": {"color": color, "width": width}}


def _layout(k: int, reach: float) -> dict[str, object]:
    axis = {"range": [-reach, reach], "showgrid": False, "showticklabels": False, "ticks": "", "linecolor": "#ffffff"}
    if k == 3:
        ends = {"margin": {"l": 8, "r": 8, "t": 8, "b": 8}}
        return layout(axis, {**axis, "scaleanchor": "x", "automargin": False}, **ends)
    bare = {"visible": False, "showbackground": False, "range": [-reach, reach]}
    eye = {"eye": {"x": 1.25, "y": 0.95, "z": 0.75}, "projection": {"type": "orthographic"}}
    scene = {
        "xaxis": bare,
        "yaxis": bare,
        "zaxis": bare,
        "aspectmode": "manual",
        "aspectratio": dict.fromkeys("xyz", 2.0),
        "camera": eye,
        "uirevision": "kept",
    }
    # The first drag turns it; the page's other figures do not drag at all.
    return {**layout({}, {}), "margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "scene": {**scene, "dragmode": "orbit"}}
