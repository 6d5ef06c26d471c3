"""Trials of single weights in plain torch: a rank-one change where a weight acts, whole blocks of them at once.

A weight w_io of a map changes column o of Z by delta * X_i alone, so only channel o moves behind it, and the next map
by (change of o) times its row o: O(samples * next width). Layers above that run as they are. A change that leaves the
whole channel as it was (a dead relu) leaves the loss as it was. Everything is float64.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from deepcollapse.compression.ternary.point import Engine, Move, Point, chosen, rounding_of
from deepcollapse.compression.ternary.stages import Stage

LIMIT = 1 << 18  # numbers in the largest temporary of a block: 2 MiB, which stays in a processor's cache
_WORTH_GROUPING = 8  # trials a column from which on they are taken column by column
_FAR = 150.0  # a product of four exponentials of it is still a number
_FIRST_BLOCK, _LARGEST_BLOCK = 32, 4096


class TorchTrials(Engine):
    """An engine on torch: any chain."""

    def __init__(self, point: Point, features: Tensor, labels: Tensor, squared: bool, limit: int = LIMIT) -> None:
        self.point, self.labels, self.squared, self.limit = point, labels, squared, limit
        self.entering = features.transpose(0, 1).contiguous()
        self.x: list[Tensor] = []
        self.z: list[Tensor] = []
        self.a: list[Tensor] = []
        self.loss = self.refresh()

    def refresh(self) -> float:
        """Run all samples through all stages."""
        self.x, self.z, self.a = [], [], []
        a = self.entering
        for stage in self.point.stages:
            a = self._run(stage, a)
        self._weigh()
        self.least = rounding_of(self.x[-1], self.point.stages[-1].weight, self.loss, self.squared)
        return self.loss

    def _run(self, stage: Stage, a: Tensor) -> Tensor:
        self.x.append(stage.inputs(a))
        self.z.append(stage.mapped(self.x[-1], stage.places(a)))
        self.a.append(_own(stage.passed(self.z[-1]), self.z[-1]))
        return self.a[-1]

    def _weigh(self) -> None:
        self.loss = float(self._mean(self.a[-1][:, None])[0])
        self.rest: Tensor | None = None
        self.sums: Tensor | None = None

    def _mean(self, logits: Tensor) -> Tensor:
        return mean_loss(logits, self.labels, self.squared)

    def losses(self, coordinates: Tensor) -> Tensor:
        """Losses (coordinates, values), block by block."""
        point, values = self.point, torch.arange(len(self.point.values))
        found = torch.full((len(coordinates), len(values)), self.loss, dtype=torch.float64)
        stages, rows, columns = point.located(coordinates)
        codes = point.flat[coordinates]
        for index in stages.unique().tolist():
            which, value = ((stages == index)[:, None] & (values != codes[:, None])).nonzero(as_tuple=True)
            delta = point.scales[index] * point.values[value] - point.scales[index] * point.values[codes[which]]
            for part, channels in self._parts(index, columns[which]):
                at, v = which[part], value[part]
                found[at, v] = self._block(index, rows[at], channels, delta[part])
        return found

    def _parts(self, index: int, columns: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Trials of one stage in parts that memory allows, each with the columns of its trials.

        Where many trials share a column a part is of one column, named once: then nothing of it need be copied.
        """
        most = max(1, self.limit // self._size(index))
        different, counts = columns.unique(return_counts=True)
        if len(columns) < _WORTH_GROUPING * len(different):
            for part in torch.arange(len(columns)).split(most):
                yield part, columns[part]
            return
        groups = columns.argsort(stable=True).split(counts.tolist())
        for column, group in zip(different.split(1), groups, strict=True):
            for part in group.split(most):
                yield part, column

    def _size(self, index: int) -> int:
        """Numbers in the largest temporary of one trial."""
        if self._few_factors(index + 1):
            return self.z[index][0].numel()
        after = zip(self.x[index + 1 :], self.z[index + 1 :], strict=True)
        return max([self.z[index][0].numel(), *(max(x.numel(), z.numel()) for x, z in after)])

    def _block(self, index: int, rows: Tensor, columns: Tensor, delta: Tensor) -> Tensor:
        """The loss of each trial of one stage, (trials,); `columns` holds each one's, or one for all."""
        stage, z = self.point.stages[index], self.z[index]
        moved = self.x[index][rows].reshape(len(rows), *z.shape[1:])
        moved = torch.addcmul(z[columns], moved, delta.reshape(-1, *[1] * (z.ndim - 1)))
        a = stage.passed(moved, columns)
        if index == len(self.a) - 1:
            return self._last(columns, a)
        change = a.sub_(self.a[index][columns])
        largest = torch.linalg.vector_norm(change.flatten(1), torch.inf, dim=1)
        alive = largest > 0
        if alive.all():
            return self._onwards(index + 1, columns, change, largest)
        found = torch.full((len(rows),), self.loss, dtype=torch.float64)
        if alive.any():
            channels = columns if len(columns) == 1 else columns[alive]
            found[alive] = self._onwards(index + 1, channels, change[alive], largest[alive])
        return found

    def _onwards(self, index: int, channels: Tensor, change: Tensor, largest: Tensor) -> Tensor:
        """The loss of each trial that changes one channel entering a stage by `change` (trials, samples, ...)."""
        if not self._few_factors(index):
            return self._in_full(index, channels, change)
        steps = self.point.scales[index] * self.point.values
        near = largest * steps.abs().max() <= _FAR
        if near.all():
            return self._by_factors(index, channels, change.flatten(1), steps.tolist())
        channels = channels.expand(len(change))
        found = torch.empty(len(change), dtype=torch.float64)
        found[~near] = self._in_full(index, channels[~near], change[~near])
        if near.any():
            found[near] = self._by_factors(index, channels[near], change[near].flatten(1), steps.tolist())
        return found

    def _few_factors(self, index: int) -> bool:
        """Whether a stage's weights are of the set and its sums are the logits."""
        stage = self.point.stages[index] if index == len(self.point.stages) - 1 else None
        return stage is not None and stage.chosen and not stage.after and stage.taps == 1 and not self.squared

    def _by_factors(self, index: int, channels: Tensor, change: Tensor, steps: list[float]) -> Tensor:
        """The same before the last stage, whose weights w are of few values.

        A change d multiplies exp(logit) by exp(d w), so sums of exp(logit) over the classes of each value do for all.
        """
        stage, logits = self.point.stages[index], self.z[index]
        if self.sums is None:
            self.peak = logits.amax(dim=0)
            own = self.point.codes[index][: stage.channels] == torch.arange(len(steps))[:, None, None]
            self.sums = own.double() @ (logits - self.peak).exp()
        if len(steps) == 3 and steps[1] == 0 and steps[0] == -steps[2]:
            factor = (change * steps[2]).exp_()
            total = torch.addcmul(self.sums[1][channels], self.sums[2][channels], factor)
            total.addcdiv_(self.sums[0][channels], factor)
        else:
            total = torch.zeros_like(change)
            for step, sums in zip(steps, self.sums, strict=True):
                total.addcmul_(sums[channels], (change * step).exp_())
        # A logarithm for every second sample: products of two stay in range where changes are at most _FAR.
        half = total.shape[1] // 2
        logs = (total[:, :half] * total[:, half : 2 * half]).log_().sum(dim=1) + total[:, 2 * half :].log().sum(dim=1)
        of_labels = torch.nn.functional.one_hot(self.labels, len(logits)).double()
        moved = ((change @ of_labels) * stage.weight[channels]).sum(dim=1)
        fixed = self.peak.sum() - logits.gather(0, self.labels[None]).sum()
        return (fixed + logs - moved) / len(self.labels)

    def _in_full(self, index: int, channels: Tensor, change: Tensor) -> Tensor:
        trials, stages = len(change), self.point.stages[index:]
        z = self._next_map(index, channels, change).flatten(1, 2)
        a = stages[0].passed(z)
        for stage in stages[1:]:
            a = stage.passed(stage.mapped(stage.inputs(a), stage.places(a)))
        return self._mean(a.reshape(len(a), trials, -1))

    def _next_map(self, index: int, channels: Tensor, change: Tensor) -> Tensor:
        """Z of the next stage for each trial, (columns, trials, samples, ...)."""
        stage, z = self.point.stages[index], self.z[index]
        weight = stage.weight[:-1].reshape(stage.channels, stage.taps, -1)[channels]
        weight = weight.expand(len(change), -1, -1)
        if stage.taps == 1 and z.ndim == 2:
            return torch.addcmul(z[:, None], weight[:, 0].T[..., None], change.reshape(1, len(change), -1))
        taken = stage.taken(change)
        moved = torch.bmm(weight.transpose(1, 2), taken.flatten(2)).transpose(0, 1)
        return z[:, None] + moved.reshape(len(z), len(change), *z.shape[1:])

    def _last(self, columns: Tensor, logit: Tensor) -> Tensor:
        """The loss of each trial that changes one logit of all samples to `logit` (trials, samples)."""
        logits = self.a[-1]
        if self.rest is None:
            self.rest = _squares_of_others(logits, self.labels) if self.squared else _others(logits)
        hit = self.labels == columns[:, None]
        if self.squared:
            return (self.rest[columns] + (logit - hit.double()).square()).mean(dim=1)
        own = torch.where(hit, logit, logits.gather(0, self.labels[None]))
        return (torch.logaddexp(self.rest[columns], logit) - own).mean(dim=1)

    def sweep(self, coordinates: Tensor, moves: list[Move]) -> None:
        """In turn, but tried ahead in blocks: what comes after the first that moves is tried again.

        A block grows while nothing moves and shrinks to what was of use, so decisions are those of one after the other.
        """
        at, size = 0, _FIRST_BLOCK
        while at < len(coordinates):
            block = coordinates[at : at + size]
            codes = self.point.flat[block]
            choice, best = chosen(self.losses(block), codes, self.loss, self.least)
            moving = (choice != codes).nonzero().flatten()
            if len(moving) == 0:
                at, size = at + len(block), min(2 * size, _LARGEST_BLOCK)
                continue
            first, before = int(moving[0]), self.loss
            self.apply(int(block[first]), int(choice[first]))
            if self.loss < before:
                moves.append(Move(int(block[first]), int(choice[first]), float(best[first])))
            else:  # the trial was mistaken by rounding
                self.apply(int(block[first]), int(codes[first]))
            at, size = at + first + 1, max(4, min(size, 2 * (first + 1)))

    def apply(self, coordinate: int, value: int) -> None:
        """Move one weight, and everything kept behind it by a rank-one change."""
        point = self.point
        index, row, column = (int(part[0]) for part in point.located(torch.tensor([coordinate])))
        new = point.scales[index] * point.values[value]
        delta = new - point.stages[index].weight[row, column]
        point.codes[index][row, column] = value
        point.stages[index].weight[row, column] = new
        z = self.z[index]
        z[column] += delta * self.x[index][row].reshape(z[column].shape)
        channel = torch.tensor([column])
        a = point.stages[index].passed(z[column : column + 1], channel)
        change = a - self.a[index][channel]
        self.a[index][column] = a[0]
        if index + 1 < len(self.a) and change.any():
            self._follow(index + 1, channel, a, change)
        self._weigh()

    def _follow(self, index: int, channel: Tensor, a: Tensor, change: Tensor) -> None:
        """Carry a change of one channel entering a stage to the logits."""
        stage = self.point.stages[index]
        first = int(channel) * stage.taps
        self.z[index] = self._next_map(index, channel, change)[:, 0]
        self.x[index][first : first + stage.taps] = stage.taken(a)[0]
        self.a[index] = after = _own(stage.passed(self.z[index]), self.z[index])
        rest = self.point.stages[index + 1 :]
        del self.x[index + 1 :], self.z[index + 1 :], self.a[index + 1 :]
        for later in rest:
            after = self._run(later, after)


def _own(a: Tensor, z: Tensor) -> Tensor:
    """A copy where functions that change nothing handed Z on: it is written to before its image is compared."""
    return a.clone() if a.data_ptr() == z.data_ptr() else a


def mean_loss(logits: Tensor, labels: Tensor, squared: bool) -> Tensor:
    """The mean loss of each trial, (trials,), for logits (classes, trials, samples)."""
    if squared:
        target = torch.nn.functional.one_hot(labels, len(logits)).T[:, None]
        return (logits - target).square().sum(dim=0).mean(dim=1)
    own = logits[labels, :, torch.arange(len(labels))].T
    return (logits.logsumexp(dim=0) - own).mean(dim=1)


def _others(logits: Tensor) -> Tensor:
    """log sum exp of all classes but one, for each, (classes, samples): from both ends, so that nothing cancels."""
    none = torch.full_like(logits[:1], -torch.inf)
    before = torch.cat([none, logits.logcumsumexp(dim=0)[:-1]])
    behind = torch.cat([logits.flip(0).logcumsumexp(dim=0).flip(0)[1:], none])
    return torch.logaddexp(before, behind)


def _squares_of_others(logits: Tensor, labels: Tensor) -> Tensor:
    squares = (logits - torch.nn.functional.one_hot(labels, len(logits)).T).square()
    return (1 - torch.eye(len(logits), dtype=torch.float64)) @ squares
