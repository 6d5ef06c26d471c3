import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from deepcollapse.compression.layers import compressible_layers, left_out, replaced, why_not
from deepcollapse.errors import LayerNameError, NonFiniteError
from deepcollapse.networks import build
from deepcollapse.theory.bounds.assumptions import bounded_layers


def test_linear_and_convolutional_layers_are_found_in_order():
    network = build("mlp", num_classes=3, image_shape=(1, 2, 2), width=5, depth=2)
    assert list(compressible_layers(network)) == ["blocks.0.linear", "blocks.1.linear", "head"]
    convolutional = nn.Sequential(
        nn.Conv1d(1, 2, 3), nn.Conv3d(1, 2, 3), nn.ConvTranspose2d(1, 2, 3), nn.Bilinear(2, 2, 2)
    )
    assert list(compressible_layers(convolutional)) == ["0", "1"]


def test_a_shared_module_is_listed_once_and_replaced_everywhere():
    shared = nn.Linear(3, 3)
    network = nn.Sequential(shared, nn.ReLU(), shared)
    assert list(compressible_layers(network)) == ["0"]
    new = nn.Linear(3, 3)
    other = replaced(network, {"0": new})
    assert other[0] is new
    assert other[2] is new
    assert network[0] is shared


def test_the_original_shares_nothing_with_the_copy():
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    other = replaced(network, {"0": nn.Identity()})
    with torch.no_grad():
        other[1].weight.fill_(7)
    assert network[1].weight.tolist() == [1, 1, 1]


def test_the_whole_network_can_be_replaced():
    layer, new = nn.Linear(2, 2), nn.Identity()
    assert list(compressible_layers(layer)) == [""]
    assert replaced(layer, {"": new}) is new


def test_layers_that_cannot_go_say_why():
    tied, empty = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 1), nn.ReLU())
    tied[1].weight = tied[0].weight
    assert why_not(tied, "0") == "its weight is also that of '1'"
    empty[0].weight = nn.Parameter(torch.zeros(1, 0))
    assert why_not(empty, "0") == "its weight is empty"
    parametrised = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)))
    assert why_not(parametrised, "0") == "its weight is made anew in every pass"
    assert compressible_layers(tied) == compressible_layers(empty) == compressible_layers(parametrised) == {}
    with pytest.raises(LayerNameError) as raised:
        compressible_layers(tied, ["1"])
    assert str(raised.value) == "layer '1' cannot be compressed: its weight is also that of '0'."


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_both_sides_leave_the_same_weights_alone_however_they_are_made():
    pruned, lazy = nn.Linear(2, 2), nn.LazyLinear(2)
    prune.l1_unstructured(pruned, "weight", amount=1)
    by_hook = [nn.utils.spectral_norm(nn.Linear(2, 2)), nn.utils.weight_norm(nn.Linear(2, 2)), pruned]
    plain = nn.Linear(2, 2)
    network = nn.Sequential(*by_hook, lazy, plain)
    for name in "012":
        assert why_not(network, name) == "its weight is made anew in every pass"
    assert why_not(network, "3") == "its weight has no shape before a first pass"
    assert compressible_layers(network) == {"4": plain}
    found, left_out = bounded_layers(network)
    assert list(found.values()) == [plain]
    anew = "its weight is made anew in every pass, and decay acts on what it is made of"
    assert left_out == {"0": anew, "1": anew, "2": anew, "3": "its weight has no shape before a first pass"}


def test_a_layer_that_computes_something_else_is_left_alone():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    assert compressible_layers(nn.Sequential(Doubled(2, 2))) == {}


def test_names_may_be_patterns_and_must_match():
    network = build("mlp", num_classes=3, image_shape=(1, 2, 2), width=5, depth=2)
    assert list(compressible_layers(network, ["head", "blocks.*"])) == ["blocks.0.linear", "blocks.1.linear", "head"]
    with pytest.raises(LayerNameError) as raised:
        compressible_layers(network, ["stem"])
    assert str(raised.value) == (
        "no linear or convolutional layer matches 'stem'; there are blocks.0.linear, blocks.1.linear, head."
    )


def test_weights_that_are_no_numbers_are_refused():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[1].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteError) as raised:
        compressible_layers(network)
    assert str(raised.value) == (
        "the weight of layer '1' holds 1 NaN or infinite entries; compress a network that trained without diverging, "
        "or leave the layer out."
    )
    assert list(compressible_layers(network, ["0"])) == ["0"]


def test_layers_that_are_left_out_are_told_with_their_reason():
    network = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8), nn.Linear(4, 2))
    reason = "the {} around it reads its weight without calling it"
    assert left_out(network) == {
        "0.self_attn.out_proj": reason.format("MultiheadAttention"),
        "0.linear1": reason.format("TransformerEncoderLayer"),
        "0.linear2": reason.format("TransformerEncoderLayer"),
    }
    with pytest.raises(LayerNameError) as raised:
        compressible_layers(network, ["0.*"])
    assert str(raised.value) == (
        "layer '0.self_attn.out_proj' cannot be compressed: the MultiheadAttention around it reads its weight without "
        "calling it."
    )
