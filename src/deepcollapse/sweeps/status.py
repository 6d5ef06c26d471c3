"""How a sweep stands, read from its folder alone: any process may ask, at any time. Imports no torch."""

import contextlib
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deepcollapse.records.sweep import DONE, STATES, TAIL, State, error_line, failure_of, lock_path
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep, key_of

CLOCKS = 5.0  # seconds by which those of two machines may differ


@dataclass(frozen=True)
class RunStatus:
    """How one run stands.

    `index` is its place in the plan, `settings` those in which the sweep's recipes differ, `epoch` the last one that is
    recorded (None before the first), `error` the first line of what went wrong, and `traceback` its
    file, if there is one.
    """

    index: int
    key: str
    path: Path
    settings: dict[str, Any]
    state: State
    epoch: int | None
    epochs: int
    error: str | None = None
    traceback: Path | None = None


@dataclass(frozen=True)
class SweepStatus:
    """How a sweep stands. `seconds_left` is None where nothing was run yet that would tell."""

    folder: Path
    runs: tuple[RunStatus, ...]
    seconds_left: float | None

    @property
    def counts(self) -> dict[State, int]:
        """How many runs stand how."""
        found = Counter(run.state for run in self.runs)
        return {state: found[state] for state in STATES}

    def standing(self, *states: State) -> tuple[RunStatus, ...]:
        """The runs that stand so."""
        return tuple(run for run in self.runs if run.state in states)


def status(path: str | os.PathLike[str]) -> SweepStatus:
    """How the sweep in a folder stands. Raises RunError where there is none."""
    folder = SweepFolder(Path(path))
    sweep = folder.sweep()
    runs = tuple(_statuses(folder, sweep))
    return SweepStatus(folder.path, runs, _seconds_left(folder, runs))


def _statuses(folder: SweepFolder, sweep: Sweep) -> Iterator[RunStatus]:
    axes = sweep.axes()
    for index, recipe in enumerate(sweep.recipes):
        state, run, failure = folder.state(recipe), folder.run_path(recipe), folder.failure_path(recipe)
        error = error_line(failure_of(folder.path, key_of(recipe))) if state == "failed" else None
        settings = {name: getattr(recipe, name) for name in axes}
        epoch = recipe.epochs if state == "done" else epoch_reached(run)
        told = failure if state == "failed" and failure.is_file() else None
        yield RunStatus(index, key_of(recipe), run, settings, state, epoch, recipe.epochs, error, told)


def epoch_reached(run: Path) -> int | None:
    """The last epoch in a run's records; None where there is none yet."""
    try:
        with (run / "records.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().split(b"\n")[:-1]  # what follows the last end of a line is still being written
    except OSError:
        return None
    return max((epoch for epoch in map(_epoch, lines) if epoch is not None), default=None)


def _epoch(line: bytes) -> int | None:
    try:
        row = json.loads(line)
        return row["epoch"]
    except (ValueError, KeyError, TypeError):  # the first line of the tail may be half of one
        return None


def _seconds_left(folder: SweepFolder, runs: tuple[RunStatus, ...]) -> float | None:
    """What is left of runs that did not fail, at the pace of those before, so many at once as there are now.

    Runs that are done tell the pace best; before there are any, those that are running do.
    """
    todo = [run for run in runs if run.state in ("running", "stopped", "waiting")]
    if not todo:
        return 0.0
    paces = [_paces(folder, runs, state) for state in ("done", "running")]
    pace = next((statistics.median(found) for found in paces if found), None)
    if pace is None:
        return None
    left = sum(run.epochs - (run.epoch or 0) for run in todo)
    at_once = sum(run.state == "running" for run in todo)
    return left * pace / max(1, at_once)


def _paces(folder: SweepFolder, runs: tuple[RunStatus, ...], state: State) -> list[float]:
    known = (_seconds_an_epoch(folder, run) for run in runs if run.state == state)
    return [pace for pace in known if pace is not None]


def _seconds_an_epoch(folder: SweepFolder, run: RunStatus) -> float | None:
    """The pace of a run that is done or under way; of one that went on after a break nothing can be told."""
    if not run.epoch:
        return None
    try:
        begun = datetime.fromisoformat(json.loads((run.path / "provenance.json").read_text())["created"]).timestamp()
        until = (run.path / DONE).stat().st_mtime if run.state == "done" else time.time()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    with contextlib.suppress(OSError):  # a lock is taken before its run is begun, and again when it goes on
        if begun + CLOCKS < lock_path(folder.path, run.key).stat().st_mtime <= until:
            return None
    return max(0.0, until - begun) / run.epoch
