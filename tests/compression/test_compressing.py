import pytest
import torch
from torch import nn

from deepcollapse.compression.coded_layers import CodedLayer
from deepcollapse.compression.compressing import compress
from deepcollapse.compression.files import file_of
from deepcollapse.compression.layers import compressible_layers
from deepcollapse.compression.score import hits
from deepcollapse.compression.sizes import footprint
from deepcollapse.compression.target import Target
from deepcollapse.errors import BatchError, NonFiniteError, OptionError


def accuracy(network, batches):
    return float(hits(network, batches)[0].double().mean())


def test_low_rank_keeps_accuracy_and_takes_fewer_bytes(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target="accuracy-drop=1%")
    assert found.met
    assert accuracy(found.network, digits["test"]) >= accuracy(trained, digits["test"]) - 0.01
    assert found.after.stored_bytes == len(file_of(found.network, found.names)) < 0.6 * found.before.stored_bytes
    assert found.before.stored_bytes == len(file_of(trained))
    taken = footprint(found.network, digits["train"][0][0])
    assert (found.after.parameters, found.after.multiply_adds) == (taken.parameters, taken.multiply_adds)
    assert {layer.name for layer in found.layers} <= set(compressible_layers(trained))
    assert all(layer.after.parameters < layer.before.parameters for layer in found.layers)


def test_for_a_size_the_most_accurate_that_fits_is_taken(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target=Target(size=0.3))
    assert found.met
    assert found.after.stored_bytes <= 0.3 * found.before.stored_bytes
    fitting = [one.accuracy for one in found.candidates if one.stored_bytes <= 0.3 * found.before.stored_bytes]
    assert found.chosen.accuracy == max(fitting)


@pytest.mark.parametrize("method", ["coded", "hac", "shac", "delta", "delta-huffman"])
def test_coded_weights_take_few_values_and_the_form_asked_for(trained, digits, method):
    found = compress(
        trained,
        digits["train"],
        digits["test"],
        target=Target(size=0.1),
        method=method,
        values=8,
        fine_tune=1,
        rate=0.05,
    )
    assert found.met
    coded = [module for module in found.network.modules() if isinstance(module, CodedLayer)]
    assert coded
    assert all(len(layer.weight.unique()) <= 9 for layer in coded)
    if method != "coded":
        assert {layer.container.form for layer in coded} == {method}
    assert accuracy(found.network, digits["test"]) > 0.9


def test_factors_can_be_coded(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target="size=8%", method="low-rank+coded", rate=0.05)
    assert found.met
    assert any("rank" in layer.what and "not zero" in layer.what for layer in found.layers)


def test_ternary_weights_take_three_values_a_layer(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target="size=10%", method="ternary", seconds=1.0)
    assert found.met
    coded = [module for module in found.network.modules() if isinstance(module, CodedLayer)]
    for layer in coded:
        values = layer.weight.unique()
        assert len(values) <= 3
        assert torch.equal(values, -values.flip(0))
    assert accuracy(found.network, digits["test"]) > 0.8


def test_the_network_given_stays_as_it_is(trained, digits):
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    compress(trained, digits["train"], digits["test"], target="size=20%", method="coded")
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert not trained.training


def test_where_nothing_keeps_to_the_target_the_network_comes_back_as_it_was(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target="size=0.01%")
    assert not found.met
    assert found.setting == "as it was"
    assert found.layers == ()
    assert found.before == found.after
    assert found.network is not trained
    assert all(torch.equal(a, b) for a, b in zip(found.network.parameters(), trained.parameters(), strict=True))


def test_only_the_layers_named_change(trained, digits):
    found = compress(trained, digits["train"], digits["test"], target="accuracy-drop=5%", layers=["3"])
    assert [layer.name for layer in found.layers] == ["3"]
    assert [plan.name for plan in found.plan] == ["3"]


def test_a_convolutional_network_with_a_head_without_bias(digits):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 9, 10, bias=False),
    )  # fmt: skip
    found = compress(network, digits["train"][:2], digits["test"][:1], target="size=50%")
    assert found.met
    assert found.network[5][1].bias is None if isinstance(found.network[5], nn.Sequential) else True
    assert found.network(digits["test"][0][0]).shape == (128, 10)


def test_every_network_that_was_tried_is_told_at_once(trained, digits):
    seen = []
    found = compress(trained, digits["train"], digits["test"], target="size=50%", watch=seen.append)
    assert tuple(seen) == (found.original, *found.candidates)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (
            {"method": "lowrank"},
            "there is no method 'lowrank'; choose low-rank, coded, hac, shac, delta, delta-huffman, ternary, or "
            "several joined by +.",
        ),
        (
            {"method": "coded+low-rank"},
            "of several methods only the last may code weights, and none comes twice; got coded+low-rank.",
        ),
        (
            {"method": "low-rank+low-rank"},
            "of several methods only the last may code weights, and none comes twice; got low-rank+low-rank.",
        ),
    ],
)
def test_methods_that_there_are_not(trained, digits, how, message):
    with pytest.raises(OptionError) as raised:
        compress(trained, digits["train"], digits["test"], **how)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"values": 0}, "values must be at least 1; got 0."),
        ({"fine_tune": -1}, "fine_tune must be at least 0; got -1."),
        ({"rate": float("nan")}, "rate must be above 0 and finite; got nan."),
        ({"seconds": 0.0}, "seconds must be above 0 and finite; got 0.0."),
    ],
)
def test_settings_are_checked_whatever_the_method(trained, digits, how, message):
    with pytest.raises(OptionError) as raised:
        compress(trained, digits["train"], digits["test"], **how)
    assert str(raised.value) == message


def test_batches_that_run_once_are_refused(trained, digits):
    with pytest.raises(BatchError) as raised:
        compress(trained, iter(digits["train"]), digits["test"])
    assert str(raised.value) == "the batches of train run once, and are needed again. Pass a list or a data loader."
    with pytest.raises(BatchError) as raised:
        compress(trained, [], digits["test"])
    assert str(raised.value) == "there is no sample in the training batches. Is the data loader empty?"


def test_a_diverged_network_is_refused(digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with torch.no_grad():
        network[1].weight[0, 0] = torch.inf
    with pytest.raises(NonFiniteError) as raised:
        compress(network, digits["train"], digits["test"])
    assert "the weight of layer '1' holds 1 NaN or infinite entries" in str(raised.value)
