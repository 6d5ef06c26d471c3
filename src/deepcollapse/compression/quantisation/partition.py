r"""Sorted points cut into k cells of least squared error, exactly, for millions of points.

With e(k) the least error of k cells and a price p a cell, min_k e(k) + p k is one cheapest path over the points. The
error c(i, j) of a cell [i, j) obeys c(a, c) + c(b, d) <= c(a, d) + c(b, c) for a <= b <= c <= d; hence the path is
found in O(n log n), e is convex in k, and for every k there is a price at which k cells are among the best. Where only
fewer and only more than k are found at that price, two best paths are spliced into one of exactly k cells that is as
good :cite:`aggarwal1994,gronlund2017`. Nothing but rounding in float64 is lost against the full dynamic programme.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

STEPS = 100  # far more prices than any array was seen to need
ROUNDING = 1e-12  # two paths are as good as one another within this share of what they cost


class Path(NamedTuple):
    """The positions at which points are cut (cells + 1,), their squared error, and the price at which they are best."""

    cuts: Int64[ndarray, " cuts"]
    error: float
    price: float

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return len(self.cuts) - 1


def optimal_cuts(points: Float64[ndarray, " n"], counts: Int64[ndarray, " n"], k: int) -> Int64[ndarray, " cuts"]:
    """Where to cut rising, distinct points into k <= n cells so that sum counts (point - cell mean)^2 is least.

    Gives k + 1 positions from 0 to n. Takes O(n log n) time for each of some ten prices and O(n) memory, whatever k.
    Raises MissingExtraError without numba.

    >>> optimal_cuts(np.array([0.0, 1.0, 5.0, 6.0]), np.array([1, 1, 1, 1]), 2).tolist()
    [0, 2, 4]
    """
    sums, n = _sums(points, counts), len(points)
    few = _priced(sums, np.array([0, n]), np.inf)
    many = _priced(sums, np.arange(n + 1), 0.0)
    for step in range(STEPS):
        if k in (few.cells, many.cells):
            break
        # On the chord between two paths some number of cells between theirs is best, unless none is better than both.
        chord = (few.error - many.error) / (many.cells - few.cells)
        on_chord = step % 4 == 3 or many.cells - few.cells == 2
        found = _best(sums, chord if on_chord else _guess(few, many, k))
        bound = few.error + chord * few.cells
        if on_chord and found.error + chord * found.cells >= bound * (1 - ROUNDING):
            break
        if few.cells < found.cells <= k:
            few = found
        elif k < found.cells < many.cells:
            many = found
    exact = [path.cuts for path in (few, many) if path.cells == k]
    return exact[0] if exact else spliced(few.cuts, many.cuts, k)


def spliced(few: Int64[ndarray, " few"], many: Int64[ndarray, " many"], k: int) -> Int64[ndarray, " cuts"]:
    """A path of k cells from one of fewer and one of more; where both are best at one price, so is it.

    It follows `many` up to a cell that lies within one of `few`, then `few`. Both ways of crossing over there cost no
    more together than the two paths, by the inequality of `partition`; so neither costs more than the best.

    >>> spliced(np.array([0, 4]), np.array([0, 1, 3, 4]), 2).tolist()
    [0, 1, 4]
    """
    ahead = k - (len(few) - 1)
    within = many[ahead + 1 : ahead + len(few)] <= few[1:]
    i = int(np.argmax(within))  # the first; before it each cut of `many` lay beyond that of `few`
    return np.concatenate([many[: i + ahead + 1], few[i + 1 :]])


def _sums(points: Float64[ndarray, " n"], counts: Int64[ndarray, " n"]) -> Float64[ndarray, "3 m"]:
    """Running sums of counts, points and squares, from 0: the error of any cell is made of differences of them."""
    centred = points - (points * counts).sum() / counts.sum()  # near zero, so that squares keep their digits
    sums = np.zeros((3, len(points) + 1))
    np.cumsum(np.stack([counts, counts * centred, counts * centred**2]), axis=1, out=sums[:, 1:])
    return sums


def _priced(sums: Float64[ndarray, "3 m"], cuts: Int64[ndarray, " cuts"], price: float) -> Path:
    weight, first, second = np.diff(sums[:, cuts], axis=1)
    return Path(cuts, float(np.maximum(second - first**2 / weight, 0).sum()), price)


def _best(sums: Float64[ndarray, "3 m"], price: float) -> Path:
    from deepcollapse.compression.quantisation.cheapest_path import cheapest_path

    back = cheapest_path(sums, price)
    cuts = [len(back) - 1]
    while cuts[-1] > 0:
        cuts.append(int(back[cuts[-1]]))
    return _priced(sums, np.array(cuts[::-1]), price)


def _guess(few: Path, many: Path, k: int) -> float:
    """A price at which about k cells are best: of many points e(k) falls as 1/k^2, so the price as 1/k^3."""
    if few.price < np.inf and many.price > 0:
        share = np.log(k / few.cells) / np.log(many.cells / few.cells)
        return float(few.price * (many.price / few.price) ** share)
    if few.price < np.inf:
        return few.price * (few.cells / k) ** 3
    if many.price > 0:
        return many.price * (many.cells / k) ** 3
    return 2 * few.error / k**3
