"""Which rank each rule chooses: fixed values, and never one that makes a layer larger."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis.strategies import floats, integers, lists
from matrices import draw, mat2

from deepcollapse.compression.low_rank.rank_choice import (
    largest_useful_rank,
    rank_above_noise,
    rank_for_energy,
    rank_for_parameters,
    rank_for_tolerance,
    useful_rank,
)
from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry import singular_values
from unchecked import shapes_unchecked

FIVE = torch.tensor([4, 3, 2, 1, 0.01], dtype=torch.float64)
SIDES = integers(1, 400)


def test_fixed_values():
    assert [rank_for_energy(FIVE, energy) for energy in (0.9, 0.99)] == [3, 4]
    assert rank_for_tolerance(FIVE, 1e-2) == 4
    full = singular_values(mat2(6, 5))
    assert [rank_for_energy(full, energy) for energy in (0.9, 0.99)] == [3, 4]
    # 64 to 64 channels, 3 x 3: break-even at 57.6 for the channel form and at 96 for the spatial one.
    assert (largest_useful_rank((64, 576)), largest_useful_rank((192, 192))) == (57, 95)


@given(lists(floats(0, 10), min_size=1, max_size=8), floats(0.01, 1))
def test_energy_is_met_and_by_no_smaller_rank(values, energy):
    s = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    squares, rank = s.square(), rank_for_energy(s, energy)
    if float(squares.sum()) < 1e-200:  # squares of what is smaller still would vanish in this test
        return
    total = float(squares.sum())
    assert float(squares[:rank].sum()) >= (energy - 1e-12) * total
    assert rank == 0 or float(squares[: rank - 1].sum()) < energy * total


def test_the_ends_of_the_energy():
    assert rank_for_energy(FIVE, 0) == 0
    assert rank_for_energy(FIVE, 1) == 5
    assert rank_for_energy(torch.zeros(3), 0.9) == 0
    assert rank_for_energy(torch.tensor([3.0, 4.0]), 0.64) == 1  # met exactly, up to rounding
    assert rank_for_tolerance(torch.zeros(3), 0.1) == 0


@given(SIDES, SIDES)
def test_the_largest_useful_rank_by_counting(m, n):
    smaller = [r for r in range(1, min(m, n) + 1) if r * (m + n) < m * n]
    assert largest_useful_rank((m, n)) == max(smaller, default=0)
    for rank in (1, len(smaller), len(smaller) + 1):
        assert useful_rank(rank, (m, n)) == (rank if rank == 0 or rank in smaller else None)


@given(SIDES, SIDES, floats(0.001, 1))
def test_a_share_of_parameters_is_kept_to_and_never_exceeds_the_layer(m, n, share):
    rank = rank_for_parameters((m, n), share)
    if rank is None:
        assert m + n >= m * n
        return
    assert rank * (m + n) < m * n
    assert rank == 1 or rank * (m + n) <= share * m * n * (1 + 1e-12)
    more = (rank + 1) * (m + n)
    assert more > share * m * n or more >= m * n


def test_shares_that_floating_point_misses_are_met():
    assert rank_for_parameters((10, 10), 0.6) == 3  # 0.6 * 100 / 20
    assert rank_for_parameters((30, 70), 0.1) == 2
    assert rank_for_parameters((8, 8), 1) == 3  # 4 would take as much as the layer


def test_ranks_above_noise():
    noise = draw(60, 120, seed=3) / 120**0.5
    left, right = torch.linalg.qr(draw(60, 4, seed=4)).Q, torch.linalg.qr(draw(120, 4, seed=5)).Q
    s = singular_values(noise + left * torch.tensor([6.0, 5.0, 4.0, 3.0]).double() @ right.T)
    assert [rank_above_noise(s, (60, 120), rule) for rule in ("edge", "cut")] == [4, 4]
    assert rank_above_noise(s, (60, 120), deviation=120**-0.5) == 4
    assert rank_above_noise(s, (60, 120), deviation=10.0) == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rank_for_energy(FIVE, 1.1), OptionError, "energy is a share of the whole, from 0 to 1; got 1.1."),
        (
            lambda: rank_for_tolerance(FIVE, 1.0),
            OptionError,
            "tolerance is a share of the largest, at least 0 and below 1; got 1.0.",
        ),
        (
            lambda: rank_for_parameters((3, 4), 0.0),
            OptionError,
            "share of parameters is above 0 and at most 1; got 0.0.",
        ),
        (
            lambda: rank_above_noise(FIVE, (5, 9), "guess"),
            OptionError,
            "the rule for ranks above noise must be one of edge, cut; got 'guess'.",
        ),
        (
            lambda: rank_for_energy(torch.eye(2), 0.5),
            ShapeError,
            "singular values have shape (2, 2); expected (k,). Pass singular_values(matrix).",
        ),
    ],
)
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
