"""Many small networks as one program: runs that differ in seed, rate or decay are trained together."""

import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deepcollapse.errors import OptionError
from deepcollapse.sweeps.data import Shelf
from deepcollapse.sweeps.engines.in_process import Shelves, Told
from deepcollapse.sweeps.job import ELSEWHERE, TRAINED, Job, Outcome, conclude, do, failed, is_done, locked, training_of
from deepcollapse.sweeps.stacked.data import ROOM, bytes_ready
from deepcollapse.sweeps.stacked.likeness import reason_against, reason_against_network, shared
from deepcollapse.sweeps.stacked.notes import note_failed, note_together
from deepcollapse.sweeps.stacked.program import Member, alike, train_together
from deepcollapse.sweeps.watch import SweepWatcher
from deepcollapse.training.loop import build_network


@dataclass(frozen=True)
class Stacked:
    """Runs that differ in seed, rate, decay or momentum as one program, at most so many at once.

    Runs that cannot be stacked, and those of a stack that fails, are run one after another. Their provenance says
    which: `not_stacked` is the reason, `stacked` how many were trained together and whether that changes any number.
    `shelf` may hold data already, which serve jobs that look for data in the same place. Runs that draw data of their
    own are stacked as far as those take 1 GiB.

    On one thread of a CPU each perceptron (`mlp`) goes the way that it goes alone, bit for bit, whoever is stacked with
    it (those with tanh where the width is a multiple of 16). Other networks, threads and CUDA round otherwise: weights
    agree to 1e-6 of their norm after a step (on CPUs 3e-8 was measured at most), and the difference grows with training
    as it does between two machines: after nine steps it was 2e-7 for a small ResNet, 3e-2 for a ResNet-18 at high
    rates.

    Raises OptionError for an empty stack.
    """

    most: int = 32
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        """Refuse an empty stack."""
        if self.most < 1:
            raise OptionError(f"most must be at least 1; got {self.most}.")

    def run(self, jobs: Sequence[Job], watcher: SweepWatcher) -> Iterator[Outcome]:
        """The outcomes, group by group."""
        shelves = Shelves(self.shelf)
        for group in groups(jobs):
            waiting = deque(group)
            while waiting:
                yield from _Stack(self.most, shelves.of(group[0]), watcher).outcomes(waiting)


def groups(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs that can be one program together, in the order in which they come."""
    found: dict[object, list[Job]] = {}
    for job in jobs:
        alike = (shared(job.recipe), job.afterwards, job.device, job.threads, job.data_root, job.download)
        found.setdefault(alike, []).append(job)
    return list(found.values())


class _Stack:
    """Jobs that are trained together, held for the time being, and those that turn out to go alone."""

    def __init__(self, most: int, shelf: Shelf, watcher: SweepWatcher):
        self.most, self.shelf, self.watcher, self.start = most, shelf, watcher, time.perf_counter()
        self.members: list[Member] = []
        self.alone: list[tuple[Job, str]] = []
        self.held, self.sizes = contextlib.ExitStack(), dict[int, int]()

    def outcomes(self, waiting: deque[Job]) -> Iterator[Outcome]:
        """Take jobs off the front until the stack is full, and give what becomes of them."""
        with self.held:
            yield from self._gathered(waiting)
            stacks, seconds = alike(self.members), 1 / max(1, len(self.members))
            self.members.clear()  # nothing is kept of a stack that has ended, or failed for want of memory
            while stacks:
                yield from self._trained(stacks.pop(0), seconds)
        for job, reason in self.alone:
            yield do(job, self.shelf, Told(job.key, self.watcher), {"not_stacked": reason})

    def _gathered(self, waiting: deque[Job]) -> Iterator[Outcome]:
        """Find members; the outcomes of jobs that need no training, or that another process has."""
        while waiting and len(self.members) + len(self.alone) < self.most:
            job = waiting.popleft()
            with contextlib.ExitStack() as own:
                try:
                    if not own.enter_context(locked(job)):
                        yield Outcome(job.key, job.run_path, "elsewhere", error=ELSEWHERE)
                    elif is_done(job, self.shelf):
                        yield Outcome(job.key, job.run_path, "done")
                    elif (job.run_path / TRAINED).is_file():
                        conclude(job, self.shelf)
                        yield Outcome(job.key, job.run_path, "done")
                    elif reason := _reason_against(job, self.shelf):
                        self.alone.append((job, reason))
                    elif self._joins(job):
                        self.held.enter_context(own.pop_all())
                    else:
                        waiting.appendleft(job)
                        return
                except (Exception, SystemExit) as error:  # code of the user's own may call sys.exit
                    yield failed(job, error)

    def _joins(self, job: Job) -> bool:
        """Make a job a member, unless its data are more than there is room for beside those of the others."""
        sizes = self.sizes | bytes_ready(self.shelf.of(job.recipe))
        if self.members and sum(sizes.values()) > ROOM:
            return False
        training = training_of(job, self.shelf, Told(job.key, self.watcher))
        done = training.restore()
        self.members.append(Member(job, training, -1 if done is None else done))
        self.sizes = sizes
        return True

    def _trained(self, members: list[Member], share: float) -> Iterator[Outcome]:
        """The outcomes of members that are one program. Where that fails, those that are left go on alone."""
        left = {member.job.key: member for member in members}
        before = {member.job.key: member.epoch for member in members}
        try:
            note_together(members)
            for member in train_together(members):
                del left[member.job.key]
                yield _ended(member, self.shelf, (time.perf_counter() - self.start) * share)
        except (Exception, SystemExit) as error:  # what torch cannot map, memory that ran out, the user's own code
            reason = f"the stack failed, {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            for member in left.values():
                note_failed(member, reason, untouched=member.epoch <= max(0, before[member.job.key]))
                self.alone.append((member.job, reason))


def _reason_against(job: Job, shelf: Shelf) -> str | None:
    """Why a job cannot be a member of a stack; None where it can."""
    if reason := reason_against(job.recipe):
        return reason
    splits = shelf.of(job.recipe)
    if reason := reason_against_network(build_network(job.recipe, splits), splits.train):
        return reason
    if (size := sum(bytes_ready(splits).values())) > ROOM:
        return f"its data take {size / 2**30:.1f} GiB, and a stack holds at most {ROOM / 2**30:.1f} GiB ready"
    return None


def _ended(member: Member, shelf: Shelf, seconds: float) -> Outcome:
    """What comes after training, and what became of the member."""
    try:
        if member.error is not None:
            raise member.error
        with member.training.place:
            member.training.keep_weights()  # here, where it is done again if it was cut short
        conclude(member.job, shelf)
    except (Exception, SystemExit) as error:  # code of the user's own may call sys.exit
        return failed(member.job, error, seconds)
    return Outcome(member.job.key, member.job.run_path, "done", seconds)
