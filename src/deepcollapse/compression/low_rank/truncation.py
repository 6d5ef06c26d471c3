r"""A matrix of lower rank near a weight W (m, n): near in its entries, or in what it does to the inputs X (n, N).

Everything is worked out in float64 on the CPU. All of these keep U_r U_r^T W and differ in the directions U_r alone:
those of W, those of W X, or those of W diag(s). Where the singular values r and r + 1 are equal, the truncation is not
unique, though its error is. Truncating again changes nothing, and at r >= rank(W) nothing changes at all.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.compression.low_rank.factors import Directions, Factors, checked_rank
from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.rank import checked_finite, checked_matrix, rescaled

SCALE_FLOOR = 1e-6  # below it, dividing by a scale would only blow up what never enters


def truncated(weight: Float[Tensor, "m n"], rank: int, generator: torch.Generator | None = None) -> Factors:
    r"""The matrix of rank r nearest to a weight (m, n) in Frobenius and spectral norm, U_r S_r V_r^T, as factors.

    The error is sqrt(sum_{i > r} s_i^2). With a `generator` it is found by random projections, at O(m n r) in place of
    O(m n min(m, n)), with an error larger by a share of 1e-3 at most where the rank is far below min(m, n). Raises
    ShapeError, NonFiniteError, and OptionError for a negative rank. Sources :cite:`eckart1936,halko2011`.

    >>> truncated(torch.diag(torch.tensor([4.0, 2.0])), 1).matrix().abs().tolist()
    [[4.0, 0.0], [0.0, 0.0]]
    """
    if generator is not None:
        return random_directions(weight, rank, generator).factors(rank)
    return plain_directions(weight).factors(rank)


def activation_aware(
    weight: Float[Tensor, "m n"],
    rank: int,
    second_moment: Float64[Tensor, "n n"],
    mean: Float64[Tensor, " n"] | None = None,
    *,
    ridge: float | int = 0.0,
) -> Factors:
    r"""The matrix W_r of rank r that minimises ||(W - W_r) X||_F over the inputs X (n, N), as factors.

    W_r = U_r U_r^T W with the first left singular vectors of W X; the error is sqrt(sum_{i > r} s_i(W X)^2). Only the
    second moment X X^T (or any multiple of it) is needed, and nothing is inverted: it may be singular. With the inputs'
    `mean` (n,) the second moment is to be taken about it, and `bias_change` = (W - W_r) mean makes up for the mean
    output that is lost; the error is then never larger.

    Args:
        weight: (m, n). rank: at least 0.
        second_moment: (n, n), about 0, or about `mean` where that is given.
        mean: (n,), what the bias is to make up for.
        ridge: adds this share of the mean input variance to every input, so that directions which the inputs at hand
            do not tell apart are kept by their weight.

    Raises ShapeError, NonFiniteError, and OptionError for a negative rank or ridge. Source :cite:`wang2025`, whose
    whitening by a Cholesky factor gives the same where the second moment is not singular.

    >>> activation_aware(torch.eye(2), 1, torch.diag(torch.tensor([1.0, 4.0])).double()).matrix().abs().tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    factors = aware_directions(weight, second_moment, ridge=ridge).factors(rank)
    if mean is None:
        return factors
    return replace(factors, bias_change=(_matrix(weight) - factors.matrix()) @ mean.cpu())


def diagonally_scaled(weight: Float[Tensor, "m n"], rank: int, scales: Float[Tensor, " n"]) -> Factors:
    r"""The matrix of rank r nearest to a weight (m, n) once each input is scaled: W_r diag(s) is nearest to W diag(s).

    Scales (n,) below 1e-6 are taken as 1e-6. See `scales_of`; never better on the inputs than `activation_aware`, and
    all it needs is a number an input. Raises ShapeError, NonFiniteError, and OptionError for a negative rank. Source
    :cite:`yuan2023`.

    >>> diagonally_scaled(torch.eye(2), 1, torch.tensor([1.0, 4.0])).matrix().abs().tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    return scaled_directions(weight, scales).factors(rank)


def scales_of(magnitude: Float[Tensor, "*shape"], alpha: float | int = 0.5) -> Float64[Tensor, "*shape"]:
    r"""mean|x_j|^alpha for the mean magnitude of each input, at least 1e-6: scales for `diagonally_scaled`.

    Raises OptionError for an alpha outside [0, 1]. Source :cite:`yuan2023`.

    >>> scales_of(torch.tensor([4.0, 0.0])).tolist()
    [2.0, 1e-06]
    """
    if not 0 <= alpha <= 1:
        raise OptionError(f"alpha is a power between 0 and 1; got {alpha}.")
    return magnitude.double().pow(alpha).clamp(min=SCALE_FLOOR)


def plain_directions(weight: Float[Tensor, "m n"]) -> Directions:
    """The left singular vectors of a weight, with its singular values."""
    matrix = _matrix(weight)
    basis, values, _ = torch.linalg.svd(matrix, full_matrices=False)
    return Directions(matrix, basis, values)


def aware_directions(
    weight: Float[Tensor, "m n"], second_moment: Float64[Tensor, "n n"], *, ridge: float | int = 0.0
) -> Directions:
    r"""The left singular vectors of W X, with its singular values, from W and C = X X^T.

    With W = U S V^T and a root L of V^T C V (k, k), W X and U S L have the same left singular vectors and values: no
    more than k = min(m, n) rows are decomposed, and what W itself lacks is exactly 0 in the result.
    """
    matrix, moment = _matrix(weight), _moment(second_moment, weight.shape[1], ridge)
    left, s, right = torch.linalg.svd(matrix, full_matrices=False)
    moment, size = rescaled(moment)
    inner = right @ moment @ right.T
    eigenvalues, vectors = torch.linalg.eigh((inner + inner.T) / 2)
    root = vectors * eigenvalues.clamp(min=0).sqrt()
    turn, values, _ = torch.linalg.svd(s[:, None] * root)
    return Directions(matrix, left @ turn, values * size.sqrt())


def scaled_directions(weight: Float[Tensor, "m n"], scales: Float[Tensor, " n"]) -> Directions:
    """The left singular vectors of W diag(s), with its singular values."""
    matrix = _matrix(weight)
    if scales.shape != weight.shape[1:]:
        raise ShapeError(f"scales have shape {tuple(scales.shape)}; expected one for each of {weight.shape[1]} inputs.")
    scales = checked_finite(scales, "scales").cpu().clamp(min=SCALE_FLOOR)
    basis, values, _ = torch.linalg.svd(matrix * scales, full_matrices=False)
    return Directions(matrix, basis, values)


def random_directions(
    weight: Float[Tensor, "m n"], rank: int, generator: torch.Generator, extra: int = 10, powers: int = 6
) -> Directions:
    """About the first `rank` left singular vectors, from `extra` more random projections and a few power iterations."""
    matrix = _matrix(weight)
    width = min(checked_rank(rank) + extra, *matrix.shape)
    drawn = torch.randn(matrix.shape[1], width, dtype=torch.float64, generator=generator)
    span = torch.linalg.qr(matrix @ drawn).Q
    for _ in range(powers):
        # Made orthonormal at every half step: powers of a matrix would drown its small singular values.
        span = torch.linalg.qr(matrix @ torch.linalg.qr(matrix.T @ span).Q).Q
    turn, values, _ = torch.linalg.svd(span.T @ matrix, full_matrices=False)
    return Directions(matrix, span @ turn, values)


def _matrix(weight: Tensor) -> Float64[Tensor, "m n"]:
    return checked_matrix(weight.detach(), "the weight", "(outputs, inputs)").cpu()


def _moment(second_moment: Tensor, inputs: int, ridge: float | int) -> Float64[Tensor, "n n"]:
    if second_moment.shape != (inputs, inputs):
        raise ShapeError(
            f"the second moment has shape {tuple(second_moment.shape)}; expected ({inputs}, {inputs}) for a weight "
            f"with {inputs} inputs."
        )
    if not ridge >= 0:
        raise OptionError(f"ridge is a share of the mean input variance, at least 0; got {ridge}.")
    moment = checked_finite(second_moment, "the second moment").cpu()
    return moment + ridge * moment.trace() / inputs * torch.eye(inputs, dtype=torch.float64) if ridge else moment
