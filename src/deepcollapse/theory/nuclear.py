"""What a product of two factors costs: min over W H = Z of (lW/2)|W|^2 + (lH/2)|H|^2 is sqrt(lW lH) times |Z|_*.

Here |Z|_* is the nuclear norm, the sum of singular values, so every model of a free classifier on free features is a
convex program in its logits Z.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.theory.problem import gap_above


def nuclear_norm(z: Float64[Tensor, "m n"]) -> float:
    """The sum of the singular values.

    >>> nuclear_norm(torch.diag(torch.tensor([3.0, -4.0]).double()))
    7.0
    """
    return float(torch.linalg.svdvals(z).sum())


def spectral_norm(z: Float64[Tensor, "m n"]) -> float:
    """The largest singular value.

    >>> spectral_norm(torch.diag(torch.tensor([3.0, -4.0]).double()))
    4.0
    """
    return float(torch.linalg.svdvals(z)[0])


def balanced_factors(
    z: Float64[Tensor, "m n"], weight_scale: float, dim: int
) -> tuple[Float64[Tensor, "m d"], Float64[Tensor, "n d"]]:
    """W (m, d) and H (n, d), both in rows, with W H^T = Z and W^T W = weight_scale^2 H^T H: the cheapest factors.

    `weight_scale` is sqrt(lH/lW). Only the `dim` largest singular values of Z are kept where it has more.

    >>> w, h = balanced_factors(torch.diag(torch.tensor([4.0, 1.0]).double()), weight_scale=4.0, dim=3)
    >>> w.square().sum().item(), h.square().sum().item()
    (20.0, 1.25)
    """
    left, values, right = torch.linalg.svd(z, full_matrices=False)
    kept = min(dim, len(values))
    root = values[:kept].sqrt()
    w, h = z.new_zeros(z.shape[0], dim), z.new_zeros(z.shape[1], dim)
    w[:, :kept] = left[:, :kept] * root * weight_scale**0.5
    h[:, :kept] = right[:kept].T * root / weight_scale**0.5
    return w, h


def constrained_gap(z: Float64[Tensor, "m n"], gradient: Float64[Tensor, "m n"], radius: float) -> float:
    """<G, Z> + radius |G|_2, at least f(Z) - min f over |Z|_* <= radius for convex f with gradient G at a feasible Z.

    The Frank-Wolfe gap: 0 at the optimum and nowhere else.

    >>> z = torch.eye(2).double()
    >>> constrained_gap(z, -z, radius=2.0)
    0.0
    """
    return gap_above(radius * spectral_norm(gradient), -float((gradient * z).sum()))
