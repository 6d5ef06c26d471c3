"""From the onset of the terminal phase of training to the end: what changed, and curves over the epochs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import pandas

from deepcollapse.records.charts import Axis, Chart, Curve, Panel
from deepcollapse.records.study import Judgement, worst
from deepcollapse.studies.judging.claim import MissingEvidence
from deepcollapse.studies.judging.criteria import FEWEST_SEEDS, median, middle, settled, spearman
from deepcollapse.studies.judging.evidence import HEAD_INPUT, Finished
from deepcollapse.studies.judging.subjects import Runs, common, together

FEWEST_EPOCHS = 3  # from TPT onset on, that were measured, for a value at the end to say anything of that phase


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

    def at(self, run: Finished, epoch: int) -> float | None:
        """The value at an epoch; None where it was not measured then, or is undefined."""
        found: Any = self.series(run)
        return float(found[found.index == epoch].iloc[-1]) if epoch in found.index else None


def in_phase(subject: str, runs: Runs, judge: Callable[[str, Runs], Judgement]) -> Judgement:
    """What is judged of the runs that reached the terminal phase, and how many did where some did not.

    The claim fails where more than half never reached it: there is no phase in which it could hold. Raises
    MissingEvidence where too few did for the criterion.
    """
    reached = [run for run in runs if run.onset is not None]
    told = f"{len(reached)} of {len(runs)} runs reached the terminal phase"
    if 2 * len(reached) < len(runs):
        return Judgement(subject, "fails", told, {"reached": len(reached)}, runs=[run.name for run in runs])
    if len(reached) < FEWEST_SEEDS <= len(runs):
        raise MissingEvidence(f"the criterion is for at least {FEWEST_SEEDS} seeds, and {told}")
    found = judge(subject, reached)
    measured = found.measured if len(reached) == len(runs) else f"{found.measured}; {told}"
    return replace(found, measured=measured, runs=[run.name for run in reached])


def onset_and_end(run: Finished, quantity: Quantity) -> tuple[float, float]:
    """Its values at the onset of the terminal phase and at the last epoch, of a run that reached that phase.

    Raises MissingEvidence where either is not there: the nearest epoch's cannot stand for it.
    """
    found = []
    for epoch, when in ((run.onset or 0, "TPT onset"), (run.recipe.epochs, "the end")):
        if (value := quantity.at(run, epoch)) is None:
            raise MissingEvidence(f"{quantity.measure} of {quantity.layer} has no value at {when} of run {run.name}")
        found.append(value)
    return found[0], found[1]


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
    """Whether a change from onset to end lies within limits, of runs that reached the terminal phase."""
    pairs = [onset_and_end(run, quantity) for run in runs]
    found = [change(*pair) for pair in pairs]
    verdict = settled(found, at_most=at_most, at_least=at_least)
    onsets, ends = ([pair[side] for pair in pairs] for side in (0, 1))
    told = f"{what} {middle(found)}, from {middle(onsets)} at the onset to {middle(ends)} at the end"
    numbers = {what: median(found), "onset": median(onsets), "end": median(ends), "seeds": len(found)}
    return Judgement(subject, verdict, told, numbers)


def falls(subject: str, runs: Runs, quantity: Quantity) -> Judgement:
    """Whether a quantity falls from onset to end: correlation with the epoch <= -0.5, end over onset <= 0.5.

    Where it is 0 at the onset already, nothing is left to fall: that is "inconclusive".
    """
    found = [_fall(run, quantity) for run in runs]
    correlations, ratios = [c for c, _ in found], [r for _, r in found]
    verdict = worst([settled(correlations, at_most=-0.5), settled(ratios, at_most=0.5)])
    told = f"end/onset {middle(ratios)}, correlation with the epoch {middle(correlations)}"
    numbers = {"end_over_onset": median(ratios), "correlation": median(correlations), "seeds": len(found)}
    return Judgement(subject, verdict, told, numbers)


def _fall(run: Finished, quantity: Quantity) -> tuple[float, float]:
    start, end = onset_and_end(run, quantity)
    series = quantity.series(run)
    phase: Any = series[series.index >= run.onset]
    if len(phase) < FEWEST_EPOCHS:
        return 0.0, 1.0  # the phase was not watched for long enough to see anything fall
    if start == 0:
        return (math.nan, math.nan) if end == 0 else (1.0, math.inf)
    return spearman([*phase.index], [*phase]), end / start


def all_fall(subject: str, runs: Runs, quantities: Sequence[Quantity]) -> Judgement:
    """Whether every one of the quantities falls over the terminal phase."""
    found = {one.name: falls(subject, runs, one) for one in quantities}
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
        reached = [run for run in runs if run.onset is not None and quantity.at(run, run.onset) is not None]
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
