"""What "falls", "rises" and "more than" mean, decided once for all claims and before any run.

A statistic is worked out for each seed; its median decides. Where the middle half of the seeds lies on both sides of
the criterion, the seeds do not settle the matter, and the verdict is "inconclusive".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy
from scipy import stats

from deepcollapse.records.study import Judgement, Verdict
from deepcollapse.studies.judging.claim import MissingEvidence

FEWEST_SEEDS = 3
FEWEST_VALUES = 5


def spearman(x: Sequence[float | int], y: Sequence[float | int]) -> float:
    """The rank correlation of two lists; 0 where one of them is constant: what does not change does not follow.

    >>> spearman([1, 2, 3], [9, 4, 1]), spearman([1, 2, 3], [5, 5, 5])
    (-1.0, 0.0)
    """
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    found: Any = stats.spearmanr(x, y)
    return float(f"{found.statistic:.12g}")  # 1 for equal orders, not 0.9999999999999999


def settled(
    values: Sequence[float | int],
    *,
    at_most: float | int = math.inf,
    at_least: float | int = -math.inf,
    fewest: int = FEWEST_SEEDS,
) -> Verdict:
    """Whether a statistic, one value a seed, lies within limits: by its median, where the middle half agrees with it.

    Raises MissingEvidence for fewer than `fewest` seeds.

    >>> settled([0.1, 0.2, 0.3], at_most=0.5), settled([0.6, 0.7, 0.9], at_most=0.5)
    ('holds', 'fails')
    >>> settled([0.1, 0.45, 0.9], at_most=0.5)
    'inconclusive'
    """
    if len(values) < fewest:
        raise MissingEvidence(f"the criterion is for at least {fewest} seeds, and {len(values)} came to their end")
    if any(map(math.isnan, values)):
        return "inconclusive"
    # A ratio may be infinite, and nothing lies halfway to infinity.
    quartiles = numpy.quantile(numpy.clip(values, -1e300, 1e300), [0.25, 0.5, 0.75])
    within = [at_least <= quartile <= at_most for quartile in quartiles]
    if len(set(within)) > 1:
        return "inconclusive"
    return "holds" if within[1] else "fails"


def exceeds(
    more: Sequence[float | int], less: Sequence[float | int], by: float | int = 0.0, *, fewest: int = FEWEST_SEEDS
) -> Verdict:
    """Whether one thing exceeds another beyond the spread over seeds: all of its seeds exceed all of the other's.

    Two things alike would come out so in one case of twenty at three seeds each. It fails where the medians are not in
    that order. Raises MissingEvidence for fewer than `fewest` seeds of either.

    >>> exceeds([3, 4, 5], [0, 1, 2]), exceeds([3, 4, 5], [0, 1, 3]), exceeds([1, 2, 3], [2, 3, 4])
    ('holds', 'inconclusive', 'fails')
    """
    if min(len(more), len(less)) < fewest:
        raise MissingEvidence(f"the criterion is for at least {fewest} seeds, and {min(len(more), len(less))} came out")
    if any(map(math.isnan, [*more, *less])):
        return "inconclusive"
    if numpy.median(more) <= numpy.median(less) + by:
        return "fails"
    return "holds" if min(more) > max(less) + by else "inconclusive"


def falls_with(
    subject: str,
    values: Mapping[int, Sequence[tuple[float | int, float | int]]],
    name: str,
    *,
    at_most: float | int = -0.8,
) -> Judgement:
    """Whether a quantity falls with a setting: `values` has the points (setting, quantity) of each seed.

    The rank correlation is at most -0.8, over at least five values of the setting; give the negated quantity for one
    that rises. Raises MissingEvidence for fewer.
    """
    fewest = min((len({x for x, _ in points}) for points in values.values()), default=0)
    if fewest < FEWEST_VALUES:
        raise MissingEvidence(f"the criterion is for at least {FEWEST_VALUES} values of {name}, and {fewest} came out")
    found = [spearman([x for x, _ in points], [y for _, y in points]) for points in values.values()]
    told = f"correlation with {name} {middle(found)}"
    return Judgement(
        subject, settled(found, at_most=at_most), told, {"correlation": median(found), "seeds": len(found)}
    )


def median(values: Sequence[float | int]) -> float | None:
    """The median of the finite values; None where there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(numpy.median(finite)) if finite else None


def middle(values: Sequence[float | int]) -> str:
    """The median in words, with the range over the seeds.

    >>> middle([0.25, 0.5, 1.0]), middle([0.25])
    ('0.5 (0.25 to 1)', '0.25')
    """
    known = median(values)
    if known is None:
        return "undefined"
    if len(values) == 1:
        return f"{known:.3g}"
    return f"{known:.3g} ({min(values):.3g} to {max(values):.3g})"
