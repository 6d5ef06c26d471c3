r"""Probabilistic weights: each drawn from the two levels about it, so that on average it stays where it is."""

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from deepcollapse.compression.quantisation.codebook import Quantised, survivors


def draw_weights(
    weights: Float[ndarray, "..."],
    k: int,
    generator: np.random.Generator,
    *,
    mask: Bool[ndarray, "..."] | None = None,
) -> Quantised:
    r"""Weights drawn from k quantiles, unbiased: E[Q(w)] = w.

    A weight in [L_t, L_{t+1}) becomes L_{t+1} with probability (w - L_t) / (L_{t+1} - L_t), else L_t; the levels are
    `quantile_levels`. Values are rounded to float32 afterwards. With a `mask` only the weights under it are drawn and
    the others are a zero of its own. With k = 1 there is one level, the mean, and only the sum is kept. Raises
    OptionError for k below 1, ShapeError for no weights or another mask's shape, NonFiniteError. Source:
    :cite:`marino2021`.

    >>> draw_weights(np.array([0.0, 0.0, 1.0]), 2, np.random.default_rng(0)).array().tolist()
    [0.0, 0.0, 1.0]
    """
    kept, mask = survivors(weights, k, mask)
    if len(kept) == 0:
        return Quantised.of(kept, np.zeros(0, np.int64), mask)
    levels = quantile_levels(kept, k)
    if k == 1:
        return Quantised.of(levels, np.zeros(len(kept), np.int64), mask)
    # Of equal levels the last one counts, so that the gap above is none only at the very top.
    lower = np.clip(np.searchsorted(levels, kept, side="right") - 1, 0, k - 2)
    gap = levels[lower + 1] - levels[lower]
    above = (kept - levels[lower]) / np.where(gap > 0, gap, 1)
    return Quantised.of(levels, lower + (generator.random(len(kept)) < above), mask)


def quantile_levels(weights: Float64[ndarray, " n"], k: int) -> Float64[ndarray, " k"]:
    """The k levels L_t = quantile(w, t / (k - 1)), t = 0 ... k - 1, from the least weight to the largest; equal ones
    where a weight is frequent. The mean for k = 1.

    >>> quantile_levels(np.array([0.0, 1.0, 2.0, 6.0]), 3)
    array([0. , 1.5, 6. ])
    """
    return weights.mean(keepdims=True) if k == 1 else np.quantile(weights, np.arange(k) / (k - 1))
