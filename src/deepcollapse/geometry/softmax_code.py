r"""Softmax codes: how far each direction is from the hull of all others, and the farthest that can be.

The measures take any C `rows`: centred class means, or the rows of the classifier, never centred here. A row of norm
below 1e-12 times the largest has no direction and is left out (`erased_classes` names it).
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import ShapeError, TooFewClassesError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.simplex import checked_rows, unit_rows
from deepcollapse.geometry.uniformity import COINCIDENT, INFINITY


def one_vs_rest_distances(rows: Float[Tensor, "c d"]) -> Float64[Tensor, " c"]:
    r"""delta_k = dist(u_k, conv{u_j : j != k}) of each unit row u_k = r_k / |r_k| of rows (C, d); (C,).

    Dimensionless, in [0, 2]; C/(C-1) for each row of a simplex ETF. Unchanged by rotation and scale. 0 where another
    row has the same direction; NaN for a zero row, which is left out of the hulls, and where only one row has a
    direction. Exact: Wolfe's active-set method, which ends on a duality gap of 1e-12; NaN if rounding holds the gap
    open. Takes about C solves of C x C systems near collapse, more elsewhere. Raises ShapeError, NonFiniteError,
    TooFewClassesError. Source: Jiang et al. 2023, by Wolfe 1976.

    >>> one_vs_rest_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).round(decimals=6).tolist()
    [1.414214, 1.0, 1.414214]
    """
    unit = unit_rows(checked_rows(rows))
    distances = unit.new_full((len(unit),), torch.nan)
    kept = unit.isfinite().all(dim=1).nonzero().flatten()
    # Coordinates in the rows' own span: the same distances in at most C dimensions.
    within = torch.linalg.qr(unit[kept].T.cpu(), mode="r").R.T
    for k, row in enumerate(kept.tolist() if len(kept) > 1 else []):
        distances[row] = _distance_to_hull(torch.cat([within[:k], within[k + 1 :]]) - within[k])
    return distances


def _distance_to_hull(points: Float64[Tensor, "m d"]) -> float:
    """The distance of the origin to the convex hull of the points; NaN where it could not be certified."""
    norms = points.norm(dim=1)
    if norms.min() <= COINCIDENT:
        return 0.0
    reach = norms.max()
    support, weights = _first_corral(points, int(norms.argmin()))
    best = INFINITY
    while True:
        x = weights @ points[support]
        products, norm = points @ x, x.norm()
        # The last term is what rounding of the points leaves where the distance is far below their reach.
        if norm.square() - products.min() <= 1e-12 * norm * reach + 1e-15 * reach.square():
            return norm.item()
        if norm >= best:
            return math.nan
        best, entering = norm, int(products.argmin())
        if entering not in support:
            support, weights = [*support, entering], torch.cat([weights, weights.new_zeros(1)])
        support, weights = _shrink_to_corral(points, support, weights)


def _affine_weights(points: Float64[Tensor, "m d"]) -> Float64[Tensor, " m"]:
    """The weights, of sum 1, of the point of least norm in the affine hull."""
    edges = points[1:] - points[0]
    rest = torch.linalg.lstsq(edges.T, -points[0][:, None], driver="gelsd").solution.flatten()
    return torch.cat([1 - rest.sum(dim=0, keepdim=True), rest])


def _first_corral(points: Float64[Tensor, "m d"], nearest: int) -> tuple[list[int], Float64[Tensor, " k"]]:
    """Points whose affine hull is nearest the origin inside their convex hull: near collapse all of them at once."""
    support = list(range(len(points))) if len(points) <= points.shape[1] + 1 else [nearest]
    while (weights := _affine_weights(points[support])).min() <= 0:
        support = [j for j, weight in zip(support, weights.tolist(), strict=True) if weight > 0]
    return support, weights


def _shrink_to_corral(
    points: Float64[Tensor, "m d"], support: list[int], weights: Float64[Tensor, " k"]
) -> tuple[list[int], Float64[Tensor, " j"]]:
    """Wolfe's minor cycle: walk towards the nearest point of the affine hull, dropping points at the hull's faces."""
    while (target := _affine_weights(points[support])).min() <= 0:
        outside = target <= 0
        steps = torch.where(outside, weights / (weights - target).clamp(min=1e-300), INFINITY)
        weights = weights + steps.min() * (target - weights)
        weights[steps.argmin()] = 0
        kept = (weights > 0).nonzero().flatten()
        support, weights = [support[j] for j in kept.tolist()], weights[kept]
    return support, target


@metric(
    symbol="rho one-vs-rest",
    source="jiang2023",
    range=(0.0, 2.0),
    collapsed=None,
    collapsed_formula="C/(C-1)",
    invariant_to=("rotation", "scale"),
    cost="O(C^4)",
    needs=("rows",),
)
def one_vs_rest_margin(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""rho = min_k delta_k, the least of `one_vs_rest_distances` of rows (C, d): a softmax code maximises it.

    Dimensionless, in [0, 2]; C/(C-1) on a simplex ETF; compare `softmax_code_optimum` and `softmax_code_bounds`. Zero
    rows are left out; NaN where fewer than two rows have a direction. Errors as `one_vs_rest_distances`.
    Source: Jiang et al. 2023.

    >>> round(one_vs_rest_margin(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).item(), 6)
    1.0
    """
    distances = one_vs_rest_distances(rows)
    directed_rows = unit_rows(checked_rows(rows)).isfinite().all(dim=1)
    return distances[directed_rows].min() if directed_rows.any() else distances[0]


def softmax_code_optimum(num_classes: int, dim: int) -> float | None:
    r"""The largest `one_vs_rest_margin` that C unit vectors in R^d can have, where it is known; None elsewhere.

    C/(C-1) for C <= d+1 (simplex ETF), 1 for d+1 < C <= 2d (part of the cross-polytope), 1 - cos(2 pi/C) for d = 2
    (regular polygon), 0 for C > 2 on a line. Raises TooFewClassesError, ShapeError. Source: Jiang et al. 2023.

    >>> softmax_code_optimum(5, 4), softmax_code_optimum(6, 3), softmax_code_optimum(100, 10)
    (1.25, 1.0, None)
    """
    _checked_code(num_classes, dim)
    if num_classes <= dim + 1:
        return num_classes / (num_classes - 1)
    if dim <= 2:
        return 0.0 if dim == 1 else 1 - math.cos(2 * math.pi / num_classes)
    return 1.0 if num_classes <= 2 * dim else None


def softmax_code_bounds(num_classes: int, dim: int) -> tuple[float, float]:
    r"""Lower and upper bound of the largest `one_vs_rest_margin` of C unit vectors in R^d, d >= 2.

    (1/2) [sqrt(pi) Gamma((d+1)/2) / (C Gamma(d/2+1))]^(2/(d-1)) and
    2 [2 sqrt(pi) Gamma((d+1)/2) / (C Gamma(d/2))]^(1/(d-1)). Loose; `softmax_code_optimum` is exact where it is known.
    Raises TooFewClassesError, ShapeError. Source: Jiang et al. 2023, theorem on the softmax code.

    >>> [round(bound, 6) for bound in softmax_code_bounds(100, 10)]
    [0.169704, 1.504881]
    """
    _checked_code(num_classes, dim)
    if dim < 2:
        raise ShapeError(f"the bounds hold for dim >= 2; got dim={dim}. softmax_code_optimum knows the line.")
    shared = math.log(math.pi) / 2 + math.lgamma((dim + 1) / 2) - math.log(num_classes)
    lower = math.exp((shared - math.lgamma(dim / 2 + 1)) * 2 / (dim - 1)) / 2
    return lower, 2 * math.exp((shared + math.log(2) - math.lgamma(dim / 2)) / (dim - 1))


def _checked_code(num_classes: int, dim: int) -> None:
    if num_classes < 2:
        raise TooFewClassesError(f"a code needs at least two classes; got num_classes={num_classes}.")
    if dim < 1:
        raise ShapeError(f"a code needs at least one dimension; got dim={dim}.")
