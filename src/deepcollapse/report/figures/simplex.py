"""Features of three and of four classes falling onto the simplex as epochs pass: the paper's figure 1."""

from html import escape
from typing import Any

import numpy as np

from deepcollapse.report.figures.angles import MOST_EPOCHS, epoch_label
from deepcollapse.report.figures.style import GREY, INK, PALETTE, Figure, Frame, Key, Section, Trace, layout, plain
from deepcollapse.report.view import View, few

# The vertices onto which the recorded coordinates are turned: each row of norm 1, pairwise cosines -1/(k-1).
VERTICES = {
    3: np.array([[2, 0], [-1, 3**0.5], [-1, -(3**0.5)]]) / 2,
    4: np.array([[3, 0, 0], [-1, 8**0.5, 0], [-1, -(2**0.5), 6**0.5], [-1, -(2**0.5), -(6**0.5)]]) / 3,
}
MOST_POINTS = 600
# Glyphs that both kinds of plotly scatter know.
_MEAN, _ROW, _VERTEX = "circle", "diamond", "circle-open"


def section(view: View) -> Section | None:
    """The two pictures with a slider and a play button; None where neither was recorded."""
    figures = [drawn for k in (3, 4) if (drawn := _figure(view, k)) is not None]
    if not figures:
        return None
    names = [*view.class_names, *(f"class {i}" for i in range(len(view.class_names), 4))]
    most = 4 if any("Four" in figure.title for figure in figures) else 3
    legend = [Key(name, PALETTE[i], "●") for i, name in enumerate(names[:most])]
    legend += [
        Key("sample", GREY, "·"),
        Key("class mean", INK, "●"),
        Key("classifier row", INK, "◆"),
        Key("simplex corner", GREY, "◯"),
    ]
    intro = (
        "Features of the first three and the first four classes, seen in the plane and the space that their class "
        "means span. Press play: samples gather at their class means, and means and classifier move to the corners of "
        "the simplex (rings), where every two classes are equally far apart. The four-class picture can be turned."
    )
    return Section("Falling onto the simplex", intro, figures, legend)


def _figure(view: View, k: int) -> Figure | None:
    references = {part: view.references(f"simplex_{k}_{part}", "head.input", view.split) for part in _PARTS}
    epochs = few(list(references["means"]), MOST_EPOCHS, [view.onset])
    frames, reach = [], 1.15
    for epoch in epochs:
        arrays = {part: view.array(r[epoch]) for part, r in references.items() if epoch in r}
        present = {part: np.asarray(a, dtype=float) for part, a in arrays.items() if a is not None}
        if "means" in present and present["means"].shape == VERTICES[k].shape:
            frames.append(Frame(epoch_label(view, epoch), _traces(present, k, view.class_names)))
            # Far outliers of the first epochs may leave the picture; what it is about must not.
            reach = max(reach, 1.15 * float(np.nanquantile(np.abs(present.get("points", present["means"])), 0.97)))
    if not frames:
        return None
    title = {3: "Three classes", 4: "Four classes"}[k]
    control: dict[str, Any] = {"control": "slider", "group": "simplex"} if len(frames) > 1 else {}
    return Figure(title, frames, _layout(k, min(reach, 1.9)), height=440, **control)


_PARTS = ("points", "labels", "means", "classifier")


def _traces(arrays: dict[str, np.ndarray], k: int, class_names: tuple[str, ...]) -> list[Trace]:
    """Samples by class, then means, classifier rows, and the simplex with its edges."""
    names = [escape(name) for name in (*class_names, *(f"class {i}" for i in range(len(class_names), k)))][:k]
    colors = list(PALETTE[:k])
    data = [_edges(k)]
    if "points" in arrays and "labels" in arrays:
        labels = arrays["labels"].astype(int).ravel()
        kinds = np.unique(labels)
        for i, kind in enumerate(kinds[:k]):  # labels may be class numbers, or positions among the classes shown
            points = arrays["points"][labels == kind][: MOST_POINTS // k]
            marker = {"size": 5 if k == 3 else 2.5, "color": colors[i], "opacity": 0.45}
            data.append(_scatter(points, names[i], marker, hover="skip"))
    small = k == 4
    ring = {"size": 13 if small else 30, "color": GREY, "symbol": _VERTEX, "line": {"color": GREY, "width": 2}}
    data.append(_scatter(VERTICES[k], [f"simplex corner of {name}" for name in names], ring))
    big = {"size": 8 if small else 17, "color": colors, "symbol": _MEAN, "line": {"color": INK, "width": 1.5}}
    data.append(_scatter(arrays["means"], [f"mean of {name}" for name in names], big))
    if "classifier" in arrays:
        rows = {"size": 5 if small else 11, "color": colors, "symbol": _ROW, "line": {"color": "#ffffff", "width": 1.5}}
        data.append(_scatter(arrays["classifier"], [f"classifier row of {name}" for name in names], rows))
    return data


def _scatter(points: np.ndarray, text: str | list[str], marker: Trace, hover: str = "text") -> Trace:
    axes = dict(zip("xyz", plain(points.T), strict=False))
    kind = "scatter3d" if "z" in axes else "scatter"
    return {"type": kind, "mode": "markers", "marker": marker, "text": text, "hoverinfo": hover, **axes}


def _edges(k: int) -> Trace:
    """The simplex's edges as one broken line."""
    pairs = [(i, j) for i in range(k) for j in range(i)]
    gap = np.full(k - 1, np.nan)
    path = np.array([point for i, j in pairs for point in (VERTICES[k][i], VERTICES[k][j], gap)])
    return _scatter(path, "", {}, "skip") | {
        "mode": "lines",
        "line": {"color": "#c4c8ce", "width": 1.5 if k == 3 else 3},
    }


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
        "aspectratio": dict.fromkeys("xyz", 1.7),
        "camera": eye,
        "uirevision": "kept",
    }
    # The first drag turns it; the page's other figures do not drag at all.
    return {**layout({}, {}), "margin": {"l": 0, "r": 0, "t": 0, "b": 0}, "scene": {**scene, "dragmode": "orbit"}}
