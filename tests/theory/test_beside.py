import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from measured_optima import BALANCED, COUNTS, features_of, measured, toy
from torch import nn
from torch.nn import functional

from deepcollapse import measure, measure_features
from deepcollapse.records import MODELS
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.theory.head_geometry import head_geometry
from deepcollapse.theory.predictions.beside import beside, predictions, with_predictions
from deepcollapse.theory.predictions.predicted import PREDICTORS
from deepcollapse.theory.predictions.setting import Setting
from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.problems.seli import Seli
from deepcollapse.theory.problems.squared import UnconstrainedSquared
from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
from deepcollapse.theory.reduced.groups import Groups


def assert_predicted(table, model, least=20):
    """What the model says is what was measured, and it says a good deal."""
    told = table[table[model].notna()]
    assert len(told) >= least, told
    worst = (told[model] - told["measured"]).abs().max()
    assert worst < 1e-9, told.assign(away=told[model] - told["measured"])[["measure", "measured", model, "away"]]


def members(counts):
    groups = Groups.of(counts)
    return groups, groups.members(counts)


# --- a network that is a model's optimum is predicted by that model ---------------------------------------------------


def test_a_balanced_optimum_of_the_layer_peeled_model():
    classifier, classes = LayerPeeled(Groups.of(BALANCED), 2.0, 3.0).optimum().factors()
    table = beside(measured(classifier, classes, BALANCED, shift=5.0))
    assert_predicted(table, LAYER_PEELED, least=35)
    assert_predicted(table, SELI)
    assert table[UNCONSTRAINED].isna().all()


def test_a_balanced_optimum_of_unconstrained_features():
    optimum = UnconstrainedFeatures(4, 6, weight_decay=5e-3, feature_decay=1e-3).optimum()
    table = beside(measured(*optimum.factors(), BALANCED, shift=-2.0), weight_decay=5e-3)
    assert_predicted(table, UNCONSTRAINED, least=35)
    rows = table.set_index("measure")
    # Sizes are truly predicted: they follow from the decay, and were not handed to the model.
    assert rows.loc["weight_budget", UNCONSTRAINED] == pytest.approx(optimum.weight_norm_squared / 4, rel=1e-9)
    assert rows.loc["feature_budget", UNCONSTRAINED] == pytest.approx(optimum.feature_norm_squared / 24, rel=1e-9)
    assert math.isnan(rows.loc["weight_budget", SELI])


def test_a_balanced_optimum_under_the_squared_error():
    # x = K sqrt(n lW lH) is at least lb/(1 + lb) with lb = lW, so that the bias carries what all classes share.
    optimum = UnconstrainedSquared(4, 6, 0.02, 0.01, bias_decay=0.02).optimum()
    assert optimum.mean_value == 0
    bias = torch.full((4,), optimum.bias, dtype=torch.float64)
    found = measured(*optimum.factors(), BALANCED, bias=bias)
    table = beside(found, loss="mse", weight_decay=0.02 * 2 / 4)
    assert_predicted(table, UNCONSTRAINED, least=35)
    assert table[[LAYER_PEELED, SELI]].isna().all().all()
    assert table.attrs["notes"][LAYER_PEELED] == (
        "the layer-peeled model speaks of cross-entropy; the network was trained with the squared error."
    )


@pytest.mark.parametrize(
    ("problem", "loss"),
    [
        (UnconstrainedFeatures(4, 6, 5e-3, 1e-3), "cross-entropy"),
        (UnconstrainedSquared(4, 6, 5e-3, 1e-3), "mse"),
        (UnconstrainedSquared(2, 6, 1e-3, 1e-3), "mse"),
        (UnconstrainedImbalanced(Groups.of(COUNTS), 5e-3, 2e-3), "cross-entropy"),
        (UnconstrainedImbalanced(Groups.of((20, 9, 9, 4, 3)), 2e-3, 1e-3), "cross-entropy"),
    ],
)
def test_without_a_bias_an_optimum_is_predicted_to_the_last_digit(problem, loss):
    # Without a bias the balance of the norms holds for features about 0, where a frame and imbalanced classes have an
    # offset; taken about their mean, the feature decay of the second of two frames would come out twice as large.
    if isinstance(problem, UnconstrainedImbalanced):
        counts = tuple(problem.class_counts.tolist())
    else:
        counts = (problem.per_class,) * problem.num_classes
    decay = problem.weight_decay * (2 / len(counts) if loss == "mse" else 1)
    found = measured(*problem.optimum().factors(), counts)
    given = Setting.of(found, loss, decay)
    assert given.model_decay == pytest.approx(problem.weight_decay, rel=1e-12)
    assert given.feature_decay == pytest.approx(problem.feature_decay, rel=1e-9)
    assert_predicted(beside(found, loss=loss, weight_decay=decay), UNCONSTRAINED, least=35)


def test_seli_is_predicted_at_any_imbalance_and_size():
    groups, place = members(COUNTS)
    classifier, classes = Seli(groups).optimum().factors(place)
    found = measured(7 * classifier, 0.2 * classes, COUNTS, shift=3.0)
    table = beside(found)
    assert_predicted(table, SELI, least=30)
    angles = table.set_index("measure").loc["minority_angle_mean_classifier"]
    assert angles[LAYER_PEELED] - angles[SELI] > 0.1  # they disagree, and each under its name


def setting(**changes):
    facts = {
        "counts": COUNTS,
        "absent": 0,
        "dim": 8,
        "weight_budget": 1.0,
        "feature_budget": 5.0,
        "feature_energy": 100.0,
        "biased": False,
    }
    return Setting(**(facts | changes))


def held_to(model, given, classifier, classes, bias=None):
    """The geometry of the model's prediction and of the optimum at hand."""
    found = PREDICTORS[model](given)
    own = replace(found, classifier=classifier, features=classes, bias=bias)
    numbers = [
        head_geometry(one.moments(given.counts, "class", "class"), one.classifier, one.bias) for one in (found, own)
    ]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-9)
    assert found.loss(given.counts, "cross-entropy") == pytest.approx(own.loss(given.counts, "cross-entropy"))
    return numbers[0]


@pytest.mark.parametrize("feature_budget", [0.1, 1.0, 5.0])
def test_an_imbalanced_optimum_of_the_layer_peeled_model(feature_budget):
    # Through the setting, not the measurement: the model's own features have another mean than 0, and a budget about 0.
    groups, place = members(COUNTS)
    optimum = LayerPeeled(groups, 1.0, feature_budget).optimum()
    seen = held_to(LAYER_PEELED, setting(feature_budget=feature_budget), *optimum.factors(place))
    cosine = optimum.balanced.cosine("classifier", 1, 1)
    assert seen.get("minority_angle_mean_classifier", math.nan) == pytest.approx(cosine, nan_ok=True)


@pytest.mark.parametrize("biased", [False, True])
def test_an_imbalanced_optimum_of_unconstrained_features(biased):
    groups, place = members(COUNTS)
    # The balance lH = lW |W|^2/|H|^2 holds at the optimum: the energies of one give its feature decay back.
    problem = UnconstrainedImbalanced(groups, 5e-3, 2e-3, 5e-3 if biased else None)
    optimum = problem.optimum()
    energies = {
        "weight_budget": optimum.weight_norm_squared / 5,
        "feature_energy": optimum.feature_norm_squared,
        "weight_decay": 5e-3,
        "biased": biased,
    }
    given = setting(**energies)
    assert given.feature_decay == pytest.approx(2e-3, rel=1e-9)
    bias = torch.from_numpy(optimum.bias[place]) if optimum.bias is not None else None
    seen = held_to(UNCONSTRAINED, given, *optimum.factors(place), bias)
    assert seen["minority_angle_mean_classifier"] == pytest.approx(optimum.balanced.cosine("classifier", 1, 1))


def test_budgets_and_energies_are_those_of_the_measurement():
    generator = torch.Generator().manual_seed(3)
    x, y = features_of(torch.randn(5, 8, generator=generator, dtype=torch.float64), COUNTS)
    x = x + torch.randn(x.shape, generator=generator, dtype=torch.float64) + 4
    head = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    found = Setting.of(measure_features(x, y, num_classes=5, classifier=head, bias=torch.ones(5)), weight_decay=0.5)
    away = (x - x.mean(dim=0)).square().sum(dim=1)
    assert found.feature_energy == pytest.approx(float(away.sum()), rel=1e-12)
    assert found.feature_budget == pytest.approx(np.mean([float(away[y == k].mean()) for k in range(5)]), rel=1e-12)
    assert found.weight_budget == pytest.approx(float(head.square().sum(dim=1).mean()), rel=1e-12)
    assert found.feature_decay == pytest.approx(float(0.5 * head.square().sum() / away.sum()), rel=1e-12)
    assert (found.counts, found.dim, found.biased, found.absent) == (COUNTS, 8, True, 0)
    squared = replace(found, loss="mse")
    assert squared.model_decay == 5 * 0.5 / 2
    # Beside a bias that is an approximation, and said to be.
    assert PREDICTORS[UNCONSTRAINED](found).parameters["feature_decay"][2] == (
        "lH = lW |W|^2 / |H|^2, as at the optimum; an approximation, for beside a bias H is taken about the mean of "
        "samples"
    )


def test_decays_where_a_class_is_absent():
    generator = torch.Generator().manual_seed(4)
    counts = (9, 0, 3, 3)
    x, y = features_of(torch.randn(4, 6, generator=generator, dtype=torch.float64), counts)
    head = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    found = Setting.of(measure_features(x, y, num_classes=4, classifier=head), "mse", weight_decay=0.5)
    # The squared error is averaged over all four outputs; norms are those of the three classes that the models have.
    assert (found.counts, found.absent, found.model_decay) == ((9, 3, 3), 1, 4 * 0.5 / 2)
    rows = head[[0, 2, 3]].square().sum()
    assert found.feature_decay == pytest.approx(float(rows / x.square().sum()), rel=1e-12)
    assert replace(found, loss="cross-entropy").model_decay == 0.5
    assert replace(found, loss="cross-entropy").feature_decay == pytest.approx(float(0.5 * rows / x.square().sum()))


def test_the_class_ratio_is_that_of_the_counts_themselves():
    # 60 different counts are merged into 40; every model names the same ratio all the same.
    counts = tuple(range(20, 80))
    told = [r.value for r in predictions(toy(counts, dim=64)) if r.measure == "class_ratio"]
    assert told == [79 / 20, 79 / 20]
    # Counts that were merged into two have no threshold between two groups of like classes.
    assert "collapse_ratio" in PREDICTORS[LAYER_PEELED](setting(counts=(900, 900, 30, 30))).parameters
    merged = setting(counts=(*range(100_000, 100_041), 10, 10), dim=64)
    assert "collapse_ratio" not in PREDICTORS[LAYER_PEELED](merged).parameters


# --- rows -------------------------------------------------------------------------------------------------------------


def rows_of(found, **how):
    return [row for row in predictions(found, **how) if row.value is not None]


def test_the_training_loss_is_predicted_where_it_was_measured():
    classifier, classes = LayerPeeled(Groups.of(BALANCED), 2.0, 3.0).optimum().factors()
    head = nn.Linear(4, 4, bias=False, dtype=torch.float64)
    head.weight.data = classifier
    found = measure(head, [features_of(classes, BALANCED)], loss=functional.cross_entropy)
    [own] = [row.value for row in found.records if row.measure == "loss"]
    told = {row.baseline: row.value for row in rows_of(found, weight_decay=5e-3) if row.measure == "loss"}
    assert told[LAYER_PEELED] == pytest.approx(own, abs=1e-12)
    assert UNCONSTRAINED in told
    assert SELI not in told


def test_rows_are_the_measurements_own_with_the_models_name():
    groups, place = members(COUNTS)
    found = measured(*LayerPeeled(groups, 1.0, 5.0).optimum().factors(place), COUNTS, split="train")
    both = with_predictions(found, weight_decay=1e-3)
    assert both.records[: len(found.records)] == found.records
    told = {(row.measure, row.layer, row.baseline): row for row in both.records if row.baseline}
    own = {(row.measure, row.layer): row for row in found.records}
    assert {row.baseline for row in told.values()} == set(MODELS)
    for (name, layer, _), row in told.items():
        assert row.split == "train"
        if layer != "network":
            same = replace(row, value=None, baseline=None, note=None)
            assert same == replace(own[name, layer], value=None, note=None)
    # What a measurement is asked for stays what was measured.
    assert both["minority_angle_mean_classifier", "head"] == found["minority_angle_mean_classifier", "head"]
    assert str(both) == str(found)


def test_each_model_tells_what_it_was_given_and_its_certificate():
    groups, place = members(COUNTS)
    found = measured(*LayerPeeled(groups, 1.0, 5.0).optimum().factors(place), COUNTS)
    rows = {(r.baseline, r.measure): r for r in predictions(found, weight_decay=1e-3) if r.layer == "network"}
    assert rows[LAYER_PEELED, "weight_budget"].value == pytest.approx(1.0)
    assert rows[LAYER_PEELED, "class_ratio"].value == 3
    assert rows[LAYER_PEELED, "collapse_ratio"].value > 3
    assert rows[UNCONSTRAINED, "weight_decay"].value == 1e-3
    decay = rows[UNCONSTRAINED, "feature_decay"]
    assert decay.note == "lH = lW |W|^2 / |H|^2, as at the optimum"
    assert rows[UNCONSTRAINED, "collapse_count"].value == pytest.approx(36**2 * 1e-3 * decay.value)
    for model in MODELS:
        assert rows[model, "optimality_gap"].value < 1e-8
    note = rows[LAYER_PEELED, "optimality_gap"].note
    assert note.startswith("given weight_budget 1, feature_budget ")
    # What a model was given it does not predict.
    others = [r for r in predictions(found, weight_decay=1e-3) if r.layer != "network"]
    assert {r.baseline for r in others if r.measure == "weight_budget"} == {UNCONSTRAINED}


def test_only_what_was_measured_is_predicted():
    groups, place = members(COUNTS)
    some = ["weight_budget", "feature_budget", "minority_angle_mean"]
    found = measured(*Seli(groups).optimum().factors(place), COUNTS, measures=some)
    table = beside(found)
    assert sorted(table["measure"]) == ["minority_angle_mean_classifier", "minority_angle_mean_means"]


def test_modes_are_those_of_the_measurement():
    groups, place = members(COUNTS)
    classifier, classes = Seli(groups).optimum().factors(place)
    for modes in ({"weighting": "sample"}, {"weighting": "class", "centre": "sample"}):
        found = measured(classifier, classes, COUNTS, **modes)
        assert_predicted(beside(found), SELI, least=25)
        told = {(r.measure, r.layer): (r.weighting, r.centre) for r in predictions(found) if r.layer != "network"}
        own = {(r.measure, r.layer): (r.weighting, r.centre) for r in found.records}
        assert told.items() <= own.items()


# --- where models do not apply ----------------------------------------------------------------------------------------
