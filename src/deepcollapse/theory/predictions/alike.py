"""Class counts that are nearly equal, taken as one: the models' cost grows with how many different counts there are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# With so many different counts a reduced program still takes a third of a second (measured), a forecast's advice two.
MOST_COUNTS = 40


@dataclass(frozen=True)
class AlikeCounts:
    """`counts` of each class after those that are close were replaced by their mean, and by how much at most.

    `change` is the largest ratio, less one, of a class's count to what it was taken as; 0 where nothing was changed.
    """

    counts: tuple[float, ...]
    change: float

    @property
    def note(self) -> str:
        """What was done, in words; empty where nothing was."""
        if not self.change:
            return ""
        # Rounded up, for "within" to be true.
        most = math.ceil(100 * self.change)
        return f"class counts taken as {len(set(self.counts))} different ones, each within {most}% of its own"


def alike(counts: Sequence[int | float], most: int = MOST_COUNTS) -> AlikeCounts:
    """The counts as they are, or in at most `most` steps of equal ratio where more of them differ.

    Whole numbers stay whole.

    >>> alike([100, 100, 10])
    AlikeCounts(counts=(100.0, 100.0, 10.0), change=0.0)
    >>> alike([100, 98, 10, 11], most=2)
    AlikeCounts(counts=(99.0, 99.0, 10.0, 10.0), change=0.1)
    """
    known = np.array(counts, dtype=float)
    if len(set(counts)) <= most or known.min() <= 0:
        return AlikeCounts(tuple(known.tolist()), 0.0)
    place = np.log(known / known.min()) / np.log(known.max() / known.min())
    step = np.minimum((place * most).astype(int), most - 1)
    taken = np.array([known[step == own].mean() for own in step])
    if not (known % 1).any():
        taken = taken.round()
    change = float(np.maximum(known / taken, taken / known).max() - 1)
    return AlikeCounts(tuple(taken.tolist()), round(change, 12))
