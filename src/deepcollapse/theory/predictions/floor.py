"""How many samples each class must count for at least, for the layer-peeled model to give all a direction."""

import math
from collections.abc import Sequence
from dataclasses import replace

from deepcollapse.theory.problems.layer_peeled import LayerPeeledOptimum
from deepcollapse.theory.reduced.groups import Groups

# The floor is found to this share of itself, from above: each step solves the model once more.
PRECISION = 5e-4


def floor_for_directions(
    optimum: LayerPeeledOptimum, counts: Sequence[float], taken: Sequence[float], threshold: float = math.nan
) -> float:
    """The least n such that classifiers span K-1 dimensions once every class of fewer samples counts for n.

    `optimum` is that of the counts as `taken`, and `threshold` R0 where it has one: then n is the largest count over
    R0, exactly, and has to be exceeded. Otherwise n is found by bisection, at most 0.05 % too large, and is enough.
    The smallest of `counts` where no direction is lost. Raises SolveError where the model could not be solved.
    """
    full = optimum.groups.num_classes - 1
    if optimum.rank == full:
        return min(counts)
    if not math.isnan(threshold):
        return max(min(counts), max(counts) / threshold)

    low, high = math.log(min(taken)), math.log(max(taken))
    while high - low > PRECISION:
        middle = (low + high) / 2
        raised = Groups.of([max(count, math.exp(middle)) for count in taken])
        parted = replace(optimum.problem, groups=raised).optimum().rank == full
        low, high = (low, middle) if parted else (middle, high)
    return math.exp(high)
