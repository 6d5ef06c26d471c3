"""Rounding to multiples of a step, and the published search for it."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.quantisation.uniform import first_step, round_to_step, round_weights
from deepcollapse.errors import OptionError


def direct_step(weights, k, offset):
    """The search as published: every step in turn, all weights, Python's own rounding to even."""
    for t in range(2000):
        step = 1e-4 + 5e-4 * t
        if step >= 1:
            break
        if len({step * round((w + offset) / step) - offset for w in weights.tolist()}) <= k:
            return step
    return 1.0


def test_halves_go_to_the_even_multiple():
    after = round_to_step(np.array([-0.375, -0.125, 0.125, 0.375]), 0.25).array()
    assert after.tolist() == [-0.5, 0.0, 0.0, 0.5]
    assert round_to_step(np.array([0.0, 0.2]), 0.25, offset=0.125).array().tolist() == [-0.125, 0.125]


@given(
    values=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=40),
    step=st.floats(1e-3, 3),
    offset=st.sampled_from([0.0, 0.3, -1]),
)
def test_no_weight_moves_by_more_than_half_a_step(values, step, offset):
    weights = np.array(values)
    after = round_to_step(weights, step, offset=offset).array()
    assert np.abs(after - weights).max() <= step / 2 + 1e-5
    multiples = (after + offset) / step
    np.testing.assert_allclose(multiples, np.round(multiples), atol=1e-5 * (1 + 6 / step))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), k=st.integers(1, 20), scale=st.sampled_from([0.02, 0.4]))
def test_the_search_finds_the_first_step_that_is_published(seed, k, scale):
    weights = np.random.default_rng(seed).standard_normal(50) * scale
    assert first_step(weights, k) == pytest.approx(direct_step(weights, k, 0.0), rel=1e-12)


def test_a_sample_of_many_weights_does_not_change_the_step(monkeypatch):
    from deepcollapse.compression.quantisation import uniform

    weights = np.random.default_rng(0).standard_normal(3000) * 0.1
    whole = first_step(weights, 16)
    monkeypatch.setattr(uniform, "SAMPLE", 50)
    assert first_step(weights, 16) == whole == pytest.approx(direct_step(weights, 16, 0.0))


def test_beyond_the_published_steps_the_step_is_doubled():
    weights = np.array([-300.0, 5.0, 40.0, 700.0])
    assert first_step(weights, 2) == 1.0
    few = round_weights(weights, 2)
    assert few.distinct == 2
    assert few.array().tolist() == [0, 0, 0, 1024]


@pytest.mark.parametrize("step", [0, -0.5, float("inf"), float("nan")])
def test_a_step_must_be_positive(step):
    message = f"the step must be positive and finite; got {step}."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        round_to_step(np.ones(2), step)
