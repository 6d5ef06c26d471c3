"""Running a sweep: what is not there yet is run, and what goes wrong is kept and told."""

import os
from pathlib import Path

from deepcollapse.sweeps.engines import Engine
from deepcollapse.sweeps.engines.in_process import InProcess
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.job import Job, Outcome
from deepcollapse.sweeps.sweep import Sweep, key_of
from deepcollapse.sweeps.watch import SweepWatcher


def run_sweep(
    sweep: Sweep,
    out: str | os.PathLike[str],
    *,
    engine: Engine | None = None,
    device: str | None = None,
    threads: int | None = None,
    data_root: str | os.PathLike[str] | None = None,
    download: bool = False,
    watcher: SweepWatcher | None = None,
) -> tuple[Outcome, ...]:
    """Run the recipes of a sweep in the folder `out`; runs that are done there are not run again.

    Returns an outcome for each recipe, in the sweep's order. Runs that fail leave their traceback in
    `out`/failures and the others unharmed; asking again takes them up again. Runs go to `out`/runs/DIGEST.

    Raises RunError where the folder holds something else or cannot be written.
    """
    folder, watcher = SweepFolder(Path(out)), watcher or SweepWatcher()
    folder.plan(sweep)
    root = None if data_root is None else os.fspath(data_root)
    jobs = [Job(recipe, folder.path, sweep.afterwards, device, threads, root, download) for recipe in sweep.recipes]
    watcher.start(sweep, sum(folder.state(recipe) == "done" for recipe in sweep.recipes))
    outcomes = {}
    for outcome in (engine or InProcess()).run(jobs, watcher):
        outcomes[outcome.key] = outcome
        watcher.ended(outcome)
    return tuple(outcomes[key_of(recipe)] for recipe in sweep.recipes)
