"""Which weights go for being small: those below a percentile of their magnitudes, of a layer or of all layers."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from deepcollapse.compression.quantisation.codebook import checked_weights
from deepcollapse.errors import OptionError, ShapeError


def percentile_mask(weights: Float[ndarray, "*shape"], percent: float | int) -> Bool[ndarray, "*shape"]:
    """Which weights survive: |w| > the `percent`-th percentile of |W|, strictly, between order statistics linear.

    True where a weight stays, of the shape of the weights; unchanged by their scale and signs. About `percent` % go,
    and with ties at the threshold more: of equal magnitudes all go, and 100 leaves none; 0 takes only the smallest
    magnitude. Raises OptionError for a percent outside [0, 100], ShapeError for no weights, NonFiniteError. Source:
    :cite:`marino2021`.

    >>> percentile_mask(np.array([[-4.0, 1.0], [2.0, -3.0]]), 50)
    array([[ True, False],
           [False,  True]])
    """
    magnitude = np.abs(checked_weights(weights))
    return magnitude > np.percentile(magnitude, _checked(percent))


def global_percentile_masks(
    weights: Mapping[str, Float[ndarray, "..."]], percent: float | int
) -> dict[str, Bool[ndarray, "..."]]:
    """Which weights of several layers survive one threshold: the `percent`-th percentile of all their magnitudes.

    As `percentile_mask` of all layers laid end to end: a layer of small weights may lose all of them. Raises as it
    does, and ShapeError where there is no layer.

    >>> masks = global_percentile_masks({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])}, 50)
    >>> masks["a"].tolist(), masks["b"].tolist()
    ([False, False], [True, True])
    """
    if not weights:
        raise ShapeError("there are no layers to prune; give the weights of at least one.")
    magnitudes = {name: np.abs(checked_weights(values, f"the weight of {name!r}")) for name, values in weights.items()}
    threshold = np.percentile(np.concatenate([m.ravel() for m in magnitudes.values()]), _checked(percent))
    return {name: magnitude > threshold for name, magnitude in magnitudes.items()}


def _checked(percent: float | int) -> float | int:
    if not 0 <= percent <= 100:
        raise OptionError(f"percent must lie in [0, 100]; got {percent}. It is the share of weights that go, in %.")
    return percent
