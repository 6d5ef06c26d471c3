"""Runs on classes of unequal size: which classes are small, how their classifiers stand, how well they are told."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy

from deepcollapse.records.record import LAYER_PEELED
from deepcollapse.studies.judging.criteria import median
from deepcollapse.studies.judging.evidence import HEAD_INPUT, Finished
from deepcollapse.studies.measured.class_accuracy import ACCURACY, LENGTHS
from deepcollapse.studies.study import Scale
from deepcollapse.training.recipe import Recipe

Runs = Sequence[Finished]
# Below this share of the mean squared length a classifier has vanished, and has no direction.
VANISHED = 1e-6


def minority_of(recipe: Recipe, classes: int) -> list[int]:
    """The classes that a step imbalance thins out: the last ones."""
    return list(range(classes - recipe.minority, classes))


def minority_cosine(run: Finished, of: str = "classifier") -> float:
    """Mean cosine over pairs of minority classes, of "classifier" rows or of centred class "means".

    NaN where a classifier of the minority has vanished.
    """
    layer = "head" if of == "classifier" else HEAD_INPUT
    cosines = run.array(f"cosines_{of}", layer)
    few = minority_of(run.recipe, len(cosines))
    if of == "classifier":
        squared = run.array(LENGTHS, "head") ** 2
        if (squared[few] < VANISHED * squared.mean()).any():
            return math.nan
    inside = cosines[numpy.ix_(few, few)]
    return float(inside[~numpy.eye(len(few), dtype=bool)].mean())


def minority_accuracy(run: Finished) -> float:
    """Mean accuracy of the minority classes on test data."""
    found = run.array(ACCURACY, "network", "test")
    return float(found[minority_of(run.recipe, len(found))].mean())


def majority_accuracy(run: Finished) -> float:
    """Mean accuracy of the other classes on test data."""
    found = run.array(ACCURACY, "network", "test")
    return float(numpy.delete(found, minority_of(run.recipe, len(found))).mean())


def predicted_cosine(run: Finished) -> float:
    """The minority cosine of the layer-peeled model at the measured budgets; NaN where it says nothing."""
    return _predicted(run, "minority_angle_mean_classifier", "head")


def predicted_threshold(run: Finished) -> float:
    """R0 at the measured budgets; NaN for balanced classes."""
    return _predicted(run, "collapse_ratio", "network")


def _predicted(run: Finished, measure: str, layer: str) -> float:
    found = run.series(measure, layer, baseline=LAYER_PEELED)
    return float(found.iloc[-1]) if len(found) else math.nan


def over(runs: Runs, setting: str) -> dict[Any, list[Finished]]:
    """The runs by the value of a setting, rising."""
    values = sorted({getattr(run.recipe, setting) for run in runs})
    return {value: [run for run in runs if getattr(run.recipe, setting) == value] for value in values}


def decay_of(scale: Scale, dataset: str) -> float:
    """The weight decay at which class ratios are compared: one for all data sets, but for those that have their own."""
    return scale["decay of"].get(dataset, scale["decay"])


def of_ratios(scale: Scale, runs: Runs) -> dict[float, list[Finished]]:
    """The runs over class ratios, by ratio."""
    chosen = [run for run in runs if run.recipe.oversample == 1 and _usual(scale, run)]
    wanted = {float(ratio) for ratio in scale["ratios"]}
    return over([run for run in chosen if run.recipe.ratio in wanted], "ratio")


def of_decays(scale: Scale, runs: Runs) -> list[Finished]:
    """The runs over weight decays."""
    ratio, decays = float(scale["decay_ratio"]), scale["decays"]
    return [r for r in runs if r.recipe.oversample == 1 and r.recipe.ratio == ratio and r.recipe.decay in decays]


def of_times(scale: Scale, runs: Runs) -> dict[int, list[Finished]]:
    """The runs over over-sampling, by how often a minority sample is seen."""
    largest = float(max(scale["ratios"]))
    return over([r for r in runs if r.recipe.ratio == largest and _usual(scale, r)], "oversample")


def _usual(scale: Scale, run: Finished) -> bool:
    return run.recipe.decay == decay_of(scale, run.recipe.dataset)


def by_seed(runs: Runs) -> dict[int, list[Finished]]:
    """The runs of each seed."""
    return over(runs, "seed")


def spread(
    groups: Mapping[Any, Runs], measured: Callable[[Finished], float]
) -> tuple[list[float | None], list[float | None], list[float | None]]:
    """Median, lowest and highest value over the seeds of each group; None where it is defined for none."""
    values = [[value for value in map(measured, runs) if math.isfinite(value)] for runs in groups.values()]
    edges = [(min(found), max(found)) if found else (None, None) for found in values]
    return [median(found) for found in values], [low for low, _ in edges], [high for _, high in edges]
