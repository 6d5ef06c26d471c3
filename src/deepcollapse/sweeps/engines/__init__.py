"""Where the runs of a sweep are run: an engine takes jobs, and gives an outcome for each as it comes."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from deepcollapse.sweeps.job import Job, Outcome
    from deepcollapse.sweeps.watch import SweepWatcher


@runtime_checkable
class Engine(Protocol):
    """Runs jobs, in whatever order and however many at once."""

    def run(self, jobs: "Sequence[Job]", watcher: "SweepWatcher") -> "Iterator[Outcome]":
        """One outcome for each job, as they end; a job that fails is an outcome like any other."""
        ...
