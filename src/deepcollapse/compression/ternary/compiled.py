"""Trials of single weights by compiled loops, for chains of linear layers: what torch keeps, laid out for them."""

import numpy as np
import torch
from torch import Tensor, nn

from deepcollapse.compression.ternary.point import TOLERANCE, Engine, Move, Point, rounding_of
from deepcollapse.compression.ternary.stages import Affine, Function, Plain, Stage

# A kind, as the kernels number it, and its two parameters.
_Step = tuple[int, np.ndarray | float, np.ndarray | float]


class CompiledTrials(Engine):
    """An engine on numba; decisions are those of the torch engine."""

    def __init__(self, point: Point, features: Tensor, labels: Tensor, squared: bool) -> None:
        from deepcollapse.compression.ternary import kernels  # needs numba

        self.kernels, self.point = kernels, point
        self.entering, self.squared = features.T.contiguous(), squared
        n, stages = len(labels), point.stages
        columns = np.array([stage.columns for stage in stages])
        rows = np.array([len(stage.weight) for stage in stages])
        kinds, first, p, q = _steps(stages)
        at = [_starts(sizes) for sizes in (rows * n, columns * n, rows * columns, columns * n)]
        factored = not squared and stages[-1].chosen and not stages[-1].after
        steps = point.scales[-1] * point.values.numpy() if factored else np.empty(0)
        self.net = (columns, *at, kinds, first, p, q, labels.numpy(), squared, steps, int(point.starts[-1]))
        x, z, w, zs, s = (
            np.ones(int(sizes.sum())) for sizes in (rows * n, columns * n, rows * columns, *[columns * n] * 2)
        )
        channels = stages[-1].channels if len(steps) else 0
        sums, made = np.empty(channels * len(steps) * n), np.zeros(rows[-1] + 1, dtype=np.int64)
        self.state = (x, z, w, zs, s, np.empty(n), np.empty((columns[-1], n)), point.flat.numpy(), sums, made)
        self.values, self.scales = point.values.numpy(), np.array(point.scales)
        self.codes = point.flat.numpy()  # the point's own memory, as in the state
        self.loss = self.refresh()

    def refresh(self) -> float:
        """Run all samples through all stages, in torch, and write down what the loops keep."""
        _, at_x, at_z, at_w, at_s, *_ = self.net
        x, z, w, zs, s = (torch.from_numpy(part) for part in self.state[:5])
        a = entering = self.entering
        for index, stage in enumerate(self.point.stages):
            self._write(x, at_x[index], a)  # the row of ones stays
            self._write(w, at_w[index], stage.weight)
            entering = stage.inputs(a)
            made = stage.mapped(entering, ())
            a = stage.passed(made)
            self._write(z, at_z[index], made)
            self._write(zs, at_s[index], made.T)
            self._write(s, at_s[index], a.T)
        self.loss = float(self.kernels.weigh_all(self.net, self.state))
        self.least = rounding_of(entering, self.point.stages[-1].weight, self.loss, self.squared)
        return self.loss

    @staticmethod
    def _write(flat: Tensor, at: np.integer, part: Tensor) -> None:
        start = int(at)
        flat[start : start + part.numel()].view(part.shape).copy_(part)

    def losses(self, coordinates: Tensor) -> Tensor:
        """Losses (coordinates, values)."""
        found = np.empty((len(coordinates), len(self.values)))
        places = self._places(coordinates)
        self.kernels.losses_at(places, self.codes, self.values, self.scales, self.loss, self.net, self.state, found)
        return torch.from_numpy(found)

    def sweep(self, coordinates: Tensor, moves: list[Move]) -> None:
        """In turn."""
        made, after = np.empty((len(coordinates), 2), np.int64), np.empty(len(coordinates))
        count, self.loss = self.kernels.sweep(
            self._places(coordinates), self.codes, self.values, self.scales, self.loss, self.net, self.state, made,
            after, TOLERANCE, self.least,
        )  # fmt: skip
        moves += [Move(int(made[at, 0]), int(made[at, 1]), float(after[at])) for at in range(count)]
        self.point.put_all()

    def apply(self, coordinate: int, value: int) -> None:
        """Move one weight."""
        stage, row, column = self._places(torch.tensor([coordinate]))[0, 1:]
        weight = float(self.scales[stage] * self.values[value])
        self.point.flat[coordinate] = value
        self.point.stages[stage].weight[row, column] = weight
        old = np.empty(self.net[0].max())
        self.loss = float(self.kernels.move(stage, row, column, weight, self.net, self.state, old))

    def _places(self, coordinates: Tensor) -> np.ndarray:
        return torch.stack([coordinates, *self.point.located(coordinates)], dim=1).numpy()


def why_not_compiled(point: Point) -> str | None:
    """What in a chain has no compiled twin, in words; None where all has."""
    for stage in point.stages:
        if not isinstance(stage.layer, nn.Linear) or stage.taps != 1:
            return f"layer {stage.name!r} is none, or takes flattened maps"
        for function in stage.after:
            if _step(function) is None:
                return f"{_name(function)} after layer {stage.name!r} is not among its functions"
    return None


def _name(function: Function) -> str:
    return type(function.module if isinstance(function, Plain) else function).__name__


def _step(function: Function) -> _Step | tuple[()] | None:
    """One function as kind and parameters; () where it does nothing to vectors, None where there is no twin."""
    affine, relu, leaky, tanh, sigmoid, clip = range(6)
    if isinstance(function, Affine):
        return affine, function.scale[:, 0].numpy(), function.shift[:, 0].numpy()
    module = function.module if isinstance(function, Plain) else None
    if isinstance(module, nn.Flatten):
        return ()
    if isinstance(module, nn.Hardtanh):  # relu6 is one
        return clip, float(module.min_val), float(module.max_val)
    if isinstance(module, nn.LeakyReLU):
        return leaky, float(module.negative_slope), 0.0
    kinds = {nn.ReLU: relu, nn.Tanh: tanh, nn.Sigmoid: sigmoid}
    return (kinds[type(module)], 0.0, 0.0) if type(module) in kinds else None


def _steps(stages: list[Stage]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Kinds of all functions, where each stage's begin, and their parameters (functions, channels)."""
    steps = [[step for function in stage.after if (step := _step(function))] for stage in stages]
    flat = [step for own in steps for step in own]
    widest = max(stage.columns for stage in stages)
    p, q = np.zeros((len(flat), widest)), np.zeros((len(flat), widest))
    for at, (stage, step) in enumerate((stage, step) for stage, own in zip(stages, steps, strict=True) for step in own):
        p[at, : stage.columns], q[at, : stage.columns] = step[1:]
    kinds = np.array([step[0] for step in flat], dtype=np.int64)
    return kinds, np.cumsum([0, *(len(own) for own in steps)]), p, q


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.cumsum(sizes) - sizes
