"""Where a search stands: the index of every searched weight's value, and the rule by which a weight is moved."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from deepcollapse.compression.ternary.projection import project
from deepcollapse.compression.ternary.stages import Stage
from deepcollapse.errors import OptionError

TOLERANCE = 1e-12
ROUNDING = 2.0**-48  # some rounding errors of float64, of what a logit is summed from
INITIAL = ("round", "random")


@dataclass(frozen=True)
class Move:
    """One accepted change: the coordinate, the index of its new value, and the loss after it."""

    coordinate: int
    value: int
    loss: float


class Engine(ABC):
    """One way to try single weights on fixed samples; all of them take the same decisions.

    `least` is by how much a loss below 1 must fall at least to count as lower: `rounding_of` at the last refresh.
    """

    loss: float
    least: float = TOLERANCE

    @abstractmethod
    def refresh(self) -> float:
        """Make everything kept anew from the weights, which stops drift; returns the loss."""

    @abstractmethod
    def losses(self, coordinates: Tensor) -> Tensor:
        """The loss with each coordinate at each value and all else as it is, (coordinates, values)."""

    @abstractmethod
    def sweep(self, coordinates: Tensor, moves: list[Move]) -> None:
        """Try the coordinates one after the other, move each as `chosen` says, and add its move to the list."""

    @abstractmethod
    def apply(self, coordinate: int, value: int) -> None:
        """Move one coordinate."""


class Point:
    """Stages and, for those that are searched, the index into `values` of every weight, `codes[stage]`.

    A weight is scales[stage] * values[code]. Coordinates count through stages, rows and columns in this order; with
    `biases`, the row of biases is the last of its stage.
    """

    def __init__(self, stages: list[Stage], values: Tensor, scale: float | int | None, biases: bool) -> None:
        self.stages, self.values = stages, values
        found: list[Tensor] = []
        self.scales: list[float] = []
        for stage in stages:
            rows = len(stage.weight) - 1 if stage.chosen else 0
            codes, own = project(stage.weight[:rows], values, scale)
            if biases and stage.biased and stage.chosen:
                codes = torch.cat([codes, project(stage.weight[rows:], values, own)[0]])
            found.append(codes)
            self.scales.append(own)
        sizes = torch.tensor([codes.numel() for codes in found])
        self.ends = sizes.cumsum(0)
        self.starts = self.ends - sizes
        self.flat = torch.cat([codes.flatten() for codes in found])
        # Views of one piece, so that codes can be looked up by coordinate.
        parts = self.flat.split(sizes.tolist())
        self.codes = [part.view(codes.shape) for part, codes in zip(parts, found, strict=True)]
        self.put_all()

    @property
    def count(self) -> int:
        """How many weights are searched."""
        return int(self.ends[-1])

    def put_all(self) -> None:
        """Write every searched weight into its stage."""
        for stage, codes, scale in zip(self.stages, self.codes, self.scales, strict=True):
            stage.weight[: len(codes)] = scale * self.values[codes]

    def start(self, initial: str, generator: torch.Generator) -> None:
        """Leave the weights rounded, or draw each uniformly from the values."""
        if initial not in INITIAL:
            raise OptionError(f"initial must be one of {', '.join(INITIAL)}; got {initial!r}.")
        if initial == "random":
            self.flat.copy_(torch.randint(len(self.values), self.flat.shape, generator=generator))
            self.put_all()

    def located(self, coordinates: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Stage, row and column of each coordinate."""
        stage = torch.searchsorted(self.ends, coordinates, right=True)
        columns = torch.tensor([max(1, stage.columns) for stage in self.stages])[stage]
        within = coordinates - self.starts[stage]
        return stage, within // columns, within % columns

    def restore(self, codes: Tensor) -> None:
        """Back to a copy of `flat`."""
        self.flat.copy_(codes)
        self.put_all()


def margin(loss: float, least: float = TOLERANCE) -> float:
    """By how much a loss must fall to count as lower: 1e-12, or that share of a loss above 1, but at least `least`."""
    return max(TOLERANCE * max(1.0, abs(loss)), least)


def rounding_of(entering: Tensor, weight: Tensor, loss: float, squared: bool) -> float:
    """What rounding may make of a loss, from X (rows, ...) and W (rows, classes) of the last map; at least 1e-12.

    A logit that is summed from terms of 1e10 is known to some 1e-5, and so is a cross-entropy, whose derivative by a
    logit is at most 1; that of a squared error grows with its root.
    """
    largest = float((weight.abs().T @ entering.flatten(1).abs()).max())
    steep = max(1.0, abs(loss) ** 0.5) if squared else 1.0
    found = ROUNDING * largest * steep
    return max(TOLERANCE, found) if math.isfinite(found) else TOLERANCE


def chosen(losses: Tensor, codes: Tensor, loss: float, least: float = TOLERANCE) -> tuple[Tensor, Tensor]:
    """Value index and loss to move each coordinate to: the lowest loss, the first of equals, the present one first.

    >>> chosen(torch.tensor([[0.5, 1.0, 0.5], [1.0, 1.0, 2.0]]).double(), torch.tensor([1, 1]), 1.0)[0].tolist()
    [0, 1]
    """
    choice, best = codes.clone(), torch.full((len(losses),), loss, dtype=torch.float64)
    for value in range(losses.shape[1]):
        lower = losses[:, value] < best - margin(loss, least)
        choice = torch.where(lower, value, choice)
        best = torch.where(lower, losses[:, value], best)
    return choice, best
