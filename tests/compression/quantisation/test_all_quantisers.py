"""What holds for every quantiser: few values, zeros kept, nothing wrong taken in."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.quantisation.entropy_constrained import (
    entropy_constrained,
    entropy_constrained_within,
)
from deepcollapse.compression.quantisation.probabilistic import draw_weights
from deepcollapse.compression.quantisation.uniform import round_weights
from deepcollapse.compression.quantisation.weight_sharing import share_weights
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError


def drawn(weights, k, *, mask=None):
    return draw_weights(weights, k, np.random.default_rng(3), mask=mask)


QUANTISERS = {
    "shared": share_weights,
    "drawn": drawn,
    "rounded": round_weights,
    "entropy": partial(entropy_constrained, penalty=0.01),
    "entropy within": entropy_constrained_within,
}
every = pytest.mark.parametrize("quantise", QUANTISERS.values(), ids=QUANTISERS.keys())
# Few distinct numbers among many: ties, zeros, runs of equal weights.
WEIGHTS = st.lists(st.sampled_from([0.0, -0.0, 0.1, 0.1, -2.5, 3.0, 1e-6]) | st.floats(-9, 9, width=32), min_size=1)


@every
@settings(max_examples=40, deadline=None)
@given(values=WEIGHTS, k=st.integers(1, 12), seed=st.integers(0, 99))
def test_no_more_than_k_values_within_the_range_and_zeros_where_pruned(quantise, values, k, seed):
    weights = np.array(values, np.float32)
    mask = np.random.default_rng(seed).random(len(weights)) < 0.6
    few = quantise(weights, k, mask=mask)
    after = few.array()
    assert after.dtype == np.float32
    assert len(few.values) <= k
    np.testing.assert_array_equal(few.values, np.unique(after[mask]), "values rise, differ, and are all in use")
    np.testing.assert_array_equal(few.mask, mask)
    assert (after[~mask] == 0).all()
    assert not np.signbit(after[after == 0]).any(), "-0 is no symbol of its own"
    if mask.any() and quantise is not round_weights:
        room = 1e-6 * np.abs(weights).max()
        assert weights[mask].min() - room <= after[mask].min() <= after[mask].max() <= weights[mask].max() + room


@every
def test_a_constant_stays_what_it_is(quantise):
    weights = np.full((3, 4), 0.25)
    few = quantise(weights, 5)
    expected = round(0.25 / 0.0001) * 0.0001 if quantise is round_weights else 0.25
    np.testing.assert_array_equal(few.array(), np.full((3, 4), np.float32(expected)))
    assert (few.distinct, few.entropy) == (1, 0.0)


@every
def test_one_value_is_enough_where_no_more_are_asked_for(quantise):
    weights = np.array([[-1.0, 0.5, 2.0, 0.5]])
    few = quantise(weights, 1)
    assert len(few.values) == 1
    expected = 0.0 if quantise is round_weights else 0.5
    np.testing.assert_allclose(few.array(), np.full((1, 4), expected), atol=1e-7)


@every
def test_layers_that_are_pruned_altogether_are_zeros_without_values(quantise):
    few = quantise(np.ones((2, 2)), 3, mask=np.zeros((2, 2), bool))
    assert few.values.tolist() == []
    assert few.array().tolist() == [[0, 0], [0, 0]]
    assert (few.distinct, few.entropy, few.distortion(np.ones((2, 2)))) == (1, 0.0, 4.0)


@every
def test_what_is_no_weight_is_refused(quantise):
    diverged = "compress a network that trained without diverging."
    nan, huge, plain = np.array([1.0, np.nan]), np.array([1.0, 1e39]), np.ones(3)
    cases = [
        (nan, 2, None, NonFiniteError, f"the weights: 1 of 2 are NaN or infinite; {diverged}"),
        (huge, 2, None, NonFiniteError,
         "the weights: the largest magnitude, 1e+39, is beyond float32; scale the weights down."),
        (1e-60 * plain, 2, None, OptionError,
         "the weights: the largest magnitude, 1e-60, is 0 in float32, in which values are kept; scale the weights up."),
        (plain[:0], 2, None, ShapeError, "the weights: shape (0,) holds nothing; give at least one weight."),
        (plain, 0, None, OptionError, "k, the number of values, must be at least 1; got 0."),
        (plain, 2, np.ones(2, bool), ShapeError,
         "the weights: shape (3,), but the mask has shape (2,); both must be the same."),
    ]  # fmt: skip
    for weights, k, mask, error, message in cases:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            quantise(weights, k, mask=mask)
