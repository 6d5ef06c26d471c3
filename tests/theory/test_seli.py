"""SELI: fixed values, the defining program solved directly, its limit, and its certificate."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.problems.seli import Seli
from deepcollapse.theory.reduced.groups import Groups

KEYS = (
    *("cos_w_minority", "cos_w_majority", "cos_w_cross", "norm_ratio_w"),
    *("cos_h_minority", "norm_ratio_h", "nuclear_norm"),
)
# The length ratio of classifiers is majority over minority here.
VALUES = {
    (2, 2, 4.0): (
        *(-0.116963119775, -0.433399211802, -0.353669829199, 1.248391589161),
        *(-0.519493853296, 1.269871691659, 4.581138830084),
    ),
    (3, 2, 5.0): (
        *(-0.016533443880, -0.310934358121, -0.248957650816, 1.316778915205),
        *(-0.457615241254, 1.342182918458, 7.084587504659),
    ),
    (5, 5, 10.0): (
        *(0.033368868361, -0.143952742520, -0.138680620350, 1.634655903012),
        *(-0.186746214248, 1.688310943447, 18.994318520585),
    ),
    (5, 5, 100.0): (
        *(0.338026075390, -0.148022124549, -0.195903077878, 2.401293871477),
        *(-0.228392648710, 2.941719912835, 51.106335201776),
    ),
}
COSINES = {
    1: -1 / 9,
    2: -0.084041,
    5: -0.027533,
    10: 0.033369,
    20: 0.110350,
    50: 0.233702,
    100: 0.338026,
    1000: 0.670748,
}


@pytest.mark.parametrize("case", VALUES)
def test_fixed_values_to_their_digits(case):
    facts = Seli(Groups.two(*case)).optimum().facts()
    facts["norm_ratio_w"] = 1 / facts["norm_ratio_w"]
    assert [facts[key] for key in KEYS] == pytest.approx(VALUES[case], rel=0, abs=1.1e-12)
    assert facts["gap"] < 1e-13 * facts["nuclear_norm"]


def test_the_minority_angle_closes_more_slowly_than_in_the_layer_peeled_model():
    found = {ratio: Seli(Groups.two(5, 5, float(ratio))).optimum().facts()["cos_w_minority"] for ratio in COSINES}
    assert found == pytest.approx(COSINES, abs=6e-7)


def least_norms(counts, dim):
    """The defining program over W and one feature vector a class, by sequential quadratic programming."""
    counts, k = np.array(counts, dtype=float), len(counts)
    pairs = [(y, c) for y in range(k) for c in range(k) if c != y]
    ys, cs = np.array(pairs).T

    def split(x):
        return x[: k * dim].reshape(k, dim), x[k * dim :].reshape(k, dim)

    def value(x):
        w, h = split(x)
        return ((w**2).sum() + counts @ (h**2).sum(axis=1)) / 2, np.concatenate([w, counts[:, None] * h]).ravel()

    def margins(x):
        w, h = split(x)
        z = w @ h.T
        return z[ys, ys] - z[cs, ys] - 1

    start = np.random.default_rng(0).standard_normal(2 * k * dim)
    options = {"maxiter": 2000, "ftol": 1e-15}
    constraints = {"type": "ineq", "fun": margins}
    found = minimize(value, start, jac=True, method="SLSQP", constraints=constraints, options=options)
    return found.fun, *split(found.x)


def test_the_defining_program_has_this_optimum():
    counts = [3, 3, 1, 1]
    groups = Groups.of(counts)
    optimum = Seli(groups).optimum()
    value, w, h = least_norms(counts, dim=4)
    assert optimum.value == pytest.approx(4.146264369942, abs=1e-12)
    assert value == pytest.approx(optimum.value, abs=1e-9)
    members = groups.members(counts)
    assert w @ w.T == pytest.approx(optimum.balanced.classifier.dense(members), abs=1e-5)
    assert h @ h.T == pytest.approx(optimum.balanced.features.dense(members), abs=1e-5)
    assert w @ h.T == pytest.approx(np.eye(4) - 0.25, abs=1e-5)


def test_unconstrained_features_tend_to_it_slowly():
    groups = Groups((2, 2), (4.0, 1.0))
    decays = {1e-3: -0.0766, 1e-6: -0.0983, 1e-12: -0.1079}
    found = [UnconstrainedImbalanced(groups, decay, decay).optimum().facts()["cos_w_minority"] for decay in decays]
    assert found == pytest.approx(list(decays.values()), abs=6e-5)
    assert Seli(groups).optimum().facts()["cos_w_minority"] == pytest.approx(-0.11696, abs=5e-6)


@pytest.mark.parametrize("counts", [[50, 20, 10, 5, 1, 1], [7, 7, 7], [3, 2], [200, 1, 1, 1, 1]])
def test_any_counts_are_those_of_the_dense_matrices(counts):
    groups = Groups.of(counts)
    optimum = Seli(groups).optimum()
    k = len(counts)
    z = np.repeat(np.eye(k) - 1 / k, counts, axis=1)
    left, values, right = np.linalg.svd(z, full_matrices=False)
    assert optimum.value == pytest.approx(values.sum(), rel=1e-13)
    assert optimum.gap < 1e-13 * optimum.value
    classifier, features = optimum.factors(groups.members(counts))
    assert (classifier @ classifier.T).numpy() == pytest.approx((left * values) @ left.T, abs=1e-11)
    samples = features.repeat_interleave(torch.tensor(counts), dim=0)
    assert (samples @ samples.T).numpy() == pytest.approx((right.T * values) @ right, abs=1e-11)
    assert not any(optimum.collapsed)


def test_a_hundred_thousand_classes_take_no_matrix():
    optimum = Seli(Groups.two(50_000, 50_000, 100.0)).optimum()
    assert optimum.gap < 1e-12 * optimum.value
    assert -1 < optimum.facts()["cos_w_minority"] < 1


def test_single_classes_have_cosines_to_others_alone():
    facts = Seli(Groups.of([5, 4, 3])).optimum().facts()
    assert "cos_w_group_1" not in facts
    assert -1 < facts["cos_w_closest"] < 0
    assert math.isfinite(facts["norm_ratio_h"])


def test_bad_input_is_told():
    with pytest.raises(OptionError) as error:
        Seli(Groups.two(2, 2, math.inf))
    assert str(error.value) == (
        "SELI needs samples of every class: counts must be above 0; got (1.0, 0.0). "
        "LayerPeeled takes classes without samples."
    )
    with pytest.raises(OptionError) as error:
        Seli(Groups.two(2, 2, 2.0), dim=0)
    assert str(error.value) == "dim must be at least 1; got 0."
    with pytest.raises(OptionError) as error:
        Seli(Groups.two(2, 2, 2.0), dim=2).optimum()
    assert str(error.value) == (
        "the optimum of 4 classes spans 3 dimensions, more than dim=2. "
        "No optimum is known in fewer: raise dim, or descend in so few by solve(problem, LBFGS())."
    )
