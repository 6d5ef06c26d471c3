"""Runs that are trained as one program, from wherever each of them stands to the last epoch."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.linalg import first_largest
from deepcollapse.sweeps.job import Job
from deepcollapse.sweeps.stacked.blocks import block_size
from deepcollapse.sweeps.stacked.data import StackedData
from deepcollapse.sweeps.stacked.descent import Descent
from deepcollapse.sweeps.stacked.stack import Stack
from deepcollapse.training.evaluate import Scores
from deepcollapse.training.loop import Training, seed_everything
from deepcollapse.training.recipe import Recipe


@dataclass
class Member:
    """A run of a stack: its job, its training, and the last epoch that stands in its folder; -1 for none."""

    job: Job
    training: Training
    epoch: int = -1
    error: BaseException | None = None
    place_in_data: int = 0

    @property
    def under_way(self) -> bool:
        """Whether there are epochs left for it."""
        return self.error is None and self.epoch < self.training.recipe.epochs


class Program:
    """The networks of some members, and their data, ready for epochs together."""

    def __init__(self, members: Sequence[Member], data: Mapping[str, StackedData]):
        self.members, self.data = list(members), data
        first = members[0].training
        self.recipe, self.place, self.loss = first.recipe, first.place, first.loss
        self.stack = Stack([member.training.network for member in members])
        decays, momenta = (
            self._each(lambda recipe, name=name: getattr(recipe, name)) for name in ("decay", "momentum")
        )
        self.descent = Descent(self.stack.parameters, self._momentum_buffers(), decays, momenta)
        norms = nn.modules.batchnorm._BatchNorm
        self.alone_too = not any(isinstance(module, norms) for module in first.network.modules())

    def _each(self, value: Callable[[Recipe], float]) -> Tensor:
        values = [value(member.training.recipe) for member in self.members]
        return torch.tensor(values, dtype=torch.float32, device=self.place.device)

    def _momentum_buffers(self) -> list[Tensor]:
        """Stacked momentum buffers; each member's optimiser looks into them."""
        buffers = [torch.zeros_like(p, requires_grad=False) for p in self.stack.parameters.values()]
        for i, member in enumerate(self.members):
            for p, stacked in zip(member.training.network.parameters(), buffers, strict=True):
                state = member.training.optimiser.state[p]
                if (before := state.get("momentum_buffer")) is not None:
                    stacked[i].copy_(before)
                if member.training.recipe.momentum:
                    state["momentum_buffer"] = stacked[i]
        return buffers

    def epoch(self, epoch: int) -> None:
        """Train for an epoch, and look at every member; what goes wrong with a member stays with it."""
        with self.place:
            self.train_epoch(epoch)
            found = {split: self.scores(data) for split, data in self.data.items()}
        for i, member in enumerate(self.members):
            if member.error is None:
                look(member, epoch, {split: scores[i] for split, scores in found.items()})

    def train_epoch(self, epoch: int) -> None:
        """One pass of every member over its training data; a member that diverges gets its error."""
        orders = []
        for member in self.members:
            orders.append(torch.Generator().manual_seed(seed_everything(member.training.recipe, epoch)))
            for group in member.training.optimiser.param_groups:
                group["lr"] = member.training.recipe.learning_rate(epoch)
        rates = self._each(lambda recipe: recipe.learning_rate(epoch))
        losses = []
        for x, y in self.data["train"].shuffled(self._datasets(), orders, self.recipe.batch, self.alone_too):
            each, gradients = self.stack.networks.gradients(x, y, self._losses)
            self.descent.step(gradients, rates)
            losses.append(each)
        for member, column in zip(self.members, torch.stack(losses).T.cpu(), strict=True):
            lost = column[~column.isfinite()]
            if len(lost):
                member.error = member.training.diverged(epoch, f"the loss is {lost[0].item()}")

    def _losses(self, logits: Tensor, y: Tensor) -> Tensor:
        """The mean loss of each member: (members, n, classes) and (members, n) -> (members,)."""
        if self.recipe.loss == "mse":
            wanted = functional.one_hot(y, logits.shape[2]).to(logits.dtype)
            return (logits - wanted).square().mean(dim=(1, 2))
        each = functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        return each.view(y.shape).mean(dim=1)

    @torch.no_grad()
    def scores(self, data: StackedData) -> list[Scores]:
        """Accuracy and loss of every member in eval mode."""
        hits = torch.zeros(len(self.members), dtype=torch.int64, device=self.place.device)
        total = torch.zeros(len(self.members), dtype=torch.float64, device=self.place.device)
        for x, y in data.in_order(self._datasets(), self.place.evaluation_batch):
            logits = self.stack.networks.logits(x, data.same)
            y = y.expand(len(self.members), -1)
            hits += (first_largest(logits.flatten(0, 1)).view(y.shape) == y).sum(dim=1)
            # One by one: a mean over each member's own numbers alone sums them as that of a single run does.
            each = [self.loss(own.contiguous(), labels) for own, labels in zip(logits, y, strict=True)]
            total += torch.stack(each).double() * y.shape[1]
        found = zip(hits.tolist(), total.tolist(), strict=True)
        return [Scores(hit / data.length, loss / data.length) for hit, loss in found]

    def _datasets(self) -> list[int]:
        return [member.place_in_data for member in self.members]


def look(member: Member, epoch: int, known: Mapping[str, Scores] | None = None) -> None:
    """Evaluate and measure one member; what goes wrong is the member's own."""
    seed_everything(member.training.recipe, epoch)
    try:
        with member.training.place:
            member.training.look(epoch, known)
        member.epoch = epoch
    except (Exception, SystemExit) as error:
        member.error = error


def stacked_data(members: Sequence[Member]) -> dict[str, StackedData]:
    """The data of the members by split; each member remembers which are its own."""
    device = members[0].training.place.device
    for i, member in enumerate(members):
        member.place_in_data = i
    splits = [member.training.splits for member in members]
    found = {"train": StackedData([cast(Dataset, held.train) for held in splits], device)}
    tests = [held.test for held in splits if isinstance(held.test, Dataset)]
    return found | ({"test": StackedData(tests, device)} if len(tests) == len(splits) else {})


def alike(members: Sequence[Member]) -> list[list[Member]]:
    """The members whose data have the same shape: those that draw their own may come to different sizes."""
    found: dict[object, list[Member]] = {}
    for member in members:
        splits = member.training.splits
        test = None if splits.test is None else len(splits.test.labels) if isinstance(splits.test, Dataset) else -1
        found.setdefault((len(cast(Dataset, splits.train)), test), []).append(member)
    return list(found.values())


def train_together(members: Sequence[Member]) -> Iterator[Member]:
    """Train the members to the end, and give each of them as soon as it is there or has failed.

    Members may stand at different epochs: those that are behind are brought up first, and the others join in.
    """
    for member in members:
        if member.under_way and member.epoch < 0:
            look(member, 0)
    yield from (member for member in members if not member.under_way)
    programs: list[Program] = []
    data = stacked_data(members)
    for epoch in range(1, members[0].training.recipe.epochs + 1):
        active = [member for member in members if member.under_way and member.epoch < epoch]
        if active != [member for program in programs for member in program.members]:
            size = block_size(active[0].training, len(active)) if active else 1
            programs = [Program(active[i : i + size], data) for i in range(0, len(active), size)]
        for program in programs:
            program.epoch(epoch)
            yield from (member for member in program.members if not member.under_way)
