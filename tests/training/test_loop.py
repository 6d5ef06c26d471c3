import json
import math

import pytest
import torch
from safetensors.torch import load_file
from small import SMALL, Stop, files_of, series, small
from torch.nn import functional

from deepcollapse.networks import load_weights
from deepcollapse.records import Run
from deepcollapse.training import Watcher, prepare, train
from deepcollapse.training.loop import build_network


@pytest.fixture(scope="module")
def run(whole):
    return Run.open(whole)


def test_every_epoch_has_accuracy_and_loss_of_both_splits(run):
    for split in ("train", "test"):
        for measure in ("accuracy", "loss"):
            assert sorted(series(run, measure, split=split)) == list(range(10))
    assert all(0 <= value <= 1 for value in series(run, "accuracy", split="test").values())


def test_one_row_is_one_fact(run):
    rows = run.records()
    key = ["epoch", "split", "layer", "measure", "baseline"]
    assert not rows[rows.array.isna()].duplicated(key).any()


def test_epochs_are_measured_on_schedule_and_at_the_onset(run):
    assert SMALL.measured_epochs() == (0, 1, 3, 9)
    for split in ("train", "test"):
        assert sorted(series(run, "nearest_class_mean_disagreement", "head.input", split)) == [0, 1, 3, 5, 9]
    assert set(series(run, "within_class_variability", "head.input")) == {0, 1, 3, 5, 9}


def test_the_terminal_phase_begins_at_the_first_epoch_that_reaches_the_threshold(run):
    accuracy = series(run, "accuracy")
    assert series(run, "tpt_onset") == {5: 5.0}
    assert series(run, "tpt_onset_strict") == {6: 6.0}
    assert min(epoch for epoch, value in accuracy.items() if value >= 0.98) == 5
    assert min(epoch for epoch, value in accuracy.items() if value == 1) == 6
    notes = run.records().set_index("measure").note
    assert notes["tpt_onset"] == "first epoch with a training accuracy of at least 98 % in eval mode"
    assert notes["tpt_onset_strict"] == "first epoch with a training accuracy of at least 100 % in eval mode"


def test_a_run_that_never_gets_there_has_no_onset(tmp_path):
    run = train(small(epochs=1), tmp_path / "run")
    assert series(run, "tpt_onset") == series(run, "tpt_onset_strict") == {}
    assert not (run.path / "weights-tpt-onset.safetensors").exists()


def network_with(run, name):
    splits = prepare(SMALL)
    network = load_weights(build_network(SMALL, splits), run.path / name)
    return network.eval(), splits


@pytest.mark.parametrize(("name", "epoch"), [("weights.safetensors", 9), ("weights-tpt-onset.safetensors", 5)])
def test_the_weights_reproduce_the_recorded_scores(run, name, epoch):
    network, splits = network_with(run, name)
    for split, data in (("train", splits.train), ("test", splits.test)):
        x, y = next(iter(data.batches(len(data))))
        with torch.no_grad():
            logits = network(x)
        assert series(run, "accuracy", split=split)[epoch] == (logits.argmax(1) == y).double().mean()
        # float32 logits, batched otherwise: 1e-5 is what they carry
        assert series(run, "loss", split=split)[epoch] == pytest.approx(
            float(functional.cross_entropy(logits, y)), 1e-5
        )


def test_scores_are_the_same_with_and_without_a_measurement(tmp_path, run):
    # Measured at other epochs, so that measure() and the plain pass swap places.
    other = train(small(measurements=2), tmp_path / "run")
    for split in ("train", "test"):
        assert series(other, "accuracy", split=split) == series(run, "accuracy", split=split)
        assert series(other, "loss", split=split) == pytest.approx(series(run, "loss", split=split), rel=1e-6)


def test_measuring_does_not_change_training(tmp_path, run):
    often = train(small(measurements=40), tmp_path / "run")
    assert sorted(series(often, "within_class_variability", "head.input")) == list(range(10))
    assert (often.path / "weights.safetensors").read_bytes() == (run.path / "weights.safetensors").read_bytes()


def test_two_runs_of_one_seed_are_the_same_and_of_two_seeds_are_not(tmp_path, whole):
    assert files_of(train(SMALL, tmp_path / "again" / "run").path) == files_of(whole)
    other = train(small(seed=1), tmp_path / "other").path
    assert (other / "weights.safetensors").read_bytes() != (whole / "weights.safetensors").read_bytes()
    digests = [json.loads((p / "provenance.json").read_text())["data_digest"]["train"] for p in (other, whole)]
    assert digests[0] != digests[1]  # the draw of 20 samples a class follows the seed as well


def test_the_learning_rate_drops_where_the_recipe_says(run):
    rates = series(run, "learning_rate", split=None)
    assert rates == {epoch: pytest.approx(0.05 if epoch <= 6 else 0.005) for epoch in range(10)}


def test_the_rate_that_is_recorded_is_the_one_that_is_used(tmp_path):
    # After the drop steps are nil, so the weights stand still.
    recipe = small(epochs=4, drops=(0.5,), drop_factor=1e-30, measurements=40, layers=("head.input",))
    run = train(recipe, tmp_path / "run")
    nc1 = series(run, "mean_norm_classifier", "head", split=None)
    assert nc1[1] != nc1[2] == nc1[3] == nc1[4]


def test_the_penalty_of_weight_decay_is_recorded(run):
    network, _ = network_with(run, "weights.safetensors")
    penalty = SMALL.decay / 2 * sum(float(p.detach().double().square().sum()) for p in network.parameters())
    assert series(run, "loss_with_decay")[9] == pytest.approx(series(run, "loss")[9] + penalty, rel=1e-12)


def test_baselines_stand_beside_the_last_epoch_alone(run):
    rows = run.records()
    with_baseline = rows[rows.baseline.notna()]
    assert set(with_baseline.epoch) == {9}
    assert set(with_baseline.baseline) == {"untrained", "shuffled labels"}
    nc1 = with_baseline[(with_baseline.measure == "within_class_variability") & (with_baseline.layer == "head.input")]
    assert (nc1.value > 5 * series(run, "within_class_variability", "head.input")[9]).all()


def test_provenance_says_what_was_trained_on(run):
    provenance, splits = run.provenance, prepare(SMALL)
    assert provenance["class_names"] == list("0123456789")
    assert provenance["data_digest"] == {"train": splits.train.digest, "test": splits.test.digest}
    assert provenance["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert provenance["seed"] == 0
    assert provenance["threads"] == 1
    assert provenance["train_note"].startswith("20 samples of each class, seed 0")
    assert provenance["test_note"] is None


def test_whoever_watches_is_told_every_epoch(tmp_path):
    told = []

    class Look(Watcher):
        def start(self, seconds, run, done):
            told.append((seconds > 0, run.path, done))

        def epoch(self, report):
            told.append((report.epoch, report.tpt_onset, report.measurement is not None))

    with pytest.raises(KeyboardInterrupt):
        train(SMALL, tmp_path / "run", watcher=Stop(4))
    train(SMALL, tmp_path / "run", resume=True, watcher=Look())
    assert told[0] == (True, tmp_path / "run", 3)
    assert told[1:] == [(4, None, False), (5, 5, True), (6, 5, False), (7, 5, False), (8, 5, False), (9, 5, True)]


@pytest.mark.parametrize(
    "changes",
    [{"loss": "mse", "rate": 0.3}, {"optimiser": "adam", "rate": 3e-3}, {"optimiser": "adamw", "rate": 3e-3}],
)
def test_every_loss_and_optimiser_learns(changes, tmp_path):
    run = train(small(**changes), tmp_path / "run")
    assert series(run, "accuracy")[9] > 0.9
    loss = series(run, "loss")
    assert loss[9] < loss[0] / 2
    units = set(run.records().query("measure == 'loss'").unit)
    assert units == ({"1"} if "loss" in changes else {"nat"})


def test_mean_squared_error_is_recorded_as_such(tmp_path):
    recipe = small(loss="mse", epochs=1)
    run = train(recipe, tmp_path / "run")
    splits = prepare(recipe)
    network = load_weights(build_network(recipe, splits), run.path).eval()
    x, y = next(iter(splits.train.batches(1000)))
    expected = (network(x) - torch.eye(10)[y]).square().mean().item()
    assert series(run, "loss")[1] == pytest.approx(expected, rel=1e-5)


def test_layers_and_weighting_are_the_recipes(tmp_path):
    run = train(small(epochs=1, layers=("blocks.1", "input"), weighting="sample"), tmp_path / "run")
    rows = run.records()
    nc1 = rows[(rows.measure == "within_class_variability") & rows.baseline.isna()]
    assert set(nc1.layer) == {"blocks.1", "input", "head.input"}
    assert set(nc1.weighting) == {"sample"}


def test_weights_are_safetensors_on_the_cpu(run):
    state = load_file(run.path / "weights.safetensors")
    assert "head.weight" in state
    assert all(math.isfinite(float(t.float().sum())) for t in state.values())


def test_a_network_that_comes_in_eval_mode_is_trained_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n"
        "def net(num_classes):\n"
        "    layers = nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, num_classes)\n"
        "    return nn.Sequential(*layers).eval()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    recipe = small(network="own_nets:net", width=None, depth=None, epochs=1, layers=("3",))
    run = train(recipe, tmp_path / "run")
    assert load_file(run.path / "weights.safetensors")["2.num_batches_tracked"] == 7  # 200 samples in batches of 32
