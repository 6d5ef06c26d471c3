"""The deep model and its exact solutions: fixed values, and points that have the losses of their formulas."""

import dataclasses
import math
from dataclasses import replace

import pytest
import torch

from deepcollapse.errors import MemoryBudgetError, OptionError, TooFewClassesError
from deepcollapse.theory.problems.deep.construction import Construction
from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
from deepcollapse.theory.problems.deep.strongly_regular import EdgeCode, strongly_regular_ratio
from deepcollapse.theory.problems.deep.structures import collapsed_structure

# classes, depth, samples a class, decay; collapsed, graph with subsets, another graph, refined, lower bound.
FIXED = [
    (6, 4, 1, 0.004, 0.059707735845, (2, 0.057525025053), None, None, 0.020443015),
    (10, 3, 1, 0.004, 0.079183324204, (3, 0.073179716565), None, 0.072893891799, 0.025217709),
    (10, 3, 1, 0.02, 0.377446040036, (3, 0.350354844356), None, 0.342417587960, 0.124423493),
    (10, 3, 1, 0.001, 0.019949747467, (3, 0.018425913062), (2, 0.020833679124), None, 0.006320),
    (10, 4, 1, 0.004, 0.099179874636, (3, 0.081136188992), (2, 0.089470894922), 0.080911332199, 0.025068080),
    (10, 4, 1, 0.008, 0.196630572720, (3, 0.161136062977), None, 0.160208263320, None),
    (10, 4, 3, 0.002, 0.061971402208, (3, 0.050666490438), (2, 0.055886656174), 0.050580231826, 0.015626016),
    (10, 5, 1, 0.004, 0.119177552770, (3, 0.089855761926), None, 0.089664316199, 0.025815868),
    (15, 3, 1, 0.004, 0.118142478892, (3, 0.102247024858), None, 0.101936168695, 0.030862923),
    (15, 4, 1, 0.001, 0.037386469898, (3, 0.027701363949), None, 0.027687377642, 0.007381071),
    (15, 4, 2, 0.001, 0.042926178258, (3, 0.031809824338), None, None, 0.008478),
    (15, 7, 1, 0.003, 0.178951104898, (3, 0.105433479460), None, None, 0.023598),
    (21, 4, 1, 0.001, 0.052276653459, (4, 0.035822600524), None, None, 0.008444),
]
RATIOS = {
    3: (1.056104, 0.923437, 0.863550, 0.819132, 0.772194, 0.739849, 0.704325, 0.651052),
    4: (0.963268, 0.816808, 0.740359, 0.684319, 0.632948, 0.595529, 0.559211, 0.504452),
    5: (0.905956, 0.752653, 0.668157, 0.607009, 0.554364, 0.515318, 0.479488, 0.425556),
    6: (0.867119, 0.709937, 0.620937, 0.557195, 0.504280, 0.464728, 0.429601, 0.376874),
    8: (0.817914, 0.656730, 0.563126, 0.497076, 0.444468, 0.404915, 0.371063, 0.320516),
}
VERTICES = (4, 5, 6, 7, 8, 9, 10, 12)
UNEQUAL = DeepUnconstrainedFeatures(10, 4, (0.002, 0.001, 0.003, 0.0005), 0.0008, width=12)
PLAIN = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.004, width=20)


def assert_built(construction: Construction) -> None:
    """The point itself has the loss that the formula says."""
    assert construction.problem.value(construction.point()) == pytest.approx(construction.loss, abs=1e-12)


@pytest.mark.parametrize("case", FIXED, ids=lambda case: f"K={case[0]} L={case[1]} n={case[2]} decay={case[3]}")
def test_fixed_values(case):
    num_classes, depth, per_class, decay, collapsed, (subset, graph), other, refined, lower = case
    problem = DeepUnconstrainedFeatures.uniform(num_classes, depth, decay, width=40, per_class=per_class)
    found = [problem.collapsed(), problem.strongly_regular(), problem.refined()]
    assert found[0].loss == pytest.approx(collapsed, abs=1e-11)
    assert found[1].loss == pytest.approx(graph, abs=1e-11)
    assert found[1].name == f"strongly regular graph, subsets of {subset}"
    if other:
        found.append(problem.strongly_regular(other[0]))
        assert found[-1].loss == pytest.approx(other[1], abs=1e-11)
    if refined:
        assert found[2].loss == pytest.approx(refined, abs=1e-11)
    if lower:
        assert problem.lower_bound() == pytest.approx(lower, abs=1e-6 if lower < 0.01 or lower == 0.023598 else 1e-9)
    for construction in found:
        assert_built(construction)
        assert construction.loss >= construction.gap > 0
        assert construction.loss - construction.gap == pytest.approx(problem.lower_bound(), abs=1e-15)
    assert found[2].loss <= found[1].loss < 0.5


def test_refined_solution_of_six_classes_has_weaker_signs_off_its_subsets():
    problem = DeepUnconstrainedFeatures.uniform(6, depth=4, decay=0.004, width=6)
    equal = EdgeCode(4, 2).structure(4).refined(problem._terms)
    assert equal.loss == pytest.approx(0.057525025053, abs=1e-11)  # subsets of 2: the plain solution is ridge already
    refined = problem.refined()
    assert refined.loss == pytest.approx(0.056385240, abs=1e-9)
    rows = refined.point()["W3"]
    assert rows.max() == pytest.approx(0.5362, abs=5e-5)
    assert rows.min() == pytest.approx(-0.4242, abs=5e-5)
    assert_built(refined)
    assert (refined.ranks, problem.strongly_regular().ranks) == ((4, 4, 4, 4, 6), (4, 4, 4, 3, 6))


def test_unequal_decays_and_several_samples():
    collapsed, graph = UNEQUAL.collapsed(), UNEQUAL.strongly_regular()
    assert collapsed.kappa == pytest.approx(0.015720061712, abs=1e-12)
    assert collapsed.scale == pytest.approx(0.984128308557, abs=1e-12)
    assert collapsed.loss == pytest.approx(0.039175407429, abs=1e-12)
    point = collapsed.point()
    scales = [float(point[name].max()) for name in UNEQUAL.shapes()]
    expected = (0.698654529565, 0.883735844407, 1.249791216716, 0.721567295402, 1.767471688814)
    assert scales == pytest.approx(expected, abs=1e-11)

    assert graph.kappa == pytest.approx(0.012840272089, abs=1e-12)
    assert graph.scale == pytest.approx(0.987058984329, abs=1e-12)
    assert graph.loss == pytest.approx(0.032017599405, abs=1e-12)
    sizes = (9.756630355022, 9.756630355022, 5, 12.5, 6.111111111111)
    assert EdgeCode(5, 3).structure(4).sizes == pytest.approx(sizes, abs=1e-12)
    point = graph.point()
    norms = [float(point[name].square().sum()) / n for name, n in zip(UNEQUAL.shapes(), (4, 1, 1, 1, 1), strict=True)]
    scales = [math.sqrt(norm / size) for norm, size in zip(norms, sizes, strict=True)]
    expected = (0.639632937893, 0.809078780083, 1.598345756372, 0.583633350305, 2.044610761455)
    assert scales == pytest.approx(expected, abs=1e-11)
    fit = (1 - graph.scale) ** 2 / 2
    assert fit == pytest.approx(8.373494330e-05, abs=1e-13)
    assert graph.loss - fit == pytest.approx(0.031933864461, abs=1e-12)
    assert_built(collapsed)
    assert_built(graph)


@pytest.mark.parametrize("depth", RATIOS)
def test_price_of_the_graph_over_that_of_collapse(depth):
    found = [strongly_regular_ratio(vertices, depth) for vertices in VERTICES]
    assert found == pytest.approx(RATIOS[depth], abs=6e-7)


def test_the_best_subsets_are_half_the_vertices_and_pairs_never_win_at_three_layers():
    for r in range(4, 21):
        best = strongly_regular_ratio(r, 4)
        assert best == pytest.approx(strongly_regular_ratio(r, 4, (r + 1) // 2), rel=1e-14)
    pairs = [strongly_regular_ratio(r, 3, 2) for r in range(5, 40)]
    assert pairs[0] == pytest.approx(1.0444, abs=5e-5)
    assert min(pairs) > 1
    assert pairs[-1] < 1.03


@pytest.mark.parametrize("make", ["collapsed", "strongly_regular"])
def test_all_terms_of_regularisation_are_equal(make):
    point, decays = getattr(UNEQUAL, make)().point(), (UNEQUAL.feature_decay, *UNEQUAL.weight_decays)
    terms = [c * float(point[name].square().sum()) for c, name in zip(decays, UNEQUAL.shapes(), strict=True)]
    assert terms == pytest.approx([terms[0]] * 5, rel=1e-12)


def test_losses_depend_on_decays_and_samples_through_one_product():
    """Scales pass freely between factors, so that all that is known depends on n lH l_1 ... l_L alone."""
    shuffled = replace(UNEQUAL, weight_decays=(0.0005, 0.004, 0.0015, 0.001), per_class=1, feature_decay=0.0032)
    for make in ("collapsed", "strongly_regular", "refined", "blocks", "optimum"):
        losses = [getattr(problem, make)().loss for problem in (UNEQUAL, shuffled)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12), make
    assert UNEQUAL.lower_bound() == pytest.approx(shuffled.lower_bound(), rel=1e-13)


def test_relabelling_classes_changes_no_loss_and_samples_none_where_their_decay_makes_up():
    problem = replace(PLAIN, per_class=3, feature_decay=PLAIN.feature_decay / 3)
    assert problem.refined().loss == pytest.approx(PLAIN.refined().loss, rel=1e-13)
    point = problem.refined().point()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    point["features"] = point["features"].unflatten(0, (10, 3))[order].flatten(0, 1)
    point["W4"] = point["W4"][order]
    assert problem.value(point) == pytest.approx(problem.refined().loss, abs=1e-14)


@pytest.mark.parametrize(("num_classes", "depth", "per_class"), [(10, 4, 2), (6, 3, 1), (15, 2, 1)])
def test_outputs_are_the_targets_times_one_number_and_ranks_are_as_said(num_classes, depth, per_class):
    problem = DeepUnconstrainedFeatures.uniform(num_classes, depth, 0.002, width=25, per_class=per_class)
    for construction in (problem.collapsed(), problem.strongly_regular()):
        layers = problem.layers(construction.point())
        targets = torch.eye(num_classes).double().repeat_interleave(per_class, dim=0)
        assert (layers[-1] - construction.scale * targets).abs().max() < 1e-14
        assert tuple(int(torch.linalg.matrix_rank(h, rtol=1e-9)) for h in layers) == construction.ranks
        assert torch.linalg.matrix_rank(layers[-2].relu(), rtol=1e-9) == num_classes


def test_ridge_last_weights_change_nothing_about_collapse():
    terms = PLAIN._terms
    assert collapsed_structure(10, 4).refined(terms).loss == pytest.approx(PLAIN.collapsed().loss, rel=1e-13)


def test_two_layers_are_beaten_by_fifteen_classes_on_a_graph():
    """No extra assumption is made here, and collapse is not optimal: evaluated at the points themselves."""
    problem = DeepUnconstrainedFeatures.uniform(15, depth=2, decay=1e-3, width=20)
    collapsed, graph, refined = problem.collapsed(), problem.strongly_regular(3), problem.refined(3)
    values = [problem.value(construction.point()) for construction in (collapsed, graph, refined)]
    assert values == pytest.approx([0.0223869308324, 0.0221084677204, 0.0220837346626], abs=1e-12)
    assert graph.kappa / collapsed.kappa == pytest.approx((26 / 27) ** (1 / 3), rel=1e-12)
    # The published example of ten classes: product 14^2 * 6.1111 against 10^3, so that collapse is the better one.
    assert strongly_regular_ratio(5, 2, 3) ** 3 == pytest.approx(1.1977778, abs=1e-7)
    assert strongly_regular_ratio(5, 2, 2) ** 3 == pytest.approx(1.96, abs=1e-12)


def test_past_the_threshold_the_point_is_zero():
    problem = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.024, width=20)
    collapsed, graph = problem.collapsed(), problem.strongly_regular()
    assert (collapsed.loss, collapsed.scale, collapsed.nontrivial, collapsed.ranks) == (0.5, 0.0, False, (0,) * 5)
    assert all(not tensor.any() for tensor in collapsed.point().values())
    assert problem.value(collapsed.point()) == 0.5
    # Lower rank stands stronger decay: the graph is still below zero's loss.
    assert graph.loss == pytest.approx(0.4679, abs=5e-5)
    assert problem.optimum().loss < graph.loss
    assert 0.0209 < next(c for c in (0.0209, 0.0210, 0.0211) if not replace(
        problem, weight_decays=(c,) * 4, feature_decay=c).collapsed().nontrivial) < 0.0212  # fmt: skip


# --- what is said of optimality -----------------------------------------------------------------------------------


def test_all_zero_is_called_optimal_only_where_the_lower_bound_says_so():
    strong = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.2, width=20).optimum()
    assert (strong.name, strong.loss, strong.gap, strong.optimal) == ("all zero", 0.5, 0.0, "yes")
    assert strong.because == (
        "all zero is optimal, because a lower bound on every loss is 1/2 (kappa_lower >= kappa_star)"
    )
    between = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.04, width=20).optimum()
    assert (between.name, between.loss, between.optimal) == ("all zero", 0.5, "unknown")
    assert between.because == "no better point is known, and no proof that there is none"
    assert between.gap > 0.1


def test_judgements():
    assert PLAIN.collapsed().optimal == "no"
    assert PLAIN.collapsed().because == "'strongly regular graph, subsets of 3, refined' has a lower loss, 0.0809113"
    assert PLAIN.optimum().optimal == PLAIN.refined().optimal == "unknown"  # nowhere is the graph called the optimum
    two = DeepUnconstrainedFeatures.uniform(2, depth=5, decay=0.01, width=4)
    assert two.optimum().optimal == two.collapsed().optimal == "yes"
    assert two.optimum().because == ("for two classes collapse is optimal (quoted: Súkeník, Mondelli & Lampert 2023)")
    one = DeepUnconstrainedFeatures.uniform(5, depth=1, decay=0.01, width=3)
    assert one.optimum().optimal == "yes"
    assert one.optimum().because == (
        "with one layer every singular value is chosen on its own, and these are the best (derived here)"
    )


def test_one_layer_meets_the_lower_bound_and_narrow_ones_give_classes_up():
    wide = DeepUnconstrainedFeatures(4, 3, (0.01,), 0.02, width=6)
    assert wide.collapsed().gap == pytest.approx(0, abs=1e-15)
    assert wide.collapsed().scale == pytest.approx(1 - 4 * math.sqrt(3 * 0.01 * 0.02), rel=1e-13)
    narrow = replace(wide, width=3).optimum()
    assert narrow.name == "blocks: 3 collapsed + 1 given up"
    assert narrow.loss == pytest.approx(0.75 * wide.collapsed().loss + 0.125, rel=1e-12)
    assert_built(narrow)


def test_facts_are_what_a_reader_asks_for():
    facts = PLAIN.strongly_regular().facts()
    assert facts["ranks"] == "5 5 5 5 10"
    assert facts["width"] == 10.0
    assert list(facts) == [
        "name", "loss", "kappa", "scale", "lower_bound", "gap", "optimal", "because", "width", "ranks",
    ]  # fmt: skip
    assert math.isnan(PLAIN.refined().kappa)


def test_what_costs_the_same_is_called_by_its_simplest_name():
    """At two layers the graph of six classes costs exactly what collapse costs."""
    problem = DeepUnconstrainedFeatures.uniform(6, depth=2, decay=0.003, width=8)
    assert problem.strongly_regular().loss == pytest.approx(problem.collapsed().loss, rel=1e-14)
    assert problem.optimum().name == "collapsed"
    assert problem.optimum().optimal == problem.strongly_regular().optimal == "unknown"


def test_a_point_that_no_memory_holds_is_refused_and_its_loss_is_not():
    wide = DeepUnconstrainedFeatures.uniform(10, depth=4, decay=0.004, width=10**7)
    assert wide.collapsed().loss == PLAIN.collapsed().loss
    with pytest.raises(
        MemoryBudgetError, match=r"^a point with layers as wide as 10000000 takes 4800003 GB, and half of the memory"
    ):
        wide.collapsed().point()


# --- the lower bound ------------------------------------------------------------------------------------------------


def test_no_point_falls_below_the_lower_bound():
    for depth, width in ((1, 4), (2, 8), (4, 8), (6, 5)):
        problem = DeepUnconstrainedFeatures(4, 2, (0.02, 0.01, 0.03, 0.02, 0.01, 0.05)[:depth], 0.02, width=width)
        for seed in range(20):
            point = problem.rescaled(problem.start(torch.Generator().manual_seed(seed)))
            assert problem.gap(point) >= 0
        assert problem.optimum().gap >= 0


# --- errors ---------------------------------------------------------------------------------------------------------


def refused(call, *arguments) -> str:
    with pytest.raises((OptionError, TooFewClassesError)) as raised:
        call(*arguments)
    return str(raised.value)


def test_too_narrow_layers_name_the_width_that_is_needed():
    narrow = replace(PLAIN, width=9)
    assert refused(narrow.collapsed) == "the solution 'collapsed' needs layers of width 10; got 9."
    needs = "the strongly regular graph on 5 vertices with subsets of 2 needs layers of width 10; got 9."
    assert refused(narrow.strongly_regular) == needs
    assert refused(narrow.refined) == needs
    assert refused(replace(PLAIN, width=19, num_classes=15).strongly_regular, 3) == (
        "the strongly regular graph on 6 vertices with subsets of 3 needs layers of width 20; got 19."
    )
    # The automatic choice takes the best that fits.
    assert replace(PLAIN, width=19, num_classes=15).strongly_regular().name.endswith("subsets of 4")
    first = replace(PLAIN, first_width=5)
    assert refused(first.collapsed) == "the solution 'collapsed' needs layers of width 10; got 5, 20, 20, 20."
    assert_built(first.strongly_regular())
    assert first.optimum().loss == pytest.approx(PLAIN.refined().loss)


def test_what_is_no_graph_is_refused():
    assert refused(replace(PLAIN, num_classes=11).strongly_regular) == (
        "a strongly regular graph needs K = r(r-1)/2 classes with r >= 4, as 6, 10, 15 or 21; got 11. blocks() takes "
        "any number."
    )
    assert refused(PLAIN.strongly_regular, 4) == "subsets of 5 vertices have 2 to 3 members here; got subset=4."
    single = DeepUnconstrainedFeatures.uniform(10, depth=1, decay=0.01, width=10)
    assert refused(single.refined) == "a strongly regular graph needs a ReLU, so two layers or more; got depth=1."


def test_what_is_no_model_is_refused():
    make = DeepUnconstrainedFeatures
    assert refused(make, 1, 1, (0.1,), 0.1, 3) == "theory compares classes: it needs at least 2 of them; got 1."
    assert refused(make, 3, 0, (0.1,), 0.1, 3) == "per_class must be 1 or more; got 0."
    assert refused(make, 3, 1, (0.1,), 0.1, 0) == "width must be 1 or more; got 0."
    assert refused(make, 3, 1, (0.1,), 0.1, 4, -1) == "first_width must be 1 or more; got -1."
    assert refused(make, 3, 1, (), 0.1, 3) == "a network has one weight matrix or more; got depth=0."
    for bad, shown in ((0.0, "0"), (-0.5, "-0.5"), (math.inf, "inf"), (math.nan, "nan")):
        said = f"every decay must be positive and finite, or the deep model has no least loss; got {shown}."
        assert refused(make, 3, 1, (0.1, bad), 0.1, 3) == said
        assert refused(make, 3, 1, (0.1,), bad, 3) == said


def test_a_problem_is_a_frozen_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        PLAIN.width = 3  # type: ignore[misc]
    assert DeepUnconstrainedFeatures(10, 1, (0.004,) * 4, 0.004, 20) == PLAIN
    assert PLAIN.program() == replace(PLAIN, feature_decay=0.1).program() != replace(PLAIN, width=21).program()
