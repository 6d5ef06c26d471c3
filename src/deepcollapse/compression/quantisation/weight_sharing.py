r"""Weight sharing: the k values that lie nearest the weights, by k-means on the line, solved exactly.

Lloyd's iteration, as published, stops wherever it began; on the line the optimum can be had. Small arrays go to
`kmeans1d`, large ones to `partition`, whose time does not grow with k: a million weights take two or three seconds.
"""

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray

from deepcollapse.compression.extras import required
from deepcollapse.compression.quantisation.codebook import Quantised, survivors
from deepcollapse.compression.quantisation.partition import optimal_cuts

# Weights times values up to which kmeans1d takes about a tenth of a second.
SMALL = 2**18


def share_weights(weights: Float[ndarray, "..."], k: int, *, mask: Bool[ndarray, "..."] | None = None) -> Quantised:
    r"""Weights that share at most k values, with the least squared distance sum (w - Q(w))^2 that k values allow.

    Each value is the mean of its weights. With no more than k distinct weights nothing changes; k = 1 gives their
    mean. With a `mask` only the weights under it are quantised and the others are a zero of its own, beside the k.
    Raises OptionError for k below 1, ShapeError for no weights or another mask's shape, NonFiniteError, and
    MissingExtraError without the extra `compression`. Source: :cite:`marino2021,gronlund2017`.

    >>> share_weights(np.array([0.0, 1.0, 5.0, 6.0]), 2).array().tolist()
    [0.5, 0.5, 5.5, 5.5]
    """
    kept, mask = survivors(weights, k, mask)
    levels, cells = optimal_means(kept, k)
    return Quantised.of(levels, cells, mask)


def optimal_means(weights: Float64[ndarray, " n"], k: int) -> tuple[Float64[ndarray, " cells"], Int64[ndarray, " n"]]:
    """The min(k, distinct weights) means of an optimal clustering, rising, and the cell of each weight; in float64.

    >>> optimal_means(np.array([6.0, 0.0, 5.0, 1.0]), 2)
    (array([0.5, 5.5]), array([1, 0, 1, 0]))
    """
    points, place, counts = np.unique(weights, return_inverse=True, return_counts=True)
    if len(points) <= k:
        return points, place
    cut_where = _small_cuts if len(weights) * k <= SMALL else optimal_cuts
    cuts = cut_where(points, counts, k)
    cell_of_point = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
    return np.add.reduceat(points * counts, cuts[:-1]) / np.add.reduceat(counts, cuts[:-1]), cell_of_point[place]


def _small_cuts(points: Float64[ndarray, " n"], counts: Int64[ndarray, " n"], k: int) -> Int64[ndarray, " cuts"]:
    kmeans1d = required("kmeans1d", "optimal weight sharing")
    # It knows no counts, so a point is repeated; and it keeps more digits near zero.
    centred = np.repeat(points - points.mean(), counts)
    cells = np.asarray(kmeans1d.cluster(centred, k).clusters)[np.cumsum(counts) - 1]
    return np.concatenate([[0], np.flatnonzero(np.diff(cells)) + 1, [len(points)]])
