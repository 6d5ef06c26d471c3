"""`deepcollapse sweep run`: every recipe of a sweep, those that are there already left as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deepcollapse.cli.engines import EngineName, engine_of
from deepcollapse.cli.sweep.planned import Planned
from deepcollapse.cli.sweep.progress import SweepProgress
from deepcollapse.cli.sweep.shown import facts, held_to, show_found, show_unfinished, write_page_of
from deepcollapse.cli.terminal import Interrupted, say, say_json
from deepcollapse.sweeps.combinations import endings
from deepcollapse.sweeps.folder import SweepFolder
from deepcollapse.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from deepcollapse.sweeps.engines import Engine
    from deepcollapse.sweeps.job import Outcome


@dataclass(frozen=True)
class SweepRun(Planned):
    """Run every combination of a recipe's settings, and compare what came of them on one page.

    Runs that are done are not run again, and one that was stopped goes on: the same command, after whatever happened,
    does what is left. With more seeds or values in it, it runs those alone.
    """

    jobs: int = 1
    """Runs at once, in worker processes; with --engine ray, tasks at once (as many as it has room for, if 1)."""
    engine: EngineName = "auto"
    """Where runs are run: in this process, in worker processes, small networks stacked into one program, or on a Ray
    cluster; auto chooses among those of this machine."""
    address: str | None = None
    """Of a Ray cluster, such as auto or HOST:6379; Ray is started on this machine if not given."""
    cpus_per_run: float = 1.0
    """CPUs that Ray sets aside for a run."""
    gpus_per_run: float = 0.0
    """GPUs that Ray sets aside for a run; 0.25 puts four runs on one."""
    retrain: bool = False
    """Train anew what was made by another version or on other data, in place of refusing it; the old runs are moved to
    the sweep's folder old."""
    dry_run: bool = False
    """Say how many runs there are, how many are done, and how long the others will take; train nothing."""

    def run(self) -> int:
        """Run what is left, then show what was found and where the page is."""
        sweep = self.sweep()
        out = self.folder(sweep)
        if self.dry_run:
            from deepcollapse.cli.sweep.dry_run import show_dry_run

            show_dry_run(sweep, SweepFolder(out), self)
            return 0
        folder = SweepFolder(out)
        outcomes = self._outcomes(sweep, out, self._engine())
        found = endings(sweep, folder)
        outcomes = held_to(found, outcomes)
        page = write_page_of(out)
        if self.json:
            say_json(facts(sweep, folder, found, outcomes, page))
        else:
            show_found(sweep, found)
            show_unfinished(sweep, folder, outcomes)
            print(f"\nPage: {page}")
        return 1 if any(outcome.state == "failed" for outcome in outcomes) else 0

    def _outcomes(self, sweep: Sweep, out: Path, engine: "Engine") -> "Sequence[Outcome]":
        if not self.json:
            say(f"Folder of the sweep: {out}")
        try:
            with SweepProgress(SweepFolder(out), quiet=self.json) as progress:
                from deepcollapse.sweeps import run_sweep

                return run_sweep(sweep, out, engine=engine, retrain=self.retrain, watcher=progress, **self.resources())
        except KeyboardInterrupt:
            done = len(SweepFolder(out).done(sweep))
            kept = "them, and of those that were begun" if done else "of those that were begun"
            raise Interrupted(
                f"Stopped with {done or 'none'} of {len(sweep.recipes)} runs done; {out} keeps {kept} what was "
                "trained up to the last checkpoint. The same command goes on with them."
            ) from None

    def _engine(self) -> "Engine":
        return engine_of(self.engine, self.jobs, self.address, cpus=self.cpus_per_run, gpus=self.gpus_per_run)
