"""The compiled search of `partition`. Importing this module needs numba, so import it where it is used."""

from typing import no_type_check

import numpy as np

from deepcollapse.compression.extras import required

numba = required("numba", "optimal sharing of many weights")
compiled = numba.njit(nogil=True, cache=True)


@compiled
@no_type_check
def _cell_error(sums, i, j):
    """The squared error of the points [i, j) about their mean."""
    first = sums[1, j] - sums[1, i]
    return max(sums[2, j] - sums[2, i] - first * first / (sums[0, j] - sums[0, i]), 0.0)


@compiled
@no_type_check
def cheapest_path(sums, price):
    """For each end the start of its last cell on the cheapest path from 0, where a cell costs error + price."""
    n = sums.shape[1] - 1
    value, back = np.zeros(n + 1), np.zeros(n + 1, np.int64)
    # Starts that are the best for some end to come, and the first end for which each of them is: both rise.
    start, begin = np.zeros(n + 1, np.int64), np.ones(n + 1, np.int64)
    head, tail = 0, 1
    for j in range(1, n + 1):
        while head + 1 < tail and begin[head + 1] <= j:
            head += 1
        back[j] = start[head]
        value[j] = value[back[j]] + _cell_error(sums, back[j], j) + price
        begin[head] = j + 1
        # Once a later start is better than an earlier one it is so for all later ends.
        while tail > head and j < n and _later_wins(sums, value, start[tail - 1], j, begin[tail - 1]):
            tail -= 1
        first = j + 1 if tail == head else _first_win(sums, value, start[tail - 1], j, begin[tail - 1])
        if first <= n:
            start[tail], begin[tail] = j, first
            tail += 1
    return back


@compiled
@no_type_check
def _later_wins(sums, value, earlier, later, end):
    return value[later] + _cell_error(sums, later, end) < value[earlier] + _cell_error(sums, earlier, end)


@compiled
@no_type_check
def _first_win(sums, value, earlier, later, end):
    """The first end at which the later start is better, given that at `end` it is not; n + 1 where there is none."""
    low, high = end, sums.shape[1]
    while high - low > 1:
        middle = (low + high) // 2
        if _later_wins(sums, value, earlier, later, middle):
            high = middle
        else:
            low = middle
    return high
