"""The bounds over a network: streamed in any batches as if at once, positions as groups, and assumptions by name."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from deepcollapse.errors import BatchError, OptionError
from deepcollapse.theory.bounds.of_network import DECOUPLED, rank_collapse_bounds
from deepcollapse.theory.bounds.rank_collapse import rank_collapse

CE = functional.cross_entropy


def mse(logits, labels):
    return functional.mse_loss(logits, functional.one_hot(labels, logits.shape[1]).to(logits.dtype))


def data(n=30, shape=(5,), classes=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, *shape, generator=g).double(), torch.randint(classes, (n,), generator=g)


def net(*layers, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(*layers).double()


def mlp(*between):
    torch.manual_seed(0)
    return net(nn.Linear(5, 8), *between, nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def same(found, expected):
    for name in ("groups", "rows", "distance", "bound_cross", "bound_spectral", "bound_product", "bound_variability",
                 "bound_alignment", "relative_bound", "stationarity_residual", "input_variation"):  # fmt: skip
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9), name


def captured(network, layer, x, y, loss):
    """Inputs and signals of a layer for all samples at once, by autograd on an output put in by hand."""
    kept = {}

    def hook(_, args, output):
        kept["inputs"] = args[0].detach()
        kept["output"] = output
        output.retain_grad()

    handle = layer.register_forward_hook(hook)
    loss(network(x), y).backward()
    handle.remove()
    network.zero_grad()
    return kept["inputs"], kept["output"].grad


@pytest.mark.parametrize("loss", [CE, mse])
@pytest.mark.parametrize("size", [30, 7, 1])
def test_batches_of_any_size_give_what_all_rows_at_once_give(loss, size):
    network, (x, y) = mlp(), data()
    found = rank_collapse_bounds(network, list(zip(x.split(size), y.split(size), strict=True)), loss, 0.01)
    assert found.samples == 30
    assert list(found.layers) == ["0", "2", "head"]
    for name, layer in (("0", network[0]), ("2", network[2])):
        same(found.layers[name], rank_collapse(layer.weight, *captured(network, layer, x, y, loss), y, 0.01))


def test_the_order_of_batches_does_not_matter_and_a_partition_of_ones_own_is_taken():
    network, (x, y) = mlp(), data()
    modes = torch.arange(30) % 4 + 7
    found = rank_collapse_bounds(network, [(x[:20], y[:20]), (x[20:], y[20:])], CE, 0.01, groups=modes)
    assert (found.partition, found.layers["0"].groups) == ("given groups", 4)
    inputs, signals = captured(network, network[0], x, y, CE)
    same(found.layers["0"], rank_collapse(network[0].weight, inputs, signals, modes, 0.01))
    turned = torch.arange(29, -1, -1)
    shuffled = rank_collapse_bounds(network, [(x[turned], y[turned])], CE, 0.01, groups=modes[turned])
    same(shuffled.layers["0"], found.layers["0"])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 14, 2, stride=2),
        nn.Conv2d(4, 14, 3, stride=2, padding=1, padding_mode="circular"),
        nn.Conv2d(4, 14, 3, padding="same", dilation=3),
    ],
)
def test_a_convolution_has_a_group_for_each_class_and_position(layer):
    size = 4 if layer.stride == (2, 2) else 2
    network = net(layer, nn.Tanh(), nn.Flatten(), nn.Linear(14 * 4, 3))
    x, y = data(20, (4, size, size))
    found = rank_collapse_bounds(network, [(x[:9], y[:9]), (x[9:], y[9:])], CE, 0.01)
    assert (found.positions["0"], found.layers["0"].groups) == (4, 12)
    assert found.layers["0"].shape == (14, layer.weight[0].numel())
    inputs, signals = captured(network, layer, x, y, CE)
    signals = signals.permute(0, 2, 3, 1).reshape(80, 14)
    edges = layer._reversed_padding_repeated_twice
    padded = functional.pad(inputs, edges, mode="circular" if layer.padding_mode == "circular" else "constant")
    rows = functional.unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride).transpose(1, 2).reshape(80, -1)
    groups = (y[:, None] * 4 + torch.arange(4)).flatten()
    weight = layer.weight.flatten(1)
    same(found.layers["0"], rank_collapse(weight, rows, signals, groups, 0.01))


def test_more_positions_than_the_smaller_side_are_trivially_true_without_a_pass():
    network = net(nn.Conv1d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 6, 3))
    x, y = data(8, (2, 6))
    reads = []

    class Counted(list):
        def __iter__(self):
            for pair in super().__iter__():
                reads.append(1)
                yield pair

    found = rank_collapse_bounds(network, Counted([(x[:4], y[:4]), (x[4:], y[4:])]), CE, 0.01)
    assert found.layers["0"].assumptions == ("trivially true: with 18 groups no rank of 4 x 6 lies above",)
    assert (found.layers["0"].distance, len(reads), found.samples) == (0.0, 1, 0)


def test_a_layer_called_twice_has_groups_of_its_own_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.turn, self.head = nn.Linear(9, 9), nn.Linear(9, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.turn(torch.tanh(self.turn(x)))))

    torch.manual_seed(0)
    network, (x, y) = Twice().double(), data(20, (9,))
    found = rank_collapse_bounds(network, [(x, y)], CE, 0.01).layers["turn"]
    first = torch.tanh(network.turn(x))
    clone = copy.deepcopy(network.turn)
    both = [captured(nn.Sequential(clone, nn.Tanh(), network.turn, nn.Tanh(), network.head), at, x, y, CE)
            for at in (clone, network.turn)]  # fmt: skip
    torch.testing.assert_close(both[1][0], first)
    inputs, signals = (torch.cat(parts) for parts in zip(*both, strict=True))
    same(found, rank_collapse(network.turn.weight, inputs, signals, torch.cat([2 * y, 2 * y + 1]), 0.01))
    assert found.assumptions[0] == "called 2 times a pass, each with groups of its own"


def test_a_layer_before_a_normalisation_has_no_stationary_point_and_no_bound():
    network, (x, y) = mlp(nn.BatchNorm1d(8)), data()
    found = rank_collapse_bounds(network, [(x, y)], CE, 0.01).layers["0"]
    reason = "scale-invariant, so that decay leaves no stationary point: its output goes into BatchNorm1d '1'"
    assert found.assumptions[0] == reason
    assert math.isnan(found.bound_cross)
    assert math.isnan(found.bound_variability)
    assert found.distance <= found.bound_alignment
    assert found.stationarity_residual > 0


def test_scale_invariance_is_seen_by_numbers_where_the_layers_do_not_show_it():
    class Unit(nn.Module):
        def forward(self, x):
            return functional.normalize(x)

    network = net(nn.Linear(5, 8, bias=False), nn.ReLU(), Unit(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))
    x, y = data()
    found = rank_collapse_bounds(network, [(x, y)], CE, 0.01).layers
    begins = "scale-invariant, so that decay leaves no stationary point: <W, gradient> is "
    assert found["0"].assumptions[0].startswith(begins)
    assert found["0"].assumptions[0].endswith(" of |W| |gradient|, and doubling W leaves all logits alone")
    assert not any(text.startswith("scale") for text in found["3"].assumptions)


def test_what_training_had_and_the_bound_has_not_is_named():
    network, (x, y) = mlp(nn.Dropout(0.5)), data()
    found = rank_collapse_bounds(network, [(x, y)], CE, 0.01, decoupled=True)
    dropout = "dropout '1' is off here and was on in training, whose loss was another"
    assert found.layers["0"].assumptions == (dropout, DECOUPLED)
    assert found.decay is None
    unknown = rank_collapse_bounds(mlp(), [(x, y)], CE, None)
    assert unknown.layers["0"].assumptions == ("the decay is not known",)


def test_layers_that_nothing_can_be_told_of_are_left_out_with_the_reason():
    network = mlp()
    network[4].weight.requires_grad_(False)
    nn.utils.parametrizations.weight_norm(network[2])
    network[3].aside = nn.Linear(40, 40)
    network[3].twin = nn.Linear(40, 40)
    network[3].twin.weight = network[3].aside.weight
    network[3].alone = nn.Linear(40, 40)
    x, y = data()
    found = rank_collapse_bounds(network, [(x, y)], CE, 0.01, largest=39)
    assert found.left_out == {
        "0": "its weight has 40 entries, more than 39",
        "2": "its weight is made anew in every pass, and decay acts on what it is made of",
        "head": "its weight is frozen",
        "3.aside": "its weight is also that of '3.twin'",
        "3.twin": "its weight is also that of '3.aside'",
        "3.alone": "it is not applied in the forward pass",
    }


def test_unlabelled_samples_are_left_out_and_the_network_is_as_it_was():
    network, (x, y) = mlp(nn.BatchNorm1d(8)).train(), data()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    y[::3] = -100
    found = rank_collapse_bounds(network, [(x[:11], y[:11]), (x[11:], y[11:])], CE, 0.01)
    again = rank_collapse_bounds(network, [(x[y >= 0], y[y >= 0])], CE, 0.01)
    assert (found.samples, found.layers["3"].rows) == (20, 20)
    same(found.layers["3"], again.layers["3"])
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_what_cannot_be_bounded_is_refused_in_words():
    network, (x, y) = mlp(), data()
    with pytest.raises(BatchError) as caught:
        rank_collapse_bounds(network, [], CE, 0.01)
    assert str(caught.value) == "the batches held nothing, so there is nothing to bound. Is the data loader empty?"
    for groups in (torch.arange(29), torch.arange(31)):
        with pytest.raises(BatchError) as caught:
            rank_collapse_bounds(network, [(x, y)], CE, 0.01, groups=groups % 3)
        assert str(caught.value) == (
            f"{len(groups)} groups were given, and the batches hold another number of samples. Give one for each, in "
            "the order of the batches."
        )
    with pytest.raises(BatchError) as caught:
        rank_collapse_bounds(network, [{"x": x}], CE, 0.01)
    assert str(caught.value) == "a batch came as dict; expected a pair (inputs, labels)."
    with pytest.raises(OptionError) as caught:
        rank_collapse_bounds(network, [(x, y)], CE, -1)
    assert str(caught.value) == "decay must be 0 or more; got -1."
