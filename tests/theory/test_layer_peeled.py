"""The layer-peeled model: fixed values, certificates, independent solvers, extremes, and what must not change."""

import math

import numpy as np
import pytest
import torch
from direct import minimised
from hypothesis import given, settings
from hypothesis.strategies import floats, integers, sampled_from
from oracle import layer_peeled_by_gram, layer_peeled_by_nuclear_norm

from deepcollapse.errors import MemoryBudgetError, OptionError, TooFewClassesError
from deepcollapse.theory.nuclear import constrained_gap
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.reduced.groups import Groups

NAN = float("nan")
# (K_A, K_B, R, E_W, E_H): phase, a, b, r, rho, mu, loss, cos_BB, cos_AA, cos_AB of the classifiers.
VALUES = {
    (2, 2, 1.0, 1.0, 1.0): (
        *("full", 1.3333333333, 1.3333333333, 0.9428090416, 0.9428090416, 0.5887835646, 0.582657653062),
        *(-0.3333333333, -0.3333333333, -0.3333333333),
    ),
    (2, 2, 3.0, 1.0, 1.0): (
        *("full", 2.4447904149, 0.1382109729, 1.1904014673, 0.7686542875, 0.9563129392, 0.490692921135),
        *(0.6735342034, -0.5506284745, -0.4336008008),
    ),
    (5, 5, 10.0, 1.0, 5.0): (
        *("full", 4.7143563173, 0.2094592864, 2.1875466469, 1.5228556637, 0.9729755505, 0.261677038637),
        *(0.5174962815, -0.1674901041, -0.2013173229),
    ),
    (5, 5, 100.0, 1.0, 5.0): (
        *("collapse", 5.3992468755, 0.0, 0.7599928819, 0.0750780061, 7.1163124651, 0.091299164075),
        *(1.0, -0.2282833030, -0.1318080331),
    ),
    (3, 7, 100.0, 1.0, 5.0): (
        *("full", 7.2354679673, 0.3974628009, 5.0919809064, 2.0919829122, 0.9476798307, 0.050453680086),
        *(0.3106898864, -0.1845620413, -0.2933319686),
    ),
    (7, 3, 3.0, 1.0, 5.0): (
        *("full", 3.2574580181, 0.6580198544, 0.9515477506, 1.1594105236, 0.9012046989, 0.476396165203),
        *(0.1656426314, -0.1404116204, -0.0999327719),
    ),
    (5, 5, 50.0, 1.0, 10.0): (
        *("full", 6.4819720435, 0.4709678305, 3.2112685615, 2.0522196772, 0.9306669842, 0.050048020821),
        *(0.3785687288, -0.1644234635, -0.1855426373),
    ),
    (2, 2, 200.0, 0.3, 0.3): ("erased", 1.2, 0.0, 0.0, 0.0, 141.7374775097, 0.877519773908, NAN, -1.0, NAN),
}
KEYS = ("phase", "a", "b", "r", "rho", "mu", "loss", "cos_w_minority", "cos_w_majority", "cos_w_cross")
PHASES = [case for case in VALUES if sum(case[:2]) <= 10]
SMALL = [
    (2, 2, 3.0, 1.0, 1.0),
    (2, 2, 5.0, 1.0, 1.0),
    (2, 2, 200.0, 0.3, 0.3),
    (3, 2, 8.0, 2.0, 0.5),
    (3, 3, 2.0, 1.0, 2.0),
]


def two(majority, minority, ratio, weight_budget, feature_budget, **options):
    return LayerPeeled(Groups.two(majority, minority, ratio), weight_budget, feature_budget, **options)


@pytest.mark.parametrize("case", VALUES)
def test_fixed_values_to_their_digits(case):
    facts = two(*case).optimum().facts()
    expected = dict(zip(KEYS, VALUES[case], strict=True))
    assert facts["phase"] == expected.pop("phase")
    # The loss is given to twelve decimals, all else to ten.
    assert facts["loss"] == pytest.approx(expected.pop("loss"), abs=6e-13)
    assert {key: facts[key] for key in expected} == pytest.approx(expected, rel=0, abs=6e-11, nan_ok=True)


def test_lengths_and_features_of_a_fixed_case():
    facts = two(2, 2, 3.0, 1.0, 1.0).optimum().facts()
    expected = {
        "norm_ratio_w": 0.5181857651,
        "cos_h_minority": 0.5020943508,
        "cos_h_majority": -0.4193965679,
        "cos_h_cross": -0.4669371305,
        "norm_ratio_h": 0.4014475330,
    }
    assert {key: facts[key] for key in expected} == pytest.approx(expected, abs=6e-11)


@pytest.mark.parametrize("case", VALUES)
def test_the_certificate_is_that_of_the_dense_logits_and_met(case):
    problem = two(*case)
    optimum = problem.optimum()
    z = torch.from_numpy(optimum.z.dense())
    gradient = (z.softmax(dim=0) - torch.eye(len(z)).double()) * problem.coefficients()["weights"]
    assert torch.linalg.svdvals(z).sum().item() == pytest.approx(problem.radius, rel=1e-13)
    assert constrained_gap(z, gradient, problem.radius) == pytest.approx(optimum.gap, abs=1e-14)
    assert optimum.gap < 1e-14


def test_the_certificate_of_a_worse_point_bounds_what_it_lacks():
    problem = two(3, 2, 8.0, 2.0, 0.5)
    optimum = problem.optimum()
    for seed in range(3):
        point = problem.start(torch.Generator().manual_seed(seed))
        assert problem.gap(point) >= problem.value(point) - optimum.value > 0.01


@pytest.mark.parametrize("case", VALUES)
def test_factors_give_the_logits_at_the_budgets(case):
    problem = two(*case)
    optimum = problem.optimum()
    classifier, features = optimum.factors()
    assert (classifier @ features.T - torch.from_numpy(optimum.z.dense())).abs().max() < 1e-13
    assert classifier.square().sum().item() / problem.num_classes == pytest.approx(problem.weight_budget)
    assert features.square().sum().item() / problem.num_classes == pytest.approx(problem.feature_budget)
    assert problem.value(optimum.point()) == pytest.approx(optimum.value, rel=1e-12)
    assert problem.gap(optimum.point()) < 1e-13
    gram = torch.from_numpy(optimum.balanced.classifier.dense())
    assert (classifier @ classifier.T - gram).abs().max() < 1e-13
    gram = torch.from_numpy(optimum.balanced.features.dense())
    assert (features @ features.T - gram).abs().max() < 1e-13


@pytest.mark.parametrize("case", SMALL)
def test_descent_over_classifier_and_features_ends_at_the_same_logits(case):
    problem = two(*case)
    optimum = problem.optimum()
    point = minimised(problem, tolerance=1e-13)
    assert problem.value(point) == pytest.approx(optimum.value, abs=1e-13)
    classifier, features = problem.factors(point)
    # The loss is flat to rounding where it is least, so logits agree to about its square root.
    assert (classifier @ features.T - torch.from_numpy(optimum.z.dense())).abs().max() < 1e-6
    gram = torch.from_numpy(optimum.balanced.classifier.dense())
    assert (classifier @ classifier.T - gram).abs().max() < 1e-6


def test_the_three_phases_are_all_compared_with_descent():
    assert {two(*case).optimum().phase for case in SMALL} == {"full", "collapse", "erased"}


@pytest.mark.parametrize("case", SMALL)
def test_cvxpy_finds_no_better_by_nuclear_norm(case):
    problem = two(*case)
    optimum = problem.optimum()
    value, z = layer_peeled_by_nuclear_norm(problem.coefficients()["weights"].numpy(), problem.radius)
    assert value == pytest.approx(optimum.value, abs=1e-8)
    assert np.abs(z - z.mean(axis=0) - optimum.z.dense()).max() < 2e-4


@pytest.mark.parametrize("case", SMALL[:3])
def test_the_papers_relaxation_has_the_same_optimum(case):
    problem = two(*case)
    optimum = problem.optimum()
    value, z = layer_peeled_by_gram(problem.coefficients()["weights"].numpy(), *case[3:])
    assert value == pytest.approx(optimum.value, abs=1e-8)
    assert np.abs(z - z.mean(axis=0) - optimum.z.dense()).max() < 2e-4


def test_balanced_classes_form_a_simplex_etf():
    optimum = LayerPeeled(Groups.of([7] * 5), 2.0, 0.5).optimum()
    margin = 5 / 4
    assert optimum.value == pytest.approx(math.log(1 + 4 * math.exp(-margin)), rel=1e-14)
    classifier, features = optimum.factors()
    assert (classifier @ classifier.T - 2 * 5 / 4 * (torch.eye(5) - 0.2)).abs().max() < 1e-14
    assert (features - classifier * 0.5).abs().max() < 1e-14
    assert optimum.phase == "full"
    assert optimum.gap < 1e-15


def test_two_groups_of_equal_counts_are_balanced():
    optimum, whole = two(3, 4, 1.0, 1.0, 3.0).optimum(), LayerPeeled(Groups((7,), (1.0,)), 1.0, 3.0).optimum()
    assert optimum.value == pytest.approx(whole.value, rel=1e-14)
    assert optimum.mu == pytest.approx(whole.mu, rel=1e-14)
    assert np.abs(optimum.z.dense() - whole.z.dense()).max() < 1e-14


def test_the_smaller_group_may_come_first():
    one, other = two(3, 4, 20.0, 1.0, 3.0).optimum(), LayerPeeled(Groups((4, 3), (1.0, 20.0)), 1.0, 3.0).optimum()
    assert {**one.facts(), "gap": 0} == pytest.approx({**other.facts(), "gap": 0}, nan_ok=True)
    order = [4, 5, 6, 0, 1, 2, 3]
    assert np.abs(one.z.dense() - other.z.dense()[np.ix_(order, order)]).max() < 1e-13


def test_without_minority_samples_only_its_classifiers_are_determined():
    facts = two(5, 5, math.inf, 1.0, 5.0).optimum().facts()
    assert facts["phase"] == "collapse"
    assert facts["rho"] == 0
    assert facts["cos_w_minority"] == 1
    assert math.isnan(facts["cos_h_minority"])
    assert facts["loss"] == pytest.approx(two(5, 5, 1e9, 1.0, 5.0).optimum().value, rel=1e-7)
    assert two(7, 3, math.inf, 1.0, 5.0).optimum().phase == "erased"


def test_one_class_a_group_has_no_contrast():
    optimum = two(1, 1, 9.0, 1.0, 4.0).optimum()
    assert optimum.phase == "full"
    facts = optimum.facts()
    assert all(math.isnan(facts[key]) for key in ("cos_w_minority", "cos_w_majority", "threshold_ratio"))
    assert facts["cos_w_cross"] == pytest.approx(-1, abs=1e-15)
    value, _ = layer_peeled_by_nuclear_norm([0.9, 0.1], 4.0)
    assert value == pytest.approx(optimum.value, abs=1e-8)


@pytest.mark.parametrize("sizes", [(1, 3), (3, 1), (1, 4)])
def test_a_single_class_against_several(sizes):
    problem = two(*sizes, 6.0, 1.0, 2.0)
    optimum = problem.optimum()
    assert problem.value(minimised(problem)) == pytest.approx(optimum.value, abs=1e-11)
    assert optimum.gap < 1e-14


EXTREMES = [(1, 99_999), (99_999, 1), (2, 99_998), (99_998, 2), (50_000, 50_000), (5, 5), (1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("sizes", EXTREMES)
@pytest.mark.parametrize("budget", [1e-6, 1.0, 1e4])
def test_extremes_are_solved_and_certified(sizes, budget):
    for ratio in (1 + 1e-12, 1e3, math.inf):
        optimum = two(*sizes, ratio, budget, budget).optimum()
        assert optimum.gap < 1e-10
        assert optimum.z.nuclear_norm == pytest.approx(sum(sizes) * budget, rel=1e-13)
        assert optimum.a >= 0
        assert optimum.b >= 0
        assert optimum.b <= optimum.a * (1 + 1e-9) or sizes[0] == 1
        assert optimum.log_value <= math.log(math.log(sum(sizes))) + 1e-12


@settings(max_examples=10, deadline=None)
@given(
    majority=integers(1, 6),
    minority=integers(1, 6),
    ratio=floats(1, 1e4),
    weight_budget=floats(0.05, 20),
    feature_budget=floats(0.05, 20),
)
def test_any_two_groups_are_solved_and_certified(majority, minority, ratio, weight_budget, feature_budget):
    optimum = two(majority, minority, ratio, weight_budget, feature_budget).optimum()
    assert optimum.gap < 1e-12
    assert (optimum.phase == "full") == ((minority == 1 and optimum.r > 0) or optimum.mu < 1 or ratio == 1)


@settings(max_examples=5, deadline=None)
@given(factor=floats(0.01, 100), case=sampled_from(PHASES), seed=integers(0, 2**16))
def test_only_the_product_of_budgets_and_no_order_of_classes_matters(factor, case, seed):
    majority, minority, ratio, weight_budget, feature_budget = case
    optimum = two(*case).optimum()
    other = two(majority, minority, ratio, weight_budget * factor**2, feature_budget / factor**2).optimum()
    known, changed = ({k: v for k, v in o.facts().items() if k[:3] in ("cos", "phase")} for o in (optimum, other))
    assert changed == pytest.approx(known, abs=1e-12, nan_ok=True)
    members = np.random.default_rng(seed).permutation(np.repeat([0, 1], [majority, minority]))
    classifier, features = optimum.factors(members)
    logits = classifier @ features.T
    assert (logits - torch.from_numpy(optimum.z.dense(members))).abs().max() < 1e-12
    assert (classifier * factor) @ (features / factor).T == pytest.approx(logits, abs=1e-12)


def test_features_of_fewer_dimensions_suffice_down_to_the_rank():
    assert two(3, 3, 2.0, 1.0, 2.0, dim=5).optimum().rank == 5
    collapsed = two(3, 3, 100.0, 1.0, 2.0, dim=3).optimum()
    assert (collapsed.phase, collapsed.rank) == ("collapse", 3)
    problem = two(3, 3, 100.0, 1.0, 2.0, dim=3)
    assert problem.value(minimised(problem)) == pytest.approx(collapsed.value, abs=1e-11)
    with pytest.raises(OptionError) as error:
        two(3, 3, 2.0, 1.0, 2.0, dim=4).optimum()
    assert str(error.value) == (
        "the optimum of 6 classes spans 5 dimensions, more than dim=4. "
        "No optimum is known in fewer: raise dim, or descend in so few by solve(problem, LBFGS())."
    )


def test_the_geometry_is_that_of_the_measures_of_networks():
    problem = two(5, 5, 10.0, 1.0, 5.0)
    seen = problem.geometry(problem.optimum().point())
    assert seen["within_class_variability"] == 0
    etf = two(5, 5, 1.0, 1.0, 5.0)
    assert (
        {**seen, **etf.geometry(etf.optimum().point())}["equiangularity_classifier"]
        < 1e-14
        < (seen["equiangularity_classifier"])
    )


@pytest.mark.parametrize("name", ["weight_budget", "feature_budget"])
@pytest.mark.parametrize(("value", "said"), [(0.0, "0"), (-1.0, "-1"), (NAN, "nan"), (math.inf, "inf")])
def test_budgets_must_be_finite_and_above_0(name, value, said):
    with pytest.raises(OptionError) as error:
        LayerPeeled(Groups.two(2, 2, 2.0), **{"weight_budget": 1.0, "feature_budget": 1.0, name: value})
    assert str(error.value) == f"{name} is a mean squared length: it must be finite and above 0; got {said}."


def test_other_bad_input_is_told():
    with pytest.raises(OptionError) as error:
        two(2, 2, 2.0, 1.0, 1.0, dim=0)
    assert str(error.value) == "dim must be at least 1; got 0."
    with pytest.raises(TooFewClassesError) as few:
        LayerPeeled(Groups((1,), (5.0,)), 1.0, 1.0)
    assert str(few.value) == "theory compares classes: it needs at least 2 of them; got 1."


def test_factors_that_do_not_fit_are_refused():
    optimum = two(500_000, 500_000, 1.5, 1.0, 1.0).optimum()
    with pytest.raises(MemoryBudgetError) as error:
        optimum.factors()
    assert str(error.value).startswith(
        "a classifier and features of 1000000 classes in dimension 1000000 take 24000.0 GB, and half of the memory is "
    )
    assert str(error.value).endswith(" GB. Angles, lengths and values are at hand without them.")
