"""What collapse costs in deep networks: solutions of low rank beside it, over depth and number of classes."""

import math
from collections.abc import Sequence
from html import escape

from deepcollapse.report.figures.style import GREY, Figure, Frame, Key, Section, depth_color, layout
from deepcollapse.report.figures.text import listed
from deepcollapse.report.theory.diagram import Diagram, Row
from deepcollapse.report.theory.pieces import curve, exact, log_axis
from deepcollapse.report.words import percent

# White where both are equal; blue where low rank is cheaper, orange where collapse is.
_SCALE = ((0.0, "#08306b"), (0.35, "#4292c6"), (0.75, "#c6dbef"), (1.0, "#ffffff"))


def section(diagram: Diagram) -> Section | None:
    """The ratio of losses over depth and classes, and that of the coefficients kappa, which no decay enters."""
    known = [row for row in diagram.depths if math.isfinite(row["loss_ratio"])]
    if not known:
        return None
    best = min(known, key=lambda row: row["loss_ratio"])
    decay = diagram.settings.get("decay", math.nan)
    intro = (
        "In the deep unconstrained features model every layer has weight decay. Deep neural collapse has K directions "
        f"in every layer; solutions of lower rank save decay in each of them. {_wins(known)} Here (decay {decay:g}) "
        f"the largest saving is {percent(1 - best['loss_ratio'])}, with {best['classes']} classes and {best['depth']} "
        f"layers ({best['low_rank']}). The low-rank solutions are the best that are known, so the true optimum may be "
        "lower still."
    )
    depths = sorted({row["depth"] for row in known})
    keys = [Key(f"{depth} layers", depth_color(i, len(depths))) for i, depth in enumerate(depths)]
    return Section("Collapse against low rank in deep networks", intro, [_losses(diagram), _kappas(diagram)], keys)


def _wins(known: Sequence[Row]) -> str:
    """From how many classes on a known solution of low rank is cheaper, by depth."""
    first: dict[int, list[int]] = {}
    for depth in sorted({row["depth"] for row in known}):
        classes = [row["classes"] for row in known if row["depth"] == depth and row["loss_ratio"] < 1 - 1e-9]
        if classes:
            first.setdefault(min(classes), []).append(depth)
    told = [f"{classes} classes with {listed([*map(str, depths)])} layers" for classes, depths in first.items()]
    return f"A known one is cheaper than collapse from {listed(told)} on." if told else ""


def _losses(diagram: Diagram) -> Figure:
    depths = sorted({row["depth"] for row in diagram.depths})
    classes = sorted({row["classes"] for row in diagram.depths})
    table = {(row["depth"], row["classes"]): row for row in diagram.depths}
    values, texts = [], []
    for depth in depths:
        rows = [table.get((depth, k)) for k in classes]
        values.append(exact(row["loss_ratio"] if row else math.nan for row in rows))
        texts.append([_told(row) if row else "" for row in rows])
    known = [v for line in values for v in line if v is not None]
    low, high = min([*known, 0.999]), max([*known, 1.0])
    scale = [[stop * (1 - low) / (high - low), color] for stop, color in _SCALE]
    if high > 1:
        scale.append([1.0, "#f4a582"])
    trace = {
        "type": "heatmap",
        "x": classes,
        "y": depths,
        "z": values,
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "colorscale": scale,
        "zmin": low,
        "zmax": high,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"text": "ratio", "side": "top"}},
    }
    plan = layout(
        {"title": {"text": "classes K"}, "showgrid": False},
        {"title": {"text": "layers L"}, "dtick": 1, "showgrid": False},
        plot_bgcolor="#f1f2f4",
    )
    return Figure(
        "Loss of the best known low-rank solution over that of collapse",
        [Frame("", [trace])],
        plan,
        height=340,
        looks="White: collapse costs no more. Blue: low rank is cheaper, and collapse cannot be the optimum. "
        "Orange: the low-rank solution costs more. Grey: none is known.",
        alt="The ratio of losses over the number of layers and of classes.",
    )


def _told(row: Row) -> str:
    """What the hover says of a cell; the names of long solutions are broken into lines."""
    name = escape(str(row["low_rank"] or "none")).replace(" + ", "<br>+ ")
    return (
        f"{row['classes']} classes, {row['depth']} layers: ratio {row['loss_ratio']:.8g}<br>"
        f"collapse {row['loss_collapsed']:.8g}, low rank {row['loss_low_rank']:.8g}<br>{name}"
    )


def _kappas(diagram: Diagram) -> Figure:
    known = [row for row in diagram.depths if math.isfinite(row["kappa_ratio"])]
    depths = sorted({row["depth"] for row in known})
    data = []
    for i, depth in enumerate(depths):
        rows = sorted((row for row in known if row["depth"] == depth), key=lambda row: row["classes"])
        x, y = [row["classes"] for row in rows], [row["kappa_ratio"] for row in rows]
        hover = "%{x} classes: κ ratio %{y:.8~g}"
        color = depth_color(i, len(depths))
        line = curve(f"{depth} layers", x, y, color, hover, mode="lines+markers", marker={"size": 6, "color": color})
        data.append(line)
    classes = [row["classes"] for row in known] or [6, 45]
    one = {"type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": 1, "y1": 1}
    ticks = sorted(set(classes))
    x = log_axis(min(classes) / 1.1, max(classes) * 1.1, "classes K = r(r-1)/2") | {"tickvals": ticks}
    plan = layout(
        x | {"ticktext": [str(tick) for tick in ticks]},
        {"title": {"text": "κ over that of collapse"}},
        shapes=[one | {"line": {"color": GREY, "width": 1.2, "dash": "dot"}}],
        hovermode="closest",
    )
    return Figure(
        "The strongly regular graph: κ over that of collapse, whatever the decay",
        [Frame("", data)],
        plan,
        height=340,
        looks="κ alone decides which of two solutions of this kind has the lower loss: below 1 (dotted), collapse is "
        "not optimal, for any decay and any number of samples at which it is not zero altogether.",
        alt="The ratio of kappas against the number of classes, a line for each number of layers.",
    )
