"""What a theory model is: a frozen value that knows its objective, its closed form and its certificate."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

Point = dict[str, Tensor]
"""Values of a problem's free variables by name; each tensor may carry leading batch dimensions."""


ROUNDING = 1e-12


def gap_above(value: float, lower: float) -> float:
    """`value` less a lower bound on it; 0 where rounding alone, a relative 1e-12, puts the bound above the value.

    A bound further above is no bound: the negative difference is kept, for all to see.

    >>> gap_above(1.0, 1.0 + 1e-15), gap_above(1.0, 1.5)
    (0.0, -0.5)
    """
    gap = value - lower
    return 0.0 if -ROUNDING * max(abs(value), abs(lower)) <= gap < 0 else gap


class Optimum(ABC):
    """What theory holds to be optimal, with the evidence for it."""

    @property
    @abstractmethod
    def value(self) -> float:
        """The objective at the optimum, in the unit of the loss (nats for cross-entropy)."""

    @property
    @abstractmethod
    def gap(self) -> float:
        """An upper bound on `value` minus the least possible objective, by duality; NaN where no bound is known."""

    @abstractmethod
    def facts(self) -> dict[str, float | str | None]:
        """The numbers that a reader asks for, by name, with every digit."""


class Problem(ABC):
    """A question of theory: what is minimised, over which variables, and how good an answer is.

    Many problems of one `program` run as one batch: their `coefficients` are stacked, and `objective` takes each point
    of the batch with its own.
    """

    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the free variables, by name."""

    @abstractmethod
    def coefficients(self) -> dict[str, Tensor]:
        """The numbers in the objective that may differ inside a batch (decays, class weights), in float64."""

    @abstractmethod
    def objective(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Tensor:
        """The objective at each point of a batch, shape (batch,): both arguments carry one leading batch dimension."""

    @abstractmethod
    def optimum(self) -> Optimum | None:
        """The best point known in closed form or from a reduced program, or None where there is none."""

    @abstractmethod
    def gap(self, point: Mapping[str, Tensor]) -> float:
        """An upper bound on the objective at `point` minus the least possible one; NaN where no bound is known."""

    @abstractmethod
    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """The geometry at `point`, by the measures of `deepcollapse.geometry` and under the names of records."""

    def program(self) -> tuple[object, ...]:
        """What two problems must share to run as one batch."""
        return (type(self), *sorted(self.shapes().items()))

    def value(self, point: Mapping[str, Tensor]) -> float:
        """The objective at one point."""
        batch = {name: tensor[None] for name, tensor in point.items()}
        return float(self.objective(batch, {name: c[None] for name, c in self.coefficients().items()})[0])

    def start(self, generator: torch.Generator) -> Point:
        """A random point to start from: independent normal entries of variance one over the variable's last size."""
        shapes = self.shapes()
        return {
            name: torch.randn(shape, generator=generator, dtype=torch.float64) / max(1, shape[-1]) ** 0.5
            for name, shape in shapes.items()
        }
