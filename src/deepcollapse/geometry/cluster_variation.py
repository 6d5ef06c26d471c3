r"""Total cluster variation, the rank-collapse papers' word for how far samples lie from the mean of their cluster.

The clusters are whatever the moments were collected with. With class labels that is the classes; with modes as labels
(the parts of which classes are made, or the clusters that k-means finds) it is those, and a layer that has not yet put
modes of a class together varies less:

>>> import torch
>>> from deepcollapse import collect
>>> features = torch.tensor([[0.0], [0.1], [5.0], [5.1], [9.0], [9.1]])
>>> classes, modes = torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2])
>>> round(total_cluster_variation(collect(features, classes, num_classes=2)).item(), 4)
4.1692
>>> round(total_cluster_variation(collect(features, modes, num_classes=3)).item(), 4)
0.0025

The sum over samples, in place of their mean, is `moments.trace.sum()`, and its root the Frobenius norm of the features
less their cluster means. The quotient by the variation between clusters is `trace_ratio(moments, weighting="sample")`.
"""

import math
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments

_measure = partial(metric, source="zangrando2024", collapsed=0.0, cost="O(C d)", needs=("moments",))


@_measure(symbol="TCV", range=(0.0, math.inf), invariant_to=("rotation", "translation"), unit="feature^2")
def total_cluster_variation(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""The mean squared distance of a sample to the mean of its cluster: sum_i |h_i - mu_{y_i}|^2 / N.

    In the unit of the features squared, at least 0, and 0 when every cluster is one point, as when each sample is a
    cluster of its own. A cluster with one sample adds nothing, an empty one is left out; one cluster alone is fine. NaN
    where there are no samples. Source: Zangrando et al. 2024; the normalisation by N is ours, so that data sets of
    different sizes compare.

    >>> from deepcollapse import collect
    >>> total_cluster_variation(collect([[1.0], [3.0], [5.0]], [0, 0, 1], num_classes=2)).item() * 3
    2.0
    """
    return moments.trace.sum() / moments.num_samples if moments.num_samples else moments.trace.new_full((), torch.nan)


@_measure(symbol="relative TCV", range=(0.0, 1.0), invariant_to=("rotation", "scale"))
def relative_cluster_variation(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""The share of the features' energy that is variation in clusters: sum_i |h_i - mu_{y_i}|^2 / sum_i |h_i|^2.

    Dimensionless, in [0, 1], 0 when every cluster is one point and 1 when all cluster means are 0. About zero, not
    about the mean, since that is what a weight matrix meets; so it falls as features move away from zero. NaN where all
    features are 0 or there are none. Source: Zangrando et al. 2024, relative to the features.

    >>> from deepcollapse import collect
    >>> round(relative_cluster_variation(collect([[1.0], [3.0], [5.0]], [0, 0, 1], num_classes=2)).item(), 6)
    0.057143
    """
    # Squares of numbers this small or large leave the range of float64, their quotient does not.
    scale = torch.maximum(moments.mean.abs().max(), moments.trace.max().sqrt())
    within = (moments.trace / scale / scale).sum()
    return within / (within + moments.count.double() @ (moments.mean / scale).square().sum(dim=1))
