r"""Any number of groups of like classes: the convex program that is left when symmetry has done its part.

The loss depends on logits Z that do not change when classes of one group are exchanged, a contrast a_g inside each
group and a block Q between them (`GroupMatrix`), and column g counts d_g in the nuclear norm |Z diag(d)|_*. That is a
convex program in G + G^2 numbers, whatever the number of classes: `Constrained` bounds the norm, `Penalised` prices
it. With Q diag(d) = U V^T the norm is (|U|^2 + |V|^2)/2, which is smooth: L-BFGS goes down, Newton steps add the last
digits, and a duality gap decides. Derived here; the tests compare with CVXPY and with descent over W and H.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Bool, Float64
from scipy.optimize import minimize

from deepcollapse.errors import SolveError
from deepcollapse.theory.problem import gap_above
from deepcollapse.theory.reduced.cross_entropy import GroupCrossEntropy, centring, entropy, with_marginals
from deepcollapse.theory.reduced.groups import GroupMatrix
from deepcollapse.theory.reduced.newton import polish

Vector = Float64[np.ndarray, " x"]
PerGroup = Float64[np.ndarray, " g"]
ACCEPTED = 1e-8
MOST_ROUNDING = 1e-3
STARTS = 4
# Biases bend the objective more than factors do; in this unit descent takes half the steps (measured).
BIAS_UNIT = 0.2
# A group this short beside the longest is nothing, where the certificate says that nothing does as well.
NOTHING = 1e-3


@dataclass(frozen=True)
class ReducedPoint:
    """Logits, bias (G,) where there is one, the objective there in nats, and its duality gap over the objective.

    `rounding` is what that gap may owe to rounding alone, at logits of thousands and more; `effect` is what the logits
    do to the objective's logarithm, where that is below 1.
    """

    z: GroupMatrix
    bias: PerGroup | None
    value: float
    relative_gap: float
    rounding: float = 0.0
    effect: float = 1.0

    @property
    def gap(self) -> float:
        """An upper bound on `value` less the least objective, in nats."""
        return self.value * self.relative_gap

    @property
    def solved(self) -> bool:
        """Whether the gap is below 1e-8, below 1e-8 of the objective, and below 1e-8 of what small logits do to it."""
        wanted = ACCEPTED * self.effect + min(self.rounding, MOST_ROUNDING)
        return abs(self.relative_gap) * max(1.0, self.value) <= wanted


@dataclass(frozen=True)
class Reduced(ABC):
    """What both forms share: `weights` of one class of each group, `stretch` the d_g above, all (G,).

    `held` marks groups whose contrast is known to be zero.
    """

    sizes: tuple[int, ...]
    weights: PerGroup
    stretch: PerGroup
    held: Bool[np.ndarray, " g"]

    @abstractmethod
    def objective(self, x: Vector) -> tuple[float, Vector]:
        """The logarithm of what is minimised, and its gradient, in the vector of free variables."""

    @abstractmethod
    def point(self, stretched: GroupMatrix, bias: PerGroup | None) -> ReducedPoint:
        """The value and gap of logits, given as Z diag(d)."""

    @abstractmethod
    def settle(self, x: Vector) -> tuple[GroupMatrix, PerGroup | None]:
        """Z diag(d) and the bias out of the vector of free variables."""

    @property
    def num_biases(self) -> int:
        """How many biases are free."""
        return 0

    # --- the vector of free variables: contrasts a d, U and V, biases ------------------------------

    @cached_property
    def multiplicity(self) -> PerGroup:
        """K_g - 1."""
        return np.array(self.sizes, dtype=float) - 1

    @cached_property
    def contrasts(self) -> Bool[np.ndarray, " g"]:
        """The groups whose contrast is free."""
        return (self.multiplicity > 0) & ~self.held

    @property
    def rank(self) -> int:
        """The columns of U and V: columns of the optimum sum to zero, so its block has at most this rank."""
        return max(1, len(self.sizes) - 1)

    @property
    def unit(self) -> float:
        """Of U and V: large groups make the loss flat between groups, and in this unit less so (measured)."""
        return (sum(self.sizes) / len(self.sizes)) ** 0.25

    def parts(self, x: Vector) -> tuple[PerGroup, np.ndarray, np.ndarray, np.ndarray]:
        """Contrasts (G,), U and V (G, rank), and biases times sqrt(K_g)."""
        free, cells = int(self.contrasts.sum()), len(self.sizes) * self.rank
        contrast = np.zeros(len(self.sizes))
        contrast[self.contrasts] = x[:free]
        u, v = x[free : free + 2 * cells].reshape(2, len(self.sizes), self.rank)
        return contrast, self.unit * u, self.unit * v, BIAS_UNIT * x[free + 2 * cells :]

    def spent(self, x: Vector) -> float:
        """The nuclear norm that the factors pay for."""
        contrast, u, v, _ = self.parts(x)
        return float(self.multiplicity @ contrast + ((u**2).sum() + (v**2).sum()) / 2)

    def slope_of_factors(self, x: Vector, slope: GroupMatrix, pull: float) -> list[np.ndarray]:
        """The gradient over contrasts, U and V, from that over Z diag(d) and from `pull`, that over `spent`."""
        _, u, v, _ = self.parts(x)
        contrast = (self.multiplicity * (slope.contrast + pull))[self.contrasts]
        slopes = slope.block @ v + pull * u, slope.block.T @ u + pull * v
        return [contrast, *(self.unit * part.ravel() for part in slopes)]

    def starts(self) -> Iterator[Vector]:
        """Where to start from, one after the other."""
        yield from map(self._start, range(STARTS))

    def _start(self, seed: int) -> Vector:
        """Factors of a simplex ETF, moved a little, for seed 0; random ones after that."""
        rng, shape = np.random.default_rng(seed), (len(self.sizes), self.rank)
        values, basis = np.linalg.eigh(centring(self.sizes).block)
        basis = basis[:, len(values) - self.rank :] if seed == 0 else rng.standard_normal(shape)
        u, v = (basis + 0.01 * rng.standard_normal(shape) for _ in range(2))
        free = np.ones(int(self.contrasts.sum()))
        return np.concatenate([free, u.ravel(), v.ravel(), np.zeros(self.num_biases)])

    # --- solving ---------------------------------------------------------------------------------------------------

    def solve(self) -> ReducedPoint:
        """The optimum. Raises SolveError where no start led to a point that counts as solved."""
        best: ReducedPoint | None = None
        for x in self.starts():
            found = self._descend(x)
            best = found if best is None or abs(found.relative_gap) < abs(best.relative_gap) else best
            if best.solved:
                break
        assert best is not None
        return self.accepted(best)

    def accepted(self, found: ReducedPoint) -> ReducedPoint:
        """A point that its certificate bears out; SolveError otherwise."""
        if not found.solved:
            raise SolveError(
                f"the program of {len(self.sizes)} groups was not solved: the best objective found, "
                f"{found.value:.6g}, may be above the least one by up to {found.relative_gap:.2g} of itself. "
                "Merge classes of similar counts, or take less extreme counts, budgets or decays."
            )
        return found

    def _descend(self, x: Vector) -> ReducedPoint:
        free = int(self.contrasts.sum())
        bounds = [(0, None)] * free + [(None, None)] * (len(x) - free)
        options = {"maxiter": 5000, "maxfun": 10_000, "maxcor": 20, "ftol": 0.0, "gtol": 1e-13}
        x = minimize(self.objective, x, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x
        moving = np.ones(len(x), dtype=bool)
        moving[:free] = x[:free] > 0
        x = polish(lambda y: self.objective(y)[1], x, moving)
        x[:free] = x[:free].clip(min=0.0)
        return self._tidy(*self.settle(x))

    def _tidy(self, stretched: GroupMatrix, bias: PerGroup | None) -> ReducedPoint:
        """Groups that are all but nothing are set to nothing, where the certificate says that this is as good."""
        found = self.point(stretched, bias)
        block = stretched.block
        if not block.any():
            return found
        length = np.sqrt((block**2).sum(axis=0)) + np.sqrt((block**2).sum(axis=1))
        longest = max(length.max(), float(np.abs(stretched.contrast[self.multiplicity > 0]).max(initial=0.0)))
        gone = (length <= NOTHING * longest) & (stretched.contrast * (self.multiplicity > 0) == 0)
        if not gone.any():
            return found
        kept = np.where(np.outer(~gone, ~gone), block, 0.0)
        cleaned = self.point(GroupMatrix(self.sizes, stretched.contrast, kept), bias)
        return cleaned if cleaned.relative_gap <= max(found.relative_gap, 1e-2 * ACCEPTED) else found


@final
@dataclass(frozen=True)
class Constrained(Reduced):
    """min loss(Z) over |Z diag(d)|_* <= radius."""

    radius: float

    @property
    def effect(self) -> float:
        """About what a small budget can do to ln of the loss; 1 for others."""
        return min(1.0, self.radius / sum(self.sizes))

    def objective(self, x: Vector) -> tuple[float, Vector]:
        """ln of the loss at the factors' direction, on the boundary of the budget, over `effect`."""
        stretched, _ = self.settle(x)
        loss = GroupCrossEntropy(stretched.scaled_columns(1 / self.stretch), self.weights)
        slope = loss.relative_gradient.scaled_columns(1 / self.stretch)
        spent = self.spent(x)
        slopes = self.slope_of_factors(x, slope.times(self.radius / spent), -slope.inner(stretched) / spent)
        return loss.log_value / self.effect, np.concatenate(slopes) / self.effect

    def settle(self, x: Vector) -> tuple[GroupMatrix, None]:
        """Contrasts and U V^T, on the boundary of the budget."""
        contrast, u, v, _ = self.parts(x)
        scale = self.radius / self.spent(x)
        return GroupMatrix(self.sizes, scale * contrast, scale * u @ v.T), None

    def point(self, stretched: GroupMatrix, bias: PerGroup | None = None) -> ReducedPoint:
        """Put on the budget's boundary; the gap is that of Frank and Wolfe, <G, Z> + radius |G|_2."""
        stretched = stretched.times(self.radius / stretched.nuclear_norm)
        z = stretched.scaled_columns(1 / self.stretch)
        loss = GroupCrossEntropy(z, self.weights)
        slope = loss.relative_gradient.scaled_columns(1 / self.stretch)
        reach = self.radius * slope.spectral_norm
        # Logits are known to machine precision times their size, so probabilities no better.
        rounding = 8 * float(np.finfo(float).eps) * (1 + float(np.abs(loss.odds[np.isfinite(loss.odds)]).max())) * reach
        gap = gap_above(reach, -slope.inner(stretched))
        return ReducedPoint(z, None, math.exp(loss.log_value), gap, rounding, min(1.0, reach))


@final
@dataclass(frozen=True)
class Penalised(Reduced):
    """min loss(Z + b 1^T) + price |Z diag(d)|_* + lb/2 |b|^2; `bias_decay` lb is None for no bias, 0 for a free one."""

    price: float
    bias_decay: float | None = None

    @property
    def num_biases(self) -> int:
        """One a group, where there is a bias."""
        return 0 if self.bias_decay is None else len(self.sizes)

    def starts(self) -> Iterator[Vector]:
        """No logits at all first, where no contrast is free: a saddle, unless it is the optimum."""
        if not self.contrasts.any():
            yield np.zeros_like(self._start(0))
        yield from super().starts()

    def objective(self, x: Vector) -> tuple[float, Vector]:
        """ln of loss plus price plus the bias's decay."""
        stretched, bias = self.settle(x)
        loss = GroupCrossEntropy(stretched.scaled_columns(1 / self.stretch), self.weights, bias)
        value, rest, scaled = math.exp(loss.log_value), self.price * self.spent(x), self.parts(x)[3]
        total = value + rest + (self.bias_decay or 0.0) / 2 * float(scaled @ scaled)
        slope = loss.relative_gradient.times(value / total)
        slopes = self.slope_of_factors(x, slope.scaled_columns(1 / self.stretch), self.price / total)
        if self.bias_decay is not None:
            slopes.append(BIAS_UNIT * (slope.block @ np.sqrt(self.sizes) + self.bias_decay / total * scaled))
        return math.log(total), np.concatenate(slopes)

    def settle(self, x: Vector) -> tuple[GroupMatrix, PerGroup | None]:
        """Contrasts and U V^T as they are, and the bias of one class of each group."""
        contrast, u, v, bias = self.parts(x)
        found = None if self.bias_decay is None else bias / np.sqrt(self.sizes)
        return GroupMatrix(self.sizes, contrast, u @ v.T), found

    def point(self, stretched: GroupMatrix, bias: PerGroup | None) -> ReducedPoint:
        """The objective less Fenchel's lower bound."""
        z = stretched.scaled_columns(1 / self.stretch)
        loss = GroupCrossEntropy(z, self.weights, bias)
        value = math.exp(loss.log_value) + self.price * stretched.nuclear_norm
        if bias is not None:
            value += (self.bias_decay or 0.0) / 2 * float(np.array(self.sizes) @ bias**2)
        return ReducedPoint(z, bias, value, gap_above(1.0, self.lower_bound(loss) / value))

    def lower_bound(self, loss: GroupCrossEntropy) -> float:
        """sum_g K_g w_g H(p_g) - |G 1|^2/(2 lb) for class probabilities p whose gradient G the price can bear."""
        slope = loss.relative_gradient.times(math.exp(loss.log_value))
        if self.bias_decay == 0:
            slope = with_marginals(slope, self.weights)
        burden = slope.scaled_columns(1 / self.stretch).spectral_norm
        slope = slope.times(min(1.0, self.price / burden)) if burden > 0 else slope
        rows = slope.block @ np.sqrt(self.sizes)
        cost = float(rows @ rows) / (2 * self.bias_decay) if self.bias_decay else 0.0
        return entropy(slope, self.weights) - cost
