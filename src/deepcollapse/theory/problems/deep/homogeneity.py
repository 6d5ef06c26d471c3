r"""The best scales of any structure at all: ReLU networks without biases are homogeneous in each factor.

Scaling the factors by s_i with product x scales the output by x. With p = <out, Y>/N, q = |out|^2/N, and kappa the
price of the factors as they are, the loss (q x^2 - 2 p x + 1)/2 + (L+1)/2 kappa x^{2/(L+1)} is, in y = x q/p,

    (1 - p^2/q)/2 + p^2/q [(1-y)^2/2 + (L+1)/2 kappa' y^{2/(L+1)}],   kappa' = kappa (p/q)^{2/(L+1)} q / p^2,

so that every structure has a scalar problem of its own. Derived here.
"""

from collections.abc import Sequence

from torch import Tensor

from deepcollapse.theory.problems.deep.scalar_problem import solve_scalar
from deepcollapse.theory.problems.deep.structures import best_scales, price


def homogeneous_scales(
    decays: Sequence[float], sizes: Sequence[float], out: Tensor, targets: Tensor
) -> tuple[list[float], float]:
    """(s_i, loss) at the scales of the factors that make the loss least; zeros and 1/2 where all zero is best.

    `decays` c and squared norms `sizes` belong to the L+1 factors, `out` and `targets` (N, K) to the point.

    >>> import torch
    >>> scales, loss = homogeneous_scales((0.1, 0.1), (2.0, 2.0), torch.eye(2), torch.eye(2))
    >>> [round(s, 6) for s in scales], round(loss, 6)
    ([0.894427, 0.894427], 0.18)
    """
    count, factors = len(out), len(sizes)
    p, q = (float((out * other).sum()) / count for other in (targets, out))
    if p <= 0 or min(sizes) == 0:  # nothing to gain at any scale
        return [0.0] * factors, 0.5
    share = p * p / q
    kappa = price(decays, sizes) * (p / q) ** (2 / factors) / share
    y, loss = solve_scalar(kappa, factors - 1)
    if y == 0:
        return [0.0] * factors, 0.5
    return best_scales(decays, sizes, y * p / q), (1 - share) / 2 + share * loss
