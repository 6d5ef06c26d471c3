from dataclasses import replace

import pytest
from scipy.stats import spearmanr

import deepcollapse.training.loop
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.compression.over_decays import decay_sweep
from deepcollapse.compression.score import hits
from deepcollapse.datasets import load
from deepcollapse.errors import DataFileError, OptionError
from deepcollapse.measurement import measure
from deepcollapse.networks import load_weights
from deepcollapse.records import Run
from deepcollapse.training import Recipe
from deepcollapse.training.data import prepare
from deepcollapse.training.loop import build_network

DECAYS = (0.0, 5e-3, 1e-2, 2e-2, 3e-2)
RECIPE = Recipe(
    epochs=60, width=48, depth=3, per_class=40, rate=0.1, batch=64, measurements=2, parameters=("batch_norm=false",)
)


@pytest.fixture(scope="module", autouse=True)
def all_measures():
    """Training measures everything, whatever other folders' tests have cut it down to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deepcollapse.training.loop, "measure", measure)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("sweep")


@pytest.fixture(scope="module")
def points(folder):
    return decay_sweep(RECIPE, DECAYS, folder, device="cpu", threads=1)


def accuracy_cut(point, ranks):
    """Test accuracy of a run's network with its layers cut to these ranks."""
    recipe = Recipe.from_mapping(Run.open(point.run).recipe)
    splits = prepare(recipe)
    network = load_weights(build_network(recipe, splits), point.run)
    return float(hits(truncate(network, ranks, how="weights").network, splits.test.batches(512))[0].double().mean())


def test_rank_falls_with_decay_together_with_variability(points):
    decays = [point.decay for point in points]
    for name in ("effective_rank", "cluster_variation"):
        assert spearmanr(decays, [getattr(point, name) for point in points]).statistic <= -0.8, name
    assert points[-1].rank <= 0.7 * points[0].rank
    assert points[-1].effective_rank <= 0.5 * points[0].effective_rank
    together = spearmanr([p.effective_rank for p in points], [p.cluster_variation for p in points]).statistic
    assert together >= 0.8


def test_cut_to_the_rank_that_is_left_accuracy_stays(points):
    for point in points:
        assert point.truncated_accuracy >= point.accuracy - 0.005
        assert point.truncated_accuracy == accuracy_cut(point, point.ranks)


def test_a_cut_to_rank_nine_costs_little_with_decay_and_much_without(points):
    lost = [point.accuracy - accuracy_cut(point, {"blocks.*": 9}) for point in points]
    assert lost[-1] <= 0.01
    assert lost[0] >= 0.05


def test_ranks_are_those_of_the_weights(points):
    recipe = Recipe.from_mapping(Run.open(points[-1].run).recipe)
    network = load_weights(build_network(recipe, prepare(recipe)), points[-1].run)
    assert list(points[-1].ranks) == list(compressible_layers(network))
    rows = Run.open(points[-1].run).records()
    rows = rows[(rows.measure == "rank_at_one_percent_weight") & rows.baseline.isna()]
    told = rows[rows.epoch == rows.epoch.max()].set_index("layer")["value"]
    for name, rank in points[-1].ranks.items():
        if name != "head":
            assert told[name] == rank


def test_what_is_there_is_not_trained_again(points, folder):
    before = {point.run: (point.run / "weights.safetensors").stat().st_mtime_ns for point in points}
    rows = {point.run: len(Run.open(point.run).records()) for point in points}
    again = decay_sweep(RECIPE, DECAYS[:2], folder, device="cpu", threads=1)
    assert again == points[:2]
    for point in again:
        assert (point.run / "weights.safetensors").stat().st_mtime_ns == before[point.run]
        assert len(Run.open(point.run).records()) == rows[point.run]


def test_no_decay_and_the_same_twice_are_refused(folder):
    for decays, told in (((), "none"), ((0.1, 0.1), "0.1, 0.1")):
        with pytest.raises(OptionError) as raised:
            decay_sweep(RECIPE, decays, folder)
        assert str(raised.value) == f"a sweep takes one or more different weight decays; got {told}."


@pytest.mark.slow
def test_the_same_on_mnist(tmp_path):
    try:
        load("mnist", "train")
    except DataFileError:
        pytest.skip("MNIST is not on this machine")
    recipe = replace(RECIPE, dataset="mnist", per_class=100, test_per_class=200, width=64, epochs=40)
    points = decay_sweep(recipe, DECAYS, tmp_path, device="cpu", threads=1)
    decays = [point.decay for point in points]
    for name in ("effective_rank", "cluster_variation"):
        assert spearmanr(decays, [getattr(point, name) for point in points]).statistic <= -0.8, name
    assert all(point.truncated_accuracy >= point.accuracy - 0.005 for point in points)
