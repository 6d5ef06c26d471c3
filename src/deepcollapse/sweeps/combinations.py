"""What a sweep found, in a few numbers: a row for each combination of settings, medians over the seeds.

Reads the records line by line and imports neither torch nor pandas.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from deepcollapse.records.final import Key, final_values
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep
from deepcollapse.training.recipe import Recipe

# What is told of every run, at its last epoch.
TOLD: dict[str, Key] = {
    "accuracy_test": ("accuracy", "network", "test"),
    "accuracy_train": ("accuracy", "network", "train"),
    "within_class_variability": ("within_class_variability", "head.input", "train"),
}


@dataclass(frozen=True)
class Combination:
    """The runs of one combination of settings: how many there are to be, how many are done, and medians over these."""

    settings: dict[str, Any]
    runs: int
    done: int
    accuracy_test: float | None
    accuracy_train: float | None
    within_class_variability: float | None


def combinations(sweep: Sweep, folder: SweepFolder) -> tuple[Combination, ...]:
    """A row for each combination of the settings that are swept, other than the seed, in the sweep's order.

    Raises RunError where the records of a run are missing or damaged.
    """
    names = [name for name in sweep.axes() if name != "seed"]
    groups: dict[tuple[Any, ...], list[Recipe]] = {}
    for recipe in sweep.recipes:
        groups.setdefault(tuple(getattr(recipe, name) for name in names), []).append(recipe)
    return tuple(
        _combination(dict(zip(names, values, strict=True)), recipes, folder) for values, recipes in groups.items()
    )


def _combination(settings: dict[str, Any], recipes: list[Recipe], folder: SweepFolder) -> Combination:
    done = [recipe for recipe in recipes if folder.state(recipe) == "done"]
    found = [final_values(folder.run_path(recipe) / "records.jsonl", recipe.epochs) for recipe in done]
    medians = {name: _median(values.get(key) for values in found) for name, key in TOLD.items()}
    return Combination(settings, len(recipes), len(done), **medians)


def _median(values: Iterable[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None
