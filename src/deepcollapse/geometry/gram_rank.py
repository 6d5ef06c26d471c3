"""The rank of a Jacobian by the rule of the paper on rank diminishing: from its Gram matrix in float32."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.geometry.rank import checked_matrix, rescaled
from deepcollapse.linalg import product_dtype


def gram_rank(matrix: Float[Tensor, "m n"]) -> Float64[Tensor, ""]:
    r"""The rank that float32 sees in J^T J for a matrix J (m, n): eigenvalues above n * eps32 times the largest.

    Squaring hides what is small: it counts singular values of J above about sqrt(n eps32) s_1, which is 0.0096 s_1 for
    the published n = 768, where `numerical_rank` counts all above max(m, n) eps s_1. A whole number in [0, min(m, n)],
    0 for a zero matrix; unchanged by the matrix's scale. It need not fall from layer to layer, though exact rank does.
    Raises ShapeError, NonFiniteError. Source: Feng et al. 2022, whose code calls torch.linalg.matrix_rank on J^T J.

    >>> gram_rank(torch.diag(torch.tensor([1.0, 0.1, 1e-4]))).item()
    2.0
    """
    # A power of two divides without rounding: the rank is the published one wherever that does not overflow.
    small = rescaled(checked_matrix(matrix, "matrix", "(outputs, inputs)"))[0].float()
    work = small.to(product_dtype(small))
    return torch.linalg.matrix_rank((work.T @ work).float()).double()
