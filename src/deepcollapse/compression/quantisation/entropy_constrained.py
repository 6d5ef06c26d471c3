r"""Weights quantised for their entropy: a value that few weights take costs more bits, and has to be worth them.

With centres c and shares p of the weights, a weight goes to argmin_l (w - c_l)^2 - penalty * ln p_l; then centres are
means and shares counts again. As functions of w, after taking w^2 from each, these are lines: so the cells are
intervals, whose ends are corners of the lower envelope, and on sorted weights with running sums an iteration takes
O(k log N). Natural logarithms throughout.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray

from deepcollapse.compression.quantisation.codebook import Quantised, survivors
from deepcollapse.errors import OptionError

TOLERANCE = 1e-3  # of the published runs
SETTLED = 1e-7  # of the variance of the weights: a gain not worth another iteration
PENALTIES = tuple(10.0**-power for power in range(1, 13))


@dataclass(frozen=True, eq=False)
class EntropyCells:
    """Where an iteration ended: cells of the sorted weights, their means and shares, and the objective on the way.

    The weights between `cuts` (k + 1,) have the mean `centres` (k,) and are the share `shares` (k,) of all.
    `objectives` (iterations,) are the means of (w - c)^2 - penalty ln p, each with the centres and shares before.
    """

    cuts: Int64[ndarray, " cuts"]
    centres: Float64[ndarray, " k"]
    shares: Float64[ndarray, " k"]
    objectives: tuple[float, ...]


def entropy_constrained(
    weights: Float[ndarray, "..."],
    k: int,
    penalty: float | int,
    *,
    tolerance: float | int = 0.0,
    mask: Bool[ndarray, "..."] | None = None,
) -> Quantised:
    r"""Weights of at most k values, locally best in mean squared error + penalty * entropy (nats per weight).

    `penalty` (squared weights per nat) is at least 0; the larger, the fewer values are left. See `entropy_cells` for
    the iteration and when it stops. With a `mask` only the weights under it are quantised and the others are a zero of
    its own. Raises OptionError for k below 1 or a negative penalty or tolerance, ShapeError for no weights or another
    mask's shape, NonFiniteError. Source: :cite:`marino2021,chou1989`.

    >>> entropy_constrained(np.array([0.0, 0.0, 0.0, 1.0, 4.0, 4.0]), 3, 1.0).values
    array([0.25, 4.  ], dtype=float32)
    """
    kept, mask = survivors(weights, k, mask)
    return _quantised(kept, entropy_cells(kept, k, penalty, tolerance=tolerance), mask)


def entropy_constrained_to(
    weights: Float[ndarray, "..."],
    wanted: int,
    penalties: tuple[float, ...] = PENALTIES,
    *,
    tolerance: float | int = TOLERANCE,
    mask: Bool[ndarray, "..."] | None = None,
) -> Quantised:
    """The published search: of falling penalties the first that, from 3 * wanted cells, leaves at least `wanted`.

    It may leave more than `wanted` values; where every penalty leaves fewer, or fewer weights differ, the result is
    that of the last. Raises as `entropy_constrained` does, and OptionError for no penalty.

    >>> entropy_constrained_to(np.linspace(-1, 1, 100) ** 3, 4, (1.0, 0.1, 0.01)).distinct
    4
    """
    kept, mask = survivors(weights, wanted, mask)
    if not penalties:
        raise OptionError("there are no penalties to try; give at least one.")
    cells = entropy_cells(kept, 3 * wanted, penalties[0], tolerance=tolerance, wanted=wanted)
    for penalty in penalties[1:]:
        if len(cells.centres) >= wanted:
            break
        cells = entropy_cells(kept, 3 * wanted, penalty, tolerance=tolerance, wanted=wanted)
    return _quantised(kept, cells, mask)


def entropy_constrained_within(
    weights: Float[ndarray, "..."], k: int, *, mask: Bool[ndarray, "..."] | None = None
) -> Quantised:
    """At most k values at the least penalty that leaves no more of 3 k cells, found by halving in its logarithm.

    The penalty is sought between 1e-12 and 10 times the variance of the weights, so that their scale does not matter;
    an iteration ends where it gains less than 1e-7 of the variance. Where none leaves k cells or fewer but more than
    half of k, the result is that of k cells without a penalty. Not the published search, which may leave more than k
    values. Raises as `entropy_constrained` does.

    >>> entropy_constrained_within(np.array([0.0, 0.1, 0.2, 0.3, 5.0, 5.1]), 2).distinct
    2
    """
    kept, mask = survivors(weights, k, mask)
    rising = np.sort(kept)
    scale = float(rising.var()) if len(rising) else 0.0
    best, low, high = entropy_cells(rising, k, 0.0, tolerance=scale * SETTLED), -12.0, 1.0
    for _ in range(24):
        middle = (low + high) / 2
        cells = entropy_cells(rising, 3 * k, scale * 10**middle, tolerance=scale * SETTLED)
        if len(cells.centres) > k:
            low = middle
        else:
            best, high = (cells if 2 * len(cells.centres) > k else best), middle
    return _quantised(kept, best, mask)


def entropy_cells(
    weights: Float64[ndarray, " n"],
    k: int,
    penalty: float | int,
    *,
    tolerance: float | int = 0.0,
    wanted: int = 1,
) -> EntropyCells:
    """The iteration, from k runs of sorted weights of equal length (numpy's array_split) with their means and shares.

    Each weight goes to its cheapest cell, the lowest where two are; then cells without weights are dropped, centres
    and shares brought up to date. It stops where the objective has fallen by no more than `tolerance`, or where no
    more than `wanted` cells are left. The objective never rises. Raises OptionError for a penalty or tolerance that is
    negative or infinite.

    >>> cells = entropy_cells(np.array([0.0, 0.0, 0.0, 1.0, 4.0, 4.0]), 3, 1.0)
    >>> cells.cuts, cells.centres
    (array([0, 4, 6]), array([0.25, 4.  ]))
    """
    for name, value in (("penalty", penalty), ("tolerance", tolerance)):
        if not 0 <= value < np.inf:
            raise OptionError(f"the {name} must be at least 0 and finite; got {value}.")
    rising = np.sort(weights)
    n = len(rising)
    middle = rising.mean() if n else 0.0  # running sums keep more digits near zero
    rising = rising - middle
    sums = np.zeros((2, n + 1))
    np.cumsum(np.stack([rising, rising**2]), axis=1, out=sums[:, 1:])
    cuts = np.unique(np.concatenate([[0], np.cumsum([len(part) for part in np.array_split(rising, k)])]))
    centres, shares, objectives = _means(rising, sums, cuts), np.diff(cuts) / max(n, 1), [np.inf]
    while n:
        price = -penalty * np.log(shares)
        ends = np.searchsorted(rising, lower_envelope(centres, price), side="right")
        cuts = np.concatenate([[0], ends, [n]])
        size, (first, second) = np.diff(cuts), np.diff(sums[:, cuts], axis=1)
        objectives.append(float((second - 2 * centres * first + size * (centres**2 + price)).sum() / n))
        cuts = np.unique(cuts)
        centres, shares = _means(rising, sums, cuts), np.diff(cuts) / n
        if objectives[-2] - objectives[-1] <= tolerance or len(centres) <= wanted:
            break
    return EntropyCells(cuts, centres + middle, shares, tuple(objectives[1:]))


def lower_envelope(centres: Float64[ndarray, " k"], price: Float64[ndarray, " k"]) -> Float64[ndarray, " ends"]:
    """Up to where each cell but the last is the cheapest, (w - c)^2 + price, on the line: k - 1 ends that never fall.

    Centres must not fall. A cell that is nowhere the cheapest ends where the one before it does; where two are equally
    cheap the first has it.

    >>> lower_envelope(np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 0.0]))
    array([1., 1.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = (centres[:-1] + centres[1:]) / 2 + np.diff(price) / (2 * np.diff(centres))
    if (np.diff(centres) > 0).all() and (np.diff(ends) >= 0).all():
        return ends
    # Some cells are hidden under others: keep those that are not, each with the point beyond which it is.
    shown, since = [0], [-np.inf]
    for cell in range(1, len(centres)):
        start = _overtakes(centres, price, shown[-1], cell)
        while start <= since[-1]:
            del shown[-1], since[-1]
            if not shown:
                break
            start = _overtakes(centres, price, shown[-1], cell)
        if start < np.inf:
            shown.append(cell)
            since.append(start if len(shown) > 1 else -np.inf)
    last_shown = np.searchsorted(shown, np.arange(len(centres) - 1), side="right")
    return np.array([-np.inf, *since[1:], np.inf])[last_shown]


def _overtakes(centres: Float64[ndarray, " k"], price: Float64[ndarray, " k"], one: int, other: int) -> float:
    """From where on the later cell is cheaper than the earlier one; infinity for never, -infinity for everywhere."""
    gap, dearer = float(centres[other] - centres[one]), float(price[other] - price[one])
    if gap == 0:
        return -np.inf if dearer < 0 else np.inf
    return float(centres[other] + centres[one]) / 2 + dearer / (2 * gap)


def _means(
    rising: Float64[ndarray, " n"], sums: Float64[ndarray, "2 m"], cuts: Int64[ndarray, " cuts"]
) -> Float64[ndarray, " cells"]:
    means = np.diff(sums[0, cuts]) / np.diff(cuts)
    # Rounding may not put a mean outside of its cell: centres must rise.
    return np.clip(means, rising[cuts[:-1]], rising[cuts[1:] - 1])


def _quantised(kept: Float64[ndarray, " n"], cells: EntropyCells, mask: Bool[ndarray, "..."]) -> Quantised:
    place = np.empty(len(kept), np.int64)
    place[np.argsort(kept, kind="stable")] = np.repeat(np.arange(len(cells.centres)), np.diff(cells.cuts))
    return Quantised.of(cells.centres, place, mask)
