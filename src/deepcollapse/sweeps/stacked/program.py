"""Runs that are trained as one program, from wherever each of them stands to the last epoch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.datasets.dataset import Dataset
from deepcollapse.linalg import first_largest
from deepcollapse.sweeps.job import Job
from deepcollapse.sweeps.stacked.data import StackedData
from deepcollapse.sweeps.stacked.descent import Descent
from deepcollapse.sweeps.stacked.stack import Stack
from deepcollapse.training.evaluate import Scores
from deepcollapse.training.loop import Training, seed_everything


@dataclass
class Member:
    """A run of a stack: its job, its training, and the last epoch that stands in its folder; -1 for none."""

    job: Job
    training: Training
    epoch: int = -1
    error: Exception | None = None

    @property
    def under_way(self) -> bool:
        """Whether there are epochs left for it."""
        return self.error is None and self.epoch < self.training.recipe.epochs


class Program:
    """The networks of some members, and their data, ready for epochs together."""

    def __init__(self, members: Sequence[Member]):
        self.members = members
        self.recipe, self.device = members[0].training.recipe, members[0].training.place.device
        self.stack = Stack([member.training.network for member in members])
        decays, momenta = (self._each(lambda m, name=name: getattr(m.training.recipe, name)) for name in SETTINGS)
        self.descent = Descent(self.stack.parameters, self._momentum_buffers(), decays, momenta)
        splits = [member.training.splits for member in members]
        self.train = StackedData([cast(Dataset, s.train) for s in splits], self.device)
        tests = [s.test for s in splits if isinstance(s.test, Dataset)]
        self.test = StackedData(tests, self.device) if len(tests) == len(splits) else None
        norms = nn.modules.batchnorm._BatchNorm
        self.alone_too = not any(isinstance(module, norms) for module in members[0].training.network.modules())

    def _each(self, value: Callable[[Member], float]) -> Tensor:
        return torch.tensor([value(member) for member in self.members], dtype=torch.float32, device=self.device)

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

    def train_epoch(self, epoch: int) -> None:
        """One pass of every member over its training data; a member that diverges gets its error."""
        orders = []
        for member in self.members:
            orders.append(torch.Generator().manual_seed(seed_everything(member.training.recipe, epoch)))
            for group in member.training.optimiser.param_groups:
                group["lr"] = member.training.recipe.learning_rate(epoch)
        rates = self._each(lambda member: member.training.recipe.learning_rate(epoch))
        self.stack.train()
        losses = []
        for x, y in self.train.shuffled(orders, self.recipe.batch, self.alone_too):
            each = self._losses(self.stack(x), y)
            # Each member's parameters are in its own loss alone, so the sum has the gradients of all of them.
            self.descent.step(torch.autograd.grad(each.sum(), list(self.stack.parameters.values())), rates)
            losses.append(each.detach())
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
    def scores(self, data: StackedData, batch: int) -> list[Scores]:
        """Accuracy and loss of every member in eval mode."""
        self.stack.eval()
        hits = torch.zeros(len(self.members), dtype=torch.int64, device=self.device)
        total = torch.zeros(len(self.members), dtype=torch.float64, device=self.device)
        for x, y in data.in_order(batch):
            logits = self.stack.on_same(x) if data.same else self.stack(x)
            y = y.expand(len(self.members), -1)
            right = first_largest(logits.flatten(0, 1)).view(y.shape) == y
            hits += right.sum(dim=1)
            total += self._losses(logits, y).double() * y.shape[1]
        found = zip(hits.tolist(), total.tolist(), strict=True)
        return [Scores(hit / data.length, loss / data.length) for hit, loss in found]

    def look(self, epoch: int) -> None:
        """Each member's evaluation of the epoch, and its measurement where it is time."""
        splits = {"train": self.train, "test": self.test}
        batch = self.members[0].training.place.evaluation_batch
        found = {name: self.scores(data, batch) for name, data in splits.items() if data is not None}
        for i, member in enumerate(self.members):
            if member.error is None:
                look(member, epoch, {name: scores[i] for name, scores in found.items()})


SETTINGS = ("decay", "momentum")


def look(member: Member, epoch: int, known: dict[str, Scores] | None = None) -> None:
    """Evaluate and measure one member; what goes wrong is the member's own."""
    seed_everything(member.training.recipe, epoch)
    try:
        with member.training.place:
            member.training.look(epoch, known)
            if epoch == member.training.recipe.epochs:
                member.training.keep_weights()
        member.epoch = epoch
    except Exception as error:
        member.error = error


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
        if member.epoch < 0:
            look(member, 0)
    yield from (member for member in members if not member.under_way)
    program = None
    for epoch in range(1, members[0].training.recipe.epochs + 1):
        active = [member for member in members if member.under_way and member.epoch < epoch]
        if not active:
            continue
        if program is None or program.members != active:
            program = Program(active)
        program.train_epoch(epoch)
        program.look(epoch)
        yield from (member for member in active if not member.under_way)
