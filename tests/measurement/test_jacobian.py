"""Partial Jacobians against worked values and one derivative after the other, on every kind of network."""

import copy
import re

import pytest
import torch
from function_networks import conv_net, curve, gaussian, worked_inputs, worked_network
from torch import nn
from toy import hooks_of

from deepcollapse import errors
from deepcollapse.geometry import gram_rank
from deepcollapse.measurement import centre_patch, partial_jacobians, patch_alone
from deepcollapse.measurement.jacobian import tall_singular_values
from unchecked import shapes_unchecked


def test_worked_example():
    network, x = worked_network(), worked_inputs()
    found = partial_jacobians(network, x, layers=["1", "3", "4"])
    ranks = {layer: found.svd_ranks[layer].tolist() for layer in ("1", "3", "4")}
    assert ranks == {"1": [3, 3], "3": [3, 2], "4": [3, 2]}
    assert {layer: found.gram_ranks[layer].tolist() for layer in ranks} == ranks
    expected = [[4.245011193179, 3.519411520949, 0.201732252982], [4.514687112063, 2.611782252281, 0]]
    values = found.singular_values["4"]
    torch.testing.assert_close(values[:, :3], torch.tensor(expected, dtype=torch.float64), rtol=1e-11, atol=1e-12)
    assert values.shape == (2, 4)
    assert values[:, 3].max() < 1e-15
    part = partial_jacobians(network, x[:1], layers=["1", "3", "4"], coordinates=[0, 1, 2])
    assert [part.svd_ranks[layer].item() for layer in ("1", "3", "4")] == [3, 3, 3]
    assert part.singular_values["4"].shape == (1, 3)
    assert found.layers == ("1", "3", "head.input", "4")


class Attention(nn.Module):
    """An encoder layer over the rows of an image, whose fused kernels know no forward derivatives."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.encoder(x[:, 0]).mean(dim=1))


class Recurrent(nn.Module):
    """A recurrent layer, and one layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.act, self.head = nn.LSTM(8, 5, batch_first=True), nn.Tanh(), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.act(self.act(self.rnn(x[:, 0])[0][:, -1])))


class OldFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        return 2 * ctx.saved_tensors[0] * gradient


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(64, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(OldFunction.apply(self.first(x.flatten(1))))


NETWORKS = {
    "convolutions, batch norm, in-place ReLU": (conv_net, ["1", "2", "6"], "forward"),
    "attention": (Attention, ["encoder.norm1", "encoder", "head"], "forward"),
    "recurrent, called twice": (Recurrent, ["act#1", "act#2", "head"], "forward"),
    "a function without forward derivative": (Custom, ["first", "head"], "reverse"),
}


def one_by_one(network, x, layer):
    """The Jacobian of a layer by torch's own loop over outputs, with a hook of its own."""
    name, _, call = layer.partition("#")
    kept = []
    handle = network.get_submodule(name).register_forward_hook(lambda m, a, out: kept.append(out.flatten().clone()))

    def outputs(z):
        kept.clear()
        network(z.clone())
        return kept[int(call or 1) - 1]

    jacobian = torch.autograd.functional.jacobian(outputs, x)
    handle.remove()
    return jacobian.reshape(len(jacobian), -1)


@pytest.mark.parametrize(("make", "layers", "mode"), NETWORKS.values(), ids=NETWORKS.keys())
def test_one_derivative_after_the_other_says_the_same(make, layers, mode):
    torch.manual_seed(0)
    network, x = make().double().eval(), gaussian(1, 2, 1, 8, 8)
    coordinates = torch.arange(0, 64, 3)
    found = partial_jacobians(network, x, layers=layers, coordinates=coordinates)
    assert found.mode == mode
    for layer in layers:
        for i in range(2):
            slow = one_by_one(network, x[i : i + 1], layer)[:, coordinates]
            expected = torch.linalg.svdvals(slow)
            torch.testing.assert_close(found.singular_values[layer][i], expected, rtol=1e-9, atol=1e-12)
            assert found.svd_ranks[layer][i] == torch.linalg.matrix_rank(slow)
            assert found.gram_ranks[layer][i] == gram_rank(slow)


def refusing(*_):
    raise NotImplementedError("no forward derivative")


def test_both_ways_and_every_budget_say_the_same(monkeypatch):
    network, x = conv_net().double(), gaussian(2, 2, 1, 8, 8)
    layers = ["1", "2", "4", "6"]
    whole = partial_jacobians(network, x, layers=layers)
    monkeypatch.setattr("deepcollapse.measurement.derivatives.AT_ONCE", 3000)
    tight = partial_jacobians(network, x, layers=layers, memory_budget=64 * 256 * 8)
    monkeypatch.setattr(
        "deepcollapse.measurement.derivatives.Derivatives._forward",
        lambda *_: (_ for _ in ()).throw(RuntimeError("no")),
    )
    back = partial_jacobians(network, x, layers=layers)
    assert (whole.mode, tight.mode, back.mode) == ("forward", "forward", "reverse")
    for other in (tight, back):
        assert other.outputs == whole.outputs
        for layer, values in whole.singular_values.items():
            torch.testing.assert_close(other.singular_values[layer], values, rtol=1e-10, atol=1e-13)


def test_few_outputs_are_taken_backward():
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Tanh(), nn.Linear(2, 2))
    found = partial_jacobians(network, torch.randn(1, 1, 8, 8), layers=["2"])
    assert (found.mode, found.svd_ranks["2"].item()) == ("reverse", 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_widened(dtype):
    network, x = conv_net().to(dtype), gaussian(3, 1, 1, 8, 8).to(dtype)
    wide = copy.deepcopy(network).float()
    found, expected = partial_jacobians(network, x, layers=["6"]), partial_jacobians(wide, x.float(), layers=["6"])
    torch.testing.assert_close(found.singular_values["6"], expected.singular_values["6"], rtol=1e-6, atol=0)
    assert network[0].weight.dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        again = partial_jacobians(wide, x.float(), layers=["6"])
    assert torch.equal(again.singular_values["6"], expected.singular_values["6"])


def test_degenerate_functions():
    constant = nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(5.0, 6.0), nn.Linear(4, 2))
    found = partial_jacobians(constant, torch.zeros(2, 3), layers=["0", "1"])
    assert [found.svd_ranks[n].tolist() for n in ("0", "1")] == [[3, 3], [0, 0]]
    assert found.gram_ranks["1"].tolist() == [0, 0]
    alone = partial_jacobians(nn.Linear(3, 2), torch.ones(1, 3), layers=["head"])
    assert (alone.layers, alone.svd_ranks["head"].item()) == (("head.input", "head"), 2)
    bare = partial_jacobians(nn.Sequential(nn.Tanh()), torch.ones(1, 3), layers=["0", "input"], head=None)
    assert {layer: ranks.item() for layer, ranks in bare.gram_ranks.items()} == {"input": 3, "0": 3}


def test_everything_is_left_as_it_was():
    network, x = conv_net().train(), gaussian(4, 2, 1, 8, 8).float()
    network[0].weight.requires_grad_(False)
    state, hooks, before = copy.deepcopy(network.state_dict()), hooks_of(network), x.clone()
    random, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    seen = []
    with torch.inference_mode():
        first = partial_jacobians(network, x, layers=["6"], progress=seen.append)
    with pytest.raises(errors.NonFiniteError):
        partial_jacobians(network, x * torch.nan)
    assert torch.equal(partial_jacobians(network, x, layers=["6"]).singular_values["6"], first.singular_values["6"])
    assert (seen, hooks_of(network), network.training) == ([1, 2], hooks, True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(x, before)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert torch.is_grad_enabled()


def test_centre_patches():
    rows = torch.arange(104, 120)
    image = torch.arange(3 * 224 * 224).reshape(3, 224, 224)
    assert torch.equal(centre_patch((3, 224, 224)), image[:, rows][:, :, rows].flatten())
    assert centre_patch((1, 5, 3), size=2).tolist() == [3, 4, 6, 7]
    spread = centre_patch((5000,))
    assert (len(spread), len(spread.unique()), int(spread[0]), int(spread[-1])) == (768, 768, 0, 4999)
    x = torch.arange(1.0, 33).reshape(2, 1, 4, 4)
    assert patch_alone(x, [0, 5]).count_nonzero().item() == 4


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 5), (200, 5), (41, 5)])
def test_tall_matrices_are_folded(rows, columns):
    matrix = 1e200 * gaussian(5, rows, columns) @ torch.diag(torch.logspace(0, -8, columns).double())
    expected = torch.linalg.svdvals(matrix)
    torch.testing.assert_close(tall_singular_values(matrix), expected, rtol=1e-7, atol=0)


X = torch.ones(1, 5, dtype=torch.float64)
ERRORS = {
    "no inputs": (
        lambda: partial_jacobians(worked_network(), X[:0]),
        errors.ShapeError,
        "inputs have shape (0, 5); expected (samples, ...) with at least one sample.",
    ),
    "tokens": (
        lambda: partial_jacobians(worked_network(), X.long()),
        errors.BatchError,
        "inputs came as torch.int64 of shape (1, 5); expected one floating-point tensor (samples, ...), which features "
        "can be differentiated by. Embed tokens first, and pass the network from there on.",
    ),
    "NaN": (
        lambda: partial_jacobians(worked_network(), X * torch.nan),
        errors.NonFiniteError,
        "1 of 1 inputs hold NaN or infinity; leave them out.",
    ),
    "diverged": (
        lambda: partial_jacobians(worked_network(), X * 1.7e308, layers=["0"]),
        errors.NonFiniteError,
        "layer '0': features hold NaN or infinity. Look for a diverged network or an overflow in it.",
    ),
    "outside": (
        lambda: partial_jacobians(worked_network(), X, coordinates=[0, 5]),
        errors.OptionError,
        "coordinates are distinct indices from 0 to 4 into a flattened input of shape (5,), at least one; got 5 among "
        "them.",
    ),
    "twice": (
        lambda: partial_jacobians(worked_network(), X, coordinates=[1, 1]),
        errors.OptionError,
        "coordinates are distinct indices from 0 to 4 into a flattened input of shape (5,), at least one; got one of "
        "them twice.",
    ),
    "none": (
        lambda: partial_jacobians(worked_network(), X, coordinates=[]),
        errors.OptionError,
        "coordinates are distinct indices from 0 to 4 into a flattened input of shape (5,), at least one; got shape "
        "(0,).",
    ),
    "memory": (
        lambda: partial_jacobians(worked_network(), X, layers=["1"], memory_budget=100),
        errors.MemoryBudgetError,
        "layer '1': a Jacobian of 6 features by 5 coordinates takes 0.00024 MB, more than the memory budget of "
        "0.0001 MB. Choose fewer coordinates, leave the layer out, or raise memory_budget.",
    ),
    "never called": (
        lambda: partial_jacobians(Idle(), X.float(), layers=["idle"]),
        errors.CaptureError,
        "layer 'idle' was never called in a forward pass, or not that often. Layers that were called: head.input.",
    ),
}


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.idle, self.head = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_neither_way():
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.calls = nn.Linear(5, 2), 0

        def forward(self, x):
            self.calls += 1
            if self.calls > 1:  # the plain pass comes first
                raise RuntimeError("I will not")
            return self.head(x)

    message = (
        "the network can be differentiated neither forward nor backward by its input (forward: I will not; reverse: "
        "I will not). Leave out the layers behind the operation that is named there."
    )
    with pytest.raises(errors.CaptureError, match=f"^{re.escape(message)}$"):
        partial_jacobians(Stubborn(), torch.ones(1, 5))


def test_worked_weights_are_those_of_the_formula():
    assert curve(2, 2, 0.5)[1, 0].item() == pytest.approx(0.598472, abs=1e-6)  # sin(0.5 + 2)
