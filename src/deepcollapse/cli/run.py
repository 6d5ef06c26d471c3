"""`deepcollapse run DIR --index I`: one run of a planned sweep, as a cluster's queue starts them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from deepcollapse.cli.progress import Progress
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.errors import OptionError
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.training.recipe import Recipe

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Outcome
    from deepcollapse.sweeps.sweep import Sweep

# 75 is what system programs end with when the same thing may go well later.
CODES = {"done": 0, "failed": 1, "elsewhere": 75}


@dataclass(frozen=True)
class Run:
    """Do one run of a sweep that `deepcollapse sweep plan` wrote down, say in a Slurm array.

    A run that is done is not run again, and one that was stopped goes on. The exit code is 0 when the run is done, 1
    when it failed, 75 when another process has it just now.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder of the sweep."""
    index: int
    """Which of its runs, from 0; $SLURM_ARRAY_TASK_ID in a Slurm array."""
    device: str | None = None
    """cpu, cuda or cuda:1; CUDA where there is one, if not given."""
    threads: int | None = None
    """Threads for computing; as many as serve the size of the work, if not given."""
    data_root: Path | None = None
    """Where data sets lie; the environment variable DEEPCOLLAPSE_DATA or a cache folder, if not given."""
    download: bool = False
    """Download the data set from its public source if it is not there."""
    json: bool = False
    """Print what became of the run as JSON, and nothing else."""

    def run(self) -> int:
        """Do what is left of the run, and say what became of it."""
        folder = SweepFolder(self.folder)
        sweep = folder.sweep()
        if not 0 <= self.index < len(sweep.recipes):
            raise OptionError(
                f"there is no run {self.index} in {self.folder}: its {len(sweep.recipes)} runs have the indices 0 to "
                f"{len(sweep.recipes) - 1}. Give one of these with --index."
            )
        recipe = sweep.recipes[self.index]
        outcome = self._outcome(recipe, sweep)
        if self.json:
            kept = {name: getattr(outcome, name) for name in ("key", "state", "seconds", "error")}
            say_json({"index": self.index, "path": str(outcome.run), **kept})
        else:
            self._say(outcome, folder.failure_path(recipe))
        return CODES[outcome.state]

    def _outcome(self, recipe: Recipe, sweep: "Sweep") -> "Outcome":
        from deepcollapse.sweeps.data import Shelf
        from deepcollapse.sweeps.identity import refuse_others
        from deepcollapse.sweeps.job import Job, do

        root = None if self.data_root is None else str(self.data_root)
        job = Job(recipe, self.folder, sweep.afterwards, self.device, self.threads, root, self.download)
        shelf = Shelf(root, self.download)
        refuse_others(
            [replace(job, recipe=one) for one in SweepFolder(self.folder).done(sweep) if one != recipe], shelf
        )
        try:
            with Progress(recipe, quiet=self.json) as progress:
                return do(job, shelf, progress)
        except KeyboardInterrupt:
            raise Interrupted(
                f"Stopped; {job.run_path} keeps what was trained up to the last checkpoint. The same command goes on "
                "with it."
            ) from None

    def _say(self, outcome: "Outcome", traceback: Path) -> None:
        if outcome.state == "done":
            say(f"Run {self.index} is done: {outcome.run}")
        elif outcome.state == "elsewhere":
            say(f"Run {self.index} is at another process just now: {outcome.run}")
        else:
            say(f"Run {self.index} failed: {outcome.error}")
            if traceback.is_file():  # on a full disk it could not be kept
                say(f"  Traceback: {traceback}")
