"""The scalar problem behind every structure: its thresholds, its solution, and the price of a product."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.deep.scalar_problem import kappa_max, kappa_star, solve_scalar
from deepcollapse.theory.problems.deep.structures import best_scales, price, product_cost

THRESHOLDS = {
    2: (0.472470393711, 0.396850262992),
    3: (0.384900179460, 0.272165526976),
    4: (0.346975474207, 0.210366589771),
    5: (0.325730113991, 0.172354775203),
    7: (0.302676959271, 0.127259985015),
}


def h(x, kappa: float, depth: int):
    return (1 - x) ** 2 / 2 + (depth + 1) / 2 * kappa * x ** (2 / (depth + 1))


@pytest.mark.parametrize("depth", THRESHOLDS)
def test_thresholds(depth):
    assert kappa_max(depth) == pytest.approx(THRESHOLDS[depth][0], abs=1e-12)
    assert kappa_star(depth) == pytest.approx(THRESHOLDS[depth][1], abs=1e-12)
    # At the threshold the best non-zero x is (L-1)/L, and no better than zero.
    assert h((depth - 1) / depth, kappa_star(depth), depth) == pytest.approx(0.5, abs=1e-15)
    assert solve_scalar(kappa_star(depth), depth) == (0.0, 0.5)
    x, loss = solve_scalar(kappa_star(depth) * (1 - 1e-12), depth)
    assert x == pytest.approx((depth - 1) / depth, abs=1e-9)
    assert loss == pytest.approx(0.5, abs=1e-11)


def test_fixed_values():
    assert solve_scalar(0.1, 3) == pytest.approx((0.8942525492721, 0.1947211164525), abs=5e-13)
    assert solve_scalar(0.2, 4) == pytest.approx((0.7651556461562, 0.4768071435449), abs=5e-13)


@pytest.mark.parametrize("depth", [1, 2, 3, 6, 40])
@pytest.mark.parametrize("kappa", [0.0, 1e-30, 1e-6, 0.003, 0.03, 0.3, 3.0, math.inf])
def test_no_scale_does_better(kappa, depth):
    x, loss = solve_scalar(kappa, depth)
    grid = np.linspace(0, 1.2, 20_001)[1:]
    assert loss <= min(h(grid, kappa, depth).min(), 0.5) + 1e-15
    assert loss == pytest.approx(h(x, kappa, depth) if x else 0.5, rel=1e-12)


def test_one_layer_shrinks_by_kappa():
    assert solve_scalar(0.3, 1) == pytest.approx((0.7, 0.3 - 0.045), abs=1e-15)
    assert solve_scalar(1.5, 1) == (0.0, 0.5)
    assert kappa_max(1) == kappa_star(1) == 1.0


def test_a_tiny_price_keeps_its_digits():
    x, loss = solve_scalar(1e-25, 4)
    assert x == 1.0
    assert loss == pytest.approx(2.5e-25, rel=1e-12)


def test_loss_rises_with_the_price():
    losses = [solve_scalar(kappa, 4)[1] for kappa in np.linspace(0, 0.3, 50)]
    assert all(low < high or high == 0.5 for low, high in pairwise(losses))


@pytest.mark.parametrize(("depth", "threshold"), [(2, 1 / 128), (3, 3.429355e-4), (4, 1.287460e-5), (5, 4.096e-7)])
def test_the_threshold_of_two_classes_is_the_published_one(depth, threshold):
    """Collapse is not all zero iff n lH prod l_l < (L-1)^{L-1} / (2^{L+1} L^{2L})."""
    product = (kappa_star(depth) / 2) ** (depth + 1)
    assert product == pytest.approx((depth - 1) ** (depth - 1) / (2 ** (depth + 1) * depth ** (2 * depth)), rel=1e-13)
    assert product == pytest.approx(threshold, rel=1e-6)


def test_what_is_out_of_range_is_refused():
    with pytest.raises(OptionError) as raised:
        kappa_star(0)
    assert str(raised.value) == "a network has one weight matrix or more; got depth=0."
    for kappa, shown in ((-0.1, "-0.1"), (math.nan, "nan")):
        with pytest.raises(OptionError) as raised:
            solve_scalar(kappa, 3)
        assert str(raised.value) == f"kappa is a price, 0 or more; got {shown}."


def test_scales_of_a_product_make_all_terms_equal():
    decays, sizes = (0.3, 0.2, 0.7), (1.0, 2.5, 4.0)
    scales = best_scales(decays, sizes, 0.8)
    terms = [c * a * s**2 for c, a, s in zip(decays, sizes, scales, strict=True)]
    assert math.prod(scales) == pytest.approx(0.8, rel=1e-14)
    assert terms == pytest.approx([terms[0]] * 3, rel=1e-13)
    assert sum(terms) / 2 == pytest.approx(1.5 * price(decays, sizes) * 0.8 ** (2 / 3), rel=1e-13)


def test_a_product_of_matrices_costs_a_power_of_its_singular_values():
    """X = diag(3, 1) by three matrices at decays 1, 2, 4: the formula, and the numbers found by minimising."""
    decays, target = (1.0, 2.0, 4.0), np.diag([3.0, 1.0])
    assert product_cost(decays, (3.0, 1.0)) == pytest.approx(9.240251469156, abs=1e-12)

    def cost(x):  # the first matrix is what is left of the product
        second, third = x.reshape(2, 2, 2)
        first = np.linalg.solve(third @ second, target)
        return sum(c / 2 * (m**2).sum() for c, m in zip(decays, (first, second, third), strict=True))

    found = min(minimize(cost, np.random.default_rng(seed).normal(size=8) + 1.0).fun for seed in range(4))
    assert found == pytest.approx(9.240251469156, abs=1e-9)
