r"""What of a matrix stands above noise: the edge of a random matrix, and the cut that loses least.

The model is a matrix (m, n) of low rank plus independent noise of one standard deviation tau. With m <= n (turn the
matrix otherwise) and aspect b = m/n, the squared singular values of the noise, divided by tau^2 n, follow the law of
Marchenko and Pastur on [(1 - sqrt b)^2, (1 + sqrt b)^2]; what lies below the edge tau (sqrt m + sqrt n) cannot be told
from noise, and of what lies above, only singular values past the optimal hard threshold are worth keeping.

Weights that were trained are no such matrix: their noise is neither independent nor of one size, and where signal makes
up more than half of the singular values, the median that the noise is estimated from is signal. Take the counts for a
guide, and the accuracy after truncation for the answer.
"""

import math
from collections.abc import Callable
from functools import cache, partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_finite, relative_spectrum, rounding_tolerance, singular_values

_measure = partial(
    metric,
    source="gavish2014",
    range=(0.0, math.inf),
    collapsed=None,
    invariant_to=("rotation", "scale"),
    cost="O(m n min(m, n))",
    needs=("matrix",),
)


def marchenko_pastur_cdf(x: float | int, aspect: float | int) -> float:
    r"""The share of a random matrix's squared singular values, over tau^2 n, that are at most x; aspect b = m/n <= 1.

    With cos t = (1 + b - x) / (2 sqrt b): F = 2/pi ((1+b) t / (4b) + sin t / (2 sqrt b) - (1-b)/(2b) atan2((1 + sqrt b)
    sin t/2, (1 - sqrt b) cos t/2)). In [0, 1], 0 and 1 past the ends of the support. Takes and gives plain numbers, no
    shape. Raises OptionError for an aspect outside (0, 1]. Source: Marchenko & Pastur 1967, integrated.

    >>> round(marchenko_pastur_cdf(1, 0.5), 12)
    0.576004215104
    """
    b, a = _checked_aspect(aspect), math.sqrt(aspect)
    cosine = (1 + b - x) / (2 * a)
    if abs(cosine) >= 1:
        return float(cosine < 0)
    t = math.acos(cosine)
    turn = math.atan2((1 + a) * math.sin(t / 2), (1 - a) * math.cos(t / 2))
    return 2 / math.pi * ((1 + b) * t / (4 * b) + math.sin(t) / (2 * a) - (1 - b) / (2 * b) * turn)


@cache
def marchenko_pastur_median(aspect: float | int) -> float:
    """The median of a random matrix's squared singular values over tau^2 n, for aspect b = m/n <= 1.

    In [0.65, 1): 0.6528 for square matrices, towards 1 for flat ones. Found by bisection of `marchenko_pastur_cdf` to
    the last digit. Takes and gives plain numbers, no shape. Raises OptionError for an aspect outside (0, 1].

    >>> round(marchenko_pastur_median(1.0), 12)
    0.652775941634
    """
    a = math.sqrt(_checked_aspect(aspect))
    low, high = (1 - a) ** 2, (1 + a) ** 2
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if marchenko_pastur_cdf(middle, aspect) < 0.5 else (low, middle)
    return middle


def known_noise_threshold(aspect: float | int) -> float:
    r"""Where to cut singular values that carry noise of known size, in units of tau sqrt n, for aspect b = m/n <= 1.

    sqrt(2(b+1) + 8b / (b + 1 + sqrt(b^2 + 14b + 1))): of all hard thresholds the one with the least squared error for
    large matrices; 4/sqrt 3 for square ones. Takes and gives plain numbers, no shape. Raises OptionError for an aspect
    outside (0, 1]. Source: Gavish & Donoho 2014.

    >>> round(known_noise_threshold(1), 12)
    2.309401076759
    """
    b = _checked_aspect(aspect)
    return math.sqrt(2 * (b + 1) + 8 * b / (b + 1 + math.sqrt(b * b + 14 * b + 1)))


def unknown_noise_threshold(aspect: float | int) -> float:
    """Where to cut singular values where the noise is not known, in units of their median, for aspect m/n <= 1.

    `known_noise_threshold` over the square root of `marchenko_pastur_median`. Takes and gives plain numbers, no shape.
    Raises OptionError for an aspect outside (0, 1]. Source: Gavish & Donoho 2014.

    >>> round(unknown_noise_threshold(0.5), 12)
    2.171185348454
    """
    return known_noise_threshold(aspect) / math.sqrt(marchenko_pastur_median(aspect))


def optimal_shrinkage(values: Float[Tensor, "*r"], aspect: float | int) -> Float64[Tensor, "*r"]:
    r"""What singular values y, in units of tau sqrt n, should become for the least squared error, for aspect m/n <= 1.

    sqrt((y^2 - b - 1)^2 - 4b) / y above the edge 1 + sqrt b, and 0 below: noise makes singular values larger. Takes any
    shape, and keeps it and the unit. Raises OptionError for an aspect outside (0, 1], NonFiniteError. Source: Gavish &
    Donoho 2017.

    >>> optimal_shrinkage(torch.tensor([1.5, 5.0]), 0.5).round(decimals=12).tolist()
    [0.0, 4.691481642296]
    """
    a, y = math.sqrt(_checked_aspect(aspect)), checked_finite(values, "values")
    above = y.clamp(min=1 + a)
    # The product of the four differences, each over y: no power of y that could overflow.
    upper, lower = (1 + a) / above, (1 - a) / above
    shrunk = above * ((1 - upper) * (1 + upper) * (1 - lower) * (1 + lower)).sqrt()
    return torch.where(y > 1 + a, shrunk, 0.0)


def noise_deviation(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], shape: tuple[int, int] | None = None
) -> Float64[Tensor, ""]:
    r"""The standard deviation tau of a matrix's noise, from its median singular value: median / sqrt(n mu_b).

    Takes a matrix (m, n), or its singular values with its `shape`; in the unit of its entries. The median is of all
    min(m, n) singular values, zeros included. 0 for a matrix of less than half rank. Raises ShapeError where a vector
    comes without a shape or with one that it does not fit, NonFiniteError, and OptionError for negative singular
    values. Source: Gavish & Donoho 2014.

    >>> noise = torch.randn(300, 400, generator=torch.Generator().manual_seed(0))
    >>> round(noise_deviation(0.1 * noise).item(), 2)
    0.1
    """
    s, peak, m, n = _spectrum(matrix, shape)
    return peak * _relative_deviation(s, m, n)


@_measure(symbol="rank above noise")
def rank_above_noise_edge(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"],
    shape: tuple[int, int] | None = None,
    deviation: float | None = None,
) -> Float64[Tensor, ""]:
    r"""The number of singular values above the edge tau (sqrt m + sqrt n) of a random matrix of the same shape.

    Takes a matrix (m, n), or its singular values with its `shape`. tau is `deviation`, in the unit of the entries;
    where None it is estimated (`noise_deviation`). A whole number in [0, min(m, n)]; 0 for a zero matrix, and the
    numerical rank where the estimated noise is 0. The largest singular value of pure noise passes the edge about one
    time in six; and trained weights are no independent noise: a soft guide. Raises ShapeError where a vector comes
    without its matrix's shape, NonFiniteError, and OptionError for negative singular values or a negative deviation.
    Source: Gavish & Donoho 2014, with the edge of Marchenko & Pastur 1967.

    >>> noise = torch.randn(60, 120, generator=torch.Generator().manual_seed(0))
    >>> noise[:3, :3] += 100 * torch.eye(3)
    >>> rank_above_noise_edge(noise).item()
    3.0
    """
    return _rank_above(matrix, shape, deviation, lambda aspect: 1 + math.sqrt(aspect))


@_measure(symbol="rank above cut")
def rank_by_hard_threshold(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"],
    shape: tuple[int, int] | None = None,
    deviation: float | None = None,
) -> Float64[Tensor, ""]:
    r"""The number of singular values above the hard threshold with the least error: `known_noise_threshold` tau sqrt n.

    Takes a matrix (m, n), or its singular values with its `shape`. With tau estimated from the median (`deviation`
    None) the cut is `unknown_noise_threshold` medians. A whole number in [0, min(m, n)], at most
    `rank_above_noise_edge`; degenerate cases, errors and caveats as there. Source: Gavish & Donoho 2014.

    >>> noise = torch.randn(60, 120, generator=torch.Generator().manual_seed(0))
    >>> noise[:3, :3] += 100 * torch.eye(3)
    >>> rank_by_hard_threshold(noise).item()
    3.0
    """
    return _rank_above(matrix, shape, deviation, known_noise_threshold)


def _rank_above(
    matrix: Tensor, shape: tuple[int, int] | None, deviation: float | None, threshold: Callable[[float], float]
) -> Tensor:
    """Singular values above `threshold(aspect)` tau sqrt n, and above what rounding leaves."""
    s, peak, m, n = _spectrum(matrix, shape)
    if deviation is None:
        relative = _relative_deviation(s, m, n)
    elif 0 <= deviation < math.inf:
        relative = deviation / peak
    else:
        raise OptionError(f"deviation is the noise's standard deviation, finite and at least 0; got {deviation}.")
    cut = threshold(m / n) * math.sqrt(n) * relative
    return (s > cut.clamp(min=rounding_tolerance(matrix))).sum().double()


def _spectrum(matrix: Tensor, shape: tuple[int, int] | None) -> tuple[Tensor, Tensor, int, int]:
    """All min(m, n) singular values over the largest, zeros included; the largest; and the sides, the shorter first."""
    m, n = _short_and_long(matrix, shape)
    values = singular_values(matrix) if matrix.ndim == 2 else matrix.double()
    s = relative_spectrum(values)[:m]
    peak = values.max() if len(s) else s.new_zeros(())
    return torch.cat([s, s.new_zeros(m - len(s))]), peak, m, n


def _relative_deviation(s: Tensor, m: int, n: int) -> Tensor:
    return s.quantile(0.5) / math.sqrt(n * marchenko_pastur_median(m / n))


def _checked_aspect(aspect: float | int) -> float:
    if not 0 < aspect <= 1:
        raise OptionError(f"aspect is the shorter side over the longer, above 0 and at most 1; got {aspect}.")
    return float(aspect)


def _short_and_long(matrix: Tensor, shape: tuple[int, int] | None) -> tuple[int, int]:
    """The sides of the matrix, the shorter first, from itself or from `shape` where singular values came."""
    if matrix.ndim == 1:
        fits = shape is not None and min(shape) > 0 and int((matrix > 0).sum()) <= min(shape)
        if not fits:
            raise ShapeError(
                f"noise depends on the matrix's shape, and {len(matrix)} singular values came with shape={shape}. Pass "
                "the shape (rows, columns) of the matrix that they belong to, or the matrix itself."
            )
        assert shape is not None
        return min(shape), max(shape)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ShapeError(f"matrix has shape {tuple(matrix.shape)}; expected (rows, columns), neither of them 0.")
    if shape not in (None, tuple(matrix.shape)):
        raise ShapeError(f"matrix has shape {tuple(matrix.shape)} and shape={shape} was said; leave shape out.")
    return min(matrix.shape), max(matrix.shape)
