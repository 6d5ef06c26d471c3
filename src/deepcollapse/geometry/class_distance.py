"""CDNV: how small each pair of classes is beside its own distance."""

import math
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments
from deepcollapse.linalg import row_chunks, squared_distances

_measure = partial(
    metric,
    source="galanti2021",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=("rotation", "scale", "translation"),
    cost="O(C^2 d)",
    needs=("moments",),
)


def _pairs(moments: ClassMoments):
    """Rows of squared distances between class means, a tile at a time: (rows, (rows, C') squared distances)."""
    if moments.num_present < 2:
        moments.class_weights()  # raises TooFewClassesError with its reason
    means = moments.class_means()
    means = means - means[0]
    means = means - means.mean(dim=0)  # a common shift would cost digits in the products below
    for rows in row_chunks(len(means), len(means)):
        yield rows, squared_distances(means[rows], means)


def cdnv_per_pair(moments: ClassMoments) -> Float64[Tensor, "p p"]:
    r"""CDNV of each pair of present classes, (C', C'): V_ij = (v_i + v_j) / (2 |mu_i - mu_j|^2); NaN on the diagonal.

    v_c is the mean squared distance to the class mean (divided by n_c). Dimensionless, at least 0, 0 at collapse,
    infinite where two means coincide. Source: Galanti, György & Hutter 2021. Raises TooFewClassesError below two
    present classes.

    >>> from deepcollapse import collect
    >>> cdnv_per_pair(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2))[0, 1].item()
    0.0625
    """
    v = moments.class_variances()
    tiles = [(v[rows, None] + v) / (2 * squared) for rows, squared in _pairs(moments)]
    return torch.cat(tiles).fill_diagonal_(math.nan)


def _mean_over_pairs(moments: ClassMoments, power: int) -> Tensor:
    """The mean over pairs of (v_i + v_j) / (2 |mu_i - mu_j|^(2 power)), pairs with equal means left out."""
    v, total, pairs = moments.class_variances(), moments.trace.new_zeros(()), 0
    for rows, squared in _pairs(moments):
        apart = squared > 0  # also leaves the diagonal out
        values = (v[rows, None] + v) / (2 * squared**power)
        total = total + values[apart].sum()
        pairs += int(apart.sum())
    return total / pairs if pairs else torch.full_like(total, math.nan)


@_measure(symbol="CDNV")
def cdnv(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""Class-distance normalised variance, the mean over pairs of classes of (v_i + v_j) / (2 |mu_i - mu_j|^2).

    Dimensionless, at least 0, 0 at collapse. Pairs whose means coincide are left out (`cdnv_per_pair` shows them as
    infinite); NaN where all do. Every pair of present classes counts once whatever the weighting. Needs no d x d
    scatter. Raises TooFewClassesError below two present classes. Source: Galanti, György & Hutter 2021.

    >>> from deepcollapse import collect
    >>> cdnv(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.0625
    """
    return _mean_over_pairs(moments, power=1)


@_measure(symbol="CDNV_2", source="wu2024", invariant_to=("rotation", "translation"), unit="1/feature^2")
def cdnv_fourth_power(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""CDNV with the fourth power of the distance: the mean over pairs of (v_i + v_j) / (2 |mu_i - mu_j|^4).

    In one over the features' unit squared, so it changes with scale; at least 0, 0 at collapse. Pairs with equal means
    are left out. Raises TooFewClassesError below two present classes. Source: the analysis code of Wu & Papyan 2024.

    >>> from deepcollapse import collect
    >>> cdnv_fourth_power(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.00390625
    """
    return _mean_over_pairs(moments, power=2)


@_measure(symbol="max CDNV")
def cdnv_max(moments: ClassMoments) -> Float64[Tensor, ""]:
    """CDNV of the worst pair of classes, max (v_i + v_j) / (2 |mu_i - mu_j|^2).

    Dimensionless, at least 0, 0 at collapse; infinite where two class means coincide. Raises TooFewClassesError below
    two present classes. Source: Galanti, György & Hutter 2021.

    >>> from deepcollapse import collect
    >>> cdnv_max(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.0625
    """
    v = moments.class_variances()
    worst = []
    for rows, squared in _pairs(moments):
        values = (v[rows, None] + v) / (2 * squared)
        index = torch.arange(len(v), device=v.device)
        values = values.masked_fill(index[rows, None] == index, -math.inf)
        worst.append(values.masked_fill(values.isnan(), 0.0).amax())  # two single points in one place: 0 / 0
    return torch.stack(worst).amax()
