"""The reduced program: its loss against the dense one, any number of groups, certificates, and solves that fail."""

import math

import numpy as np
import pytest
import torch
from direct import minimised
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, lists
from oracle import layer_peeled_by_gram, layer_peeled_by_nuclear_norm
from torch.nn.functional import cross_entropy

from deepcollapse.errors import SolveError
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.reduced import program as reduced
from deepcollapse.theory.reduced.cross_entropy import GroupCrossEntropy, centring, entropy, with_marginals
from deepcollapse.theory.reduced.groups import GroupMatrix, Groups
from deepcollapse.theory.reduced.newton import polish
from deepcollapse.theory.reduced.program import Constrained, Penalised
from deepcollapse.theory.reduced.two_groups import within_budget

THREE = [((2, 2, 1), (9.0, 3.0, 1.0)), ((2, 1, 2), (50.0, 5.0, 1.0)), ((2, 2, 2), (30.0, 10.0, 1.0))]


def random_matrix(sizes, seed, size=1.0):
    rng, count = np.random.default_rng(seed), len(sizes)
    return GroupMatrix(sizes, size * rng.standard_normal(count), size * rng.standard_normal((count, count)))


def constrained(groups, radius):
    ones = np.ones(len(groups.sizes))
    return Constrained(groups.sizes, groups.class_weights, ones, ones == 0, radius)


# --- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(3, 1, 2), (4,), (1, 1, 1, 1), (2, 5)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_loss_and_gradient_are_those_of_the_dense_logits(sizes, with_bias):
    groups = Groups(sizes, tuple(float(9 - g) for g in range(len(sizes))))
    z = random_matrix(sizes, seed=1)
    bias = np.random.default_rng(2).standard_normal(len(sizes)) if with_bias else None
    loss = GroupCrossEntropy(z, groups.class_weights, bias)
    dense = torch.tensor(z.dense(), requires_grad=True)
    shifted = dense if bias is None else dense + torch.from_numpy(np.repeat(bias, sizes))[:, None]
    weights = torch.from_numpy(np.repeat(groups.class_weights, sizes))
    value = (weights * cross_entropy(shifted.T, torch.arange(sum(sizes)), reduction="none")).sum()
    value.backward()
    assert math.exp(loss.log_value) == pytest.approx(value.item(), rel=1e-14)
    gradient = value.item() * loss.relative_gradient.dense()
    assert np.abs(gradient - dense.grad.numpy()).max() < 1e-15
    probabilities = shifted.detach().softmax(dim=0)
    expected = (weights * torch.special.entr(probabilities).sum(dim=0)).sum().item()
    assert entropy(loss.relative_gradient.times(value.item()), groups.class_weights) == pytest.approx(expected)


def test_the_loss_keeps_its_digits_where_floats_end():
    z = centring((2, 3)).times(1000.0)
    loss = GroupCrossEntropy(z, np.full(2, 0.2))
    assert loss.log_value == pytest.approx(math.log(4) - 1000, rel=1e-15)
    assert loss.relative_gradient.contrast == pytest.approx([-5 * 0.2 / 4] * 2)
    moderate = GroupCrossEntropy(centring((2, 3)).times(40.0), np.full(2, 0.2))
    assert math.exp(moderate.log_value) == pytest.approx(math.log1p(4 * math.exp(-40)), rel=1e-13)


def test_marginals_are_mended_and_predictions_stay_predictions():
    groups = Groups((2, 1, 2), (5.0, 3.0, 1.0))
    loss = GroupCrossEntropy(random_matrix(groups.sizes, seed=3, size=0.5), groups.class_weights)
    slope = with_marginals(loss.relative_gradient.times(math.exp(loss.log_value)), groups.class_weights)
    dense, weights = slope.dense(), np.repeat(groups.class_weights, groups.sizes)
    assert np.abs(dense.sum(axis=1)).max() < 1e-16
    predicted = dense / weights + np.eye(5)
    assert predicted.min() >= 0
    assert predicted.sum(axis=0) == pytest.approx(1)


def test_the_centring_is_the_projector_onto_contrasts():
    for sizes in ((4,), (1, 1, 1), (3, 2)):
        k = sum(sizes)
        assert centring(sizes).dense() == pytest.approx(np.eye(k) - 1 / k)


# --- descent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias_decay", [None, 0.0, 0.3])
@pytest.mark.parametrize("form", [Constrained, Penalised])
def test_gradients_are_those_of_differences(form, bias_decay):
    groups, held = Groups((3, 1, 4), (5.0, 3.0, 1.0)), np.array([False, False, True])
    last = (7.0,) if form is Constrained else (0.02, bias_decay)
    program = form(groups.sizes, groups.class_weights, np.array([2.0, 1.5, 1.0]), held, *last)
    x = np.abs(np.random.default_rng(0).standard_normal(len(next(iter(program.starts())))))
    _, slope = program.objective(x)
    for i in range(len(x)):
        step = np.zeros(len(x))
        step[i] = 1e-6
        difference = (program.objective(x + step)[0] - program.objective(x - step)[0]) / 2e-6
        assert slope[i] == pytest.approx(difference, abs=1e-8)


def test_newton_steps_reach_a_minimum_that_values_cannot_see():
    curvature = np.array([1.0, 100.0, 1e4])
    found = polish(lambda x: curvature * (x - 1) + (x - 1) ** 3, np.full(3, 1.001), np.ones(3, dtype=bool))
    assert np.abs(found - 1).max() < 1e-15


def test_two_groups_are_solved_as_by_the_root_finds():
    for sizes, ratio, radius in (
        ((5, 5), 10.0, 22.0),
        ((5, 5), 100.0, 22.0),
        ((2, 2), 200.0, 1.2),
        ((3, 7), 30.0, 60.0),
    ):
        groups = Groups.two(*sizes, ratio)
        found = constrained(groups, radius).solve()
        expected, _ = within_budget(*sizes, math.log(ratio), radius)
        assert np.abs(found.z.dense() - expected.matrix().dense()).max() < 1e-10
        assert found.relative_gap < 1e-13


# --- any number of groups --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", THREE)
@pytest.mark.parametrize("budget", [0.4, 1.5, 4.0])
def test_three_groups_are_solved_as_by_cvxpy_and_collapse_by_the_rule(groups, budget):
    problem = LayerPeeled(Groups(*groups), budget, budget)
    optimum = problem.optimum()
    value, _ = layer_peeled_by_nuclear_norm(problem.coefficients()["weights"].numpy(), problem.radius)
    assert value == pytest.approx(optimum.value, abs=1e-8)
    assert optimum.gap < 1e-13
    price = optimum.mu * min(problem.groups.class_weights)
    rule = [size > 1 and w <= price for size, w in zip(groups[0], problem.groups.class_weights, strict=True)]
    assert list(optimum.collapsed) == rule
    kept = [g for g, size in enumerate(groups[0]) if size > 1 and not optimum.collapsed[g]]
    odds = np.exp(GroupCrossEntropy(optimum.z, problem.groups.class_weights).odds)
    for g in kept:  # a = ln(1 + (1 - mu/w)/p), p the probability of another class of the group
        p = odds[g, g] / (1 + (odds[:, g] * (np.array(groups[0]) - np.eye(3)[g])).sum())
        margin = math.log1p((1 - price / problem.groups.class_weights[g]) / p)
        assert optimum.z.contrast[g] == pytest.approx(margin, rel=1e-7)


def test_three_groups_by_the_papers_relaxation():
    problem = LayerPeeled(Groups(*THREE[0]), 1.0, 2.0)
    value, _ = layer_peeled_by_gram(problem.coefficients()["weights"].numpy(), 1.0, 2.0)
    assert value == pytest.approx(problem.optimum().value, abs=1e-8)


@pytest.mark.parametrize(("counts", "budget"), [((9.0, 3.0, 1.0, 1.0), 1.0), ((16.0, 8.0, 4.0, 2.0, 1.0), 1.5)])
def test_arbitrary_counts_are_solved_as_by_descent_over_both_factors(counts, budget):
    problem = LayerPeeled(Groups.of(counts), budget, budget)
    optimum = problem.optimum()
    point = minimised(problem)
    assert problem.value(point) == pytest.approx(optimum.value, abs=1e-12)
    classifier, features = problem.factors(point)
    assert np.abs((classifier @ features.T).numpy() - optimum.z.dense()).max() < 1e-5


def test_groups_of_one_count_may_be_given_apart():
    apart, together = Groups((2, 1, 2), (9.0, 1.0, 1.0)), Groups((2, 3), (9.0, 1.0))
    one, other = (LayerPeeled(groups, 1.0, 3.0).optimum() for groups in (apart, together))
    assert one.value == pytest.approx(other.value, rel=1e-13)
    assert np.abs(one.z.dense() - other.z.dense()).max() < 1e-9


def test_erased_groups_are_exactly_zero_and_have_no_cosine():
    optimum = LayerPeeled(Groups((3, 2, 2), (1000.0, 1000.0, 1.0)), 0.3, 0.3).optimum()
    assert optimum.phase == "erased"
    assert optimum.erased == (False, False, True)
    assert not optimum.z.block[2].any()
    assert not optimum.z.block[:, 2].any()
    facts = optimum.facts()
    assert math.isnan(facts["cos_w_group_3"])
    assert -1 <= facts["cos_w_group_1"] < 0
    assert facts["norm_ratio_w"] == 0


def test_classes_without_samples_are_solved_among_others():
    optimum = LayerPeeled(Groups((2, 2, 2), (5.0, 1.0, 0.0)), 1.0, 2.0).optimum()
    assert optimum.gap < 1e-12
    assert optimum.collapsed == (False, optimum.collapsed[1], True)
    weights = np.repeat(optimum.groups.class_weights, 2)
    value, _ = layer_peeled_by_nuclear_norm(weights, optimum.problem.radius)
    assert value == pytest.approx(optimum.value, abs=1e-8)


@settings(max_examples=4, deadline=None)
@given(counts=lists(integers(1, 1000), min_size=3, max_size=8), budget=floats(0.05, 30))
def test_any_counts_are_solved_and_certified(counts, budget):
    optimum = LayerPeeled(Groups.of(counts), budget, budget).optimum()
    assert optimum.reduced.relative_gap < 1e-9
    assert optimum.z.nuclear_norm == pytest.approx(len(counts) * budget, rel=1e-12)


@pytest.mark.parametrize("budget", [1e-6, 2.0, 300.0])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (40_000, 50_000, 10_000), (99_990, 5, 5)])
def test_extremes_are_solved_and_certified(sizes, budget):
    for counts in ((100.0, 10.0, 1.0), (1e6, 1.0, 1e-6)):
        optimum = LayerPeeled(Groups(sizes, counts), budget, budget).optimum()
        assert optimum.gap < 1e-8
        assert optimum.reduced.solved


def test_counts_that_all_differ_take_rank_where_they_do_not_collapse():
    counts = [100 ** (-k / 39) for k in range(40)]
    optimum = LayerPeeled(Groups.of(counts), 2.0, 2.0).optimum()
    assert optimum.gap < 1e-11
    assert optimum.phase == "full"
    # Where no two classes are alike none coincide, but those with few samples share directions.
    values = np.linalg.svd(optimum.z.block, compute_uv=False)
    assert optimum.facts()["rank"] == optimum.rank == (values > 1e-6).sum() < 30
    assert 0.99 < optimum.facts()["cos_w_closest"] < 1


# --- solves that fail ------------------------------------------------------------------------------------------------


def test_a_failed_solve_says_how_far_it_came(monkeypatch):
    monkeypatch.setattr(reduced, "polish", lambda gradient, x, free: x + 0.1)
    with pytest.raises(SolveError) as error:
        constrained(Groups(*THREE[0]), 5.0).solve()
    pattern = (
        r"the program of 3 groups was not solved: the best objective found, [\d.]+, may be above the least one by up "
        r"to [\d.e-]+ of itself. Merge classes of similar counts, or take less extreme counts, budgets or decays."
    )
    assert error.match(f"^{pattern}$")


def test_a_point_that_is_no_optimum_is_never_accepted():
    program = constrained(Groups.two(2, 2, 3.0), 4.0)
    worse = program.point(centring((2, 2)))
    assert worse.gap >= worse.value - program.solve().value > 0.01
    with pytest.raises(SolveError):
        program.accepted(worse)
    # A class that is alone in its group excuses nothing.
    program = constrained(Groups((2, 1, 1), (9.0, 3.0, 1.0)), 4.0)
    assert program.point(centring((2, 1, 1))).rounding < 1e-13
    assert not program.point(centring((2, 1, 1))).solved
    # Logits so large that the loss underflows are judged by the gap over the loss all the same.
    program = constrained(Groups.two(2, 2, 3.0), 4000.0)
    worse = program.point(centring((2, 2)))
    assert worse.value == 0
    assert not worse.solved


def test_small_budgets_are_judged_by_the_little_that_they_can_do():
    optimum = LayerPeeled(Groups((99_990, 5, 5), (100.0, 10.0, 1.0)), 1e-6, 1e-6).optimum()
    assert optimum.phase == "erased"
    assert optimum.rank == 99_989
    assert optimum.reduced.relative_gap < 1e-14
