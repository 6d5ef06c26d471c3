"""One-vs-rest distances: the worked example, known optima, and every support tried by hand."""

import itertools
import math
import re

import pytest
import torch
from examples import W1, assert_digits, doubles, gaussian, regular_polygon, rotation
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import ShapeError, TooFewClassesError
from deepcollapse.geometry.simplex import simplex_etf
from deepcollapse.geometry.softmax_code import (
    one_vs_rest_distances,
    one_vs_rest_margin,
    softmax_code_bounds,
    softmax_code_optimum,
)
from unchecked import shapes_unchecked


def cross_polytope(dim):
    return torch.cat([torch.eye(dim), -torch.eye(dim)]).double()


def by_enumeration(points):
    """The distance of the origin to the hull: the nearest of all affine hulls' nearest points with weights >= 0."""
    best = math.inf
    for size in range(1, min(len(points), points.shape[1] + 1) + 1):
        for support in itertools.combinations(range(len(points)), size):
            chosen = points[list(support)]
            weights = torch.linalg.pinv(chosen @ chosen.T + 1).sum(dim=1)
            weights = weights / weights.sum()
            if weights.min() >= -1e-12:
                best = min(best, (weights @ chosen).norm().item())
    return best


def test_worked_example():
    expected = [1.41509717632523, 1.62823927863685, 1.29878909538631]
    assert_digits(one_vs_rest_distances(W1), expected)
    assert_digits(one_vs_rest_margin(W1), min(expected))


@pytest.mark.parametrize(
    ("rows", "delta"),
    [
        (regular_polygon(5), 0.690983005625053),
        (regular_polygon(9), 1 - math.cos(2 * math.pi / 9)),
        (simplex_etf(2, 1), 2.0),
        (simplex_etf(10, 9), 10 / 9),
        (3 * simplex_etf(40, 64) @ rotation(0, 64), 40 / 39),
        (cross_polytope(4), 1.0),
    ],
)
def test_known_optima(rows, delta):
    assert_digits(one_vs_rest_distances(rows), torch.full((len(rows),), delta, dtype=torch.float64))
    assert_digits(softmax_code_optimum(len(rows), torch.linalg.matrix_rank(rows).item()), delta)


@given(seed=integers(0, 2**16), num_classes=integers(2, 8), dim=integers(1, 6))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_against_all_supports(seed, num_classes, dim):
    rows = gaussian(seed, num_classes, dim)
    unit = rows / rows.norm(dim=1, keepdim=True)
    expected = [by_enumeration(torch.cat([unit[:k], unit[k + 1 :]]) - unit[k]) for k in range(num_classes)]
    assert_digits(one_vs_rest_distances(rows * 1e-200), expected, rtol=1e-9, atol=1e-9)


@given(seed=integers(0, 2**16), close=integers(1, 16))
@settings(derandomize=True, max_examples=25, deadline=None)
def test_the_gap_closes_among_near_duplicates(seed, close):
    rows = gaussian(seed, 12, 5)
    rows[6:] = rows[:6] + 10.0**-close * gaussian(seed + 1, 6, 5)
    distances = one_vs_rest_distances(rows)
    assert distances.isfinite().all()
    unit = rows / rows.norm(dim=1, keepdim=True)
    assert (distances <= torch.cdist(unit, unit).fill_diagonal_(9).min(dim=1).values + 1e-12).all()


def test_more_rows_never_move_the_hull_away():
    rows = gaussian(0, 60, 6)
    assert (one_vs_rest_distances(rows)[:40] <= one_vs_rest_distances(rows[:40]) + 1e-12).all()


def test_rows_of_one_direction_and_rows_of_none():
    rows = doubles((1, 1), (2, 2), (0, 0), (-1, -1))
    assert_digits(one_vs_rest_distances(rows), [0, 0, math.nan, 2])
    assert_digits(one_vs_rest_margin(rows), 0)
    assert_digits(one_vs_rest_distances(doubles((1, 0), (0, 0))), [math.nan, math.nan])
    assert_digits(one_vs_rest_margin(doubles((1, 0), (0, 0))), math.nan)
    assert_digits(one_vs_rest_margin(torch.zeros(3, 2)), math.nan)


def test_optima_and_bounds():
    assert softmax_code_optimum(2, 1) == 2
    assert softmax_code_optimum(3, 1) == 0
    assert softmax_code_optimum(3, 2) == 1.5
    assert_digits(softmax_code_optimum(6, 2), 0.5)
    assert softmax_code_optimum(6, 3) == 1
    assert softmax_code_optimum(7, 3) is None
    for num_classes, dim in itertools.product(range(2, 60), (2, 3, 10, 30, 1000)):
        lower, upper = softmax_code_bounds(num_classes, dim)
        assert 0 < lower < upper
        if (optimum := softmax_code_optimum(num_classes, dim)) is not None:
            assert lower <= optimum <= upper


def test_bounds_by_the_formula():
    gamma = math.gamma
    lower = 0.5 * (math.sqrt(math.pi) * gamma(2.5) / (50 * gamma(3))) ** (2 / 3)
    upper = 2 * (2 * math.sqrt(math.pi) * gamma(2.5) / (50 * gamma(2))) ** (1 / 3)
    assert_digits(softmax_code_bounds(50, 4), [lower, upper])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: softmax_code_optimum(1, 3), TooFewClassesError,
         "a code needs at least two classes; got num_classes=1."),
        (lambda: softmax_code_optimum(3, 0), ShapeError, "a code needs at least one dimension; got dim=0."),
        (lambda: softmax_code_bounds(3, 1), ShapeError,
         "the bounds hold for dim >= 2; got dim=1. softmax_code_optimum knows the line."),
        (lambda: one_vs_rest_distances(torch.ones(3)), ShapeError,
         "rows has shape (3,); expected (classes, dim). Flatten or pool other axes first."),
        (lambda: one_vs_rest_margin(torch.ones(1, 3)), TooFewClassesError,
         "rows has 1 row; the geometry of classes needs at least two."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
