"""Budgets shared out over layers: the fixed examples, every possibility tried by hand, and what must hold."""

import re
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import data, floats, integers, lists, tuples
from matrices import close

from deepcollapse.compression.low_rank import allocation
from deepcollapse.compression.low_rank.allocation import Spectrum, allocate, allocate_exactly
from deepcollapse.errors import MemoryBudgetError, NonFiniteError, OptionError


def spectrum(name, shape, values, **more) -> Spectrum:
    return Spectrum(name, shape, torch.tensor(values, dtype=torch.float64), **more)


THREE = [
    spectrum("a", (8, 4), [5, 3, 1, 0.5]),
    spectrum("b", (4, 4), [4, 4, 0.2, 0.1]),
    spectrum("c", (6, 10), [6, 2, 2, 1, 1, 0.5]),
]
BOTH = pytest.mark.parametrize("method", [allocate, allocate_exactly])


@BOTH
@pytest.mark.parametrize(
    ("budget", "ranks", "used", "error"),
    [
        (40, (1, 1, 1), 36, 36.55),
        (60, (2, 2, 1), 56, 11.55),
        (70, (3, 2, 1), 68, 10.55),
        (100, (3, 2, 3), 100, 2.55),
    ],
)
def test_fixed_values(method, budget, ranks, used, error):
    found = method(THREE, budget, keep_dense=False)
    assert tuple(found.ranks.values()) == ranks
    assert found.cost == used
    close(found.error, error)


@pytest.mark.parametrize(
    ("budget", "greedy", "greedy_error", "exact", "exact_error"),
    [(20, (0, 0, 1), 77.55, (1, 1, 0), 72.55), (32, (1, 0, 1), 52.55, (0, 2, 1), 45.55)],
)
def test_fixed_values_where_greed_is_not_best(budget, greedy, greedy_error, exact, exact_error):
    by_greed, best = (method(THREE, budget, keep_dense=False) for method in (allocate, allocate_exactly))
    assert tuple(by_greed.ranks.values()) == greedy
    assert tuple(best.ranks.values()) == exact
    close([by_greed.error, best.error], [greedy_error, exact_error])


def options(one: Spectrum, keep_dense: bool):
    """(rank, cost, error) of everything that can be done with a layer, by definition."""
    squares = sorted((float(s) ** 2 for s in one.singular_values), reverse=True)
    ranks = [(r, r * one.cost, one.weight * sum(squares[r:])) for r in range(len(squares) + 1)]
    if not keep_dense:
        return ranks
    return [option for option in ranks if option[1] < one.dense_cost] + [(None, one.dense_cost, 0.0)]


def by_hand(spectra, budget, keep_dense):
    every = product(*(options(one, keep_dense) for one in spectra))
    return min(sum(o[2] for o in chosen) for chosen in every if sum(o[1] for o in chosen) <= budget)


LAYER = tuples(tuples(integers(1, 6), integers(1, 6)), lists(floats(0, 4), min_size=1, max_size=4), floats(0, 3))


@given(lists(LAYER, min_size=1, max_size=3), integers(0, 80), data())
@settings(deadline=None, max_examples=80)
def test_the_exact_allocation_is_the_best_of_all_and_greed_within_one_step_of_it(layers, budget, drawn):
    keep_dense = drawn.draw(integers(0, 1)) == 1
    spectra = [spectrum(str(i), shape, s, weight=w) for i, (shape, s, w) in enumerate(layers)]
    best, greedy = (method(spectra, budget, keep_dense=keep_dense) for method in (allocate_exactly, allocate))
    for found in (best, greedy):
        assert found.cost <= budget
        chosen = [next(o for o in options(one, keep_dense) if o[0] == found.ranks[one.name]) for one in spectra]
        assert found.cost == sum(o[1] for o in chosen)
        close(found.error, sum(o[2] for o in chosen), atol=1e-9)
    close(best.error, by_hand(spectra, budget, keep_dense), atol=1e-9)
    assert greedy.error >= best.error - 1e-9
    if not keep_dense:  # gains fall within each layer: what greed misses is at most one more step
        largest = max(one.weight * float(s) ** 2 for one in spectra for s in one.singular_values)
        more = max(one.cost for one in spectra)
        assert allocate(spectra, budget + more, keep_dense=False).error <= best.error + largest + 1e-9


@BOTH
def test_a_layer_that_costs_no_more_dense_is_kept_dense(method):
    # Rank 3 of "a" would take 36 and the layer itself takes 32.
    found = method(THREE, 32 + 16 + 60)
    assert found.ranks == {"a": None, "b": None, "c": None}
    assert (found.cost, found.error) == (108, 0.0)
    assert all(rank is None or rank < 3 for rank in method(THREE, 60).ranks.values())
    # Factors of a single row can never be smaller.
    assert method([spectrum("row", (1, 10), [3.0])], 10).ranks == {"row": None}
    assert method([spectrum("row", (1, 10), [3.0])], 10, least=1).ranks == {"row": None}


@BOTH
def test_ties_go_to_the_first_layer(method):
    twins = [spectrum(name, (4, 4), [2.0, 1.0]) for name in "yx"]
    assert allocate(twins, 8, keep_dense=False).ranks == {"y": 1, "x": 0}
    assert method(twins, 16, keep_dense=False).ranks == {"y": 1, "x": 1}
    assert method(twins, 0, keep_dense=False).ranks == {"y": 0, "x": 0}


@BOTH
def test_the_least_rank_is_given_to_all_that_have_it(method):
    found = method(THREE, 37, least=1, keep_dense=False)
    assert tuple(found.ranks.values()) == (1, 1, 1)
    message = "a budget of 35 is too small: rank 1 in each of 3 layers costs 36 already."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        method(THREE, 35, least=1, keep_dense=False)
    assert method([], 5).ranks == {}


def test_costs_may_be_multiply_adds():
    # The same weight at 100 places costs a hundred times as much to apply.
    spectra = [spectrum("early", (4, 4), [2.0], cost=800, dense_cost=1600), spectrum("late", (4, 4), [1.9])]
    assert allocate(spectra, 800).ranks == {"early": 0, "late": 1}
    assert allocate(spectra, 900).ranks == {"early": 1, "late": 1}


def test_a_zero_layer_gets_nothing():
    spectra = [spectrum("zero", (4, 4), [0.0, 0.0]), spectrum("one", (4, 4), [1.0, 0.0])]
    assert allocate(spectra, 100).ranks == {"zero": 0, "one": 1}
    assert allocate_exactly(spectra, 100).ranks == {"zero": 0, "one": 1}


def test_errors(monkeypatch):
    message = "layer 'a' has weight -1.0, cost 4 and dense cost 4; expected finite numbers, none of them below 0."
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        spectrum("a", (2, 2), [1.0], weight=-1.0)
    message = "the spectrum of layer 'a' holds 1 NaN or infinite entries; leave out what they belong to."
    with pytest.raises(NonFiniteError, match=f"^{re.escape(message)}$"):
        allocate([spectrum("a", (2, 2), [float("nan")])], 4)
    monkeypatch.setattr(allocation, "MOST_STATES", 10)
    message = (
        "the exact allocation of 100 in steps of 4 over 3 layers has 78 states; at most 10 are taken on. "
        "Use allocate, which is within one step of it."
    )
    with pytest.raises(MemoryBudgetError, match=f"^{re.escape(message)}$"):
        allocate_exactly(THREE, 100)
