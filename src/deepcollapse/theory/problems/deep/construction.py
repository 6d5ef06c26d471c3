"""A solution of the deep model that is known: its loss, its point when asked for, and whether it is optimal."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from deepcollapse.errors import MemoryBudgetError
from deepcollapse.linalg import memory_of
from deepcollapse.theory.problem import Optimum, Point, Problem, gap_above

Answer = Literal["yes", "no", "unknown"]
Judgement = tuple[Answer, str]

Factors = tuple[Tensor, ...]
"""Class features (K, d_1) before any ReLU, then W_1 (d_2, d_1), W_2, ...: no wider than the structure needs."""


@dataclass(frozen=True)
class Terms:
    """What a structure is priced by: `decays` c = (n lH, l_1, ..., l_L); and the model that its point belongs to.

    `lower` is a loss that no point of the model falls below, `width` the least width of its layers.
    """

    problem: Problem
    num_classes: int
    width: int
    decays: tuple[float, ...]
    lower: float

    @property
    def depth(self) -> int:
        """L, the number of weight matrices."""
        return len(self.decays) - 1

    def of_block(self, size: int) -> "Terms":
        """The terms of `size` of the classes on their own: the fit is an average, so that decays weigh K/size more."""
        share = self.num_classes / size
        return replace(self, num_classes=size, decays=tuple(c * share for c in self.decays))


@dataclass(frozen=True)
class Construction(Optimum):
    """A point of a deep model that is known exactly: its loss by formula, and the point itself when asked for.

    `kappa` is the price of its scalar problem and `scale` the x with outputs x times the targets; NaN where that is
    not its form, as for refined structures and blocks. `ranks` are those of the class means before the ReLU, of layers
    1 to L, and then of the output. `widths` are what the structure needs of layers 1 to L. `nontrivial` is False where
    all zero is better than the structure at any scale: then the loss is 1/2, the point zero, and `ranks` too.
    """

    problem: Problem
    name: str
    loss: float
    lower: float
    ranks: tuple[int, ...]
    widths: tuple[int, ...]
    factors: Callable[[], Factors]
    kappa: float = math.nan
    scale: float = math.nan
    nontrivial: bool = True
    judge: Callable[["Construction"], Judgement] = lambda _: ("unknown", "nobody has asked the model")

    @property
    def value(self) -> float:
        """The objective at the point, `loss`."""
        return self.loss

    @property
    def gap(self) -> float:
        """The loss less a lower bound on every loss: the point is at most this far from optimal."""
        return gap_above(self.loss, self.lower)

    @cached_property
    def judgement(self) -> Judgement:
        """What `optimal` and `because` say; worked out when first asked for."""
        return self.judge(self)

    @property
    def optimal(self) -> Answer:
        """Whether this is the least loss: "yes" where proved, "no" where a better point is known, or "unknown"."""
        return self.judgement[0]

    @property
    def because(self) -> str:
        """Why `optimal` says so."""
        return self.judgement[1]

    @property
    def width(self) -> int:
        """The width that layers need so that the structure fits."""
        return max(self.widths)

    def facts(self) -> dict[str, float | str | None]:
        """The numbers by name: name, loss, kappa, scale, lower_bound, gap, optimal, because, width and ranks."""
        return {
            "name": self.name,
            "loss": self.loss,
            "kappa": self.kappa,
            "scale": self.scale,
            "lower_bound": self.lower,
            "gap": self.gap,
            "optimal": self.optimal,
            "because": self.because,
            "width": float(self.width),
            "ranks": " ".join(str(rank) for rank in self.ranks),
        }

    def point(self) -> Point:
        """The point, its factors in the first coordinates of each layer and zero elsewhere.

        Raises MemoryBudgetError where it would take more than half of the memory.
        """
        shapes = self.problem.shapes()
        need, have = 2 * 8 * sum(map(math.prod, shapes.values())), memory_of(torch.device("cpu"))
        if need > have / 2:
            raise MemoryBudgetError(
                f"a point with layers as wide as {max(map(max, shapes.values()))} takes {need / 1e9:.0f} GB, and "
                f"half of the memory is {have / 2e9:.1f} GB. Its loss, ranks and widths are at hand without it."
            )
        point = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        if not self.nontrivial:
            return point
        means, *weights = self.factors()
        per_class = len(point["features"]) // len(means)
        for name, block in zip(shapes, (means.repeat_interleave(per_class, dim=0), *weights), strict=True):
            point[name][: block.shape[0], : block.shape[1]] = block
        return point


def all_zero(terms: Terms) -> Construction:
    """No features and no weights: a loss of 1/2, which no weight decay can spoil."""
    depth = terms.depth
    return Construction(
        terms.problem, "all zero", 0.5, terms.lower, (0,) * (depth + 1), (1,) * depth, tuple, nontrivial=False
    )
