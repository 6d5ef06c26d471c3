"""The runs of a sweep's folder as a table: their settings, how they stand, and what was measured at their end."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deepcollapse.errors import RunError
from deepcollapse.records import digest_of
from deepcollapse.records.final import ACCURACY_TEST, ACCURACY_TRAIN, HIDDEN, VARIABILITY, Key, ending
from deepcollapse.records.sweep import PLAN, STATES, State, read_plan, run_path
from deepcollapse.report.words import words_for

# What a reader looks for first, in this order.
MEASURES: tuple[Key, ...] = (
    ACCURACY_TEST,
    ACCURACY_TRAIN,
    VARIABILITY,
    ("equinorm_means", "head.input", "train"),
    ("equinorm_classifier", "head", "train"),
    ("equiangularity_means", "head.input", "train"),
    ("equiangularity_classifier", "head", "train"),
    ("maximal_angle_means", "head.input", "train"),
    ("maximal_angle_classifier", "head", "train"),
    ("self_duality", "head.input", "train"),
    ("nearest_class_mean_disagreement", "head.input", "train"),
    ("nearest_class_mean_disagreement", "head.input", "test"),
    ("rank_at_one_percent_weight", HIDDEN, None),
    ("effective_rank_weight", HIDDEN, None),
    ("stable_rank_weight", HIDDEN, None),
    ("relative_distance_to_rank_k_weight", HIDDEN, "train"),
    ("effective_rank_features", "head.input", "train"),
    ("relative_cluster_variation", HIDDEN, "train"),
    ("cdnv", "head.input", "train"),
    ("cdnv", "head.input", "test"),
    ("loss", "network", "train"),
    ("loss_with_decay", "network", "train"),
    ("loss", "network", "test"),
    ("tpt_onset", "network", None),
)
_SHARES = ("accuracy", "disagreement")
_NO_RESULT = ("learning_rate", "tpt_onset_strict")


@dataclass(frozen=True)
class SweepRun:
    """One run: its name, recipe, how it stands, and the numbers at its end; `error` is the traceback of a failure."""

    key: str
    recipe: Mapping[str, Any]
    state: State
    path: Path
    values: Mapping[Key, float | int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Measure:
    """A measure as the page calls it; `share` is for those that are told in per cent."""

    key: Key
    title: str
    meaning: str
    share: bool

    @classmethod
    def of(cls, key: Key) -> "Measure":
        """The measure in plain words."""
        name, where, split = key
        words = words_for(name)
        title = f"{words.symbol}: {words.plain}" if words.symbol else words.plain
        title += ", mean over hidden layers" if where == HIDDEN else ""
        title += f" ({split})" if split and (split != "train" or name in ("accuracy", "loss")) else ""
        return cls(key, title, words.meaning, any(part in name for part in _SHARES))


@dataclass(frozen=True)
class SweepRuns:
    """All runs of a sweep. `varying` are the settings in which recipes differ, each with its values in order."""

    folder: Path
    runs: Sequence[SweepRun]
    varying: Mapping[str, Sequence[Any]]
    common: Mapping[str, Any]
    measures: Sequence[Measure]

    def counts(self) -> dict[State, int]:
        """How many runs stand how."""
        return {state: sum(run.state == state for run in self.runs) for state in STATES}


def is_sweep(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a sweep."""
    return (Path(folder) / PLAN).is_file()


def read_sweep(folder: str | os.PathLike[str], measures: Sequence[str] | None = None) -> SweepRuns:
    """The runs of the sweep in a folder, with the measures of these names, or those that readers look for first.

    Raises RunError where there is no sweep that can be read, or a measure was taken of no run.
    """
    place = Path(folder)
    plan = read_plan(place)
    keys = plan.get("keys") or map(digest_of, plan["recipes"])
    recipes = [_hashable(recipe) for recipe in plan["recipes"]]
    names = list(dict.fromkeys(name for recipe in recipes for name in recipe))
    values = {name: _ordered(recipe.get(name) for recipe in recipes) for name in names}
    runs = [_run(place, key, recipe) for key, recipe in zip(keys, recipes, strict=True)]
    found = list(dict.fromkeys(key for run in runs for key in run.values))
    common = {name: found[0] for name, found in values.items() if len(found) == 1}
    varying = {name: found for name, found in values.items() if len(found) > 1}
    return SweepRuns(place, runs, varying, common, [Measure.of(key) for key in _chosen(found, measures, place)])


def _hashable(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}


def _ordered(values: Iterable[Any]) -> list[Any]:
    """Each value once: numbers by size after what is not given, others as they come."""
    found = list(dict.fromkeys(values))
    numeric = all(value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in found)
    return sorted(found, key=lambda value: (value is not None, value or 0)) if numeric else found


def _run(folder: Path, key: str, recipe: Mapping[str, Any]) -> SweepRun:
    found = ending(folder, key, recipe.get("epochs"))
    return SweepRun(key, recipe, found.state, run_path(folder, key), found.values, found.error)


def _chosen(found: Sequence[Key], measures: Sequence[str] | None, folder: Path) -> list[Key]:
    if measures is None:
        more = [key for key in found if key[1] == "network" and key not in MEASURES and key[0] not in _NO_RESULT]
        return [key for key in MEASURES if key in set(found)] + more
    for name in measures:
        if found and not any(key[0] == name for key in found):
            known = ", ".join(sorted({key[0] for key in found}))
            raise RunError(f"{name} was measured in no run of {folder}. Measured were {known}.")
    return [key for name in measures for key in found if key[0] == name]
