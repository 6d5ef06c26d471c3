"""Pruning keeps what is above a percentile of the magnitudes, strictly, of a layer or of all layers."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepcollapse.compression.pruning import global_percentile_masks, percentile_mask
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError

WEIGHTS = np.array([-0.9, -0.4, -0.35, -0.1, -0.05, 0, 0.02, 0.1, 0.3, 0.33, 0.7, 1.2])


def linear_percentile(values, percent):
    """The percentile between order statistics, by its definition."""
    rising, at = sorted(values), (len(values) - 1) * percent / 100
    low = int(at)
    return rising[low] + (at - low) * (rising[min(low + 1, len(rising) - 1)] - rising[low])


def test_the_example_keeps_what_is_above_its_threshold():
    assert linear_percentile(np.abs(WEIGHTS), 50) == pytest.approx(0.315, rel=1e-12)
    assert WEIGHTS[percentile_mask(WEIGHTS, 50)].tolist() == [-0.9, -0.4, -0.35, 0.33, 0.7, 1.2]


@given(st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=30), st.sampled_from([0, 12.5, 50, 90, 99.5, 100]))
def test_what_survives_is_what_the_definition_says(values, percent):
    weights = np.array(values)
    threshold = linear_percentile(np.abs(weights).tolist(), percent)
    kept = percentile_mask(weights.reshape(1, -1), percent)
    assert kept.shape == (1, len(values))
    clear = ~np.isclose(np.abs(weights), threshold, rtol=1e-12, atol=0)
    np.testing.assert_array_equal(kept.ravel()[clear], (np.abs(weights) > threshold)[clear])


def test_ties_at_the_threshold_go_and_the_ends_are_strict():
    equal = np.full((2, 3), -0.5, np.float32)
    assert not percentile_mask(equal, 50).any()
    assert not percentile_mask(WEIGHTS, 100).any()
    assert percentile_mask(WEIGHTS, 0).sum() == 11, "the zero alone goes"
    assert not percentile_mask(np.array([0.3]), 0).any(), "a single weight is at every percentile"


def test_one_threshold_over_layers_is_that_of_all_of_them_end_to_end():
    rng = np.random.default_rng(0)
    layers = {"small": 0.1 * rng.standard_normal((5, 4)), "large": rng.standard_normal((3, 2, 2))}
    together = percentile_mask(np.concatenate([w.ravel() for w in layers.values()]), 60)
    masks = global_percentile_masks(layers, 60)
    assert {name: mask.shape for name, mask in masks.items()} == {"small": (5, 4), "large": (3, 2, 2)}
    np.testing.assert_array_equal(np.concatenate([m.ravel() for m in masks.values()]), together)
    assert masks["small"].mean() <= 0.1 < 0.9 <= masks["large"].mean()


@pytest.mark.parametrize("percent", [-1, 100.5, float("nan")])
def test_a_percent_that_is_none_is_refused(percent):
    message = f"percent must lie in [0, 100]; got {percent}. It is the share of weights that go, in %."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        percentile_mask(WEIGHTS, percent)


def test_no_weights_no_layers_and_nan_are_refused():
    with pytest.raises(ShapeError, match=r"^the weights: shape \(0, 3\) holds nothing; give at least one weight\.$"):
        percentile_mask(np.zeros((0, 3)), 50)
    with pytest.raises(ShapeError, match=r"^there are no layers to prune; give the weights of at least one\.$"):
        global_percentile_masks({}, 50)
    message = "the weight of 'a': 2 of 3 are NaN or infinite; compress a network that trained without diverging."
    with pytest.raises(NonFiniteError, match=f"^{re.escape(message)}$"):
        global_percentile_masks({"a": np.array([np.nan, 1, -np.inf])}, 50)
