r"""GNC2: how evenly directions fill the sphere, for any number of classes, also where C > d+1 forbids a simplex.

The measures take any C `rows`: centred class means, or the rows of the classifier, never centred here. A row of norm
below 1e-12 times the largest has no direction and is left out (`erased_classes` names it). Two rows of one direction
have an infinite energy: such pairs are left out of averages too, and `coincident_pairs` counts them.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_matrix
from deepcollapse.geometry.simplex import checked_rows, directed, mean_over, unit_rows
from deepcollapse.linalg import row_chunks

# Dividing by the norm rounds: equal directions come out within a few units of the last place of one another.
COINCIDENT = 16 * torch.finfo(torch.float64).eps
INFINITY = math.inf

_measure = partial(
    metric, invariant_to=("rotation", "scale"), needs=("rows",), range=(0.0, INFINITY), collapsed=None, cost="O(C^2 d)"
)


def _pair_distances(unit: Float64[Tensor, "c d"]) -> Iterator[Float64[Tensor, " pairs"]]:
    """The distances of the pairs i < j of unit rows, tile by tile. By differences, for products lose small ones."""
    index = torch.arange(len(unit), device=unit.device)
    for tile in row_chunks(len(unit), len(unit), limit=1 << 22):
        distances = torch.cdist(unit[tile], unit, compute_mode="donot_use_mm_for_euclid_dist")
        yield distances[index > index[tile, None]]


def _mean_pair(
    unit: Float64[Tensor, "c d"], function: Callable[[Float64[Tensor, " p"]], Float64[Tensor, " p"]]
) -> Float64[Tensor, ""]:
    """The mean of a function of the distance over the pairs that do not coincide; NaN where there are none."""
    return mean_over((function(tile[tile > COINCIDENT]) for tile in _pair_distances(unit)), unit)


def _spread_of_logs(unit: Float64[Tensor, "c d"]) -> tuple[Float64[Tensor, ""], Float64[Tensor, ""]]:
    """Mean and population standard deviation of log(1 / distance)."""
    mean = _mean_pair(unit, lambda distance: -distance.log())
    return mean, _mean_pair(unit, lambda distance: (distance.log() + mean).square()).sqrt()


@_measure(symbol="coincident pairs", source="liu2023", collapsed=0.0)
def coincident_pairs(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""The number of pairs i < j of rows (C, d) with one direction, to within rounding (distance below 16 eps).

    A whole number; 0 at collapse. The other measures of this file leave such pairs out. Raises ShapeError,
    NonFiniteError, TooFewClassesError. Source: the pairs that Liu et al. 2023 give infinite energy.

    >>> coincident_pairs(torch.tensor([[1.0, 2.0], [3.0, 6.0], [0.0, 1.0]])).item()
    1.0
    """
    unit = directed(checked_rows(rows))
    return torch.stack([unit.new_zeros(()), *((t <= COINCIDENT).sum() for t in _pair_distances(unit))]).sum()


@_measure(
    symbol="GNC2 mean",
    source="liu2023",
    range=(-math.log(2), INFINITY),
    collapsed_formula="-log(2C/(C-1))/2",
)
def log_inverse_distance_mean(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""E_0 = Avg_{i<j} log(1 / |u_i - u_j|) with u_c = r_c / |r_c| for rows (C, d): lower is more uniform.

    Dimensionless, at least -log 2; on a simplex ETF -(1/2) log(2C/(C-1)). Unchanged by rotation and scale. Coincident
    pairs are left out; NaN without a pair. Raises ShapeError, NonFiniteError, TooFewClassesError.
    Source: Liu et al. 2023.

    >>> round(log_inverse_distance_mean(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])).item(), 6)
    -0.693147
    """
    return _mean_pair(directed(checked_rows(rows)), lambda distance: -distance.log())


@_measure(symbol="GNC2 std", source="wu2024", collapsed=0.0)
def log_inverse_distance_std(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_{i<j} log(1 / |u_i - u_j|), divided by the number of pairs: whether all pairs are equally far apart.

    Dimensionless, at least 0; 0 on a simplex ETF. Where C > d+1 it is not 0 at an optimum: the regular pentagon in the
    plane gives 0.2406. Pairs, NaN and errors as `log_inverse_distance_mean`. Source: Wu & Papyan 2024.

    >>> round(log_inverse_distance_std(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).item(), 6)
    0.163376
    """
    return _spread_of_logs(directed(checked_rows(rows)))[1]


@_measure(symbol="GNC2 variation", source="wu2024", collapsed=0.0)
def log_inverse_distance_variation(rows: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_{i<j} / |Avg_{i<j}| of log(1 / |u_i - u_j|): the coefficient of variation.

    Dimensionless, at least 0; 0 on a simplex ETF. It says little where the mean is near 0, and is NaN where that is 0
    (below 1e-14). Pairs, NaN and errors as `log_inverse_distance_mean`. Source: Wu & Papyan 2024.

    >>> round(log_inverse_distance_variation(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).item(), 6)
    0.353553
    """
    mean, std = _spread_of_logs(directed(checked_rows(rows)))
    return torch.where(mean.abs() > 1e-14, std / mean.abs(), torch.nan)


def _checked_power(s: float) -> float:
    if not 0 < s < INFINITY:
        raise OptionError(f"s must be above 0 and finite; got {s}. The energy for s = 0 is log_inverse_distance_mean.")
    return s


@_measure(symbol="E_s", source="liu2018", collapsed_formula="(2C/(C-1))^(-s/2)")
def hyperspherical_energy(rows: Float[Tensor, "c d"], s: float = 1.0) -> Float64[Tensor, ""]:
    r"""E_s = Avg_{i<j} |u_i - u_j|^(-s) with u_c = r_c / |r_c| for rows (C, d): lower is more uniform.

    Dimensionless, at least 2^(-s); on a simplex ETF (2C/(C-1))^(-s/2). Unchanged by rotation and scale. Coincident
    pairs are left out; NaN without a pair. Raises OptionError for s <= 0, ShapeError, NonFiniteError,
    TooFewClassesError. Source: Liu et al. 2018.

    >>> hyperspherical_energy(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])).item()
    0.5
    """
    s = _checked_power(s)
    return _mean_pair(directed(checked_rows(rows)), lambda distance: distance.pow(-s))


@_measure(symbol="E_s within", source="liu2023", collapsed=INFINITY, cost="O(sum n_c^2 d)", needs=("features",))
def within_class_uniformity_energy(
    features: Float[Tensor, "n d"], labels: Int[Tensor, " n"], s: float = 1.0
) -> Float64[Tensor, ""]:
    r"""Avg_c of E_s over the samples of class c: the within-class part of the hyperspherical uniformity gap (HUG).

    E_s = Avg_{i<j} |u_i - u_j|^(-s) with u_i = h_i / |h_i| for features (n, d), uncentred, and labels (n,). Its other
    part is `hyperspherical_energy` of the class means; the gap is wide where this one is large and that one small.
    Dimensionless, at least 2^(-s); infinite at collapse, where all samples of a class have one direction. Coincident
    pairs are left out of a class that has others, so that a duplicate in the data does not decide. Samples at 0, labels
    below 0, and classes with fewer than two directions are left out; NaN where none is left. Every pair in a class is
    looked at: pass a subset of large classes. Raises OptionError for s <= 0, ShapeError, NonFiniteError.
    Source: Liu et al. 2023.

    >>> within_class_uniformity_energy(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 0])).item()
    0.5
    """
    s = _checked_power(s)
    features = checked_matrix(features, "features", "(samples, dim)")
    if labels.shape != features.shape[:1]:
        raise ShapeError(
            f"labels has shape {tuple(labels.shape)}; expected one label for each of {len(features)} rows."
        )
    unit = unit_rows(features) if len(features) else features
    known = unit.isfinite().all(dim=1) & (labels >= 0)
    energies = [
        _mean_pair(unit[known & (labels == c)], lambda distance: distance.pow(-s)).nan_to_num(nan=INFINITY)
        for c, count in zip(*labels[known].unique(return_counts=True), strict=True)
        if count > 1
    ]
    return torch.stack(energies).mean() if energies else unit.new_full((), torch.nan)
