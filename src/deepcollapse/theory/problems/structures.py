r"""Solutions of the deep model that are known in closed form: what each costs, and the point itself.

A structure is a set of unit factors, class features M (K, d_1) and weights W_1..W_L, that put out the identity. With
squared norms a_i and decays c = (n lH, l_1, ..., l_L) the best scales make all regularisation terms equal (the
inequality of arithmetic and geometric means), which leaves one scalar problem with kappa = (prod_i c_i a_i)^{1/(L+1)}.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from deepcollapse.theory.problem import Optimum, Point, Problem
from deepcollapse.theory.problems.scalar_problem import kappa_star, solve_scalar

Factors = tuple[Tensor, ...]
"""Class features (K, d_1) before any ReLU, then W_1 (d_2, d_1) to W_L (K, d_L): no wider than the structure needs."""


@dataclass(frozen=True)
class Construction(Optimum):
    """A point of a deep model that is known exactly: its loss by formula, and the point itself when asked for.

    `kappa` is the price of its scalar problem and `scale` the x with outputs x times the targets; NaN for structures
    that are no such problem, as refined ones and blocks. `ranks` are those of the class means before the ReLU, layer
    1 to L, and then of the output. `width` is what the structure needs. `nontrivial` is False where all zero is
    better than the structure at any scale: then the loss is 1/2 and the point zero. `optimal` is "yes" where this is
    proved to be the least loss there is, "no" where a better point is known, and else "unknown"; `because` says why.
    """

    problem: Problem
    name: str
    loss: float
    lower: float
    ranks: tuple[int, ...]
    width: int
    factors: Callable[[], Factors]
    kappa: float = math.nan
    scale: float = math.nan
    nontrivial: bool = True
    optimal: Literal["yes", "no", "unknown"] = "unknown"
    because: str = "no proof is known"

    @property
    def value(self) -> float:
        """The objective at the point, `loss`."""
        return self.loss

    @property
    def gap(self) -> float:
        """The loss minus a lower bound on every loss: how far from optimal the point is at most."""
        return max(0.0, self.loss - self.lower)

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
        """The point, its factors in the first coordinates of each layer and zero elsewhere."""
        shapes = self.problem.shapes()
        point = {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}
        if not self.nontrivial:
            return point
        means, *weights = self.factors()
        per_class = len(point["features"]) // len(means)
        for name, block in zip(shapes, (means.repeat_interleave(per_class, dim=0), *weights), strict=True):
            point[name][: block.shape[0], : block.shape[1]] = block
        return point


def price(decays: Sequence[float], sizes: Sequence[float]) -> float:
    """kappa = (prod_i c_i a_i)^{1/(L+1)} of a structure whose unit factors have squared norms `sizes`.

    >>> round(price((0.1, 0.1, 0.1), (2.0, 2.0, 2.0)), 12)
    0.2
    """
    # By logarithms: with many layers the product itself may underflow.
    return math.exp(math.fsum(math.log(c * a) for c, a in zip(decays, sizes, strict=True)) / len(decays))


def best_scales(decays: Sequence[float], sizes: Sequence[float], scale: float) -> list[float]:
    """The factors' scales s_i with product `scale` and all c_i a_i s_i^2 equal: the cheapest such.

    >>> [round(s, 12) for s in best_scales((1.0, 4.0), (1.0, 1.0), 2.0)]
    [2.0, 1.0]
    """
    term = price(decays, sizes) * scale ** (2 / len(decays))
    return [math.sqrt(term / (c * a)) for c, a in zip(decays, sizes, strict=True)]


@dataclass(frozen=True)
class Structure:
    """Unit factors that put out the identity, known by their squared norms; `build` makes them when asked for."""

    name: str
    sizes: tuple[float, ...]
    ranks: tuple[int, ...]
    width: int
    build: Callable[[], Factors]

    def at_best_scales(self, problem: Problem, decays: Sequence[float], lower: float) -> Construction:
        """The structure at the scales that make the loss least, or all zero where no scale beats that."""
        depth, kappa = len(decays) - 1, price(decays, self.sizes)
        x, loss = solve_scalar(kappa, depth)

        def scaled() -> Factors:
            scales = best_scales(decays, self.sizes, x)
            return tuple(s * factor for s, factor in zip(scales, self.build(), strict=True))

        nontrivial = kappa < kappa_star(depth)
        ranks = self.ranks if nontrivial else tuple(0 for _ in self.ranks)
        return Construction(
            problem, self.name, loss, lower, ranks, self.width, scaled, kappa=kappa, scale=x, nontrivial=nontrivial
        )


def collapsed_structure(num_classes: int, depth: int) -> Structure:
    """Deep neural collapse: each class on an axis of its own in every layer, one constant times the identity.

    Needs a width of K; costs K in every factor. Source: Súkeník, Mondelli & Lampert 2023.
    """

    def build() -> Factors:
        return tuple(torch.eye(num_classes, dtype=torch.float64) for _ in range(depth + 1))

    return Structure("collapsed", (float(num_classes),) * (depth + 1), (num_classes,) * (depth + 1), num_classes, build)
