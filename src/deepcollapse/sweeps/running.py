"""Running a sweep: what is not there yet is run, and what goes wrong is kept and told."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deepcollapse.errors import OptionError, RunError
from deepcollapse.sweeps.data import Shelf, data_key
from deepcollapse.sweeps.engines import Engine
from deepcollapse.sweeps.engines.in_process import InProcess
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.identity import others, refuse_others, set_aside
from deepcollapse.sweeps.job import Job, Outcome, is_done, locked
from deepcollapse.sweeps.sweep import Sweep, key_of
from deepcollapse.sweeps.trained import afterwards
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.recipe import Recipe

LOOK_AGAIN = 0.25  # seconds


def run_sweep(
    sweep: Sweep,
    out: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    device: str | None = None,
    threads: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    retrain: bool = False,
    patience: float | int = 10,
    watcher: SweepWatcher | None = None,
) -> tuple[Outcome, ...]:
    """Run the recipes of a sweep in the folder `out`; runs that are done there are not run again.

    Returns an outcome for each recipe, in the sweep's order. Runs that fail leave their traceback in
    `out`/failures and the others unharmed; asking again takes them up again. Runs go to `out`/runs/DIGEST. Runs that
    share their data follow one another. Those that another process has are come back to at the end, for as long as
    `patience` (seconds).

    Runs of another version or on other data, and be they in the folder from before, are found before anything is
    planned or trained. They are refused, or with `retrain` moved to `out`/old; those that were asked for are trained
    anew. (Data that only the user's own code can read are taken to be the same.)

    Raises RunError where the folder holds something else or cannot be written, for runs of another version or on other
    data, where one of these is to be moved and is at another process, and when the disk is full: every further run
    would fail too. What is done stays done. Raises OptionError, before anything is planned, for what is no sweep or no
    engine, and where there is no function `sweep.afterwards`.
    """
    _refuse_wrong_kinds(sweep, engine)
    if sweep.afterwards is not None:
        afterwards(sweep.afterwards)
    folder, watcher = SweepFolder(Path(out)), watcher or SweepWatcher()
    whole = folder.joined(sweep)
    root = None if data_root is None else os.fspath(data_root)
    planned = {
        recipe: Job(recipe, folder.path, whole.afterwards, device, threads, root, download) for recipe in whole.recipes
    }
    jobs, shelf = [planned[recipe] for recipe in sweep.recipes], Shelf(root, download)
    beside = [job for recipe, job in planned.items() if recipe not in sweep.recipes and folder.state(recipe) == "done"]
    if retrain:
        set_aside(others([*jobs, *beside], shelf))
    else:
        refuse_others([*jobs, *beside], shelf)
    folder.plan(sweep)
    watcher.start(sweep, len(folder.done(sweep)))
    outcomes = {}
    for outcome in _outcomes(engine or InProcess(shelf), _in_order_of_data(jobs), shelf, watcher, patience):
        outcomes[outcome.key] = outcome
        watcher.ended(outcome)
        if outcome.stops:
            raise _stopped(folder, sweep, outcome)
    return tuple(outcomes[key_of(recipe)] for recipe in sweep.recipes)


def _refuse_wrong_kinds(sweep: Any, engine: Any) -> None:
    if isinstance(sweep, Recipe):
        raise OptionError("run_sweep takes a sweep; got one recipe. Write run_sweep(Sweep((recipe,)), out).")
    if not isinstance(sweep, Sweep):
        raise OptionError(
            f"run_sweep takes a sweep; got a {type(sweep).__name__}. Write run_sweep(Sweep(tuple(recipes)), out)."
        )
    if not (engine is None or (isinstance(engine, Engine) and not isinstance(engine, type))):
        raise OptionError(
            f"engine is {engine!r}; it must be an engine of deepcollapse.sweeps.engines, such as "
            "processes.Processes(jobs=4)."
        )


def _in_order_of_data(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, those of one data set together, and of these those whose data are the very same."""
    sets, same = {}, {}
    for job in jobs:
        sets.setdefault(job.recipe.dataset, len(sets))
        same.setdefault(data_key(job.recipe), len(same))
    return sorted(jobs, key=lambda job: (sets[job.recipe.dataset], same[data_key(job.recipe)]))


def _outcomes(
    engine: Engine, jobs: Sequence[Job], shelf: Shelf, watcher: SweepWatcher, patience: float | int
) -> Iterator[Outcome]:
    """What became of each job: those that are done, those that the engine ran, those that were elsewhere meanwhile."""
    until = None
    while jobs:
        left, elsewhere = [], {}
        for job in jobs:
            if _done(job, shelf):
                yield Outcome(job.key, job.run_path, "done")
            else:
                left.append(job)
        running = engine.run(left, watcher) if left else iter(())
        with contextlib.closing(running) if hasattr(running, "close") else contextlib.nullcontext():  # pyright: ignore[reportArgumentType]
            for outcome in running:
                if outcome.state == "elsewhere":
                    elsewhere[outcome.key] = outcome
                else:
                    yield outcome
        until = until or time.monotonic() + patience
        jobs = [job for job in left if job.key in elsewhere]
        while jobs and not any(map(_free, jobs)):
            if time.monotonic() >= until:
                yield from elsewhere.values()
                return
            time.sleep(LOOK_AGAIN)


def _done(job: Job, shelf: Shelf) -> bool:
    try:
        return is_done(job, shelf)
    except Exception:  # the run's own turn tells of it
        return False


def _free(job: Job) -> bool:
    with locked(job) as free:
        return free


def _stopped(folder: SweepFolder, sweep: Sweep, outcome: Outcome) -> RunError:
    done = len(folder.done(sweep))
    return RunError(
        f"the sweep in {folder.path} was stopped at run {outcome.key}, because every further run would fail too: "
        f"{outcome.error} Of {len(sweep.recipes)} runs {done} are done, which are unharmed; the same command goes on "
        "from there."
    )
