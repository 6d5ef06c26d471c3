"""What a sweep adds to the training of its runs: locks, plan, data, marks; and what worker processes add to that.

The same recipes are trained one by one, their data at hand, and as a sweep, in turn; one thread, CPU seconds. For
worker processes the clock tells, of one worker: what its start takes, and what lies between two runs.
"""

import itertools
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from deepcollapse.sweeps import Outcome, Sweep, run_sweep
from deepcollapse.sweeps.engines.processes import Processes
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training import Recipe, train
from deepcollapse.training.data import Splits, prepare
from timing import columns, compute_threads, in_turn, ratios, spread

SIZES = {"full": (8, 10, 5), "small": (3, 3, 2), "tiny": (2, 1, 1)}  # runs, epochs, rounds
LIMIT = 0.5  # seconds a run, in process


def run(size: str, threads: int) -> dict:
    """Seconds a run and ratios to training alone; of the sweep run again when all is done; of a worker process."""
    runs, epochs, rounds = SIZES[size]
    sweep = Sweep.grid(Recipe(epochs=epochs, measurements=3, per_class=50), seed=range(runs))
    with compute_threads(threads), tempfile.TemporaryDirectory() as folder:
        number = itertools.count()
        tasks = {
            "trained": lambda: _trained(sweep, Path(folder) / f"trained-{next(number)}"),
            "swept": lambda: run_sweep(sweep, Path(folder) / f"swept-{next(number)}"),
            "again": lambda: run_sweep(sweep, Path(folder) / "done"),
        }
        tasks["again"]()  # the data are ready and everything is imported before the clock counts
        for recipe in sweep.recipes:
            _data(recipe)
        seconds = in_turn(tasks, rounds, warm=False)
        return {
            "runs": runs,
            "epochs": epochs,
            **_told(seconds, runs),
            "worker": _worker(sweep, Path(folder) / "workers"),
        }


def _trained(sweep: Sweep, folder: Path) -> None:
    for number, recipe in enumerate(sweep.recipes):
        train(recipe, folder / str(number), splits=_data(recipe))


@cache
def _data(recipe: Recipe) -> Splits:
    """The data of a recipe, made ready once."""
    return prepare(recipe)


def _told(seconds: dict[str, list[float]], runs: int) -> dict[str, Any]:
    added = [(swept - trained) / runs for swept, trained in zip(seconds["swept"], seconds["trained"], strict=True)]
    alone = [second / runs for second in seconds["trained"]]
    return {
        "training": _middle(alone),
        "added": _middle(added),
        "ratio": ratios(seconds["swept"], seconds["trained"]),
        "again": _middle([second / runs for second in seconds["again"]]),
    }


def _worker(sweep: Sweep, folder: Path) -> dict[str, float]:
    """Seconds of the clock: until the worker is at its first run, and between two runs."""
    ends: list[tuple[float, Outcome]] = []

    class Clock(SweepWatcher):
        def ended(self, outcome: Outcome) -> None:
            ends.append((time.perf_counter(), outcome))

    start = time.perf_counter()
    run_sweep(sweep, folder, engine=Processes(1), watcher=Clock())
    between = [after - before - outcome.seconds for (before, _), (after, outcome) in itertools.pairwise(ends)]
    return {"start": ends[0][0] - start - ends[0][1].seconds, "between": sorted(between)[len(between) // 2]}


def _middle(values: list[float]) -> dict[str, float]:
    return ratios(values, [1.0] * len(values))


def table(result: dict) -> str:
    """Seconds, a run."""
    rows = [
        ("CPU seconds a run", "", "aim"),
        ("training alone", spread(result["training"]), ""),
        ("added by a sweep in this process", spread(result["added"], 3), f"< {LIMIT}"),
        ("a run that is done, run again", spread(result["again"], 4), ""),
        ("ratio of sweep to training alone", spread(result["ratio"]), ""),
        ("seconds of the clock, one worker", "", ""),
        ("its start", f"{result['worker']['start']:.1f}", ""),
        ("between two runs", f"{result['worker']['between']:.4f}", ""),
    ]
    return f"{result['runs']} runs of {result['epochs']} epochs on digits\n{columns(rows, (34, 26, 10))}"
