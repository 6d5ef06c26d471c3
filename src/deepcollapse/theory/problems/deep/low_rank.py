r"""Solutions of the deep model of low rank that are no strongly regular graph: a shape kept through all layers.

Class features are one non-negative shape (K, r) in layers 2 to L-1, and the last layer's rows make it separable. What
the layers cost and how the last weights answer is known exactly (`shape_structure`); the shape and the rows are left,
a few numbers, and are found by a small smooth optimisation. All derived here; that such points exist below collapse
at few classes is in Súkeník, Lampert & Mondelli 2024.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.deep.structures import Structure, ridge_scale, shape_structure


def arc(features: float, near: float, far: float) -> tuple[Tensor, Tensor]:
    """Three classes in two dimensions, (1, 0), (t, t), (0, 1), and four rows that tell them apart.

    Two rows are (1, -1) and (-1, 1), which the middle class does not reach; two are (near, far) and (far, near).

    >>> arc(0.9, 0.8, 0.2)[0].tolist()
    [[1.0, 0.0], [0.9, 0.9], [0.0, 1.0]]
    """
    shape = [[1.0, 0.0], [features, features], [0.0, 1.0]]
    rows = [[1.0, -1.0], [-1.0, 1.0], [near, far], [far, near]]
    return torch.tensor(shape, dtype=torch.float64), torch.tensor(rows, dtype=torch.float64)


@lru_cache(maxsize=256)
def arc_structure(decays: tuple[float, ...]) -> Structure:
    """The three classes of `arc` at the numbers that make the loss least for these decays c; three layers or more.

    Of rank 2 until the last ReLU; needs layers of width 4. Below collapse from four layers on, at all decays.
    """
    depth = checked_depth(decays)
    fixed = math.fsum(math.log(c) for c in decays[:-1]) + math.log(3 * decays[-1]) + (depth - 3) * math.log(2)

    def loss(x: np.ndarray) -> float:
        t, near, far, log_v = map(float, x)
        m, v = (near + far) ** 2, math.exp(log_v)
        # Exchanging the outer classes splits the Gram matrix: 1 + (near - far)^2, and a 2 x 2 matrix.
        trace, determinant = 1 + m + 2 * t * t * m, 2 * t * t * m
        fit = 1 / (1 + v * (1 + (near - far) ** 2)) + (2 + v * trace) / (1 + v * trace + v * v * determinant)
        front = 2 * math.log(1 + math.sqrt(1 + 2 * t * t)) + math.log(4 + 2 * (near**2 + far**2))
        return fit / 6 + depth / 2 * math.exp((fixed + front + log_v) / depth)

    start = [0.92, 0.84, 0.19]
    plain = shape_structure("", *arc(*start), depth)
    scale, _ = ridge_scale(plain.front, plain.gram, decays)
    log_v = 2 * math.log(scale) - math.log(3 * decays[-1]) if scale else 2.0
    options = {"xatol": 1e-9, "fatol": 1e-16, "maxiter": 4000, "maxfev": 4000}
    found = minimize(loss, [*start, log_v], method="Nelder-Mead", options=options)
    return shape_structure("three classes on an arc", *arc(*map(float, found.x[:3])), depth)


def checked_depth(decays: tuple[float, ...]) -> int:
    """The number of layers, or OptionError where it is below 3."""
    if len(decays) < 4:
        raise OptionError(f"a shape that layers keep needs three of them or more; got depth={len(decays) - 1}.")
    return len(decays) - 1


def searched_structure(num_classes: int, rank: int, rows: int, decays: tuple[float, ...], seeds: int = 8) -> Structure:
    """The best shape of this rank that L-BFGS finds from `seeds` random starts, with `rows` rows in the last layer.

    What it finds is a stationary shape, no proof of the best one. Raises OptionError for fewer than three layers or
    a rank outside 1 to K.
    """
    depth = checked_depth(decays)
    if not 1 <= rank <= num_classes:
        raise OptionError(f"the rank of {num_classes} classes' features is 1 to {num_classes}; got {rank}.")
    best: tuple[float, Structure] | None = None
    for seed in range(seeds):
        shape, signs = _descend(num_classes, rank, rows, decays, seed)
        structure = shape_structure(f"low rank {rank}, by search", shape, signs, depth)
        loss = ridge_scale(structure.front, structure.gram, decays)[1]
        if best is None or loss < best[0]:
            best = loss, structure
    assert best is not None
    return best[1]


def _descend(num_classes: int, rank: int, rows: int, decays: tuple[float, ...], seed: int) -> tuple[Tensor, Tensor]:
    """A shape and rows where the loss of `ridge_scale` is stationary; rows that came to nothing are left out."""
    generator = torch.Generator().manual_seed(seed)
    depth, cut = len(decays) - 1, num_classes * rank
    ridge = num_classes * decays[-1]
    fixed = math.fsum(math.log(c) for c in decays[:-1]) + math.log(ridge) + (depth - 3) * math.log(rank)
    identity = torch.eye(num_classes, dtype=torch.float64)

    def parts(x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:cut].reshape(num_classes, rank).square(), x[cut:-1].reshape(rows, rank)

    def loss(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(numbers).requires_grad_()
        shape, signs = parts(x)
        after = (shape @ signs.T).relu()
        fit = torch.linalg.inv(identity + x[-1].exp() * (after @ after.T)).trace() / (2 * num_classes)
        nuclear = torch.linalg.svdvals(shape).sum()
        cost = (fixed + 2 * nuclear.log() + signs.square().sum().log() + x[-1]) / depth
        total = fit + depth / 2 * cost.exp()
        total.backward()
        assert x.grad is not None
        return total.item(), x.grad.numpy()

    # Rows of signs, so that a ReLU has something to cut; a scale at which most is fitted.
    start = torch.rand(cut + rows * rank + 1, generator=generator, dtype=torch.float64)
    start[cut:-1] = 3 * start[cut:-1] - 1.5
    start[-1] = -math.log(ridge) / 2
    found = minimize(loss, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 3000, "maxcor": 30})
    shape, signs = parts(torch.from_numpy(found.x))
    norms = signs.norm(dim=1)
    return shape.detach(), signs[norms > 1e-6 * norms.max()].detach()
