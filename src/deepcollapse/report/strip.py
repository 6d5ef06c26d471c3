"""Three classes falling onto the simplex, as a still picture: at the first measured epoch, TPT onset and the end."""

import numpy as np

from deepcollapse.report import draw
from deepcollapse.report.figures import simplex
from deepcollapse.report.figures.style import GREY, INK, PALETTE
from deepcollapse.report.figures.text import short
from deepcollapse.report.view import View

WIDTH, _SIDE, _TOP = 900.0, 300.0, 28.0
# Of one run: the panels less the empty edges above and below the triangle.
_TALL = 252.0
# The pictures of more runs than this make the drawing too long.
MOST_RUNS = 4
# Where a corner's name stands: to its right, above and below.
_BESIDE = ((16.0, 4.0, "start"), (0.0, -17.0, "middle"), (0.0, 26.0, "middle"))
_HALO = ' font-weight="600" stroke="#ffffff" stroke-width="3" stroke-linejoin="round" paint-order="stroke"'
_TITLE = "Samples, class means and classifier rows of three classes fall onto the corners of a simplex"


def picture(seen: list[View]) -> str:
    """The strip by itself, as SVG text; empty where no run has the arrays."""
    inside, height = strip(seen)
    return draw.whole(WIDTH, height, _TITLE, inside) if inside else ""


def strip(seen: list[View]) -> tuple[str, float]:
    """A row of three panels for each run, with a legend beneath, and how high they are together."""
    rows = [(view, drawn) for view in seen if (drawn := _moments(view))][:MOST_RUNS]
    if not rows:
        return "", 0.0
    parts, y = [], 0.0
    for view, drawn in rows:
        run = f"{short(view.label, 24)}: " if len(seen) > 1 else ""
        reach = simplex.reach_of(arrays for _, arrays in drawn)
        for i, (label, arrays) in enumerate(drawn):
            names = [short(name) for name in simplex.names_of(view, 3)]
            panel = _panel(f"{run}{label}", arrays, reach, names, f"clip{int(y)}-{i}")
            parts.append(f'<g transform="translate({i * _SIDE:g},{y:g})">{panel}</g>')
        y += _TALL + _TOP
    names = simplex.names_of(rows[0][0], 3) if len({tuple(simplex.names_of(view, 3)) for view, _ in rows}) == 1 else []
    return "".join(parts) + _legend(names, y + 14), y + 30


def _moments(view: View) -> list[tuple[str, dict[str, np.ndarray]]]:
    """What to show: the first measured epoch, TPT onset and the end, each with its title."""
    epochs = simplex.measured(view, 3)
    wanted = {} if not epochs else {epochs[0]: f"epoch {epochs[0]}"}
    if epochs and epochs[0] == 0:
        wanted = {0: "epoch 0: before training"}
    if view.from_onset and view.start in epochs:
        wanted |= {view.start: f"epoch {view.start}: TPT onset"}
    if len(epochs) > 1:
        wanted |= {epochs[-1]: f"epoch {epochs[-1]}: the end"}
    shown = simplex.states(view, 3, wanted)
    return [(wanted[epoch], arrays) for epoch, arrays in shown.items()]


def _panel(title: str, arrays: dict[str, np.ndarray], reach: float, names: list[str], clip: str) -> str:
    """One epoch: edges and corners, samples, means, and the classifier's rows on their sticks."""
    half, middle = _TALL / 2, (_SIDE / 2, _TOP + _TALL / 2)

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        return [(middle[0] + half * x / reach, middle[1] - half * y / reach) for x, y in np.atleast_2d(points)]

    corners, centre = at(simplex.VERTICES[3]), at(np.zeros(2))[0]
    parts = [draw.stroke(*corners[i], *corners[i - 1], "#c4c8ce") for i in range(3)]
    for color, cloud in zip(PALETTE, simplex.clouds(arrays, 3), strict=False):
        dots = "".join(draw.circle(x, y, 2) for x, y in at(cloud) if np.isfinite(x + y))
        parts.append(f'<g fill="{color}" fill-opacity="0.5">{dots}</g>')
    ring = f' fill="none" stroke="{GREY}" stroke-width="1.5"'
    parts += [draw.circle(*corner, 12, ring) for corner in corners]
    edge = f' stroke="{INK}" stroke-width="1.2"'
    for color, mean in zip(PALETTE, at(arrays["means"]), strict=False):
        parts.append(draw.circle(*mean, 7, f' fill="{color}"{edge}'))
    for color, row in zip(PALETTE, at(arrays["classifier"]) if "classifier" in arrays else [], strict=False):
        parts += [draw.stroke(*centre, *row, INK), draw.diamond(*row, 5, f' fill="{color}"{edge}')]
    for name, (x, y), (right, down, anchor) in zip(names, corners, _BESIDE, strict=False):
        parts.append(draw.text(x + right, y + down, name, anchor, INK, _HALO))
    frame = f'<clipPath id="{clip}"><rect x="6" y="{_TOP:g}" width="{_SIDE - 12:g}" height="{_TALL:g}"/></clipPath>'
    head = draw.text(_SIDE / 2, 18, title, "middle", INK, ' font-weight="600" font-size="12"')
    return f'{head}{frame}<g clip-path="url(#{clip})">{"".join(parts)}</g>'


def _legend(names: list[str], y: float) -> str:
    """One line of names under the panels."""
    x, parts = 50.0, []
    colors = [(short(name), PALETTE[i]) for i, name in enumerate(names)]
    edge = f' stroke="{INK}" stroke-width="1.2"'
    for label, color in colors:
        parts += [draw.circle(x, y - 4, 4, f' fill="{color}"'), draw.text(x + 11, y, label)]
        x += 32 + 6.0 * len(label)
    signs = {
        "sample": draw.circle(0, 0, 2, f' fill="{GREY}"'),
        "class mean": draw.circle(0, 0, 6, f' fill="#ffffff"{edge}'),
        "classifier row": draw.diamond(0, 0, 5, f' fill="#ffffff"{edge}'),
        "corner of the simplex": draw.circle(0, 0, 7, f' fill="none" stroke="{GREY}" stroke-width="1.5"'),
    }
    for label, sign in signs.items():
        parts += [f'<g transform="translate({x:g},{y - 4:g})">{sign}</g>', draw.text(x + 13, y, label)]
        x += 36 + 6.0 * len(label)
    return "".join(parts)
