"""The batches of several members at once: each member's own data in its own order."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.training.data import Splits

# So many bytes of data are held ready for one stack, which is beside what its members keep themselves: the whole of
# CIFAR-10 (0.7 GiB) where it is shared, and small enough for two workers on a machine of 8 GiB. Runs that each draw
# data of their own make smaller stacks.
ROOM = 1 << 30


class StackedData:
    """A split of each member, held ready for the network in memory, once where members share it."""

    def __init__(self, splits: Sequence[Dataset], device: torch.device):
        self.length = len(splits[0])
        different = list({id(split): split for split in splits}.values())
        self.same = len(different) == 1
        for i, split in enumerate(different):
            x, y = next(iter(split.batches(len(split))))
            if i == 0:  # one by one into their place: all of them side by side beforehand would take as much again
                self.images = torch.empty((len(different), *x.shape), dtype=x.dtype, device=device)
                self.labels = torch.empty((len(different), *y.shape), dtype=y.dtype, device=device)
            self.images[i], self.labels[i] = x, y
        self.images, self.labels = self.images.flatten(0, 1), self.labels.flatten()
        places = {id(split): i for i, split in enumerate(different)}
        self._offsets = torch.tensor([[places[id(split)] * self.length] for split in splits])

    def shuffled(
        self, members: Sequence[int], generators: Sequence[torch.Generator], batch: int, alone_too: bool
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (members, n, ...) and labels (members, n) of these members, each in the order that its generator
        draws; batches of a single sample come where they are wanted `alone_too`."""
        orders = torch.stack([torch.randperm(self.length, generator=generator) for generator in generators])
        for index in self._places(orders, members).split(batch, dim=1):
            if alone_too or index.shape[1] > 1:
                yield self._at(index)

    def in_order(self, members: Sequence[int], batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches in the order of the data: (n, ...) and (n,) where all members share them, else with members first."""
        if self.same:
            yield from zip(self.images.split(batch), self.labels.split(batch), strict=True)
            return
        for index in self._places(torch.arange(self.length), members).split(batch, dim=1):
            yield self._at(index)

    def _places(self, orders: Tensor, members: Sequence[int]) -> Tensor:
        return (orders + self._offsets[list(members)]).to(self.images.device)

    def _at(self, index: Tensor) -> tuple[Tensor, Tensor]:
        x = self.images.index_select(0, index.flatten())
        return x.view(*index.shape, *self.images.shape[1:]), self.labels[index]


def bytes_ready(splits: Splits) -> dict[int, int]:
    """What each split of a run takes when it is held ready, by its identity."""
    found = {}
    for split in (splits.train, splits.test):
        if isinstance(split, Dataset):
            x, y = next(iter(split.batches(1)))
            found[id(split)] = (x.nbytes + y.nbytes) * len(split)
    return found
