"""Where a model has nothing to say of a network, it says why and gives no number."""

import math

import pytest
import torch
from measured_optima import BALANCED, COUNTS, features_of, measured, toy

from deepcollapse import measure_features
from deepcollapse.errors import OptionError, SolveError
from deepcollapse.records import MODELS
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.theory.predictions.beside import beside, predictions
from deepcollapse.theory.predictions.predicted import PREDICTORS
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.reduced.groups import Groups
from unchecked import shapes_unchecked


def notes(found, **how):
    told = [row for row in predictions(found, **how) if row.value is None]
    assert all((row.layer, row.measure) == ("network", "optimality_gap") for row in told)
    return {row.baseline: row.note for row in told}


def test_unconstrained_features_need_a_decay():
    reason = (
        "the unconstrained-features model needs the weight decay that was trained with, above 0 and part of the "
        "loss's gradient (as in SGD and Adam); "
    )
    assert notes(toy()) == {UNCONSTRAINED: reason + "none was given."}
    assert notes(toy(), weight_decay=0.0) == {UNCONSTRAINED: reason + "got 0."}
    assert notes(toy(), weight_decay=1e-3) == {}


@pytest.mark.parametrize("counts", [BALANCED, COUNTS])
def test_decays_past_which_all_zero_is_optimal_are_told(counts):
    told = {(r.baseline, r.measure): r for r in predictions(toy(counts), weight_decay=50.0)}
    assert told[UNCONSTRAINED, "weight_budget"].value == 0
    assert "zero classifier and features are optimal, because the decays charge " in str(
        told[UNCONSTRAINED, "optimality_gap"].note
    )


def test_the_squared_error_on_imbalanced_classes_is_nobodys():
    told = notes(toy(COUNTS), loss="mse", weight_decay=1e-3)
    assert set(told) == set(MODELS)
    assert told[UNCONSTRAINED] == (
        "for the squared error the unconstrained-features model is known for balanced classes only; these are not."
    )


def test_more_classes_than_dimensions_are_nobodys():
    assert notes(toy(dim=2), weight_decay=1e-3)[SELI] == (
        "SELI needs as many dimensions as classes less one; here are 4 classes in 2 dimensions."
    )
    assert set(notes(toy(dim=2), weight_decay=1e-3)) == set(MODELS)
    assert notes(toy(dim=3), weight_decay=1e-3) == {}


def test_a_failed_solve_gives_a_note_and_no_number(monkeypatch):
    def failing(setting):
        raise SolveError("the reduced program stopped 0.3 above its bound.")

    monkeypatch.setitem(PREDICTORS, LAYER_PEELED, failing)
    table = beside(toy((12, 12, 4, 4)))
    assert table[LAYER_PEELED].isna().all()
    assert table[SELI].notna().all()
    assert table.attrs["notes"][LAYER_PEELED] == "the reduced program stopped 0.3 above its bound."


def test_absent_classes_are_left_out():
    generator = torch.Generator().manual_seed(0)
    counts = (9, 0, 3, 3)
    x, y = features_of(torch.randn(4, 6, generator=generator, dtype=torch.float64), counts)
    head = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    found = measure_features(x, y, num_classes=4, classifier=head)
    told = predictions(found)
    gaps = {row.baseline: row.note for row in told if row.measure == "optimality_gap"}
    assert gaps[SELI] == "given class_ratio 3; classes without samples left out: 1"
    assert gaps[LAYER_PEELED].endswith("; classes without samples left out: 1")
    # The measured classifier has a row for the absent class, the predicted one has not.
    assert {row.measure for row in told if row.layer == "head"} == set()
    assert {row.measure for row in told if row.layer == "head.input"} > {"equinorm_means", "self_duality"}


@pytest.mark.parametrize("counts", [(6, 6), (9, 3)])
def test_two_classes(counts):
    table = beside(toy(counts), weight_decay=1e-3).set_index("measure")
    assert table.loc["equinorm_means", list(MODELS)].abs().max() < 1e-12
    assert table.attrs["notes"].keys() == set(MODELS)


def test_erased_classes_have_no_angle():
    classifier, classes = LayerPeeled(Groups.two(2, 2, 3.0), 1.0, 5.0).optimum().factors()
    found = measured(0.01 * classifier, classes, (6, 6, 2, 2))
    table = beside(found).set_index("measure")
    assert table.loc["minority_norm_ratio_classifier", LAYER_PEELED] == 0
    assert math.isnan(table.loc["minority_angle_mean_classifier", LAYER_PEELED])


def test_without_a_head_or_budgets_there_is_nothing_to_predict():
    x, y = features_of(torch.eye(3, dtype=torch.float64), (4, 4, 4))
    found = measure_features(x, y, num_classes=3)
    assert predictions(found) == []
    with pytest.raises(OptionError) as error:
        beside(found)
    assert str(error.value) == (
        "predictions need the head's weight_budget and feature_budget, both above 0; got nan and 0.666667. "
        "Measure a network with its head, these two among the measures."
    )
    assert predictions(measure_features(x, y, num_classes=3, classifier=torch.eye(3), measures=["cdnv"])) == []


def test_many_different_counts_are_taken_together_and_that_is_said():
    counts = tuple(range(80, 20, -1))
    told = {row.baseline: row for row in predictions(toy(counts, dim=64)) if row.measure == "optimality_gap"}
    assert "class counts taken as 39 different ones, each within 3% of its own" in told[SELI].note


@pytest.mark.parametrize("ask", [beside, predictions])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "MSE"}, "theory knows the losses 'cross-entropy' and 'mse'; got 'MSE'."),
        ({"weight_decay": -1.0}, "weight_decay is the optimiser's, a finite number of 0 or more; got -1."),
        ({"weight_decay": math.nan}, "weight_decay is the optimiser's, a finite number of 0 or more; got nan."),
    ],
)
def test_a_training_that_no_model_knows_is_refused(ask, given, message):
    with shapes_unchecked(), pytest.raises(OptionError) as error:
        ask(toy(BALANCED), **given)
    assert str(error.value) == message
