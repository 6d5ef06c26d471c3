"""The table of a sweep: a row for each combination of settings, with medians and spread over seeds, and its runs."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deepcollapse.records.final import ACCURACY_TEST, ACCURACY_TRAIN, HIDDEN, VARIABILITY, Key
from deepcollapse.records.settings import exact
from deepcollapse.records.sweep import State
from deepcollapse.report import html
from deepcollapse.report.sweep_runs import Measure, SweepRun, SweepRuns
from deepcollapse.report.words import number, percent

SEED = "seed"
SIGNS: dict[State, str] = {"done": "✓", "running": "▸", "failed": "✗", "stopped": "…", "waiting": "○"}
# The columns where nothing else was asked for: what tells most in least room.
_COLUMNS: tuple[tuple[Key, str], ...] = (
    (ACCURACY_TEST, "test accuracy"),
    (ACCURACY_TRAIN, "train accuracy"),
    (VARIABILITY, "NC1"),
    (("maximal_angle_means", "head.input", "train"), "NC2 angle"),
    (("self_duality", "head.input", "train"), "NC3"),
    (("rank_at_one_percent_weight", HIDDEN, None), "rank of weights"),
    (("effective_rank_features", "head.input", "train"), "effective rank"),
    (("relative_cluster_variation", HIDDEN, "train"), "hidden TCV"),
    (("tpt_onset", "network", None), "TPT onset"),
)
_MOST_COLUMNS, _MOST_ROWS = 9, 40

Combination = tuple[dict[str, Any], list[SweepRun]]


def combinations(sweep: SweepRuns) -> list[Combination]:
    """The runs by their settings other than the seed, in the order of the settings' values."""
    names = [name for name in sweep.varying if name != SEED]
    groups: dict[tuple[int, ...], list[SweepRun]] = {}
    for run in sweep.runs:
        key = tuple(list(sweep.varying[name]).index(run.recipe.get(name)) for name in names)
        groups.setdefault(key, []).append(run)
    return [
        ({name: sweep.varying[name][i] for name, i in zip(names, key, strict=True)}, runs)
        for key, runs in sorted(groups.items(), key=lambda group: group[0])
    ]


def section(sweep: SweepRuns, beside: Path, place: Any) -> str:
    """The table; long ones are folded away."""
    found = combinations(sweep)
    names = [name for name in sweep.varying if name != SEED]
    columns = _columns(sweep)
    head = [*names, *(title for _, title in columns), "runs"]
    kinds = [""] * len(names) + [' class="number"'] * len(columns) + [""]
    top = "".join(f'<th scope="col"{kind}>{html.escape(text)}</th>' for text, kind in zip(head, kinds, strict=True))
    rows = "".join(_line(settings, runs, columns, beside) for settings, runs in found)
    long = len(found) > _MOST_ROWS
    whole = f'<table class="sweep"><thead><tr>{top}</tr></thead><tbody>{rows}</tbody></table>'
    drawn = f'<div class="scroll{" tall" if long else ""}">{whole}</div>'
    drawn = html.folded(f"All {len(found)} combinations", drawn, long=True) if long else drawn
    intro = "At the end of training: the median over the runs of a combination, beneath it their range."
    signs = ", ".join(f"{sign}: {state}" for state, sign in SIGNS.items() if state != "done")
    note = f"Runs are named by their seed, or by their recipe's digest. {signs}."
    return (
        f'<section><h2 id="{place("Every combination")}">Every combination</h2><p class="intro">{intro}</p>{drawn}'
        f'<p class="note">{note}</p></section>'
    )


def _columns(sweep: SweepRuns) -> list[tuple[Measure, str]]:
    by_key = {measure.key: measure for measure in sweep.measures}
    usual = [(by_key[key], title) for key, title in _COLUMNS if key in by_key]
    asked = [(measure, measure.title) for measure in sweep.measures]
    return usual if len(usual) > 2 else asked[:_MOST_COLUMNS]


def _line(settings: dict[str, Any], runs: Sequence[SweepRun], columns: Sequence[Any], beside: Path) -> str:
    cells = [f"<td>{html.escape(value_text(value))}</td>" for value in settings.values()]
    failed = any(run.state == "failed" for run in runs)
    for measure, _ in columns:
        values = [run.values[measure.key] for run in runs if measure.key in run.values]
        cells.append(f'<td class="number">{_cell(measure, values, failed)}</td>')
    links = " ".join(_link(run, beside) for run in runs)
    return f'<tr>{"".join(cells)}<td class="runs">{links}</td></tr>'


def _cell(measure: Measure, values: Sequence[float | int], failed: bool) -> str:
    if not values:
        return "✗" if failed else "–"
    told = html.escape(in_words(measure, statistics.median(values)))
    low, high = (in_words(measure, value) for value in (min(values), max(values)))
    if low == high:
        return told
    low, high = (end.removesuffix(" %") for end in (low, high))
    return f"{told} <small>{html.escape(f'{low} to {high}')}</small>"


def _link(run: SweepRun, beside: Path) -> str:
    """A run by its seed, as a link to its folder where there is one."""
    name = html.escape(str(run.recipe[SEED]) if SEED in run.recipe else run.key)
    sign, title = "" if run.state == "done" else SIGNS[run.state], html.escape(f"{run.key}: {run.state}")
    text = f"{name}{sign}"
    target = relative(run.path, beside)
    if run.state == "waiting" or target is None:
        return f'<span title="{title}">{text}</span>'
    return f'<a href="{html.escape(target)}" title="{title}">{text}</a>'


def relative(path: Path, beside: Path) -> str | None:
    """A path as a link from another folder; None where there is no way from the one to the other."""
    try:
        way = os.path.relpath(path.resolve(), beside.resolve())
    except ValueError:  # on another drive
        return None
    return quote(Path(way).as_posix() + "/", safe="/.")


def value_text(value: Any) -> str:
    """A setting's value in words.

    >>> value_text(1e-05), value_text(None), value_text((0.5, 0.75)), value_text(True), value_text("sgd")
    ('1e-5', 'not given', '0.5, 0.75', 'true', 'sgd')
    """
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value)) or "none"
    return exact(value) if isinstance(value, float) else str(value)


def in_words(measure: Measure, value: float | int) -> str:
    """A value of a measure: shares in per cent, others with three figures."""
    return percent(value) if measure.share else number(value)
