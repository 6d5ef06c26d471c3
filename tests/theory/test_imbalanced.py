"""Unconstrained features with any class counts: fixed values, the exact rule of collapse, independent solvers."""

import math

import numpy as np
import pytest
import torch
from direct import minimised
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from
from oracle import imbalanced

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.reduced.groups import Groups

BIASES = [None, 0.0, 0.05]


def test_fixed_values_to_their_digits():
    optimum = UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), 0.02, 0.02).optimum()
    facts = optimum.facts()
    expected = {
        "a": 3.1718251889446,
        "b": 2.5542510499025,
        "r": 2.1568243954439,
        "rho": 2.0236355410194,
        "weight_norm_squared": 26.5091777430245,
        "feature_norm_squared": 26.5091777430245,
        "cos_w_minority": -0.1658488421121,
    }
    assert {key: facts[key] for key in expected} == pytest.approx(expected, rel=0, abs=6e-13)
    assert facts["phase"] == "full"
    assert facts["note"] is None
    assert optimum.gap < 1e-14
    apart = facts["a"] / 2 + facts["r"] * math.sqrt(5 / 3) / 2  # of a majority sample, over a minority class
    assert optimum.margins == pytest.approx((min(apart, facts["a"]), facts["b"]), abs=1e-12)


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize(("groups", "decay"), [(((2, 2), (8.0, 3.0)), 0.03), (((2, 1, 2), (6.0, 4.0, 2.0)), 0.03)])
def test_descent_over_all_variables_ends_at_the_same_place(groups, decay, bias_decay):
    problem = UnconstrainedImbalanced(Groups(*groups), decay, 0.02, bias_decay)
    optimum = problem.optimum()
    point = minimised(problem)
    assert problem.value(point) == pytest.approx(optimum.value, abs=1e-12)
    gram = point["classifier"] @ point["classifier"].T
    assert (gram - torch.from_numpy(optimum.balanced.classifier.dense())).abs().max() < 1e-5
    classes = [int((problem.labels == k).nonzero()[0]) for k in range(problem.num_classes)]
    gram = point["features"][classes] @ point["features"][classes].T
    assert (gram - torch.from_numpy(optimum.balanced.features.dense())).abs().max() < 1e-5
    assert problem.gap(point) < 1e-6


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize("counts", [(8, 8, 3, 3), (9, 6, 4, 2), (9, 9, 2, 2, 2)])
def test_cvxpy_finds_no_better(counts, bias_decay):
    problem = UnconstrainedImbalanced(Groups.of(counts), 0.03, 0.02, bias_decay)
    optimum = problem.optimum()
    value, z = imbalanced(counts, 0.03, 0.02, bias_decay)
    assert value == pytest.approx(optimum.value, abs=1e-8)
    assert np.abs(z - optimum.z.dense()).max() < 1e-3


@pytest.mark.parametrize("bias_decay", BIASES)
def test_a_point_certifies_itself_to_rounding_at_the_optimum(bias_decay):
    problem = UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), 0.02, 0.03, bias_decay)
    optimum = problem.optimum()
    point = optimum.point()
    assert optimum.gap < 1e-13
    assert problem.value(point) == pytest.approx(optimum.value, rel=1e-13)
    assert problem.gap(point) < 1e-12
    assert point["classifier"].square().sum().item() == pytest.approx(optimum.weight_norm_squared, rel=1e-12)
    assert point["features"].square().sum().item() == pytest.approx(optimum.feature_norm_squared, rel=1e-12)
    start = problem.start(torch.Generator().manual_seed(0))
    assert problem.gap(start) >= problem.value(start) - optimum.value > 0.1


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize("groups", [((2, 3), (8.0, 4.0)), ((2, 3, 2), (9.0, 4.0, 6.0)), ((2, 1), (4.0, 1.0))])
def test_classes_coincide_exactly_where_the_rule_says(groups, bias_decay):
    groups = Groups(*groups)
    group = next(g for g, count in enumerate(groups.counts) if count == 4.0)
    for factor in (0.99, 1.01):
        samples = np.array(groups.sizes) @ np.array(groups.counts)
        decay = math.sqrt(factor * 4) / samples
        problem = UnconstrainedImbalanced(groups, decay, decay, bias_decay)
        assert problem.collapse_count == pytest.approx(factor * 4)
        optimum = problem.optimum()
        assert optimum.collapsed[group] == (factor > 1)
        classifier, features = (part[sum(groups.sizes[:group]) :][:2] for part in optimum.factors())
        spread = (classifier[0] - classifier[1]).norm().item(), (features[0] - features[1]).norm().item()
        assert spread == (0, 0) if factor > 1 else min(spread) > 0.01


@pytest.mark.parametrize("bias_decay", [None, 0.0])
def test_descent_obeys_the_rule_too(bias_decay):
    for factor in (0.99, 1.01):
        decay = math.sqrt(factor * 4) / 28
        problem = UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), decay, decay, bias_decay)
        classifier = minimised(problem)["classifier"]
        spread = (classifier[2] - classifier[3]).norm().item()
        assert spread < 1e-4 if factor > 1 else spread > 0.05


def test_the_rule_is_that_of_published_experiments():
    for majority, minority, decay in ((5, 5, math.sqrt(100) / 3000), (3, 7, math.sqrt(100) / 2200)):
        problem = UnconstrainedImbalanced(Groups((majority, minority), (500.0, 100.0)), decay, decay)
        assert problem.collapse_count == pytest.approx(100)


@pytest.mark.parametrize("bias_decay", BIASES)
def test_both_ways_of_solving_agree(bias_decay):
    groups, alike = Groups((2, 3), (8.0, 4.0)), Groups((2, 1, 2), (8.0, 4.0, 4.0))
    one, other = (UnconstrainedImbalanced(g, 0.02, 0.02, bias_decay).optimum() for g in (groups, alike))
    assert other.value == pytest.approx(one.value, rel=1e-12)
    assert np.abs(one.z.dense() - other.z.dense()).max() < 1e-8


def test_one_group_is_the_balanced_closed_form():
    for bias_decay in BIASES:
        optimum = UnconstrainedImbalanced(Groups((4,), (3.0,)), 5e-3, 1e-3, bias_decay).optimum()
        assert optimum.a == pytest.approx(5.54204320094, abs=1e-9)
        assert optimum.value == pytest.approx(0.076079700554, abs=1e-12)
        assert optimum.weight_norm_squared == pytest.approx(12.8785446127, abs=1e-9)


@pytest.mark.parametrize("bias_decay", BIASES)
@pytest.mark.parametrize("groups", [((2, 2), (8.0, 4.0)), ((2, 2, 1), (8.0, 4.0, 2.0)), ((3,), (4.0,))])
def test_all_zero_is_said_to_be_optimal_where_it_is(groups, bias_decay):
    problem = UnconstrainedImbalanced(Groups(*groups), 0.5, 0.5, bias_decay)
    optimum = problem.optimum()
    assert optimum.trivial
    assert optimum.weight_norm_squared == 0
    assert optimum.gap < 1e-8
    assert optimum.note == (
        "zero classifier and features are optimal, because "
        "the decays charge sqrt(lW lH) = 0.5 for a unit of logits, and none gains more"
    )
    assert problem.gap(optimum.point()) < 1e-8
    shares = np.repeat(problem.groups.class_weights, problem.groups.sizes)
    if bias_decay is None:
        assert optimum.value == pytest.approx(math.log(problem.num_classes))
    if bias_decay == 0:
        assert optimum.value == pytest.approx(-(shares @ np.log(shares)))
    assert all(math.isnan(optimum.balanced.cosine("classifier", 0, g)) for g in range(len(groups[0])))


def test_groups_that_do_not_stand_apart_are_found():
    # Both groups keep contrasts inside, or only the larger one does, where the price is high.
    for decay in np.geomspace(0.02, 0.2, 10):
        optimum = UnconstrainedImbalanced(Groups((3, 3), (6.0, 2.0)), float(decay), float(decay)).optimum()
        assert optimum.gap < 1e-12
    assert optimum.trivial


@settings(max_examples=5, deadline=None)
@given(counts=lists(integers(1, 40), min_size=2, max_size=5), bias_decay=sampled_from(BIASES))
def test_any_counts_are_solved_and_certified(counts, bias_decay):
    optimum = UnconstrainedImbalanced(Groups.of(counts), 0.01, 0.01, bias_decay).optimum()
    assert optimum.gap < 1e-10
    assert optimum.collapsed == tuple(
        size > 1 and count <= optimum.problem.collapse_count
        for size, count in zip(optimum.groups.sizes, optimum.groups.counts, strict=True)
    )


def test_time_does_not_depend_on_classes_or_samples():
    optimum = UnconstrainedImbalanced(Groups((60_000, 40_000), (500.0, 5.0)), 1e-9, 1e-9).optimum()
    assert optimum.gap < 1e-10
    optimum = UnconstrainedImbalanced(Groups((60_000, 40_000), (500.0, 5.0)), 1e-9, 1e-9, 0.0).optimum()
    assert optimum.gap < 1e-8


def test_problems_of_other_counts_run_apart():
    one, other = (UnconstrainedImbalanced(Groups((2, 2), counts), 0.1, 0.1) for counts in ((3.0, 1.0), (2.0, 2.0)))
    assert one.program() != other.program()
    assert one.program() == UnconstrainedImbalanced(one.groups, 0.2, 0.1).program()


def test_the_geometry_is_that_of_the_measures_of_networks():
    problem = UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), 0.02, 0.02, 0.0)
    seen = problem.geometry(problem.optimum().point())
    assert seen["within_class_variability"] == pytest.approx(0, abs=1e-20)
    assert seen["equinorm_classifier"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"groups": Groups((2, 2), (3.5, 1.0))},
            "samples a class must be whole numbers of 1 or more, for decay counts them; got (3.5, 1.0).",
        ),
        (
            {"groups": Groups((2, 2), (3.0, 0.0))},
            "samples a class must be whole numbers of 1 or more, for decay counts them; got (3.0, 0.0).",
        ),
        (
            {"weight_decay": 0.0},
            "weight_decay must be a finite number above 0; got 0. At a decay of 0 logits would grow without end: "
            "see Seli for what they tend to.",
        ),
        (
            {"feature_decay": math.nan},
            "feature_decay must be a finite number above 0; got nan. At a decay of 0 logits would grow without end: "
            "see Seli for what they tend to.",
        ),
        (
            {"bias_decay": -1.0},
            "bias_decay must be a finite number, 0 (a free bias) or above, or None (no bias); got -1.",
        ),
        ({"dim": 0}, "dim must be at least 1; got 0."),
    ],
)
def test_bad_input_is_told(settings, message):
    with pytest.raises(OptionError) as error:
        UnconstrainedImbalanced(
            **{"groups": Groups((2, 2), (3.0, 1.0)), "weight_decay": 0.1, "feature_decay": 0.1, **settings}
        )
    assert str(error.value) == message


def test_features_of_too_few_dimensions_are_told():
    with pytest.raises(OptionError) as error:
        UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), 0.02, 0.02, dim=3).optimum()
    assert str(error.value) == (
        "the optimum of 5 classes spans 4 dimensions, more than dim=3. "
        "No optimum is known in fewer: raise dim, or descend in so few by solve(problem, LBFGS())."
    )
