"""Thresholds of random matrices: the table of fixed values, the density integrated, simulation, a planted rank."""

import math
import re

import numpy
import pytest
import torch
from examples import assert_digits, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, just, one_of

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry import (
    known_noise_threshold,
    marchenko_pastur_cdf,
    marchenko_pastur_median,
    noise_deviation,
    optimal_shrinkage,
    rank_above_noise_edge,
    rank_by_hard_threshold,
    singular_values,
    unknown_noise_threshold,
)
from unchecked import shapes_unchecked

TABLE = [
    (1, 0.652775941634, 2.309401076759, 2.858362424070, 0.608997781044),
    (0.75, 0.742948487007, 2.156093844179, 2.501429736384, 0.593724968188),
    (0.5, 0.830465881581, 1.978599053753, 2.171185348454, 0.576004215104),
    (0.25, 0.916004070687, 1.758029377140, 1.836865791120, 0.553390081275),
    (0.1, 0.966565147403, 1.581648395320, 1.608771557395, 0.533637372054),
]


@pytest.mark.parametrize(("aspect", "median", "known", "unknown", "share"), TABLE)
def test_table(aspect, median, known, unknown, share):
    assert_digits(marchenko_pastur_median(aspect), median)
    assert_digits(known_noise_threshold(aspect), known)
    assert_digits(unknown_noise_threshold(aspect), unknown)
    assert_digits(marchenko_pastur_cdf(1, aspect), share)
    assert_digits(marchenko_pastur_cdf(median, aspect), 0.5)


# Where matrices are nearly square the density is nearly a pole, which no quadrature meets; square ones have it exactly.
@given(aspect=one_of(floats(0.02, 0.9), just(1)), where=floats(0, 1))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_the_distribution_is_the_integral_of_its_density(aspect, where):
    low, high = (1 - math.sqrt(aspect)) ** 2, (1 + math.sqrt(aspect)) ** 2
    # With x = low + (high - low) sin^2(u), the root at either end is smooth.
    nodes, weights = numpy.polynomial.legendre.leggauss(400)
    u = (nodes + 1) / 2 * math.asin(math.sqrt(where))
    x = low + (high - low) * numpy.sin(u) ** 2
    rise = (high - low) ** 2 * 2 * (numpy.sin(u) * numpy.cos(u)) ** 2
    # Square matrices have a pole at 0, which the rise takes away.
    density = rise / (2 * math.pi * aspect * numpy.where(x > 0, x, 1))
    integral = weights @ density / 2 * math.asin(math.sqrt(where))
    assert_digits(marchenko_pastur_cdf(low + where * (high - low), aspect), integral, rtol=1e-9, atol=1e-10)


def test_past_the_ends_of_the_support():
    assert marchenko_pastur_cdf(-1.0, 0.5) == 0.0
    assert marchenko_pastur_cdf(0.08, 0.5) == 0.0
    assert marchenko_pastur_cdf(2.92, 0.5) == 1.0
    assert marchenko_pastur_cdf(4, 1) == 1.0


def test_the_known_fit_is_as_good_as_it_is_said_to_be():
    b = numpy.linspace(0.05, 1, 20)
    fit = 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
    assert numpy.abs(fit - [unknown_noise_threshold(float(x)) for x in b]).max() < 0.02


def test_shrinkage():
    values = torch.tensor([1.5, 1.8, 2.5, 5], dtype=torch.float64)
    assert_digits(optimal_shrinkage(values, 0.5), [0, 0.563170039888, 1.813835714722, 4.691481642296])
    # Without noise to speak of, nothing is taken away.
    assert_digits(optimal_shrinkage(torch.tensor([[1e9]]).double(), 1), [[1e9]])


def test_shrinkage_of_values_whose_squares_overflow():
    values = torch.tensor([1e155, 1e160, 1e300], dtype=torch.float64)
    for aspect in (0.01, 0.5, 1):
        assert_digits(optimal_shrinkage(values, aspect), values)


@given(aspect=floats(0.01, 1), over=floats(0.001, 50))
@settings(derandomize=True, max_examples=30, deadline=None)
def test_shrinkage_is_its_formula(aspect, over):
    y = 1 + math.sqrt(aspect) + over
    shrunk = optimal_shrinkage(torch.tensor([y], dtype=torch.float64), aspect)
    assert_digits(shrunk, [math.sqrt((y**2 - aspect - 1) ** 2 - 4 * aspect) / y], rtol=1e-9)


def planted(seed: int, rows: int = 60, columns: int = 120) -> torch.Tensor:
    left, right = rotation(seed, rows)[:, :4], rotation(seed + 1, columns)[:, :4]
    signal = left * torch.tensor([6.0, 5.0, 4.0, 3.0], dtype=torch.float64) @ right.T
    return signal + gaussian(seed + 2, rows, columns) / math.sqrt(120)


# Of pure noise the largest singular value passes the edge one time in six: seeds where it does not.
@pytest.mark.parametrize("seed", [0, 20, 30])
def test_a_planted_rank_is_found_by_every_rule(seed):
    matrix, deviation = planted(seed), 1 / math.sqrt(120)
    assert_digits(noise_deviation(matrix), deviation, rtol=0.1)
    for turned in (matrix, matrix.T, matrix.float()):
        for measure in (rank_above_noise_edge, rank_by_hard_threshold):
            assert measure(turned).item() == 4
            assert measure(turned, deviation=deviation).item() == 4
            assert measure(singular_values(turned), shape=(len(turned), turned.shape[1])).item() == 4


def test_the_thresholds_are_where_they_are_said_to_be():
    s = torch.tensor([9.0, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64)  # median 1
    edge = (math.sqrt(5) + math.sqrt(20)) * 0.1
    threshold = known_noise_threshold(0.25) * math.sqrt(20) * 0.1
    assert edge < threshold
    for measure, cut in ((rank_above_noise_edge, edge), (rank_by_hard_threshold, threshold)):
        for factor, count in ((0.999, 1), (1.001, 2)):
            values = s.clone()
            values[1] = cut * factor
            values[2:4] = 0.01
            assert measure(values, (5, 20), 0.1).item() == count
    unknown = unknown_noise_threshold(0.25)
    assert rank_by_hard_threshold(torch.tensor([unknown * 1.001, 1, 1, 1, 0.5]), (20, 5)).item() == 1
    assert rank_by_hard_threshold(torch.tensor([unknown * 0.999, 1, 1, 1, 0.5]), (20, 5)).item() == 0


@given(seed=integers(0, 2**16), rows=integers(1, 9), columns=integers(1, 9))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_the_cut_keeps_no_more_than_the_edge(seed, rows, columns):
    matrix = gaussian(seed, rows, columns).square()
    edge, cut = rank_above_noise_edge(matrix).item(), rank_by_hard_threshold(matrix).item()
    assert 0 <= cut <= edge <= min(rows, columns)
    middle = numpy.median(numpy.linalg.svd(matrix.numpy(), compute_uv=False))
    m, n = sorted((rows, columns))
    assert_digits(noise_deviation(matrix), middle / math.sqrt(n * marchenko_pastur_median(m / n)))


def test_where_there_is_no_noise_the_rank_itself():
    low = gaussian(0, 12, 2) @ gaussian(1, 2, 9)
    assert rank_above_noise_edge(low).item() == 2
    assert rank_by_hard_threshold(low).item() == 2
    assert noise_deviation(low).item() < 1e-14
    # Zeros that singular values came without belong to the median, and those past the shorter side do not.
    s = singular_values(low)
    assert rank_above_noise_edge(s[:2], (12, 9)).item() == 2
    assert rank_above_noise_edge(torch.cat([singular_values(planted(0)), torch.zeros(60)]), (60, 120)).item() == 4


def test_zero_and_extreme_matrices():
    for zero, shape in ((torch.zeros(4, 3), None), (torch.zeros(3), (4, 3)), (torch.zeros(0), (4, 3))):
        assert rank_above_noise_edge(zero, shape).item() == 0
        assert rank_by_hard_threshold(zero, shape, 0.5).item() == 0
        assert noise_deviation(zero, shape).item() == 0
    for scale in (1e-200, 1e-30, 1e200):
        assert rank_above_noise_edge(planted(0) * scale).item() == 4
        assert rank_by_hard_threshold(planted(0) * scale, deviation=scale / math.sqrt(120)).item() == 4
        assert_digits(noise_deviation(planted(0) * scale) / scale, noise_deviation(planted(0)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: rank_above_noise_edge(torch.ones(3)), ShapeError,
         "noise depends on the matrix's shape, and 3 singular values came with shape=None. Pass the shape (rows, "
         "columns) of the matrix that they belong to, or the matrix itself."),
        (lambda: rank_by_hard_threshold(torch.ones(3), (2, 9)), ShapeError,
         "noise depends on the matrix's shape, and 3 singular values came with shape=(2, 9). Pass the shape (rows, "
         "columns) of the matrix that they belong to, or the matrix itself."),
        (lambda: noise_deviation(torch.ones(3, 2), (2, 3)), ShapeError,
         "matrix has shape (3, 2) and shape=(2, 3) was said; leave shape out."),
        (lambda: noise_deviation(torch.ones(0, 2)), ShapeError,
         "matrix has shape (0, 2); expected (rows, columns), neither of them 0."),
        (lambda: rank_above_noise_edge(torch.ones(3, 2), deviation=-1.0), OptionError,
         "deviation is the noise's standard deviation, finite and at least 0; got -1.0."),
        (lambda: rank_above_noise_edge(torch.full((3, 2), math.inf)), NonFiniteError,
         "matrix holds 6 NaN or infinite entries; leave out what they belong to."),
        (lambda: optimal_shrinkage(torch.tensor([3.0, math.nan]), 0.5), NonFiniteError,
         "values holds 1 NaN or infinite entries; leave out what they belong to."),
        (lambda: marchenko_pastur_median(2), OptionError,
         "aspect is the shorter side over the longer, above 0 and at most 1; got 2."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
