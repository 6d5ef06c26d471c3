"""One run after another, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.job import Job, Outcome, do
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.watch import EpochReport, Watcher


class Told(Watcher):
    """Tells of a run's epochs under its key."""

    def __init__(self, key: str, watcher: SweepWatcher):
        self.key, self.watcher = key, watcher

    def epoch(self, report: EpochReport) -> None:
        """Pass it on."""
        self.watcher.epoch(self.key, report.epoch, report.epochs)


@dataclass(frozen=True)
class InProcess:
    """One run after another, in this process; data that runs share are read once."""

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, in the order of the jobs."""
        shelves: dict[tuple[object, ...], Shelf] = {}
        for job in jobs:
            shelf = shelves.setdefault((job.data_root, job.download), Shelf(job.data_root, job.download))
            yield do(job, shelf, Told(job.key, watcher))
