"""Thresholds of collapse and erasure, and over-sampling: fixed values, the solved model on either side, limits."""

import math

import pytest
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.problems.phases import (
    collapse_ratio,
    collapse_slope,
    critical_budget,
    erasure_budget,
    erasure_ratio,
    log_ratio_of,
    minority_cosine,
    oversampling_for_cosine,
    oversampling_past_collapse,
)
from deepcollapse.theory.reduced.groups import Groups

NEVER = math.inf
# (K_A, E_H): R0 and R1, for ten classes and E_W = 1.
THRESHOLDS = {
    (3, 5.0): (245.49693, NEVER),
    (3, 10.0): (6350.8465, NEVER),
    (5, 5.0): (12.192447, NEVER),
    (5, 10.0): (81.102206, NEVER),
    (7, 5.0): (4.0004667, 5.7053302),
    (7, 10.0): (13.665857, 26.240902),
}
CRITICAL = {
    (3, 10.0): 1.2967472892,
    (3, 100.0): 1.9786953034,
    (5, 10.0): 2.1339287843,
    (5, 100.0): 3.2621307789,
    (7, 10.0): 2.9407888407,
    (7, 100.0): 4.5030078803,
}
LIMITS = {3: (3.525, 0.47177), 5: (2.124, 1.76275), 7: (1.527, 4.36284)}
# Minority cosine for ten classes, five of them majority, by R, E_W = 1.
COSINES = {
    5.0: {2: -0.067283, 5: 0.072527, 10: 0.517496, 20: 1.0, 50: 1.0, 100: 1.0, 1000: 1.0},
    10.0: {2: -0.091793, 5: -0.053722, 10: -0.006439, 20: 0.077147, 50: 0.378569, 100: 1.0, 1000: 1.0},
}
# The same at R = 1000 and E_H = 5, by how often minority samples are repeated.
REPEATED = {1: 1.0, 82: 1.0, 83: 0.954851, 100: 0.517496, 200: 0.072527, 500: -0.067283, 1000: -1 / 9}


def phase(majority, ratio, feature_budget):
    return LayerPeeled(Groups.two(majority, 10 - majority, ratio), 1.0, feature_budget).optimum().phase


@pytest.mark.parametrize(("majority", "feature_budget"), THRESHOLDS)
def test_thresholds_of_ten_classes_and_the_phases_beside_them(majority, feature_budget):
    collapse, erasure = THRESHOLDS[majority, feature_budget]
    found = collapse_ratio(majority, 10 - majority, 1.0, feature_budget)
    assert found == pytest.approx(collapse, rel=1e-7)
    assert phase(majority, 0.999 * found, feature_budget) == "full"
    assert phase(majority, 1.001 * found, feature_budget) == "collapse"
    erased = erasure_ratio(majority, 10 - majority, 1.0, feature_budget)
    assert erased == pytest.approx(erasure, rel=1e-8)
    if erasure == NEVER:
        assert phase(majority, NEVER, feature_budget) == "collapse"
    else:
        assert phase(majority, 0.999 * erased, feature_budget) == "collapse"
        assert phase(majority, 1.001 * erased, feature_budget) == "erased"
        assert phase(majority, NEVER, feature_budget) == "erased"


def test_every_optimum_knows_its_threshold():
    optimum = LayerPeeled(Groups.two(5, 5, 3.0), 1.0, 5.0).optimum()
    assert optimum.threshold_ratio == collapse_ratio(5, 5, 1.0, 5.0)


@pytest.mark.parametrize(("majority", "ratio"), CRITICAL)
def test_critical_budgets_and_their_inverse(majority, ratio):
    budget = critical_budget(majority, 10 - majority, ratio)
    assert budget == pytest.approx(CRITICAL[majority, ratio], abs=6e-11)
    assert collapse_ratio(majority, 10 - majority, budget, budget) == pytest.approx(ratio, rel=1e-12)
    for factor, expected in ((0.999, "collapse"), (1.001, "full")):
        problem = LayerPeeled(Groups.two(majority, 10 - majority, ratio), factor * budget, factor * budget)
        assert problem.optimum().phase == expected


@settings(max_examples=8, deadline=None)
@given(majority=integers(1, 50), minority=integers(2, 50), budget=floats(0.01, 5))
def test_the_minority_collapses_before_it_is_erased(majority, minority, budget):
    collapse = log_ratio_of("collapse", majority, minority, budget, budget)
    assert 0 < collapse < log_ratio_of("erasure", majority, minority, budget, budget)


@pytest.mark.parametrize("majority", LIMITS)
def test_limits_of_large_budgets_and_ratios(majority):
    slope, last = LIMITS[majority]
    assert collapse_slope(majority, 10 - majority) == pytest.approx(slope, abs=5e-4)
    high, low = (log_ratio_of("collapse", majority, 10 - majority, s, s) for s in (2000.0, 1900.0))
    assert (high - low) / 100 == pytest.approx(collapse_slope(majority, 10 - majority), rel=1e-5)
    budget = erasure_budget(majority, 10 - majority)
    assert budget == pytest.approx(last, abs=5e-6)
    assert erasure_ratio(majority, 10 - majority, 1.0001 * budget, 1.0001 * budget) == NEVER
    assert erasure_ratio(majority, 10 - majority, 0.9999 * budget, 0.9999 * budget) < NEVER
    problem = LayerPeeled(Groups.two(majority, 10 - majority, NEVER), 1.001 * budget, 1.001 * budget)
    assert problem.optimum().phase == "collapse"
    problem = LayerPeeled(Groups.two(majority, 10 - majority, NEVER), 0.999 * budget, 0.999 * budget)
    assert problem.optimum().phase == "erased"


def test_a_single_majority_class_never_erases_the_minority():
    assert erasure_ratio(1, 4, 1e-3, 1e-3) == NEVER
    assert erasure_budget(1, 4) == 0
    assert LayerPeeled(Groups.two(1, 4, NEVER), 1e-3, 1e-3).optimum().phase == "collapse"


def test_large_budgets_restore_the_simplex_etf_slowly():
    cosines = [minority_cosine(5, 5, 100.0, 1.0, budget) for budget in (25.0, 100.0, 1600.0)]
    assert cosines == pytest.approx([-0.000888, -0.0759, -0.1041], abs=5e-5)


def test_ratios_too_large_for_a_float_have_a_logarithm():
    assert collapse_ratio(5, 5, 1e3, 1e3) == math.inf
    assert log_ratio_of("collapse", 5, 5, 1e3, 1e3) == pytest.approx(1000 * collapse_slope(5, 5), rel=0.01)


@pytest.mark.parametrize("feature_budget", COSINES)
def test_the_minority_angle_closes_as_the_ratio_grows(feature_budget):
    found = {ratio: minority_cosine(5, 5, float(ratio), 1.0, feature_budget) for ratio in COSINES[feature_budget]}
    assert found == pytest.approx(COSINES[feature_budget], abs=6e-7)
    assert minority_cosine(5, 5, 1.0, 1.0, feature_budget) == pytest.approx(-1 / 9, abs=1e-15)
    assert all(found[ratio] == 1.0 for ratio, cosine in COSINES[feature_budget].items() if cosine == 1)


def test_repeating_minority_samples():
    found = {times: minority_cosine(5, 5, 1000.0 / times, 1.0, 5.0) for times in REPEATED}
    assert found == pytest.approx(REPEATED, abs=6e-7)
    least = oversampling_past_collapse(5, 5, 1000.0, 1.0, 5.0)
    assert 82 < least < 83
    assert phase(5, 1000 / (least * 0.999), 5.0) == "collapse"
    assert phase(5, 1000 / (least * 1.001), 5.0) == "full"


@pytest.mark.parametrize("cosine", [-1 / 9, 0.0, 0.999])
def test_repeating_for_a_wanted_cosine(cosine):
    times = oversampling_for_cosine(5, 5, 1000.0, 1.0, 5.0, cosine)
    assert minority_cosine(5, 5, 1000 / times, 1.0, 5.0) == pytest.approx(cosine, abs=1e-9)


def test_where_nothing_need_be_repeated():
    assert oversampling_past_collapse(5, 5, 3.0, 1.0, 5.0) == 1
    assert oversampling_for_cosine(5, 5, 3.0, 1.0, 5.0, 0.5) == 1
    assert oversampling_for_cosine(5, 5, 1.0, 1.0, 5.0, 0.0) == 1


def test_thresholds_at_the_ends_of_their_range():
    assert critical_budget(5, 5, 1.0) == 0
    assert critical_budget(5, 5, NEVER) == NEVER
    assert oversampling_past_collapse(5, 5, NEVER, 1.0, 5.0) == NEVER
    assert collapse_ratio(5, 5, 1e-9, 1e-9) == pytest.approx(1, abs=1e-7)


def test_a_single_minority_class_has_nothing_to_coincide_with():
    undefined = [
        critical_budget(4, 1, 10.0),
        collapse_ratio(4, 1, 1.0, 1.0),
        oversampling_past_collapse(4, 1, 10.0, 1.0, 1.0),
        oversampling_for_cosine(4, 1, 10.0, 1.0, 1.0, 0.0),
        minority_cosine(4, 1, 10.0, 1.0, 1.0),
    ]
    assert all(math.isnan(value) for value in undefined)


@pytest.mark.parametrize(
    "ask",
    [
        lambda ratio: critical_budget(5, 5, ratio),
        lambda ratio: minority_cosine(5, 5, ratio, 1.0, 1.0),
        lambda ratio: oversampling_past_collapse(5, 5, ratio, 1.0, 1.0),
        lambda ratio: oversampling_for_cosine(5, 5, ratio, 1.0, 1.0, 0.0),
    ],
)
def test_ratios_below_1_are_refused(ask):
    for ratio, said in ((0.5, "0.5"), (math.nan, "nan")):
        with pytest.raises(OptionError) as error:
            ask(ratio)
        assert str(error.value) == f"the ratio of majority to minority samples must be 1 or more; got {said}."


def test_what_cannot_be_asked_is_told():
    with pytest.raises(OptionError) as error:
        oversampling_for_cosine(5, 5, 10.0, 1.0, 1.0, -0.2)
    assert str(error.value) == (
        "repeating minority samples can bring their cosine to anything from -0.111111, that of balanced classes, "
        "to below 1; got -0.2."
    )
    with pytest.raises(OptionError) as error:
        oversampling_for_cosine(5, 5, NEVER, 1.0, 1.0, 0.0)
    assert str(error.value) == "classes without samples cannot be repeated: the ratio must be finite; got inf."
    with pytest.raises(OptionError) as error:
        log_ratio_of("collapsed", 5, 5, 1.0, 1.0)
    assert str(error.value) == 'phase must be "collapse" or "erasure"; got \'collapsed\'.'
    with pytest.raises(OptionError) as error:
        collapse_ratio(5, 5, 0.0, 1.0)
    assert str(error.value) == "weight_budget is a mean squared length: it must be finite and above 0; got 0."
    with pytest.raises(OptionError) as error:
        collapse_slope(0, 5)
    assert str(error.value) == (
        "groups need one count and at least one class each; got sizes (0, 5) and counts (1.0, 1.0)."
    )
