r"""Solutions of the deep model that are known exactly: what each costs, and the point itself.

A structure is a set of unit factors, class features M (K, d_1) and weights W_1..W_{L-1}, with known squared norms a_i
and known Gram matrix G of the class features after the last ReLU. Two things can follow. The last weights may be the
pseudo-inverse, so that outputs are x times the targets: the best scales make all terms c_i a_i s_i^2 equal, with
c = (n lH, l_1, ..., l_L) (the inequality of arithmetic and geometric means), and one scalar problem is left, with
kappa = (prod_i c_i a_i)^{1/(L+1)}. Or they may be the ridge solution, which is better wherever G has unequal
eigenvalues, and again leaves one number to choose.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import brentq
from torch import Tensor

from deepcollapse.theory.problems.deep.construction import Construction, Factors, Terms
from deepcollapse.theory.problems.deep.scalar_problem import kappa_star, solve_scalar


def price(decays: Sequence[float], sizes: Sequence[float]) -> float:
    """kappa = (prod_i c_i a_i)^{1/m} of m unit factors whose squared norms are `sizes`.

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


def product_cost(decays: Sequence[float], singular_values: Sequence[float]) -> float:
    """The least sum_i c_i/2 |A_i|^2 over m matrices with A_m ... A_1 = X: (m/2) (prod c_i)^{1/m} sum_j s_j^{2/m}.

    The sum is the Schatten-2/m quasi-norm of X to its power, so that depth counts singular values rather than adding
    them: the low-rank bias. Source: Súkeník, Lampert & Mondelli 2024 and Garrod & Keating 2025.

    >>> round(product_cost((1.0, 2.0, 4.0), (3.0, 1.0)), 12)
    9.240251469156
    """
    count = len(decays)
    weight = math.exp(math.fsum(math.log(c) for c in decays) / count)
    return count / 2 * weight * math.fsum(s ** (2 / count) for s in singular_values)


@dataclass(frozen=True)
class Structure:
    """Unit factors known by their squared norms, without the last weights; `build` makes them when asked for.

    `front` holds the squared norms of class features and W_1..W_{L-1}; `gram` the eigenvalues of the Gram matrix of
    class features after the last ReLU, each with its multiplicity; `ranks` and `widths` as in `Construction`.
    """

    name: str
    front: tuple[float, ...]
    gram: tuple[tuple[float, int], ...]
    ranks: tuple[int, ...]
    widths: tuple[int, ...]
    build: Callable[[], Factors]

    @property
    def sizes(self) -> tuple[float, ...]:
        """The squared norms a_i of all L+1 factors, the pseudo-inverse as last weights: |pinv|^2 = tr G^-1."""
        return (*self.front, math.fsum(count / e if e > 0 else math.inf for e, count in self.gram))

    def at_best_scales(self, terms: Terms) -> Construction:
        """The structure at the scales that make the loss least, outputs x times the targets."""
        decays, kappa = terms.decays, price(terms.decays, self.sizes)
        x, loss = solve_scalar(kappa, terms.depth)

        def scaled() -> Factors:
            front = self.build()
            factors = (*front, torch.linalg.pinv(after_last_relu(front)).T)
            return tuple(s * factor for s, factor in zip(best_scales(decays, self.sizes, x), factors, strict=True))

        nontrivial = kappa < kappa_star(terms.depth)
        return replace(self._construction(terms, self.name, loss, scaled, nontrivial), kappa=kappa, scale=x)

    def refined(self, terms: Terms) -> Construction:
        """The structure with the ridge solution as last weights, at the scale that makes the loss least."""
        decays = terms.decays
        total, loss = ridge_scale(self.front, self.gram, decays)

        def scaled() -> Factors:
            scales = best_scales(decays[:-1], self.front, total)
            front = tuple(s * factor for s, factor in zip(scales, self.build(), strict=True))
            after = after_last_relu(front)
            ridge = after @ after.T + len(after) * decays[-1] * torch.eye(len(after), dtype=torch.float64)
            return (*front, torch.linalg.solve(ridge, after))

        return self._construction(terms, f"{self.name}, refined", loss, scaled, loss < 0.5)

    def _construction(
        self, terms: Terms, name: str, loss: float, factors: Callable[[], Factors], nontrivial: bool
    ) -> Construction:
        ranks = self.ranks if nontrivial else (0,) * len(self.ranks)
        return Construction(terms.problem, name, loss, terms.lower, ranks, self.widths, factors, nontrivial=nontrivial)


def after_last_relu(front: Factors) -> Tensor:
    """Class features (K, d_L) as the last weights meet them."""
    features = front[0]
    for layer, weight in enumerate(front[1:], start=1):
        features = (features if layer == 1 else features.relu()) @ weight.T
    return features.relu() if len(front) > 1 else features


def ridge_scale(
    front: Sequence[float], gram: Sequence[tuple[float, int]], decays: Sequence[float]
) -> tuple[float, float]:
    """(u, loss) at the best product u of the front's scales, with ridge last weights; (0, 1/2) where zero is best.

    The loss is 1/2K sum_j m_j / (v e_j + 1) + L/2 P v^{1/L} with v = u^2 / (K l_L), over eigenvalues e_j of
    multiplicity m_j, and P = (K l_L prod_{i<L} c_i a_i)^{1/L}. Derived here.
    """
    depth, classes = len(front), sum(count for _, count in gram)
    ridge = classes * decays[-1]
    cost = price(decays[:-1], front) * ridge ** (1 / depth)
    eigenvalues, counts = (np.array(column, dtype=float) for column in zip(*gram, strict=True))

    def loss(log_v: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
        v = np.exp(log_v)
        fit = (counts / (v[:, None] * eigenvalues + 1)).sum(axis=1) / (2 * classes)
        return fit + depth / 2 * cost * v ** (1 / depth)

    def slope(log_v: float) -> float:
        v = math.exp(log_v)
        pull = (counts * v * eigenvalues / (v * eigenvalues + 1) ** 2).sum() / (2 * classes)
        return float(cost / 2 * v ** (1 / depth) - pull)

    # Below the first end hardly anything is fitted; past the second the fit is all but perfect and costs only rise.
    used = eigenvalues[eigenvalues > 1e-12 * eigenvalues.max()]
    low, high = math.log(1e-3 / used.max()), math.log(1e3 / used.min() / min(cost, 1.0))
    grid = np.linspace(low, max(high, low + 1), 200)
    losses = loss(grid)
    best = int(np.argmin(losses))
    if best in (0, len(grid) - 1) or losses[best] >= 0.5:
        return 0.0, 0.5
    log_v = float(brentq(slope, grid[best - 1], grid[best + 1], xtol=1e-15))  # type: ignore[arg-type]
    return math.sqrt(ridge * math.exp(log_v)), float(loss(np.array([log_v]))[0])


def collapsed_structure(num_classes: int, depth: int) -> Structure:
    """Deep neural collapse: each class on an axis of its own in every layer, one constant times the identity.

    Needs a width of K; costs K in every factor. Source: Súkeník, Mondelli & Lampert 2023.
    """

    def build() -> Factors:
        return tuple(torch.eye(num_classes, dtype=torch.float64) for _ in range(depth))

    return Structure(
        "collapsed",
        front=(float(num_classes),) * depth,
        gram=((1.0, num_classes),),
        ranks=(num_classes,) * (depth + 1),
        widths=(num_classes,) * depth,
        build=build,
    )


def shape_structure(name: str, shape: Tensor, signs: Tensor, depth: int) -> Structure:
    """One non-negative shape of the class features (K, r) in every layer but the last, then rows `signs` (q, r).

    The shape is a product W_1 M of nuclear norm nu, which costs nu in each; the identity keeps it through layers 2 to
    L-2, at r each; relu(shape signs^T) is what the last weights meet. With two layers there is no layer for the shape
    and the product is shape signs^T itself. Derived here.
    """
    after = (shape @ signs.T).relu()
    rank = int(torch.linalg.matrix_rank(shape @ signs.T, rtol=1e-9))
    eigenvalues = torch.linalg.eigvalsh(after @ after.T).clamp_min(0)
    return Structure(
        name,
        front=shape_costs(shape, signs, depth),
        gram=tuple((float(e), 1) for e in eigenvalues),
        ranks=shape_ranks(shape.shape[1], rank, len(shape), depth),
        widths=(rank if depth == 2 else shape.shape[1], *[shape.shape[1]] * (depth - 2), len(signs)),
        build=lambda: shape_factors(shape, signs, depth),
    )


def shape_costs(shape: Tensor, signs: Tensor, depth: int) -> tuple[float, ...]:
    """The squared norms of the front of `shape_structure`."""
    if depth == 2:
        return (float(torch.linalg.svdvals(shape @ signs.T).sum()),) * 2
    nuclear = float(torch.linalg.svdvals(shape).sum())
    return (nuclear, nuclear, *[float(shape.shape[1])] * (depth - 3), float(signs.square().sum()))


def shape_ranks(rank: int, last: int, num_classes: int, depth: int) -> tuple[int, ...]:
    """Ranks of the class means before the ReLU, `rank` until layer L, which has `last`; then the output's."""
    return (*[last if depth == 2 else rank] * (depth - 1), last, num_classes)


def shape_factors(shape: Tensor, signs: Tensor, depth: int) -> Factors:
    """The front of `shape_structure`: the shape's product split evenly, identities, the rows."""
    product = shape if depth > 2 else shape @ signs.T
    left, values, right = torch.linalg.svd(product, full_matrices=False)
    rank = int((values > 1e-12 * values[0]).sum())  # the root would make a singular value of rounding count
    root = values[:rank].sqrt()
    split = (left[:, :rank] * root, right[:rank].T * root)
    if depth == 2:
        return split
    keep = [torch.eye(shape.shape[1], dtype=torch.float64) for _ in range(depth - 3)]
    return (*split, *keep, signs)
