"""Many small networks as one program: runs that differ in seed, rate or decay are trained together."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines.in_process import Shelves, Told
from deepcollapse.sweeps.job import ELSEWHERE, TRAINED, Job, Outcome, conclude, do, failed, is_done, locked, training_of
from deepcollapse.sweeps.stacked.likeness import reason_against, reason_against_network, shared
from deepcollapse.sweeps.stacked.program import Member, alike, train_together
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.loop import build_network


@dataclass(frozen=True)
class Stacked:
    """Runs that differ in seed, rate, decay or momentum as one program, at most so many at once.

    Runs that cannot be stacked are run one after another; the reason stands in their provenance. `shelf` may hold data
    already, which serve jobs that look for data in the same place.

    On one thread of a CPU each perceptron (`mlp`) goes the way that it goes alone, bit for bit, whoever is stacked with
    it (those with tanh where the width is a multiple of 16). Other networks, threads and CUDA round otherwise: weights
    agree to about 1e-6 of their size after a step, and drift apart from there as they do between two machines.
    """

    most: int = 32
    shelf: Shelf | None = None

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, group by group."""
        shelves = Shelves(self.shelf)
        for group in groups(jobs):
            for start in range(0, len(group), self.most):
                yield from _together(group[start : start + self.most], shelves.of(group[0]), watcher)


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs that can be one program together, in the order in which they come."""
    found: dict[object, list[Job]] = {}
    for job in jobs:
        alike = (shared(job.recipe), job.afterwards, job.device, job.threads, job.data_root, job.download)
        found.setdefault(alike, []).append(job)
    return list(found.values())


def _together(jobs: Sequence[Job], shelf: Shelf, watcher: SweepWatcher) -> Iterator[Outcome]:
    """The outcomes of one stack, whose runs are held for the time being."""
    start = time.perf_counter()
    members: list[Member] = []
    alone: list[tuple[Job, str]] = []
    with contextlib.ExitStack() as held:
        for job in jobs:
            try:
                if not held.enter_context(locked(job)):
                    yield Outcome(job.key, job.run_path, "elsewhere", error=ELSEWHERE)
                elif is_done(job, shelf):
                    yield Outcome(job.key, job.run_path, "done")
                elif (job.run_path / TRAINED).is_file():
                    conclude(job, shelf)
                    yield Outcome(job.key, job.run_path, "done")
                elif reason := _reason_against(job, shelf):
                    alone.append((job, reason))
                else:
                    members.append(_member(job, shelf, watcher))
            except (Exception, SystemExit) as error:  # code of the user's own may call sys.exit
                yield failed(job, error)
        for stack in alike(members):
            for member in train_together(stack):
                yield _ended(member, shelf, (time.perf_counter() - start) / len(members))
    for job, reason in alone:
        yield do(job, shelf, Told(job.key, watcher), {"not_stacked": reason})


def _reason_against(job: Job, shelf: Shelf) -> str | None:
    """Why a job cannot be a member of a stack; None where it can."""
    if reason := reason_against(job.recipe):
        return reason
    splits = shelf.of(job.recipe)
    return reason_against_network(build_network(job.recipe, splits), splits.train)


def _member(job: Job, shelf: Shelf, watcher: SweepWatcher) -> Member:
    """The run of a job where it stands."""
    training = training_of(job, shelf, Told(job.key, watcher))
    done = training.restore()
    return Member(job, training, -1 if done is None else done)


def _ended(member: Member, shelf: Shelf, seconds: float) -> Outcome:
    """What comes after training, and what became of the member."""
    try:
        if member.error is not None:
            raise member.error
        conclude(member.job, shelf)
    except (Exception, SystemExit) as error:  # code of the user's own may call sys.exit
        return failed(member.job, error, seconds)
    return Outcome(member.job.key, member.job.run_path, "done", seconds)
