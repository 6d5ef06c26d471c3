"""What a sweep found, in a few numbers: a row for each combination of settings, medians over the seeds.

Reads the records line by line and imports neither torch nor pandas.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deepcollapse.records.final import ACCURACY_TEST, ACCURACY_TRAIN, VARIABILITY, Ending, Key, ending
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep, key_of


@dataclass(frozen=True)
class Combination:
    """The runs of one combination of settings: how many there are to be, how many are done, and medians over these."""

    settings: dict[str, Any]
    runs: int
    done: int
    accuracy_test: float | None
    accuracy_train: float | None
    within_class_variability: float | None


def endings(sweep: Sweep, folder: SweepFolder) -> dict[str, Ending]:
    """How each run of a sweep stands, by its key, and what was measured at its last epoch."""
    return {key: ending(folder.path, key, recipe.epochs) for key, recipe in sweep.named().items()}


def combinations(sweep: Sweep, found: Mapping[str, Ending]) -> tuple[Combination, ...]:
    """A row for each combination of the settings that are swept, other than the seed, in the sweep's order."""
    names = [name for name in sweep.axes() if name != "seed"]
    groups: dict[tuple[Any, ...], list[Ending]] = {}
    for recipe in sweep.recipes:
        groups.setdefault(tuple(getattr(recipe, name) for name in names), []).append(found[key_of(recipe)])
    return tuple(_combination(dict(zip(names, values, strict=True)), runs) for values, runs in groups.items())


def _combination(settings: dict[str, Any], runs: Sequence[Ending]) -> Combination:
    done = [run.values for run in runs if run.state == "done"]
    medians = (_median(done, key) for key in (ACCURACY_TEST, ACCURACY_TRAIN, VARIABILITY))
    return Combination(settings, len(runs), len(done), *medians)


def _median(runs: Sequence[Mapping[Key, float | int]], key: Key) -> float | None:
    known = [values[key] for values in runs if key in values]
    return float(statistics.median(known)) if known else None
