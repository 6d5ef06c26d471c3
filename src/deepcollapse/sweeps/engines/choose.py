"""Which engine serves: small networks of one make are trained as one program, others one by one."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from deepcollapse.errors import OptionError
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines.bundle import Bundle
from deepcollapse.sweeps.engines.in_process import InProcess, Shelves
from deepcollapse.sweeps.engines.processes import Processes
from deepcollapse.sweeps.engines.stacked import Stacked, groups
from deepcollapse.sweeps.job import Job, Outcome
from deepcollapse.sweeps.stacked.likeness import reason_against, reason_against_network
from deepcollapse.sweeps.stacked.perceptron import Perceptrons
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.opening import build_network
from deepcollapse.training.place import multiply_adds

# So many runs of one make are worth a stack, and so many multiply-adds of a batch are too many for one on a CPU: the
# products then take the time, and they are the same in a stack (benchmarks/stacked_training.py).
FEW, LARGE = 2, 50_000_000
MOST = 32


@dataclass(frozen=True)
class Automatic:
    """Stacked where a few small networks of one make wait, else one by one; in so many processes.

    `jobs` processes beat one process with as many threads: measures and small products do not share their work out.
    With more than one, each stack is divided among the workers. Raises OptionError for less than one job.
    """

    jobs: int = 1
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        """Refuse less than one job."""
        if self.jobs < 1:
            raise OptionError(f"jobs must be at least 1; got {self.jobs}.")

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, stacks first."""
        shelves = Shelves(self.shelf)
        stacks, others = divided(jobs, shelves)
        if self.jobs > 1:
            bundles = [bundle for stack in stacks for bundle in _shared_out(stack, self.jobs)]
            yield from Processes(self.jobs).run([*bundles, *others], watcher)
            return
        for stack in stacks:
            yield from Stacked(MOST, shelves.of(stack[0])).run(stack, watcher)
        for job in others:
            yield from InProcess(shelves.of(job)).run([job], watcher)


def divided(jobs: Sequence[Job], shelves: Shelves) -> tuple[list[list[Job]], list[Job]]:
    """The jobs that are worth stacking, in their groups, and all others."""
    stacks, others = [], []
    for group in groups(jobs):
        if len(group) >= FEW and _small(group[0], shelves):
            stacks.append(group)
        else:
            others.extend(group)
    return stacks, others


def _small(job: Job, shelves: Shelves) -> bool:
    """Whether a stack of such runs takes less time than they do one by one."""
    if reason_against(job.recipe):
        return False
    try:
        splits = shelves.of(job).of(job.recipe)
        network = build_network(job.recipe, splits)
        if reason_against_network(network, splits.train):
            return False
        x, _ = next(iter(splits.train.batches(1)))
    except Exception:  # the run's own turn tells of it
        return False
    on_cpu = (job.device or ("cuda" if torch.cuda.is_available() else "cpu")).startswith("cpu")
    if not on_cpu:
        return True
    return Perceptrons.serves(network) and multiply_adds(network, x) * job.recipe.batch < LARGE


def _shared_out(stack: Sequence[Job], workers: int) -> list[Bundle]:
    """The jobs of a stack in bundles of one size, as many as the workers or a multiple of it."""
    count = workers * -(-len(stack) // (workers * MOST))
    bounds = [round(i * len(stack) / count) for i in range(count + 1)]
    return [Bundle(tuple(stack[a:b])) for a, b in itertools.pairwise(bounds) if b > a]
