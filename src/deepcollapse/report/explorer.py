"""The part of a sweep's page in which readers choose: a measure, two settings, and what the others are held at."""

import math
from collections.abc import Sequence
from typing import Any

from deepcollapse.records.final import VARIABILITY
from deepcollapse.records.sweep import STATES
from deepcollapse.report import html
from deepcollapse.report.figures.heat import SEQUENTIAL
from deepcollapse.report.figures.style import PALETTE, depth_color, layout
from deepcollapse.report.sweep_runs import SweepRuns
from deepcollapse.report.sweep_table import SEED, value_text


def section(sweep: SweepRuns, place: Any) -> str:
    """The choosers, a heat map and lines; nothing where no setting varies or nothing was measured."""
    if not sweep.varying or not sweep.measures:
        return ""
    names = list(sweep.varying)
    x, y = _opening(sweep)
    lines = y is None
    title = "What the settings do"
    intro = (
        "Each number is the median over the runs that remain, at the end of training. Choose a measure and what it is "
        "set against; hold the other settings at a value, or let the median go over all of theirs."
    )
    heat = "" if lines else _canvas("heat", "Over both settings")
    return (
        f'<section class="explorer"><h2 id="{place(title)}">{title}</h2><p class="intro">{intro}</p>'
        f'<div class="choosers">{_choosers(sweep, names, x, y)}</div>'
        f'<p class="note told" role="status" aria-live="polite"></p>'
        f'<div class="figures{"" if lines else " pair"}">{heat}{_canvas("lines", "Over one setting")}</div>'
        f"{html.json_block(_data(sweep, names))}</section>"
    )


def _opening(sweep: SweepRuns) -> tuple[int, int | None]:
    """The two settings to begin with: those with the most values, numbers before words; never the seed but alone."""
    names = list(sweep.varying)
    offered = [i for i, name in enumerate(names) if name != SEED] or [0]
    first = sorted(offered, key=lambda i: (not _numeric(sweep.varying[names[i]]), -len(sweep.varying[names[i]])))
    return first[0], first[1] if len(first) > 1 else None


def _choosers(sweep: SweepRuns, names: Sequence[str], x: int, y: int | None) -> str:
    opening = next((i for i, measure in enumerate(sweep.measures) if measure.key == VARIABILITY), 0)
    measures = [(i, measure.title) for i, measure in enumerate(sweep.measures)]
    offered = [(i, name) for i, name in enumerate(names) if name != SEED or len(names) == 1]
    parts = [_select("measure", "Measure", measures, opening)]
    if len(offered) > 1:
        parts += [_select("x", "across", offered, x), _select("y", "and by", [*offered, (-1, "nothing else")], y)]
    for i, name in enumerate(names):
        every = "all seeds" if name == SEED else "all values"
        values = [(-1, every), *((j, value_text(value)) for j, value in enumerate(sweep.varying[name]))]
        parts.append(_select("hold", name, values, -1, i))
    return "".join(parts)


def _select(kind: str, label: str, options: Sequence[tuple[int, str]], chosen: int | None, setting: int = -1) -> str:
    listed = "".join(
        f'<option value="{value}"{" selected" if value == chosen else ""}>{html.escape(text)}</option>'
        for value, text in options
    )
    of = f' data-setting="{setting}"' if setting >= 0 else ""
    return (
        f'<label class="{kind}"><span>{html.escape(label)}</span> <select name="{kind}"{of}>{listed}</select></label>'
    )


def _canvas(kind: str, title: str) -> str:
    canvas = '<div class="canvas" role="img" style="height:360px"></div>'
    return f'<figure class="{kind}"><figcaption>{title}</figcaption>{canvas}<ul class="legend"></ul></figure>'


def _data(sweep: SweepRuns, names: Sequence[str]) -> dict[str, Any]:
    """What the script draws from: a row a run, settings by the place of their value, measures in their order."""
    runs = []
    for run in sweep.runs:
        recipe = {name: run.recipe.get(name) for name in names}
        places = [list(sweep.varying[name]).index(value) for name, value in recipe.items()]
        values = [_short(run.values.get(measure.key)) for measure in sweep.measures]
        runs.append([STATES.index(run.state), places, values if any(v is not None for v in values) else []])
    return {
        "settings": [_setting(name, sweep.varying[name]) for name in names],
        "measures": [{"title": m.title, "meaning": m.meaning, "share": m.share} for m in sweep.measures],
        "states": STATES,
        "runs": runs,
        "layout": layout({}, {}),
        "colors": SEQUENTIAL,
    }


def _setting(name: str, values: Sequence[Any]) -> dict[str, Any]:
    numeric, count = _numeric(values), len(values)
    colors = [depth_color(i, count) if numeric and count > 2 else PALETTE[i % len(PALETTE)] for i in range(count)]
    numbers = list(values) if numeric else None
    return {"name": name, "values": [value_text(value) for value in values], "numbers": numbers, "colors": colors}


def _numeric(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _short(value: float | int | None) -> float | int | None:
    return (
        None if value is None or not math.isfinite(value) else float(f"{value:.9g}")
    )  # shown in 3 or 4 digits: none may change
