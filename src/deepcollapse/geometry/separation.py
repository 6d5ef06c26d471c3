r"""How a network separates its classes from layer to layer: laws over one number a layer, in order of depth.

The numbers themselves are measured elsewhere: `separation_fuzziness` and `nearest_class_mean_accuracy` of each layer,
or a linear probe's accuracy. Layers are counted from 1 where a position is given back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError


def _checked_layers(values: Sequence[float | int], name: str) -> list[float]:
    """The numbers as floats, or an error where there are none, or one is NaN or infinite."""
    numbers = [float(value) for value in values]
    if not numbers:
        raise ShapeError(f"{name} is empty; pass one number for each layer, in order of depth.")
    for layer, number in enumerate(numbers, start=1):
        if not math.isfinite(number):
            raise NonFiniteError(f"{name} of layer {layer} of {len(numbers)} is {number}; leave that layer out.")
    return numbers


def effective_depth(errors: Sequence[float | int], eps: float) -> int:
    r"""The first layer whose nearest-class-mean error is at most `eps`, from 1; L+1 where none of the L layers is.

    `errors` are shares in [0, 1] against the labels, with class means of the training set. Small where the network has
    separated its classes long before its last layer. Raises ShapeError without layers, NonFiniteError.
    Source: Galanti, Galanti & Ben-Shaul 2022.

    >>> effective_depth([0.4, 0.2, 0.03, 0.008, 0.009], eps=0.01)
    4
    """
    errors = _checked_layers(errors, "errors")
    return next((layer for layer, error in enumerate(errors, start=1) if error <= eps), len(errors) + 1)


def tunnel_start(accuracies: Sequence[float | int], share: float = 0.98) -> int:
    r"""The first layer, from 1, whose linear probe has `share` of the last layer's accuracy: the tunnel's start.

    At most L, the number of layers, since the last layer reaches itself. Raises OptionError for a share outside (0, 1],
    ShapeError without layers, NonFiniteError. Source: Masarczyk et al. 2023, who take 0.98, and 0.95 besides.

    >>> tunnel_start([0.3, 0.6, 0.89, 0.9])
    3
    """
    if not 0 < share <= 1:
        raise OptionError(f"share must be above 0 and at most 1; got {share}.")
    accuracies = _checked_layers(accuracies, "accuracies")
    return next(layer for layer, value in enumerate(accuracies, start=1) if value >= share * accuracies[-1])


@dataclass(frozen=True)
class EquiSeparation:
    """The law of equi-separation, D_l = rho^l D_0, as fitted to the layers of one network.

    `rho` is the factor by which a layer shrinks the separation fuzziness, `intercept` the fitted log D_0, `correlation`
    Pearson's r between l and log D_l (-1 where the law holds to the letter), `r_squared` its square. All dimensionless.
    """

    rho: float
    intercept: float
    correlation: float
    r_squared: float


def equi_separation(fuzziness: Sequence[float | int]) -> EquiSeparation:
    r"""Fit log D_l = log D_0 + l log rho by least squares to the separation fuzziness D_l of layers l = 0 .. L.

    Begin with the raw input at l = 0. Every field is NaN below two layers, and where a D_l is 0, negative, infinite or
    NaN, for its logarithm is none; of a constant D the correlation and its square are NaN. Source: He & Su 2023.

    >>> law = equi_separation([8.0, 4.0, 2.0, 1.0])
    >>> round(law.rho, 12), round(law.correlation, 12)
    (0.5, -1.0)
    """
    values = [float(value) for value in fuzziness]
    if len(values) < 2 or not all(0 < value < math.inf for value in values):
        return EquiSeparation(math.nan, math.nan, math.nan, math.nan)
    logs = [math.log(value) for value in values]
    middle, mean = (len(logs) - 1) / 2, fmean(logs)
    depths, heights = [layer - middle for layer in range(len(logs))], [log - mean for log in logs]
    product = sum(x * y for x, y in zip(depths, heights, strict=True))
    width, height = sum(x * x for x in depths), sum(y * y for y in heights)
    slope = product / width
    # Logarithms that differ by rounding alone are constant: their correlation would be noise.
    varies = math.sqrt(height) > 1e-14 * max(1.0, *map(abs, logs))
    correlation = max(-1.0, min(1.0, product / math.sqrt(width * height))) if varies else math.nan
    return EquiSeparation(math.exp(slope), mean - slope * middle, correlation, correlation**2)
