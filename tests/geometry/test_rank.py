"""Spectral dimension measures against the worked example, their definitions, and matrices of every magnitude."""

import math
import re
from itertools import pairwise

import numpy
import pytest
import torch
from examples import D1, assert_digits, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.rank import (
    alpha_req,
    alpha_req_window,
    covariance_rank,
    effective_rank,
    energy_effective_rank,
    energy_rank,
    nuclear_rank,
    numerical_rank,
    participation_ratio,
    rank_at_one_percent,
    rankme,
    singular_values,
    stable_rank,
)
from unchecked import shapes_unchecked

CENTRED = D1 - D1.mean(dim=0)
SPECTRUM = [10.43811659201039, 7.483793499947847, 2.877415885792099, 1.661034220576777]
MEASURES = [
    effective_rank, rankme, stable_rank, participation_ratio, energy_effective_rank, nuclear_rank, energy_rank,
    numerical_rank, rank_at_one_percent, covariance_rank, alpha_req,
]  # fmt: skip
SINES = torch.sin(1 + torch.arange(1, 7, dtype=torch.float64)[:, None] * torch.arange(1, 6).double() ** 1.5)


def test_worked_example():
    assert_digits(singular_values(CENTRED), SPECTRUM)
    assert_digits(effective_rank(CENTRED), 3.24839446291568)
    assert_digits(stable_rank(CENTRED), 1.61535648943251)
    assert_digits(participation_ratio(CENTRED), 2.05356669318483)
    assert_digits(covariance_rank(CENTRED), 4)
    assert_digits(alpha_req(CENTRED), 2.66707880475952)
    assert_digits(effective_rank(D1), 3.49604345943796)
    assert_digits(rankme(D1), 3.49604420077103)
    assert alpha_req_window(CENTRED) == (1, 4)


def test_fixed_values_of_a_falling_spectrum():
    s = torch.tensor([4, 3, 2, 1, 0.01], dtype=torch.float64)
    matrix = torch.zeros(8, 5, dtype=torch.float64)
    matrix[:5] = torch.diag(s)
    for values in (s, matrix):
        assert numerical_rank(values).item() == 5
        assert numerical_rank(values, tolerance=1e-2).item() == rank_at_one_percent(values).item() == 4
        assert_digits(stable_rank(values), 1.87500625)
        assert_digits(nuclear_rank(values), 2.5025)
        assert_digits(effective_rank(values), 3.620007164362)
        assert_digits(energy_effective_rank(values), 2.940320390735)
        assert_digits(participation_ratio(values), 2.542389830465)
        assert energy_rank(values, energy=0.9).item() == 3
        assert energy_rank(values).item() == energy_rank(values, energy=0.99).item() == 4


def test_fixed_values_of_a_matrix():
    assert_digits(
        singular_values(SINES), [2.652010829459, 1.834918828054, 1.419276391429, 0.878489133399, 0.132096210708]
    )
    assert_digits(stable_rank(SINES), 1.877338761553)
    assert_digits(effective_rank(SINES), 3.983799766113)
    assert_digits(energy_effective_rank(SINES), 3.144125081940)
    assert_digits(participation_ratio(SINES), 2.663442896267)
    assert_digits(nuclear_rank(SINES), 2.608130900604)
    assert energy_rank(SINES, energy=0.9).item() == 3
    assert energy_rank(SINES, energy=0.99).item() == 4


@given(seed=integers(0, 2**16), rows=integers(1, 7), columns=integers(1, 7), power=floats(0, 9))
@settings(derandomize=True, max_examples=40, deadline=None)
def test_the_ranks_are_in_order(seed, rows, columns, power):
    s = singular_values(gaussian(seed, rows, columns)) ** power
    order = [torch.ones(()), stable_rank(s), participation_ratio(s), energy_effective_rank(s), effective_rank(s)]
    order.append((s > 0).sum())
    for lower, upper in pairwise(order):
        assert lower.item() <= upper.item() * (1 + 1e-12)
    assert stable_rank(s).item() <= nuclear_rank(s).item() * (1 + 1e-12)
    assert nuclear_rank(s).item() <= len(s) * (1 + 1e-12)


def test_a_share_of_energy_that_is_met_exactly_costs_no_more():
    assert energy_rank(torch.tensor([3.0, 1.0]), energy=0.9).item() == 1
    assert energy_rank(torch.ones(10), energy=0.3).item() == 3
    assert energy_rank(torch.ones(10), energy=0.31).item() == 4
    assert energy_rank(torch.ones(10), energy=1).item() == 10
    assert energy_rank(torch.tensor([2.0, 1.0, 0.0]), energy=1.0).item() == 2
    assert energy_rank(torch.ones(10), energy=0).item() == 1


@pytest.mark.parametrize("measure", MEASURES)
def test_singular_values_serve_as_well_as_the_matrix(measure):
    matrix = gaussian(0, 30, 7)
    assert_digits(measure(singular_values(matrix)), measure(matrix))
    assert_digits(measure(singular_values(matrix).flip(0)), measure(matrix))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-30, 1e200, 1e307])
def test_no_magnitude_overflows_or_vanishes(measure, scale):
    matrix = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    # Numbers as small as 1e-320 carry four digits themselves.
    assert_digits(measure(matrix * scale), measure(matrix), rtol=1e-3 if scale < 1e-300 else 1e-10)


def test_singular_values_keep_their_unit():
    for scale in (1e-200, 1e200):
        assert_digits(singular_values(CENTRED * scale), torch.tensor(SPECTRUM, dtype=torch.float64) * scale, atol=0)


@pytest.mark.parametrize("measure", MEASURES)
def test_zero_matrix(measure):
    expected = 0 if measure in (numerical_rank, rank_at_one_percent) else math.nan
    for zero in (torch.zeros(4, 3), torch.zeros(3), torch.zeros(0, 3)):
        assert_digits(measure(zero), expected)


@pytest.mark.parametrize("measure", MEASURES)
def test_rotation_changes_nothing(measure):
    matrix = gaussian(1, 12, 5)
    assert_digits(measure(rotation(2, 12) @ matrix @ rotation(3, 5)), measure(matrix))


@given(rank=integers(1, 6))
@settings(derandomize=True, max_examples=6, deadline=None)
def test_equal_singular_values_count_themselves(rank):
    s = torch.cat([torch.full((rank,), 0.3), torch.zeros(3)])
    for measure in (effective_rank, stable_rank, nuclear_rank, energy_effective_rank, numerical_rank, covariance_rank):
        assert_digits(measure(s), rank)


@given(seed=integers(0, 2**16), spread=floats(0.1, 3))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_against_definitions(seed, spread):
    matrix = gaussian(seed, 9, 5) * torch.logspace(0, -spread, 5, dtype=torch.float64)
    s = numpy.linalg.svd(matrix.numpy(), compute_uv=False)
    p, eigenvalues = s / s.sum(), s**2
    assert_digits(effective_rank(matrix), math.exp(-sum(q * math.log(q) for q in p)))
    assert_digits(rankme(matrix), math.exp(-sum((q + 1e-7) * math.log(q + 1e-7) for q in p)))
    assert_digits(stable_rank(matrix), numpy.linalg.norm(matrix) ** 2 / numpy.linalg.norm(matrix, 2) ** 2)
    assert_digits(participation_ratio(matrix), eigenvalues.sum() ** 2 / (eigenvalues**2).sum())
    assert_digits(covariance_rank(matrix, 0.05), sum(eigenvalues > 0.05 * eigenvalues[0]))
    slope = numpy.polyfit(numpy.log([2, 3, 4]), numpy.log(eigenvalues[1:4]), 1)[0]
    assert_digits(alpha_req(matrix, lo=2, hi=4), -slope, rtol=1e-9)


def test_numerical_rank_counts_rounding_in_the_type_that_came_in():
    product = gaussian(0, 40, 3) @ gaussian(1, 3, 20)
    for dtype in (torch.float64, torch.float32):
        assert numerical_rank(product.to(dtype)).item() == 3
    assert numerical_rank(product.float().double()).item() == 20
    assert numerical_rank(torch.tensor([1.0, 1e-3, 1e-9]), tolerance=1e-2).item() == 1
    assert numerical_rank(torch.ones(20000, dtype=torch.bfloat16)).item() == 20000


def test_alpha_window_stops_where_rounding_starts():
    s = torch.tensor([8.0, 4.0, 2.0, 1e-20, 0.0], dtype=torch.float64)
    assert alpha_req_window(s) == (1, 3)
    assert alpha_req_window(s, lo=2, hi=10) == (2, 3)
    assert_digits(alpha_req(s, hi=10), alpha_req(s[:3]))
    assert_digits(alpha_req(s, lo=3), math.nan)
    assert_digits(alpha_req(torch.ones(4)), 0)


def test_every_float_type_gives_float64():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for measure in MEASURES:
            value = measure(torch.diag(torch.tensor([4.0, 2.0, 1.0])).to(dtype))
            assert value.dtype == torch.float64
            assert value.shape == ()


def test_whole_numbers_are_taken_as_they_are():
    whole = torch.tensor([[3, 0, 0], [0, 2, 0], [0, 2, 0]])
    with shapes_unchecked():
        for measure in MEASURES:
            assert_digits(measure(whole), measure(whole.double()))
        assert numerical_rank(torch.tensor([2, 1, 0])).item() == 2
        assert numerical_rank(whole.bool()).item() == 2


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (torch.tensor(1.0), ShapeError, "matrix is a single number; expected (rows, columns)."),
        (torch.tensor(1), ShapeError, "matrix is a single number; expected (rows, columns)."),
        (torch.ones(2, 2) * 1j, OptionError, "matrix holds complex numbers (torch.complex64); expected real ones."),
        (torch.ones(2) * 1j, OptionError, "matrix holds complex numbers (torch.complex64); expected real ones."),
    ],
)
def test_what_is_no_matrix_of_real_numbers_is_refused(measure, values, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        measure(values)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: effective_rank(torch.zeros(2, 3, 4)), ShapeError,
         "matrix has shape (2, 3, 4); expected (rows, columns). Flatten or pool other axes first."),
        (lambda: singular_values(torch.zeros(3)), ShapeError,
         "matrix has shape (3,); expected (rows, columns). Flatten or pool other axes first."),
        (lambda: stable_rank(torch.tensor([[1.0, math.nan], [math.inf, 0.0]])), NonFiniteError,
         "matrix holds 2 NaN or infinite entries; leave out what they belong to."),
        (lambda: stable_rank(torch.tensor([1.0, -2.0])), OptionError,
         "a vector is read as singular values, which are at least 0; got -2 among them. "
         "Pass the matrix itself, or singular_values(matrix)."),
        (lambda: numerical_rank(torch.ones(2), tolerance=1.5), OptionError,
         "tolerance is a share of the largest, at least 0 and below 1; got 1.5."),
        (lambda: covariance_rank(torch.ones(2), threshold=-1.0), OptionError,
         "threshold is a share of the largest, at least 0 and below 1; got -1.0."),
        (lambda: energy_rank(torch.ones(2), energy=1.5), OptionError,
         "energy is a share of the whole, from 0 to 1; got 1.5."),
        (lambda: alpha_req(torch.ones(2), lo=0), OptionError,
         "the window runs from lo >= 1 to hi > lo, counted from 1; got lo=0, hi=None."),
        (lambda: alpha_req(torch.ones(2), lo=2, hi=2), OptionError,
         "the window runs from lo >= 1 to hi > lo, counted from 1; got lo=2, hi=2."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
