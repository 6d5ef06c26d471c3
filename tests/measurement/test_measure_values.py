import itertools
import math

import pytest
import torch
from torch import nn
from toy import CLASSES, assert_same_numbers, blobs, cut, mlp, numbers, raises

from deepcollapse import Monitor, collect, measure, measure_features
from deepcollapse.errors import OptionError, ShapeError, UnknownNameError
from deepcollapse.geometry import (
    METRICS,
    cdnv,
    effective_rank,
    equinorm,
    linear_decisions,
    look_again,
    maximal_angle,
    nearest_class_mean_accuracy,
    nearest_class_mean_disagreement,
    nearest_class_means,
    self_duality,
    singular_values,
    trace_ratio,
    within_class_variability,
)


def features_by_hand(net: nn.Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    found = {}
    with torch.no_grad():
        for name, layer in net.named_children():
            x = layer(x)
            found[name] = x
    return found | {"head.input": found["3"]}


@pytest.mark.parametrize("sizes", [(), (1, 7, 30), (49,)])
@pytest.mark.parametrize(
    "how", [{"weighting": "class", "centre": "class"}, {"weighting": "sample", "centre": "sample"}]
)
def test_measure_equals_the_pure_functions_on_features_collected_by_hand(sizes, how):
    net, (x, y) = mlp().double(), blobs(50)  # 17, 17 and 16: the two weightings differ
    x = x.double()
    measured = measure(net, cut(x, y, *sizes), layers=["0", "1", "3"], weighting=how["weighting"])
    w, b = net[4].weight.detach().double(), net[4].bias.detach().double()
    for layer in measured.layers:
        h = features_by_hand(net, x)[layer]
        moments = look_again(collect(h, y, CLASSES), [(h, y)], **how)
        nearest = nearest_class_means(h, moments)
        means = moments.centred_means(how["centre"])
        expected = {
            "within_class_variability": within_class_variability(moments, **how),
            "trace_ratio": trace_ratio(moments, **how),
            "cdnv": cdnv(moments),
            "equinorm_means": equinorm(means),
            "maximal_angle_means": maximal_angle(means),
            "effective_rank_features": effective_rank(singular_values(h.double() - h.double().mean(dim=0))),
            "nearest_class_mean_accuracy": nearest_class_mean_accuracy(nearest, y),
        }
        if layer == "head.input":
            expected["self_duality"] = self_duality(w, means)
            expected["nearest_class_mean_disagreement"] = nearest_class_mean_disagreement(
                linear_decisions(h, w, b), nearest
            )
        for measure_name, value in expected.items():
            assert measured[measure_name, layer] == pytest.approx(value.item(), rel=1e-9), (layer, measure_name)
    assert measured["accuracy", "network"] == (net(x).argmax(dim=1) == y).double().mean().item()
    assert measured["equinorm_classifier"] == pytest.approx(equinorm(w).item())


def test_records_say_how_classes_were_weighted():
    x, y = blobs()
    for weighting, centre in itertools.product(("class", "sample"), repeat=2):
        measured = measure(mlp(), [(x, y)], weighting=weighting, centre=centre)
        record = next(r for r in measured.records if r.measure == "within_class_variability")
        assert (record.weighting, record.centre) == (weighting, centre)


def test_a_test_split_is_held_against_the_class_means_of_train():
    net, train, (x, y) = mlp(), blobs(seed=1), blobs(45, seed=2)
    trained = measure(net, [train])
    tested = measure(net, cut(x, y, 20), split="test", means_of=trained)
    h, h_train = features_by_hand(net, x)["3"], features_by_hand(net, train[0])["3"]
    nearest = nearest_class_means(h, collect(h_train, train[1], CLASSES))
    own = nearest_class_means(h, collect(h, y, CLASSES))
    assert not torch.equal(nearest, own)
    assert tested["nearest_class_mean_accuracy"] == (nearest == y).double().mean().item()
    assert {record.split for record in tested.records} == {"test"}


def test_a_test_split_must_fit_the_measurement_of_train():
    net, data = mlp(), blobs()
    trained = measure(net, [data])
    message = (
        "layer '0' was not measured on the training data; its class means are needed here. Measured there: 1, 3, "
        "head.input. Measure both splits with the same layers."
    )
    with raises(OptionError, message):
        measure(net, [data], means_of=trained, layers="0")
    message = (
        "layer '1' has 3 classes and dimension 8 here, and 4 and 8 in means_of. Measure both splits on the same "
        "network with the same reduction."
    )
    with raises(OptionError, message):
        measure(net, [data], means_of=measure(mlp(classes=4), [data]))


def test_measures_are_chosen_by_name_suffix_or_pattern():
    only = lambda *names: {r.measure for r in measure(mlp(), [blobs()], measures=names).records if r.array is None}  # noqa: E731
    facts = only("cdnv") - {"cdnv"}  # sizes, beside whatever was asked for
    assert facts >= {"accuracy", "present_classes", "smallest_class", "largest_class", "dimension"}
    assert not facts & METRICS.keys()
    assert only("equinorm_means") - facts == {"equinorm_means", "equinorm_classifier"}
    assert only("self_duality_cosine*", "cdnv") - facts == {
        "self_duality_cosine_mean", "self_duality_cosine_min", "cdnv",
    }  # fmt: skip
    assert "spectral_quotient" in only("spectral_quotient")  # left out unless it is asked for
    message = "there is no measure 'zzz'. Close names: none. `deepcollapse list measures` shows all of them."
    with raises(UnknownNameError, message):
        only("zzz")
    with pytest.raises(UnknownNameError, match="Close names: equinorm, "):
        only("equinorn")


def test_above_max_scatter_dim_ranks_of_features_are_nan_with_the_reason():
    measured = measure(mlp(), [blobs()], max_scatter_dim=7)
    record = next(r for r in measured.records if r.measure == "effective_rank_features")
    assert math.isnan(record.value)
    assert record.note == "dimension 8 is above max_scatter_dim=7, so no 8 x 8 scatter was kept"
    assert measured.moments["head.input"].scatter is None
    assert measured["within_class_variability"] > 0  # NC1 never needs it
    assert measured["effective_rank_classifier"] > 0


def test_loss_is_the_mean_over_samples_of_the_networks_own_output():
    class LogProbabilities(nn.Sequential):
        def forward(self, x):
            return super().forward(x).log_softmax(dim=1)

    x, y = blobs(61)
    net = LogProbabilities(*mlp())
    measured = measure(net, cut(x, y, 50), loss=nn.functional.nll_loss)
    assert measured["loss", "network"] == pytest.approx(nn.functional.nll_loss(net(x), y).item(), rel=1e-6)
    message = (
        "loss(logits, labels) gave shape (61,); expected the mean over the batch, a single number (reduction='mean')."
    )
    with raises(OptionError, message):
        measure(net, [(x, y)], loss=nn.CrossEntropyLoss(reduction="none"))


def test_features_at_hand_give_what_the_network_gives():
    net, (x, y) = mlp(), blobs()
    h = features_by_hand(net, x)["3"]
    given = measure_features(h, y, num_classes=CLASSES, classifier=net[4].weight, bias=net[4].bias)
    measured = measure(net, [(x, y)], layers=["head.input"])
    expected = {key: value for key, value in numbers(measured).items() if key[1] in ("head", "head.input")}
    found = numbers(given)
    assert found.keys() == expected.keys()
    assert all(found[k] == v or (v != v and found[k] != found[k]) for k, v in expected.items())
    assert given.runs == 0


def test_features_at_hand_of_the_wrong_shape():
    x, y = blobs()
    message = (
        "features have shape (60, 4, 1); expected (samples, dim). Pool or flatten other axes first, for example "
        "features.mean(dim=(2, 3))."
    )
    with raises(ShapeError, message):
        measure_features(x[:, :, None], y, num_classes=CLASSES)
    message = "the classifier has shape (5, 4); expected (num_classes, dim) = (3, 4)."
    with raises(ShapeError, message):
        measure_features(x, y, num_classes=CLASSES, classifier=torch.zeros(5, 4))


def test_laws_over_layers_take_feature_layers_only():
    net, data = mlp(), [blobs()]
    few = measure(net, data, layers=["0", "1", "2"])
    with_logits = measure(net, data, layers=["0", "1", "2", "4"])
    assert with_logits.layers == ("0", "1", "2", "head.input", "4")
    assert with_logits["equi_separation_rho", "all"] == few["equi_separation_rho", "all"]
    # The head's input is the output of "3" over again, and counts once.
    depth = next(r for r in measure(net, data, layers=["1", "2", "3"]).records if r.measure == "effective_depth")
    assert depth.note.startswith(("first of 3 layers", "one past 3 layers"))


def test_a_monitor_and_measure_agree_beyond_one_batch():
    net, batches = mlp().eval(), cut(*blobs(), 16, 16)
    with Monitor(net) as monitor:
        for x, y in batches:
            monitor.labels(y)
            net(x)
    assert_same_numbers(monitor.compute(), measure(net, batches))
