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


class Shelves:
    """A shelf for each place that jobs have their data from."""

    def __init__(self, shelf: Shelf | None = None):
        self.known = {} if shelf is None else {(shelf.root, shelf.download): shelf}

    def of(self, job: Job) -> Shelf:
        """The shelf for a job's data."""
        return self.known.setdefault((job.data_root, job.download), Shelf(job.data_root, job.download))


@dataclass(frozen=True)
class InProcess:
    """One run after another, in this process; data that runs share are read once.

    `shelf` may hold data already, which serve jobs that look for data in the same place.
    """

    shelf: Shelf | None = None

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, in the order of the jobs."""
        shelves = Shelves(self.shelf)
        for job in jobs:
            yield do(job, shelves.of(job), Told(job.key, watcher))
