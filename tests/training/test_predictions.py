"""What theory's models predict stands in the records of a run, beside its last epoch."""

from functools import partial

import pytest
from small import files_of, series, small

import deepcollapse.training.loop
from deepcollapse.errors import SolveError
from deepcollapse.measurement import measure
from deepcollapse.records import MODELS, Run
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.theory.predictions.of_run import budgets_of
from deepcollapse.theory.predictions.predicted import PREDICTORS
from deepcollapse.training import train

# Three small classes of ten, of 4 samples each.
STEP = small(imbalance="step", ratio=5.0, minority=3, epochs=2, measurements=2)


@pytest.fixture(autouse=True, scope="module")
def budgets_too(few_measures):
    """Measures that predictions need, and some that they are for."""
    names = ["weight_budget", "feature_budget", "minority_*", "equinorm", "self_duality", "nearest_class_mean_*"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepcollapse.training.loop, "measure", partial(measure, measures=names))
        yield


@pytest.fixture(scope="module")
def imbalanced(tmp_path_factory):
    return train(STEP, tmp_path_factory.mktemp("runs") / "run", threads=1)


def test_a_resumed_run_has_the_same_rows(imbalanced, broken_off):
    folder = broken_off(1, STEP)
    assert files_of(train(STEP, folder, resume=True).path) == files_of(imbalanced.path)


def test_without_the_budgets_nothing_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setattr(deepcollapse.training.loop, "measure", partial(measure, measures=["equinorm"]))
    run = train(small(epochs=1, measurements=2), tmp_path / "run")
    assert not run.records().baseline.isin(MODELS).any()


def told(run, measure, layer):
    """The prediction of each model, and what was measured, at the last epoch."""
    rows = run.records().query("measure == @measure and layer == @layer and split == 'train' and array.isna()")
    rows = rows[rows.epoch == rows.epoch.max()].fillna({"baseline": "measured"})
    return dict(zip(rows.baseline, rows.value, strict=True))


def test_each_model_predicts_the_minority_angle_beside_the_measured_one(imbalanced):
    found = told(imbalanced, "minority_angle_mean_classifier", "head")
    assert set(found) >= {"measured", *MODELS}
    assert -1 / 9 < found[SELI] < 1
    assert found[LAYER_PEELED] != found[SELI] != found[UNCONSTRAINED]


def test_parameters_are_estimated_from_the_run(imbalanced):
    weights, features = told(imbalanced, "weight_budget", "head"), told(imbalanced, "feature_budget", "head.input")
    given = {name: told(imbalanced, name, "network") for name in ("weight_budget", "feature_budget", "class_ratio")}
    assert given["weight_budget"] == {LAYER_PEELED: weights["measured"]}
    assert given["feature_budget"] == {LAYER_PEELED: features["measured"]}
    assert given["class_ratio"] == {LAYER_PEELED: 5.0, SELI: 5.0}
    assert told(imbalanced, "weight_decay", "network") == {UNCONSTRAINED: 5e-3}
    assert budgets_of(imbalanced)["weight_budget"] == weights["measured"]
    assert budgets_of(imbalanced).keys() == {"weight_budget", "feature_budget", "weight_decay", "feature_decay"}


def test_the_loss_is_predicted_and_what_was_measured_is_still_one_row(imbalanced):
    found = told(imbalanced, "loss", "network")
    assert set(found) == {"measured", LAYER_PEELED, UNCONSTRAINED}
    rows = imbalanced.records()
    assert not rows[rows.array.isna()].duplicated(["epoch", "split", "layer", "measure", "baseline"]).any()
    assert series(imbalanced, "loss")[2] == found["measured"]


def test_predictions_are_of_training_data_at_the_last_epoch(imbalanced):
    rows = imbalanced.records()
    rows = rows[rows.baseline.isin(MODELS)]
    assert set(rows.epoch) == {2}
    assert set(rows.split) == {"train"}
    assert set(rows.layer) == {"network", "head", "head.input"}


def test_the_squared_error_is_left_to_the_model_that_knows_it(tmp_path):
    run = train(small(loss="mse", rate=0.3, epochs=1, measurements=2), tmp_path / "run")
    notes = run.records().query("measure == 'optimality_gap'").set_index("baseline").note
    assert "was trained with the squared error" in notes[LAYER_PEELED]
    # C decay / 2, since the error is averaged over the ten outputs
    assert told(run, "weight_decay", "network") == {UNCONSTRAINED: pytest.approx(10 * 5e-3 / 2)}
    assert set(told(run, "loss", "network")) == {"measured", UNCONSTRAINED}


def test_decay_apart_from_the_gradient_is_none_of_the_models(tmp_path):
    run = train(small(optimiser="adamw", rate=3e-3, epochs=1, measurements=2), tmp_path / "run")
    notes = run.records().query("measure == 'optimality_gap'").set_index("baseline").note
    assert notes[UNCONSTRAINED].endswith("part of the loss's gradient (as in SGD and Adam); none was given.")
    assert notes[SELI] == "given class_ratio 1"


def test_a_model_that_fails_spoils_no_run(tmp_path, monkeypatch):
    def failing(setting):
        raise SolveError("no solution.")

    for model in MODELS:
        monkeypatch.setitem(PREDICTORS, model, failing)
    run = train(small(epochs=1, measurements=2), tmp_path / "run")
    rows = Run.open(run.path).records()
    theirs = rows[rows.baseline.isin(MODELS)]
    assert theirs.value.isna().all()
    assert set(theirs.note) == {"no solution."}
    assert (run.path / "weights.safetensors").exists()
