"""A weight as the product of two thin factors, and the directions of its outputs that are kept."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import OptionError


@dataclass(frozen=True)
class Factors:
    """left @ right, in place of a weight (m, n), with the change of the bias that goes with it.

    The factors are balanced, left^T left = right right^T: of all factors of one product those with the smallest sum of
    squares, so that neither overflows nor vanishes in lower precision.

    Attributes:
        left: (m, r). right: (r, n), both float64 on the CPU.
        bias_change: (m,), to be added to the bias, or None.

    >>> Factors(torch.ones(2, 1).double(), torch.ones(1, 3).double()).parameters
    5
    """

    left: Float64[Tensor, "m r"]
    right: Float64[Tensor, "r n"]
    bias_change: Float64[Tensor, " m"] | None = None

    @property
    def rank(self) -> int:
        """How many columns the left factor has, r."""
        return self.left.shape[1]

    @property
    def parameters(self) -> int:
        """How many numbers both factors hold, r (m + n), without the bias."""
        return self.left.numel() + self.right.numel()

    def matrix(self) -> Float64[Tensor, "m n"]:
        """The product left @ right, (m, n)."""
        return self.left @ self.right


@dataclass(frozen=True)
class Directions:
    """Orthonormal directions of a weight's outputs in the order in which a truncation keeps them.

    Whatever a truncation weighs its inputs with, the best product of rank r is U_r U_r^T W, the weight seen in the
    first r directions alone: what weighs decides which directions those are, and how large `values` are.

    Attributes:
        weight: (m, n). basis: U (m, k), orthonormal columns.
        values: (k,) singular values of the weighted weight, largest first: the error of rank r is
            sqrt(sum_{i > r} values_i^2) in the norm that was asked for.
    """

    weight: Float64[Tensor, "m n"]
    basis: Float64[Tensor, "m k"]
    values: Float64[Tensor, " k"]

    def factors(self, rank: int) -> Factors:
        """Balanced factors of U_r U_r^T W; at most as many directions as there are. OptionError for a negative rank.

        >>> eye = torch.eye(2).double()
        >>> Directions(eye, eye, torch.ones(2).double()).factors(1).matrix().tolist()
        [[1.0, 0.0], [0.0, 0.0]]
        """
        kept = self.basis[:, : checked_rank(rank)]
        turn, s, right = torch.linalg.svd(kept.T @ self.weight, full_matrices=False)
        root = s.sqrt()
        return Factors(kept @ (turn * root), root[:, None] * right)


def checked_rank(rank: int) -> int:
    """`rank`, or OptionError where it is negative."""
    if rank < 0:
        raise OptionError(f"a rank is at least 0; got {rank}.")
    return rank
