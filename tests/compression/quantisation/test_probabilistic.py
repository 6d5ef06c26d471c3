"""Drawn weights stay where they are on average, and take the levels about them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcollapse.compression.quantisation.probabilistic import draw_weights, quantile_levels

WEIGHTS = np.array([-0.9, -0.4, -0.35, -0.1, -0.05, 0, 0.02, 0.1, 0.3, 0.33, 0.7, 1.2])


def test_the_levels_of_the_example():
    np.testing.assert_allclose(quantile_levels(WEIGHTS, 4), [-0.9, -0.2 / 3, 1 / 6, 1.2], rtol=1e-10)


def test_each_weight_stays_where_it_is_on_average():
    """A z-test a weight, at a fixed seed: sqrt(n) (mean - w) / sqrt((w - L_t) (L_{t+1} - w)) is about normal."""
    rng, n = np.random.default_rng(7), 1200
    draws = np.stack([draw_weights(WEIGHTS, 4, rng).array() for _ in range(n)]).astype(np.float64)
    levels = quantile_levels(WEIGHTS, 4)
    lower = np.array([max(level for level in levels if level <= w) for w in WEIGHTS])
    upper = np.array([min([level for level in levels if level > w], default=w) for w in WEIGHTS])
    spread = np.sqrt((WEIGHTS - lower) * (upper - WEIGHTS))
    random = spread > 0
    assert random.sum() == 10
    z = np.sqrt(n) * (draws.mean(axis=0) - WEIGHTS)[random] / spread[random]
    assert np.abs(z).max() < 3.5
    assert 2 < (z**2).sum() < 26, "chi-squared with 10 degrees of freedom: 99.6 % lie here"
    np.testing.assert_allclose(draws[:, ~random], np.broadcast_to(WEIGHTS[~random], (n, 2)), rtol=1e-6)
    for column, low, high in zip(draws.T, lower, upper, strict=True):
        assert set(np.unique(column)) <= {np.float32(low), np.float32(high)}


@pytest.mark.parametrize("k", [2, 3, 5, 9])
def test_equal_levels_divide_by_nothing(k):
    weights = np.array([0.0] * 20 + [-1.0, 2.0])
    after = draw_weights(weights, k, np.random.default_rng(0)).array()
    assert set(after.tolist()) <= {-1.0, 0.0, 2.0}
    if k > 2:  # with the outermost levels alone, zeros are drawn too
        np.testing.assert_array_equal(after, weights.astype(np.float32))


def test_equal_levels_at_the_top_are_kept():
    weights = np.array([1.0, 3.0, 3.0, 3.0, 3.0])
    assert draw_weights(weights, 4, np.random.default_rng(0)).array().tolist() == [1, 3, 3, 3, 3]


@given(seed=st.integers(0, 2**16))
def test_equal_generators_draw_equal_weights(seed):
    one, other = (draw_weights(WEIGHTS, 3, np.random.default_rng(seed)).array() for _ in range(2))
    np.testing.assert_array_equal(one, other)
