r"""NC2: equal norms, equal angles, and the distance to the simplex equiangular tight frame (ETF).

A simplex ETF is C vectors of equal norm whose pairwise cosines are all -1/(C-1), the widest that C vectors can be. The
measures take any C `rows`: centred class means, or the rows of the classifier. Rows are never centred here. A row of
norm below 1e-12 times the largest has no direction: cosines with it are NaN and are left out of averages, and
`erased_classes` names it.
"""

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import ShapeError, TooFewClassesError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_matrix, rescaled
from deepcollapse.linalg import row_chunks

ZERO_NORM = 1e-12  # relative to the largest norm: below it a row is rounding, and its direction means nothing
INFINITY = float("inf")

_measure = partial(metric, source="papyan2020", invariant_to=("rotation", "scale"), needs=("rows",))


def checked_rows(rows: Tensor, name: str = "rows") -> Float64[Tensor, "c d"]:
    """`rows` in float64, as `checked_matrix`; TooFewClassesError where there are fewer than two."""
    rows = checked_matrix(rows, name)
    if len(rows) < 2:
        raise TooFewClassesError(
            f"{name} has {len(rows)} row{'s' * (len(rows) != 1)}; the geometry of classes needs at least two."
        )
    return rows


def unit_rows(rows: Float64[Tensor, "c d"]) -> Float64[Tensor, "c d"]:
    """Each row divided by its norm; NaN where the norm is below 1e-12 times the largest."""
    rows, _ = rescaled(rows)
    norms = rows.norm(dim=1, keepdim=True)
    return torch.where(norms > ZERO_NORM * norms.max(), rows / norms, torch.nan)


def directed(rows: Float64[Tensor, "c d"]) -> Float64[Tensor, "k d"]:
    """The unit rows of those rows that have a direction."""
    unit = unit_rows(rows)
    return unit[unit.isfinite().all(dim=1)]


def simplex_etf(num_classes: int, dim: int) -> Float64[Tensor, "c d"]:
    r"""The simplex ETF: C rows of norm 1 in R^d that sum to 0, with all pairwise cosines -1/(C-1).

    Built by the recursion that puts row 0 on the first axis, so that it is the same on every machine; the coordinates
    past C-1 are 0. Raises TooFewClassesError below two classes, ShapeError where d < C-1, for then no such rows exist.
    Source: Papyan, Han & Donoho 2020, definition 3, up to rotation.

    >>> simplex_etf(3, 2).round(decimals=3).tolist()
    [[1.0, 0.0], [-0.5, 0.866], [-0.5, -0.866]]
    """
    if num_classes < 2:
        raise TooFewClassesError(f"a simplex ETF needs at least two classes; got num_classes={num_classes}.")
    if dim < num_classes - 1:
        raise ShapeError(
            f"{num_classes} classes have no simplex ETF in {dim} dimensions; it needs dim >= {num_classes - 1}. "
            "Where classes are that many, see the measures of deepcollapse.geometry.uniformity."
        )
    n = num_classes - 1
    axis = torch.arange(n, dtype=torch.float64)
    height = ((n + 1) * (n - axis) / (n * (n - axis + 1))).sqrt()
    rows = torch.zeros(num_classes, dim, dtype=torch.float64)
    for j in range(n):
        rows[j, j], rows[j + 1 :, j] = height[j], -height[j] / (n - j)
    return rows


def cosines(rows: Float[Tensor, "c d"]) -> Float64[Tensor, "c c"]:
    r"""The C x C cosines <r_i, r_j> / (|r_i| |r_j|) between rows (C, d).

    Dimensionless, in [-1, 1]; at collapse 1 on the diagonal and -1/(C-1) off it. Unchanged by rotation and scale. Rows
    and columns of zero rows are NaN. Raises ShapeError, NonFiniteError, TooFewClassesError.
    Source: Papyan, Han & Donoho 2020.

    >>> cosines(torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 0.0]])).tolist()
    [[1.0, 0.0, nan], [0.0, 1.0, nan], [nan, nan, nan]]
    """
    unit = unit_rows(checked_rows(rows))
    matrix = (unit @ unit.T).clamp(-1, 1)
    diagonal = matrix.diagonal()
    diagonal[diagonal.isfinite()] = 1.0
    return matrix


def _pair_cosines(rows: Float[Tensor, "c d"]) -> Iterator[Float64[Tensor, " pairs"]]:
    """The cosines of the pairs i < j of rows that have a direction, tile by tile: C x C need not fit in memory."""
    unit = directed(checked_rows(rows))
    for tile in row_chunks(len(unit), len(unit)):
        # Only the square on the diagonal holds pairs twice; what lies to its right needs no choosing.
        square = unit[tile] @ unit[tile].T
        upper = torch.ones_like(square, dtype=torch.bool).triu(1)
        yield torch.cat([square[upper], (unit[tile] @ unit[tile.stop :].T).flatten()]).clamp(-1, 1)


def mean_over(tiles: Iterator[Float64[Tensor, " pairs"]], like: Tensor) -> Float64[Tensor, ""]:
    """The mean of all numbers in the tiles, on the device of `like`; NaN where there are none."""
    total, count = torch.zeros((), dtype=torch.float64, device=like.device), 0
    for tile in tiles:
        total, count = total + tile.sum(), count + len(tile)
    return total / count


@_measure(symbol="NC2 norms", range=(0.0, INFINITY), collapsed=0.0, cost="O(C d)")
def equinorm(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_c(|r_c|) / Avg_c(|r_c|): how unequal the norms of the rows (C, d) are; divided by C, not C-1.

    Dimensionless, in [0, sqrt(C-1)]; 0 where all norms agree, as at collapse. Zero rows count. Of the centred means of
    two classes it is 0 always; rows that are all 0 give NaN. Raises ShapeError, NonFiniteError, TooFewClassesError.
    Source: Papyan, Han & Donoho 2020, Fig. 2. The authors' notebook divides by C-1: `equinorm_unbiased`.

    >>> equinorm(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).item()
    0.5
    """
    return _spread_of_norms(rows, ddof=0)


@_measure(symbol="NC2 norms, C-1", range=(0.0, INFINITY), collapsed=0.0, cost="O(C d)")
def equinorm_unbiased(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_c(|r_c|) / Avg_c(|r_c|) with the sample standard deviation, divided by C-1.

    It is `equinorm` times sqrt(C/(C-1)), and agrees with it in everything else; range [0, sqrt(C)].
    Source: the notebook released with Papyan, Han & Donoho 2020, whose `torch.std` divides so.

    >>> round(equinorm_unbiased(torch.tensor([[1.0, 0.0], [0.0, 3.0]])).item(), 6)
    0.707107
    """
    return _spread_of_norms(rows, ddof=1)


def _spread_of_norms(rows: Float[Tensor, "c d"], ddof: int) -> Float64[Tensor, ""]:
    norms = rescaled(checked_rows(rows))[0].norm(dim=1)
    return norms.std(correction=ddof) / norms.mean()


@_measure(symbol="NC2 angles", range=(0.0, 1.0), collapsed=0.0, cost="O(C^2 d)")
def equiangularity(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_{i != j} cos(r_i, r_j): how unequal the angles between the rows (C, d) are; divided by the number of pairs.

    Dimensionless, in [0, 1]; 0 where all pairs make one angle, as at collapse. Of two rows it is 0 always, which says
    nothing. Pairs with a zero row are left out; without a pair it is NaN. Where C > d+1 it cannot be 0, save where
    all directions agree. Raises ShapeError, NonFiniteError, TooFewClassesError.
    Source: Papyan, Han & Donoho 2020, Fig. 3.

    >>> equiangularity(simplex_etf(4, 5)).item() < 1e-15
    True
    """
    # Two passes: near collapse the mean square less the squared mean would be rounding.
    mean = mean_over(_pair_cosines(rows), rows)
    return mean_over(((tile - mean).square() for tile in _pair_cosines(rows)), rows).sqrt()


@_measure(symbol="NC2 maximal angle", range=(0.0, 2.0), collapsed=0.0, cost="O(C^2 d)")
def maximal_angle(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Avg_{i != j} |cos(r_i, r_j) + 1/(C-1)|: how far the angles between the rows (C, d) are from the widest.

    Dimensionless, in [0, 1 + 1/(C-1)]; 0 at collapse. Pairs with a zero row are left out (C stays the number of rows);
    without a pair it is NaN. Of the centred means of two classes it is 0 always. Where C > d+1 the target is out of
    reach. Raises ShapeError, NonFiniteError, TooFewClassesError. Source: Papyan, Han & Donoho 2020, Fig. 4.

    >>> maximal_angle(torch.eye(3)).item()
    0.5
    """
    return mean_over(((tile + 1 / (len(rows) - 1)).abs() for tile in _pair_cosines(rows)), rows)


@_measure(symbol="NC2 Gram", source="zhu2021", range=(0.0, 2**0.5), collapsed=0.0, cost="O(C^2 d)")
def gram_etf_error(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""| R R^T / |R R^T|_F - T |_F with T = (I - 1 1^T / C) / sqrt(C-1): norms and angles of rows R (C, d) in one.

    Dimensionless, in [0, sqrt(2)]; 0 at collapse only. Zero rows count; rows that are all 0 give NaN. Where C > d+1 it
    cannot be 0. Raises ShapeError, NonFiniteError, TooFewClassesError. Source: Zhu et al. 2021, with raw rows; subtract
    the mean row beforehand for the centred form of later work.

    >>> round(gram_etf_error(torch.eye(3)).item(), 6)
    0.605811
    """
    rows, _ = rescaled(checked_rows(rows))
    return simplex_gram_error(rows @ rows.T)


def simplex_gram_error(gram: Float64[Tensor, "c c"]) -> Float64[Tensor, ""]:
    """| G / |G|_F - T |_F for a C x C matrix of inner products; NaN where it is 0."""
    c = len(gram)
    target = (torch.eye(c, dtype=torch.float64, device=gram.device) - 1 / c) / (c - 1) ** 0.5
    return (gram / gram.norm() - target).norm()


@metric(
    symbol="mean norm",
    source="papyan2020",
    range=(0.0, INFINITY),
    collapsed=None,
    invariant_to=("rotation",),
    cost="O(C d)",
    needs=("rows",),
    unit="row",
)
def mean_norm(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Avg_c |r_c|: the mean norm of the rows (C, d), in their unit.

    At least 0, and 0 only where every row is; collapse does not fix it. Unchanged by rotation, proportional to scale.
    Raises ShapeError, NonFiniteError, TooFewClassesError. Source: Papyan, Han & Donoho 2020, within Fig. 2.

    >>> mean_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])).item()
    3.0
    """
    rows, scale = rescaled(checked_rows(rows))
    return rows.norm(dim=1).mean() * scale


def simplex_coordinates(points: Float[Tensor, "n d"], means: Float[Tensor, "k d"]) -> Float64[Tensor, "n k-1"]:
    r"""Coordinates of points (n, d) in the space of k centred class means (k, d), turned onto a simplex: a picture.

    With B an orthonormal basis of the span of the means Z and E = `simplex_etf(k, k-1)`, the orthogonal Q that brings
    Z B Q closest to E (Procrustes) gives points B Q / Avg_c |z_c|, dimensionless: at collapse the points and means of
    class c lie on vertex c, at distance 1 from the centre. Means must be centred on their own mean, and points on that
    same centre; the rows of the classifier come in another unit, so pass them times mean_norm(means)/mean_norm(rows).

    k = 2 gives a line. Where the means span fewer than k-1 dimensions (always so where k > d+1, or where two means
    agree) the missing directions are held at 0. Means that are all 0 give NaN. Raises ShapeError where `points` and
    `means` differ in dimension, NonFiniteError, TooFewClassesError.

    >>> simplex_coordinates(torch.tensor([[0.0, 4.0]]), torch.tensor([[0.0, -2.0], [0.0, 2.0]])).round().tolist()
    [[-2.0]]
    """
    points, means = checked_matrix(points, "points", "(samples, dim)"), checked_rows(means, "means")
    if points.shape[1] != means.shape[1]:
        raise ShapeError(
            f"points have dimension {points.shape[1]} and means {means.shape[1]}; pass both from one layer's features."
        )
    k = len(means)
    means, scale = rescaled(means)
    _, s, right = torch.linalg.svd(means, full_matrices=False)
    right, s = right[: k - 1], s[: k - 1]
    # Directions past the rank of the means are arbitrary: points must not be spread along them.
    right = right * (s > max(means.shape) * torch.finfo(torch.float64).eps * s[0])[:, None]
    basis = torch.nn.functional.pad(right, (0, 0, 0, k - 1 - len(right))).T
    target = simplex_etf(k, k - 1).to(means.device)
    left, _, rows = torch.linalg.svd((means @ basis).T @ target)
    return (points / scale) @ basis @ (left @ rows) / means.norm(dim=1).mean()
