"""From the onset of the terminal phase of training to the end: what changed, and curves over the epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import pandas

from deepcollapse.records.charts import Axis, Chart, Curve, Panel
from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import falls_over_terminal_phase, median, middle, settled
from deepcollapse.studies.judging.evidence import HEAD_INPUT, Finished
from deepcollapse.studies.judging.subjects import Runs, common, together


@dataclass(frozen=True)
class Quantity:
    """A measure of a run, and what it is called in charts."""

    name: str
    measure: str
    layer: str = HEAD_INPUT
    split: str | None = "train"

    def series(self, run: Finished) -> pandas.Series:
        """Its values by epoch."""
        return run.series(self.measure, self.layer, self.split)


def onset_and_end(run: Finished, quantity: Quantity) -> tuple[float, float]:
    """Its values at the onset of the terminal phase and at the last epoch.

    Raises MissingEvidence where there are none, or the phase was never reached.
    """
    if run.onset is None:
        raise MissingEvidence(f"run {run.name} never reached the terminal phase")
    phase: Any = quantity.series(run)
    phase = phase[phase.index >= run.onset]
    if not len(phase):
        raise MissingEvidence(f"{quantity.measure} of {quantity.layer} was not measured in run {run.name}")
    return float(phase.iloc[0]), float(phase.iloc[-1])


def changes(
    subject: str,
    runs: Runs,
    quantity: Quantity,
    change: Callable[[float, float], float],
    what: str,
    *,
    at_most: float | int = math.inf,
    at_least: float | int = -math.inf,
) -> Judgement:
    """Whether a change from onset to end, of each run that reached the terminal phase, lies within limits.

    Where more than half of the runs never reached it the claim fails: there is no phase in which it could hold.
    """
    reached = [run for run in runs if run.onset is not None]
    if 2 * len(reached) < len(runs):
        told = f"{len(reached)} of {len(runs)} runs reached the terminal phase"
        return Judgement(subject, "fails", told, {"reached": len(reached)})
    pairs = [onset_and_end(run, quantity) for run in reached]
    found = [change(*pair) for pair in pairs]
    verdict = settled(found, at_most=at_most, at_least=at_least)
    onsets, ends = ([pair[side] for pair in pairs] for side in (0, 1))
    told = f"{what} {middle(found)}, from {middle(onsets)} at the onset to {middle(ends)} at the end"
    numbers = {what: median(found), "onset": median(onsets), "end": median(ends), "seeds": len(found)}
    return Judgement(subject, verdict, told, numbers, runs=[run.name for run in reached])


def all_fall(subject: str, runs: Runs, quantities: Sequence[Quantity]) -> Judgement:
    """Whether every one of the quantities falls over the terminal phase."""
    found = {
        one.name: falls_over_terminal_phase(subject, runs, one.measure, one.layer, one.split) for one in quantities
    }
    return together(subject, found) if len(found) > 1 else next(iter(found.values()))


def over_epochs(
    title: str,
    subjects: Mapping[str, Runs],
    quantities: Sequence[Quantity],
    y: Axis,
    *,
    figure: str = "",
    says: str = "",
) -> Chart:
    """A panel for each subject: medians and ranges over the seeds by epoch, with the onset marked."""
    panels = []
    for subject, runs in subjects.items():
        curves = [curve for quantity in quantities if (curve := _curve(runs, quantity, positive=y.log)) is not None]
        if curves:
            panels.append(Panel(subject, Axis("epoch", log=True), y, curves, onset_mark(runs)))
    return Chart(title, panels, figure, says)


def at_onset_and_end(title: str, subjects: Mapping[str, Runs], quantity: Quantity, y: Axis, **words: str) -> Chart:
    """As `over_epochs`, of a quantity that was measured at these two epochs alone.

    The onset differs from seed to seed; what was measured there is drawn at its median.
    """
    panels = []
    for subject, runs in subjects.items():
        reached = [run for run in runs if run.onset is not None and len(quantity.series(run))]
        if reached:
            values = numpy.array([onset_and_end(run, quantity) for run in reached])
            onset = median([run.onset for run in reached if run.onset is not None]) or 0.0
            epochs = [onset, max(run.recipe.epochs for run in reached)]
            rows = (numpy.median(values, axis=0), values.min(axis=0), values.max(axis=0))
            shown, low, high = ([_drawn(value, y.log) for value in row] for row in rows)
            curve = Curve(quantity.name, epochs, shown, low, high)
            panels.append(Panel(subject, Axis("epoch", log=True), y, [curve], onset_mark(runs)))
    return Chart(title, panels, **words)


def onset_mark(runs: Runs) -> tuple[tuple[float | int, str], ...]:
    """The epoch at which the terminal phase began, in the median over the seeds that reached it."""
    onset = median([run.onset for run in runs if run.onset is not None])
    return () if onset is None else ((onset, "TPT onset"),)


def _curve(runs: Runs, quantity: Quantity, positive: bool) -> Curve | None:
    """The median over the seeds by epoch, at the epochs at which all were measured; a log axis shows no 0."""
    series: list[Any] = [quantity.series(run) for run in runs]
    epochs = [epoch for epoch in common(one.index for one in series) if epoch > 0]
    if not epochs:
        return None
    values = numpy.array([[float(one[epoch]) for epoch in epochs] for one in series])
    rows = [numpy.median(values, axis=0), values.min(axis=0), values.max(axis=0)]
    shown, low, high = ([_drawn(value, positive) for value in row] for row in rows)
    return Curve(quantity.name, epochs, shown, low, high) if len(runs) > 1 else Curve(quantity.name, epochs, shown)


def _drawn(value: float, positive: bool) -> float | None:
    return None if not math.isfinite(value) or (positive and value <= 0) else float(value)
