"""Jobs that are handed out together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines.stacked import Stacked
from deepcollapse.sweeps.job import Job, Outcome
from deepcollapse.sweeps.watch import SweepWatcher


@dataclass(frozen=True)
class Bundle:
    """Jobs that one worker trains as one program."""

    jobs: tuple[Job, ...]

    def run(self, shelf: Shelf, watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, as they come."""
        return Stacked(shelf=shelf).run(self.jobs, watcher)


def without(job: Job | Bundle | None, key: str) -> Bundle | None:
    """What is left of a worker's work when this run of it has ended."""
    left = tuple(each for each in job.jobs if each.key != key) if isinstance(job, Bundle) else ()
    return Bundle(left) if left else None


def single(jobs: Sequence[Job | Bundle]) -> list[Job]:
    """The jobs, one by one."""
    return [job for each in jobs for job in (each.jobs if isinstance(each, Bundle) else (each,))]
