"""What a sweep found, in a few numbers: a row for each combination of settings, medians over the seeds.

Reads the records line by line and imports neither torch nor pandas.
"""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepcollapse.records.sweep import read_lines, read_row
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep

# What is told of every run: a measure, its layer and split, at the last epoch that has it.
TOLD = {
    "accuracy_test": ("accuracy", "network", "test"),
    "accuracy_train": ("accuracy", "network", "train"),
    "within_class_variability": ("within_class_variability", "head.input", "train"),
}


@dataclass(frozen=True)
class Found:
    """The runs of one combination of settings: how many there are to be, how many are done, and medians over these."""

    settings: dict[str, Any]
    runs: int
    done: int
    accuracy_test: float | None
    accuracy_train: float | None
    within_class_variability: float | None


def found(sweep: Sweep, folder: SweepFolder) -> tuple[Found, ...]:
    """A row for each combination of the settings that are swept, other than the seed, in the sweep's order."""
    names = [name for name in sweep.axes() if name != "seed"]
    groups: dict[tuple[Any, ...], list[Path | None]] = {}
    for recipe in sweep.recipes:
        run = folder.run_path(recipe) if folder.state(recipe) == "done" else None
        groups.setdefault(tuple(getattr(recipe, name) for name in names), []).append(run)
    return tuple(_found(dict(zip(names, values, strict=True)), runs) for values, runs in groups.items())


def _found(settings: dict[str, Any], runs: list[Path | None]) -> Found:
    last = [last_values(run / "records.jsonl") for run in runs if run is not None]
    medians = {name: _median(values.get(name) for values in last) for name in TOLD}
    return Found(settings, len(runs), len(last), **medians)


def last_values(records: Path) -> dict[str, float]:
    """What `TOLD` names, at the last epoch that has it; baselines are left out.

    Raises RunError where the records are missing or damaged.
    """
    wanted = {where: name for name, where in TOLD.items()}
    marks = tuple(f'"measure": "{measure}"'.encode() for measure, _, _ in wanted)
    values: dict[str, float] = {}
    for line in read_lines(records).splitlines():
        if not any(mark in line for mark in marks):  # reading every row as JSON would take ten times as long
            continue
        row = read_row(line, records)
        name = wanted.get((row["measure"], row["layer"], row["split"]))
        if name is not None and row["value"] is not None and row["baseline"] is None and row["array"] is None:
            values[name] = row["value"]
    return values


def _median(values: Iterable[float | int | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None
