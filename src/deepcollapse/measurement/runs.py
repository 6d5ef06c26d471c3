"""Runs of a network over its data: the first one fills the moments, later ones look again."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DistributedSampler

from deepcollapse.errors import BatchError
from deepcollapse.measurement.batches import Batch, ReadBatch, network_place, read_batch, to_place
from deepcollapse.measurement.capture import Capture, Captured
from deepcollapse.measurement.passes import FirstPass, Intake, Kept
from deepcollapse.measurement.state import Randomness
from deepcollapse.measurement.wrappers import runnable


@dataclass(frozen=True)
class Source:
    """The data and how to read it; see `measure` for each."""

    batches: Iterable[Any]
    custom: ReadBatch | None
    budget: int
    progress: Callable[[int], None] | None
    distributed: bool

    @property
    def runs_once(self) -> bool:
        """Whether the batches are an iterator, which has nothing more to give after one run."""
        return isinstance(self.batches, Iterator)

    @property
    def together(self) -> bool:
        """Whether several processes measure their shares of the data together."""
        return self.distributed and dist.is_available() and dist.is_initialized()

    def padding(self, seen: int) -> str | None:
        """What to say where DistributedSampler repeated or dropped samples; `seen` are those of all processes."""
        sampler = getattr(self.batches, "sampler", None)
        if not (self.together and isinstance(sampler, DistributedSampler)):
            return None
        expected = len(sampler.dataset)  # pyright: ignore[reportArgumentType]
        if seen == expected:
            return None
        return (
            f"{seen} samples were measured and the data set has {expected}: DistributedSampler repeats or drops some, "
            "so that all processes have as many. Give each process its own, for example Subset(data, range(rank, "
            "len(data), world_size))"
        )


class Runs:
    """Runs of one network over the same batches; every run starts from the same random state."""

    def __init__(self, capture: Capture, source: Source, intake: Intake, randomness: Randomness) -> None:
        self.capture, self.source, self.intake, self.randomness = capture, source, intake, randomness
        self.kept, self.count = Kept(source.budget), 0
        self.device, self.dtype = network_place(capture.network)

    def first(self, first: FirstPass) -> None:
        """Run once and fill `first`. Going over these `Runs` afterwards gives the batches again."""
        for captured in self._run():
            self.kept.add(first.add(captured))
        if self._agree(self.kept.batches is None)[0]:
            self.kept.batches = None  # full in one process: all run again, since they wait for each other

    def __iter__(self) -> Iterator[Captured]:
        """The batches as the first run left them: those kept, or those of another run."""
        if self.kept.batches is not None:
            yield from self.kept.batches
            return
        number = -1
        for number, captured in enumerate(self._run()):
            yield self.intake(captured, number)[0]
        if number < 0:
            raise BatchError(
                f"the features take {self.kept.bytes} bytes, more than the memory budget of {self.kept.budget}, so the "
                "batches are needed a second time, and they came as an iterator that runs once. Pass a DataLoader or a "
                "list, or raise memory_budget."
            )

    def _run(self) -> Iterator[Captured]:
        self.count += 1
        self.randomness.restore()
        network = runnable(self.capture.network)
        for number, (batch, counts) in enumerate(self._in_step(), start=1):
            args, kwargs = (to_place(part, self.device, self.dtype) for part in (batch.args, batch.kwargs))
            if counts:
                self.capture.expect(batch.labels)
            output = network(*args, **kwargs)
            if counts:
                yield self.capture.take(output)
            if self.source.progress is not None:
                self.source.progress(number)

    def _in_step(self) -> Iterator[tuple[Batch, bool]]:
        """The batches, and whether they count; a process that has run out repeats its last one until all have.

        Sharded networks talk to each other in every forward pass, so each process must make as many.
        """
        own = (read_batch(batch, self.source.custom) for batch in self.source.batches)
        if not self.source.together:
            yield from ((batch, True) for batch in own)
            return
        last: Batch | None = None
        while True:
            batch = next(own, None)
            going, without = self._agree(batch is not None, batch is None and last is None)
            if not going:
                return
            if without:
                raise BatchError(
                    f"{without} of {dist.get_world_size()} processes have no batch at all; give each at least one."
                )
            last = batch or last
            assert last is not None
            yield last, batch is not None

    def _agree(self, *flags: bool) -> list[int]:
        """In how many processes each of the flags is set."""
        if not self.source.together:
            return [int(flag) for flag in flags]
        counts = torch.tensor([int(flag) for flag in flags], dtype=torch.int64, device=self.device)
        dist.all_reduce(counts)
        return counts.tolist()
