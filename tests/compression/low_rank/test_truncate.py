"""Whole networks at lower rank: what each layer loses, in which order, what stays, and what is handed back."""

import copy
import re
from itertools import pairwise

import pytest
import torch
from matrices import close, draw, tail
from safetensors.torch import load_file, save_file
from torch import nn

from deepcollapse.compression.low_rank.allocation import allocate
from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.inputs import LayerInputs
from deepcollapse.compression.low_rank.truncate import truncate
from deepcollapse.errors import CaptureError, LayerNameError, NonFiniteError, OptionError


def mlp(*widths: int, bias: bool = True) -> nn.Sequential:
    torch.manual_seed(0)
    maps = [nn.Linear(m, n, bias=bias) for m, n in pairwise(widths)]
    return nn.Sequential(*(part for one in maps for part in (one, nn.Tanh()))).double()


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, groups=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(72, 4, bias=False),
    ).double()  # fmt: skip


def output_change(layer, module, x) -> float:
    """By running both on what enters."""
    with torch.no_grad():
        bias = 0 if layer.bias is None else layer.bias.reshape(-1, *(1,) * (layer.weight.ndim - 2))
        return float((layer(x) - module(x)).norm() / (layer(x) - bias).norm())


X = draw(60, 12) + 0.5


@pytest.mark.parametrize("how", ["weights", "scaled", "activations"])
@pytest.mark.parametrize("bias", [True, False])
def test_errors_of_a_layer_are_those_of_running_it(how, bias):
    layer = nn.Linear(12, 10, bias=bias).double()
    made = truncate(nn.Sequential(layer), {"0": 3}, [X[:25], X[25:]], how=how)
    (row,) = made.layers
    close(row.output_error, output_change(layer, made.network[0], X), rtol=1e-9)
    weight = (made.network[0][1].weight @ made.network[0][0].weight).detach()
    close(row.weight_error, float((layer.weight.detach() - weight).norm() / layer.weight.detach().norm()), rtol=1e-9)
    assert (row.name, row.shape, row.rank, row.form, row.note) == ("0", (10, 12), 3, "linear", None)
    assert (row.parameters_before, row.parameters_after) == (120 + 10 * bias, 66 + 10 * bias)
    inputs = X.T - X.mean(dim=0)[:, None] if bias else X.T
    if how == "activations":
        close(
            row.output_error,
            tail(layer.weight.detach() @ inputs, 3) / float((layer.weight.detach() @ X.T).norm()),
            rtol=1e-9,
        )
    if how == "weights":
        close(row.weight_error, tail(layer.weight.detach(), 3) / float(layer.weight.detach().norm()), rtol=1e-9)
        assert truncate(nn.Sequential(layer), {"0": 3}).layers[0].output_error is None


@pytest.mark.parametrize("form", ["channel", "spatial", "tucker"])
def test_errors_of_convolutions_are_those_of_running_them(form):
    net, x = convolutions(), draw(5, 2, 8, 8) + 0.3
    made = truncate(net, {"0": 2, "2": 2, "5": 2}, [x], form={"0": form, "2": form}, sequential=False)
    for row in made.layers:
        layer, entering = net[int(row.name)], net[: int(row.name)](x)
        close(row.output_error, output_change(layer, made.network[int(row.name)], entering), rtol=1e-8)
        assert row.parameters_after == sum(p.numel() for p in made.network[int(row.name)].parameters())
        assert row.parameters_after < row.parameters_before
    assert [row.form for row in made.layers] == [form, form, "linear"]


def test_one_after_the_other_is_what_cutting_by_hand_gives():
    net, ranks = mlp(12, 20, 16, 10), {"0": 4, "2": 3, "4": 2}
    before = copy.deepcopy(net.state_dict())
    made = truncate(net, ranks, [X])
    by_hand = net
    for name, rank in ranks.items():
        by_hand = truncate(by_hand, {name: rank}, [X], sequential=False).network
    close(made.network(X).detach(), by_hand(X).detach(), rtol=1e-9)
    assert all(before[key].equal(value) for key, value in net.state_dict().items())


def test_layers_are_cut_in_the_order_in_which_they_are_called():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(12, 6).double(), nn.Linear(12, 12).double()
            self.passes = 0

        def forward(self, x):
            self.passes += 1
            x = self.first(x)
            x = self.last(x)
            self.passes += 100  # only by passes that go on to the end
            return x

    torch.manual_seed(1)
    net = Backwards()
    made = truncate(net, {"*": 2}, [X, X[:9]])
    by_hand = truncate(truncate(net, {"first": 2}, [X, X[:9]]).network, {"last": 2}, [X, X[:9]])
    close(made.network(X).detach(), by_hand.network(X).detach(), rtol=1e-9)
    assert [row.name for row in made.layers] == ["last", "first"]  # reported in the network's own order
    # A pass over the first batch to see the order, then one a layer, each no further than it.
    assert made.network.passes == 100 + 1 + 2 * 2 + 101


def test_sequential_cuts_lose_less_of_the_output():
    # Not a theorem: what holds on these networks, on average and for most of them.
    lost = {True: [], False: []}
    for seed in range(8):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(12, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 8)).double()
        for sequential, found in lost.items():
            made = truncate(net, {"0": 5, "2": 5, "4": 3}, [X], sequential=sequential)
            found.append(float((made.network(X) - net(X)).detach().norm()))
    assert sum(lost[True]) < sum(lost[False])
    assert sum(a < b for a, b in zip(lost[True], lost[False], strict=True)) >= 5


def test_layers_are_never_made_larger():
    net = mlp(12, 10, 1)
    made = truncate(net, {"0": 6, "2": 1}, [X])
    assert made.layers[0].note == "factors of rank 6 would hold 132 numbers, its weight holds 120"
    assert made.layers[1].note == "factors of rank 1 would hold 11 numbers, its weight holds 10"
    for row in made.layers:
        assert (row.rank, row.weight_error, row.output_error) == (None, 0.0, 0.0)
        assert row.parameters_before == row.parameters_after
    assert truncate(net, {"0": 6}).layers[0].output_error is None
    assert [type(part) for part in made.network] == [type(part) for part in net]
    depthwise = truncate(nn.Conv2d(4, 4, 3, groups=4), {"": 1})
    assert depthwise.layers[0].note == "factors of rank 1 would hold 40 numbers, its weight holds 36"
    row = truncate(nn.Linear(9, 1), {"": 0}).layers[0]
    assert row.note == "factors of rank 0 (stored as rank 1) would hold 10 numbers, its weight holds 9"


def test_rank_zero_and_zero_layers_leave_the_bias():
    net = mlp(12, 10)
    for made in (truncate(net, {"0": 0}), truncate(net, {"0": 0}, [X])):
        out = made.network[0](X).detach()
        assert out.equal(out[:1].expand(60, 10))
    # By activations the bias takes over the mean output.
    close(out[0], net[0](X).mean(dim=0).detach(), rtol=1e-9)
    with torch.no_grad():
        net[0].weight.zero_()
    for batches in (None, [X]):
        made = truncate(net, {"0": 2}, batches)
        assert made.network(X).equal(net(X))
        assert made.layers[0].weight_error == 0.0
    assert made.layers[0].output_error == 0.0


def test_patterns_the_last_that_matches_counts_and_none_keeps():
    net = mlp(12, 20, 16, 10)
    made = truncate(net, {"*": 2, "4": None, "0": 3})
    assert [(row.name, row.rank) for row in made.layers] == [("0", 3), ("2", 2), ("4", None)]
    assert made.layers[2].note == "kept dense, as asked"
    assert made.network[4].weight.equal(net[4].weight)
    assert truncate(net, {}).layers == ()
    assert truncate(net, {"*": None}, [X]).layers[0].output_error == 0.0


def test_a_module_under_two_names_is_cut_once_and_stays_shared():
    shared = nn.Linear(12, 12).double()
    net = nn.Sequential(shared, nn.Tanh(), shared)
    for batches in (None, [X]):
        made = truncate(net, {"0": 3}, batches)
        assert made.network[0] is made.network[2]
        assert len(made.layers) == 1
    both = torch.cat([X, net[:2](X).detach()])  # the inputs of both calls
    inputs = both - both.mean(dim=0)
    expected = tail(shared.weight.detach() @ inputs.T, 3) / float((shared.weight.detach() @ both.T).norm())
    close(made.layers[0].output_error, expected, rtol=1e-9)


def test_truncating_again_changes_nothing():
    net = mlp(12, 20)
    once = truncate(net, {"0": 3}).network
    assert truncate(once, {"*": 3}).network(X).equal(once(X))  # no factor of a factor would be smaller
    dense = copy.deepcopy(net)
    with torch.no_grad():
        dense[0].weight.copy_(once[0][1].weight @ once[0][0].weight)
    close(truncate(dense, {"0": 3}).network(X).detach(), once(X).detach(), rtol=1e-9)
    close(truncate(dense, {"0": 4}, [X]).network(X).detach(), once(X).detach(), rtol=1e-9)


def test_attention_keeps_the_weights_that_it_reads_itself():
    net = nn.TransformerEncoderLayer(8, 2, 32, batch_first=True).eval()
    assert LowRank(net, None, [torch.randn(3, 4, 8)]).layers == {}
    assert truncate(net, {}, [torch.randn(3, 4, 8)]).layers == ()
    reasons = {"linear1": "TransformerEncoderLayer", "self_attn.out_proj": "MultiheadAttention"}
    for name, parent in reasons.items():
        with pytest.raises(LayerNameError) as raised:
            truncate(net, {name: 1})
        assert str(raised.value) == (
            f"layer {name!r} cannot be compressed: the {parent} around it reads its weight without calling it."
        )


def test_what_comes_out_is_an_ordinary_module(tmp_path):
    net, x = convolutions().float(), torch.randn(3, 2, 8, 8)
    made = truncate(net, {"*": 2}, [x]).network
    kinds = {type(part) for part in made.modules()}
    assert {kind.__module__.partition(".")[0] for kind in kinds} == {"torch"}
    save_file(made.state_dict(), tmp_path / "weights.safetensors")
    twin = truncate(convolutions().float(), {"*": 2}).network
    twin.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert twin(x).equal(made(x))


def test_a_decomposition_is_cut_at_any_ranks_and_gives_spectra_to_share_a_budget():
    net, x = convolutions(), draw(5, 2, 8, 8)
    found = LowRank(net, None, [x])
    for ranks in ({"0": 2, "5": 1}, {"*": 1}):
        expected = truncate(net, ranks, [x], sequential=False)
        made = found.cut(ranks)
        assert made.layers == expected.layers
        close(made.network(x).detach(), expected.network(x).detach(), rtol=1e-12)
    spectra = found.spectra()
    assert [(one.shape, one.cost, one.dense_cost) for one in spectra] == [
        ((8, 18), 26, 144), ((4, 36), 80, 288), ((4, 72), 76, 288),
    ]  # fmt: skip
    shared = allocate(spectra, 400, least=1)
    made = found.cut(shared.ranks)
    assert sum(row.parameters_after for row in made.layers) == shared.cost + 16
    # The squared error that was shared out is that of a row of inputs, summed over outputs.
    energies = []
    for row in made.layers:
        layer, entering = net[int(row.name)], net[: int(row.name)](x)
        change = (layer(entering) - made.network[int(row.name)](entering)).detach()
        energies.append(float(change.square().sum()) / found.inputs[row.name].count)
    close(shared.error, sum(energies), rtol=1e-8)
    assert [one.cost for one in found.spectra({"0": 64, "2": 9, "5": 1})] == [64 * 26, 9 * 80, 76]
    again = LowRank(net, None, found.inputs)
    close(again.spectra()[1].singular_values, spectra[1].singular_values)


NET = mlp(12, 20, 16)


def nan_network():
    net = copy.deepcopy(NET)
    with torch.no_grad():
        net[0].weight[0, :2] = torch.nan
    return net


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: truncate(NET, {"7": 2}),
            LayerNameError,
            "no linear or convolutional layer matches '7'; there are 0, 2.",
        ),
        (lambda: truncate(NET, {"0": -1}), OptionError, "a rank is at least 0; got -1."),
        (
            lambda: truncate(NET, {"0": (2, 2)}),
            OptionError,
            "layer '0' has one rank in its linear form; got the ranks (2, 2).",
        ),
        (
            lambda: truncate(NET, {"0": 2}, how="scaled"),
            OptionError,
            "how='scaled' weighs the weights with their inputs; pass batches, or how='weights'.",
        ),
        (
            lambda: truncate(NET, {"0": 2}, how="both"),
            OptionError,
            "how must be one of weights, scaled, activations; got 'both'.",
        ),
        (
            lambda: truncate(NET, {"0": 2}, form="cp"),
            OptionError,
            "the form of a convolution must be one of channel, spatial, tucker; got 'cp'.",
        ),
        (
            lambda: truncate(NET, {"0": 2}, form={"9": "channel"}),
            OptionError,
            "form names '9', which is not cut; layers are 0.",
        ),
        (
            lambda: truncate(nn.Conv1d(4, 4, 3), {"": 1}, form="spatial"),
            OptionError,
            "layer '' is a Conv1d, and the spatial form parts two axes; take 'channel' or 'tucker' for it, by name.",
        ),
        (
            lambda: truncate(NET, {"0": 2}, iter([X])),
            OptionError,
            "batches is an iterator, which one pass uses up, and truncating layer after layer takes one pass a layer. "
            "Pass a list or a data loader, or sequential=False.",
        ),
        (
            lambda: truncate(nn.ModuleDict({"a": nn.Linear(12, 9)}), {"a": 2}, []),
            ValueError,
            "there were no batches to run the network on; pass at least one.",
        ),
        (
            lambda: truncate(nan_network(), {"0": 2}),
            NonFiniteError,
            "the weight of layer '0' holds 2 NaN or infinite entries; compress a network that trained without "
            "diverging, or leave the layer out.",
        ),
        (
            lambda: LowRank(NET, ["0"]).cut({"2": 1}),
            OptionError,
            "layer '2' was not taken apart; there are 0.",
        ),
        (
            lambda: LowRank(NET, ["0"], LayerInputs({})).cut({"0": 1}),
            OptionError,
            "nothing is known of the inputs of a layer to be cut by activations; collect them too.",
        ),
        (
            lambda: LowRank(convolutions(), ["0"], form="spatial").spectra({"0": 4}),
            OptionError,
            "multiply-adds of layer '0' in its spatial form depend on the image's height and width, not on its "
            "positions alone; take the channel form, or allocate by parameters.",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_a_layer_that_no_pass_calls_cannot_be_weighed():
    class Half(nn.Sequential):
        def forward(self, x):
            return self[0](x)

    net = Half(nn.Linear(12, 12), nn.Linear(12, 12)).double()
    message = (
        "layer '1' was never called as a module in a pass of the first batch. "
        "Leave it out, or truncate by weights alone."
    )
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        truncate(net, {"*": 2}, [X])
    assert [row.rank for row in truncate(net, {"*": 2}).layers] == [2, 2]
