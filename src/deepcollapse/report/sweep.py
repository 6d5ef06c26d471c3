"""The page that compares the runs of a sweep: any measure over any two settings, drawn from their records alone."""

import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepcollapse.records import atomic_write
from deepcollapse.records.final import ACCURACY_TEST, VARIABILITY, Key
from deepcollapse.records.sweep import error_line
from deepcollapse.report import explorer, frame, html, sweep_table
from deepcollapse.report.sweep_runs import Measure, SweepRun, SweepRuns, is_sweep, read_sweep
from deepcollapse.report.sweep_table import SIGNS, in_words, value_text

__all__ = ["is_sweep", "write_sweep_page"]

# Whether more of a measure is better; the headline names the best combination of these.
_BEST: dict[Key, Any] = {ACCURACY_TEST: max, VARIABILITY: min}
# A longer traceback is cut at its start.
_LINES = 40


def write_sweep_page(
    folder: str | os.PathLike[str], out: str | os.PathLike[str], measures: Sequence[str] | None = None
) -> Path:
    """Write one HTML page on the sweep in `folder` to `out`; returns its path.

    `measures` are names of measures as in the records; without them the page has those that readers look for first.
    Medians over seeds are taken in the browser, so that any two settings can be put against each other and the others
    held. Raises RunError where there is no sweep, a measure was taken of no run, or `out` cannot be written.
    """
    return atomic_write(out, page(read_sweep(folder, measures), Path(out).parent).encode())


def page(sweep: SweepRuns, beside: Path) -> str:
    """The page's HTML; links to runs are relative to the folder `beside` which it is to lie."""
    places: list[tuple[str, str]] = []

    def place(name: str) -> str:
        places.append((f"part-{len(places) + 1}", name))
        return places[-1][0]

    parts = []
    if explored := explorer.section(sweep, place):
        parts.append(explored)
    parts.append(sweep_table.section(sweep, beside, place))
    parts.append(_failures(sweep, place))
    parts.append(f'<h2 id="{place("Settings")}">Settings</h2>{_settings(sweep)}')
    foot = "<footer>Made by deepcollapse from the sweep's records alone.</footer>"
    whole = sweep.folder.resolve()
    # The sweep of a study lies in a folder of that name.
    name = f"{whole.parent.name}/{whole.name}" if whole.name == "sweep" else whole.name
    body = [_top(sweep, name), frame.contents(places), frame.NO_SCRIPT, *parts, foot]
    return frame.whole(f"{name}: a sweep", "".join(body), ("page.js", "sweep.js"))


def _top(sweep: SweepRuns, name: str) -> str:
    varying = [f"{setting} ({len(values)} values)" for setting, values in sweep.varying.items()]
    differ = f"They differ in {', '.join(varying)}." if varying else "All of them have one recipe."
    count = len(sweep.runs)
    lead = f"{count} run{'' if count == 1 else 's'}. {differ if count > 1 else ''}"
    best = [sentence for measure in sweep.measures if (sentence := _best(sweep, measure))]
    kind = "fell" if best else "stayed"
    told = " ".join(best) or _nothing_to_compare(sweep)
    return (
        f'<h1>Sweep {html.escape(name)}</h1><p class="lead">{html.escape(lead.strip())}</p>{_strip(sweep)}'
        f'<p class="verdict {kind}">{html.escape(told)}</p>'
    )


def _nothing_to_compare(sweep: SweepRuns) -> str:
    done = sweep.counts()["done"]
    if not done:
        return "No run is done yet: there is nothing to compare."
    are = "run is" if done == 1 else "runs are"
    return f"{done} {are} done, of one combination of settings: it takes two to compare."


def _strip(sweep: SweepRuns) -> str:
    tiles = []
    for state, count in sweep.counts().items():
        badge = f'<span class="badge {state}"><i aria-hidden="true">{SIGNS[state]}</i> {state}</span>'
        tiles.append(f'<li class="tile {state}{"" if count else " none"}"><p><b>{count}</b> {badge}</p></li>')
    return f'<ul class="strip" aria-label="how the runs stand">{"".join(tiles)}</ul>'


def _best(sweep: SweepRuns, measure: Measure) -> str:
    """Which settings do best by one measure, in the median over seeds."""
    if measure.key not in _BEST:
        return ""
    medians = [
        (statistics.median(values), settings, len(values))
        for settings, runs in sweep_table.combinations(sweep)
        if (values := [run.values[measure.key] for run in runs if measure.key in run.values])
    ]
    if len(medians) < 2:
        return ""
    value, settings, runs = _BEST[measure.key](medians, key=lambda one: one[0])
    word = "Highest" if _BEST[measure.key] is max else "Lowest"
    median = f", median of {runs} runs" if runs > 1 else ""
    others = sum(other == value for other, *_ in medians) - 1
    alike = f", and at {others} other{'s' if others > 1 else ''}" if others else ""
    return f"{word} {measure.title}: {in_words(measure, value)} at {_at(settings)}{alike}{median}."


def _at(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value_text(value)}" for name, value in settings.items())


def _failures(sweep: SweepRuns, place: Any) -> str:
    failed = [run for run in sweep.runs if run.state == "failed"]
    if not failed:
        return ""
    title = "Runs that failed"
    intro = "The other runs are unharmed; asking for the sweep again takes these up once more."
    entries = "".join(_failure(run, sweep) for run in failed)
    return f'<h2 id="{place(title)}">{title}</h2><p class="intro">{intro}</p>{entries}'


def _failure(run: SweepRun, sweep: SweepRuns) -> str:
    lines, told = run.error.rstrip().splitlines(), error_line(run.error)
    settings = _at({name: run.recipe.get(name) for name in sweep.varying}) or run.key
    cut = ["…", *lines[-_LINES:]] if len(lines) > _LINES else lines
    inside = f"<p><code>{html.escape(run.key)}</code></p><pre>{html.escape(chr(10).join(cut))}</pre>"
    return (
        f'<details class="failed long"><summary><i class="sign" aria-hidden="true">✗</i>{html.escape(settings)}: '
        f"{html.escape(told)}</summary>{inside}</details>"
    )


def _settings(sweep: SweepRuns) -> str:
    varying = {name: ", ".join(map(value_text, values)) for name, values in sweep.varying.items()}
    shared = {name: value_text(value) for name, value in sweep.common.items() if value != ()}
    changing = html.facts("Settings that differ", varying) if varying else ""
    return changing + html.facts("Settings that all runs share", shared)
