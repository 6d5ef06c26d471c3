r"""Uniform weights: rounded to multiples of one step."""

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from deepcollapse.compression.quantisation.codebook import Quantised, survivors
from deepcollapse.errors import OptionError

PUBLISHED_STEPS = np.arange(1e-4, 1.0, 5e-4)
SAMPLE = 4096  # weights that can tell of most steps that they are too fine


def round_weights(
    weights: Float[ndarray, "..."], k: int, *, offset: float | int = 0.0, mask: Bool[ndarray, "..."] | None = None
) -> Quantised:
    """Weights rounded to multiples of the first published step that leaves at most k values (`first_step`).

    The published steps end at 1; where that leaves more, the step is doubled until it does not. With a `mask` only the
    weights under it are rounded and the others are a zero of its own. Raises OptionError for k below 1, ShapeError for
    no weights or another mask's shape, NonFiniteError. Source: :cite:`marino2021`.

    >>> round_weights(np.array([-3.0, 0.5, 5.0]), 2).array().tolist()
    [0.0, 0.0, 8.0]
    """
    kept, _ = survivors(weights, k, mask)
    step = first_step(kept, k, offset)
    while _values(np.sort(kept), step, offset) > k:
        step *= 2
    return round_to_step(weights, step, offset=offset, mask=mask)


def round_to_step(
    weights: Float[ndarray, "..."],
    step: float | int,
    *,
    offset: float | int = 0.0,
    mask: Bool[ndarray, "..."] | None = None,
) -> Quantised:
    """Q(w) = step * round((w + offset) / step) - offset, halves to the even multiple.

    No weight moves by more than half a step. With a `mask` only the weights under it are rounded and the others are a
    zero of its own. Raises OptionError for a step that is not positive, ShapeError for no weights or another mask's
    shape, NonFiniteError. Source: :cite:`marino2021`.

    >>> round_to_step(np.array([-0.375, -0.125, 0.125, 0.375]), 0.25).array().tolist()
    [-0.5, 0.0, 0.0, 0.5]
    """
    if not 0 < step < np.inf:
        raise OptionError(f"the step must be positive and finite; got {step}.")
    kept, mask = survivors(weights, 1, mask)
    multiples, cells = np.unique(np.round((kept + offset) / step), return_inverse=True)
    return Quantised.of(step * multiples - offset, cells, mask)


def first_step(weights: Float64[ndarray, " n"], k: int, offset: float | int = 0.0) -> float:
    """The first of the steps 1e-4, 6e-4, 11e-4, ... below 1 that leaves at most k values; 1.0 where none does.

    With the last, more than k values may be left: this is the published search and no more.

    >>> round(first_step(np.array([0.0, 0.001, 0.01]), 2), 12)
    0.0021
    """
    rising = np.sort(weights)
    sample = rising[:: max(len(rising) // SAMPLE, 1)]
    for step in PUBLISHED_STEPS:
        # A part of the weights never takes more values than all of them.
        if _values(sample, step, offset) <= k and _values(rising, step, offset) <= k:
            return float(step)
    return 1.0


def _values(rising: Float64[ndarray, " n"], step: float | int, offset: float | int) -> int:
    """How many values rising weights take when they are rounded, which keeps them in order."""
    multiples = np.round((rising + offset) / step)
    return int(np.count_nonzero(np.diff(multiples))) + min(len(rising), 1)
