"""Entropy-constrained cells: the example, the iteration written out directly, and what it never does."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.quantisation.entropy_constrained import (
    entropy_cells,
    entropy_constrained,
    entropy_constrained_to,
    entropy_constrained_within,
    lower_envelope,
)
from deepcollapse.errors import OptionError

WEIGHTS = np.array([-0.9, -0.4, -0.35, -0.1, -0.05, 0, 0.02, 0.1, 0.3, 0.33, 0.7, 1.2])
EXAMPLE = {
    0: ([-0.9, -0.375, -0.05, 0.06, 0.315, 0.95], [1, 2, 3, 2, 2, 2], [0.020356, 0.011242, 0.011242]),
    0.01: ([-0.9, -0.375, -0.0325, 0.1, 0.315, 0.95], [1, 2, 4, 1, 2, 2], [0.038274, 0.028660, 0.028044, 0.028044]),
    0.05: ([-0.9, -0.375, -0.006, 0.315, 0.95], [1, 2, 5, 2, 2], [0.109944, 0.097235, 0.090780, 0.085838, 0.085838]),
    0.2: ([-0.9, -0.05 / 3, 0.95], [1, 9, 2], [0.378708, 0.349374, 0.284779, 0.196526, 0.196526]),
}


def direct(weights, k, penalty, tolerance=0.0, wanted=1):
    """The iteration as it is written: every weight against every cell, the lowest index on ties."""
    w = np.sort(weights)
    parts = [part for part in np.array_split(w, k) if len(part)]
    c, p, last, objectives = np.array([x.mean() for x in parts]), np.array([len(x) for x in parts]) / len(w), np.inf, []
    while True:
        cost = (w[:, None] - c) ** 2 - penalty * np.log(p)
        cell = cost.argmin(axis=1)
        objectives.append(cost.min(axis=1).mean())
        kept = [w[cell == i] for i in range(len(c)) if (cell == i).any()]
        c, p = np.array([x.mean() for x in kept]), np.array([len(x) for x in kept]) / len(w)
        if last - objectives[-1] <= tolerance or len(c) <= wanted:
            return c, p, objectives
        last = objectives[-1]


@pytest.mark.parametrize("penalty", EXAMPLE)
def test_the_example(penalty):
    centres, counts, objectives = EXAMPLE[penalty]
    cells = entropy_cells(WEIGHTS, 6, penalty)
    np.testing.assert_allclose(cells.centres, centres, rtol=1e-10)
    np.testing.assert_allclose(cells.shares * 12, counts, rtol=1e-10)
    np.testing.assert_allclose(cells.objectives, objectives, atol=5e-7)
    assert np.diff(cells.cuts).tolist() == counts
    few = entropy_constrained(WEIGHTS[::-1], 6, penalty)
    np.testing.assert_allclose(few.array()[::-1], np.repeat(centres, counts), rtol=1e-6)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    n=st.integers(1, 60),
    k=st.integers(1, 25),
    penalty=st.sampled_from([0, 1e-4, 0.01, 0.1, 0.5, 3.0]),
    shift=st.sampled_from([0.0, 50.0]),
)
def test_intervals_give_what_the_direct_form_gives(seed, n, k, penalty, shift):
    weights = np.random.default_rng(seed).standard_normal(n) + shift
    centres, shares, objectives = direct(weights, k, penalty, 1e-9, 2)
    cells = entropy_cells(weights, k, penalty, tolerance=1e-9, wanted=2)
    np.testing.assert_allclose(cells.shares, shares, rtol=1e-12)
    np.testing.assert_allclose(cells.centres, centres, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cells.objectives, objectives, rtol=1e-9, atol=1e-12)
    assert (np.diff(cells.objectives) <= 1e-12).all(), "the objective never rises"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-8, 8), st.integers(0, 12)), min_size=1, max_size=9),
)
def test_the_envelope_is_the_cheapest_cell_of_every_point_also_where_cells_are_hidden(pairs):
    centres, price = (np.array(column, float) for column in zip(*sorted(pairs), strict=True))
    # No corner of such lines lies on a quarter and a bit, so that ties cannot blur the comparison.
    points = np.arange(-60, 60) / 4 + 0.0137
    cells = np.searchsorted(lower_envelope(centres, price), points, side="left")
    cost = (points[:, None] - centres) ** 2 + price
    np.testing.assert_allclose(np.take_along_axis(cost, cells[:, None], 1)[:, 0], cost.min(axis=1), rtol=1e-12)


def test_equal_weights_never_part():
    weights = np.array([0.0] * 10 + [0.1] * 10 + [3.0])
    for penalty in (0, 0.001, 0.1):
        cells = entropy_cells(weights, 8, penalty)
        assert set(cells.cuts) <= {0, 10, 20, 21}
        assert (np.diff(cells.centres) > 0).all()


def test_a_larger_penalty_leaves_a_smaller_entropy():
    weights = np.random.default_rng(0).standard_normal(5000)
    found = [entropy_constrained(weights, 40, penalty) for penalty in (0, 1e-3, 1e-2, 0.1)]
    assert [few.entropy for few in found] == sorted((few.entropy for few in found), reverse=True)
    assert [few.distortion(weights) for few in found] == sorted(few.distortion(weights) for few in found)


def test_the_published_search_takes_the_first_penalty_that_leaves_enough():
    weights = np.random.default_rng(1).standard_normal(400)
    penalties = (5.0, 0.3, 0.05, 0.01, 1e-4)
    cells = [len(direct(weights, 15, penalty, 1e-3, 5)[0]) for penalty in penalties]
    first = next(penalty for penalty, count in zip(penalties, cells, strict=True) if count >= 5)
    assert first not in (penalties[0], penalties[-1])
    centres = direct(weights, 15, first, 1e-3, 5)[0]
    np.testing.assert_allclose(entropy_constrained_to(weights, 5, penalties).values, centres, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e6])
@pytest.mark.parametrize("k", [1, 4, 12])
def test_within_k_does_not_depend_on_the_scale(k, scale):
    weights = np.random.default_rng(2).standard_normal(800)
    few = entropy_constrained_within(weights * scale, k)
    assert k / 2 < few.distinct <= k
    np.testing.assert_allclose(few.values / scale, entropy_constrained_within(weights, k).values, rtol=1e-5, atol=1e-7)


def test_settings_outside_their_range_are_refused():
    for name, how in (("penalty", {"penalty": -1.0}), ("tolerance", {"penalty": 1.0, "tolerance": -1.0})):
        message = f"the {name} must be at least 0 and finite; got -1.0."
        with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
            entropy_constrained(WEIGHTS, 3, **how)
    with pytest.raises(OptionError, match=r"^there are no penalties to try; give at least one\.$"):
        entropy_constrained_to(WEIGHTS, 3, ())
