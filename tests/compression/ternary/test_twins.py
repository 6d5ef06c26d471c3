"""Fast trials take the decisions of the plain sweep, which runs the whole network for each trial."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from naive import coordinates, lower_by_one, mean_loss, sweep
from torch import nn

from deepcollapse.compression.ternary import train_discrete
from deepcollapse.networks import build

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "clip": nn.ReLU6,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
CLASSES = 3
PHASES = (Phase.explicit, Phase.generate)  # examples are small as they are


def samples(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator), torch.randint(CLASSES, shape[:1], generator=generator)


def perceptron(seed, depth, activation, bias, norm=False):
    torch.manual_seed(seed)
    widths, layers = [3, 4, 3, 4][:depth], []
    for inputs, outputs in zip(widths, [*widths[1:], CLASSES], strict=True):
        layers += [nn.Linear(inputs, outputs, bias)]
        if norm and len(layers) == 1:
            layers += [moving_norm(nn.BatchNorm1d(outputs))]
        layers += [ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def moving_norm(norm):
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def convolutional(seed, pool):
    torch.manual_seed(seed)
    maps = nn.Sequential(
        nn.Conv2d(1, 2, 2, padding=1, stride=1 + seed % 2, bias=seed % 2 == 0),
        moving_norm(nn.BatchNorm2d(2)),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2) if pool else nn.Identity(),
        nn.Conv2d(2, 2, (3, 1), padding="same") if seed % 3 == 0 else nn.Conv2d(2, 2, (2, 1)),
        nn.Tanh(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
    )
    return nn.Sequential(*maps, nn.Linear(maps.eval()(torch.zeros(1, 1, 6, 6)).numel(), CLASSES))


def check_twins(network, inputs, labels, names, engine, squared=False, biases=False, values=(-1.0, 0.0, 1.0)):
    """Two sweeps, move by move; returns what ours gave."""
    options = {"engine": engine, "layers": names, "biases": biases, "values": values}
    options["loss"] = "squared" if squared else "cross_entropy"
    found = train_discrete(network, inputs, labels, sweeps=2, **options)
    # The start, by our projection alone, which has tests of its own.
    start = train_discrete(network, inputs, labels, sweeps=0, **options)
    plain = copy.deepcopy(network).double().eval()
    for name in names:
        layer, codes = plain.get_submodule(name), start.codes[name]
        layer.weight.data = start.scales[name] * torch.tensor(values, dtype=torch.float64)[codes].contiguous()
        if biases and layer.bias is not None:
            own = start.network.get_submodule(name).bias.double()
            allowed = start.scales[name] * torch.tensor(values, dtype=torch.float64)
            layer.bias.data = allowed[(own[:, None] - allowed).abs().argmin(dim=1)]
    places = list(coordinates(plain, names, biases))
    allowed = [
        [found.scales[name] * value for value in values] for name in names for _ in coordinates(plain, [name], biases)
    ]
    assert start.loss == pytest.approx(mean_loss(plain, inputs, labels, squared), rel=1e-12)
    path = [
        pytest.approx(loss, rel=1e-10)
        for _ in range(2)
        for loss in sweep(plain, places, allowed, inputs, labels, squared)
    ]
    assert list(found.path[1:]) == path
    for name in names:
        ours = found.network.get_submodule(name).weight
        torch.testing.assert_close(ours, plain.get_submodule(name).weight.float(), rtol=1e-6, atol=0)
    return found


@given(
    seed=st.integers(0, 2**16),
    depth=st.integers(1, 4),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    bias=st.booleans(),
    squared=st.booleans(),
    norm=st.booleans(),
)
@settings(max_examples=5, deadline=None, phases=PHASES)
def test_linear_chains(seed, depth, activation, bias, squared, norm):
    network = perceptron(seed, depth, activation, bias, norm)
    inputs, labels = samples(seed, 7, 3)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    values = (-1.0, 0.0, 1.0) if seed % 2 else (-2.0, -0.5, 0.0, 1.0)
    for engine in ("torch", "compiled"):
        check_twins(network, inputs, labels, names, engine, squared, bias, values)


@pytest.mark.parametrize("seed", range(6))
def test_convolutions(seed):
    network = convolutional(seed, pool=seed < 4)
    inputs, labels = samples(seed, 5, 1, 6, 6)
    check_twins(network, inputs, labels, ["0", "4", "8"], "torch", squared=seed == 5, biases=seed % 2 == 1)


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_logits_so_far_apart_that_exponentials_leave_the_range(engine):
    network = perceptron(1, 2, "relu", bias=False)
    inputs, labels = samples(1, 7, 3)
    check_twins(network, 2000 * inputs, labels, ["0", "2"], engine)


def test_some_layers_of_our_own_networks_with_all_else_as_it_was():
    torch.manual_seed(0)
    network = build("mlp", num_classes=CLASSES, image_shape=(1, 2, 2), width=3, depth=2, batch_norm=True)
    moving_norm(network.blocks[0].norm)
    inputs, labels = samples(0, 7, 1, 2, 2)
    found = check_twins(network, inputs, labels, ["blocks.1.linear", "head"], "compiled")
    assert torch.equal(found.network.blocks[0].linear.weight, network.blocks[0].linear.weight)
    check_twins(network, inputs, labels, ["blocks.0.linear", "head"], "compiled")


def test_a_vgg_from_its_last_block_on():
    torch.manual_seed(0)
    network = build("vgg11", num_classes=CLASSES, image_shape=(1, 8, 8), width=1)
    inputs, labels = samples(0, 3, 1, 8, 8)
    last = f"blocks.{len(network.blocks) - 1}.convolution"
    check_twins(network.eval(), inputs, labels, [last, "head"], "torch")


@given(seed=st.integers(0, 2**16), moves=st.sampled_from(["in turn", "best"]), screened=st.booleans())
@settings(max_examples=8, deadline=None, phases=PHASES)
def test_losses_only_fall_and_the_end_is_a_local_minimum_in_the_set(seed, moves, screened):
    network = perceptron(seed, 1 + seed % 3, "tanh" if seed % 2 else "relu", bias=True)
    inputs, labels = samples(seed, 8, 3)
    found = train_discrete(
        network, inputs, labels, moves=moves, order="random", initial="random", biases=True, seed=seed,
        screening=0.4 if screened else None, engine="compiled" if seed % 5 else "torch",
    )  # fmt: skip
    assert found.local_minimum
    assert all(after < before for before, after in pairwise(found.path))
    assert found.loss == pytest.approx(found.path[-1], rel=1e-11)
    ends = [sweep.loss for sweep in found.sweeps]
    assert all(after < before + 1e-12 for before, after in pairwise(ends))
    plain = copy.deepcopy(found.network).double().eval()
    names, allowed = list(found.scales), []
    for name in names:
        layer, scale = plain.get_submodule(name), found.scales[name]
        layer.weight.data = scale * torch.tensor(found.values, dtype=torch.float64)[found.codes[name]]
        layer.bias.data = scale * (layer.bias.data / scale).round()
        assert set(layer.bias.tolist()) <= {-scale, 0.0, scale}
        torch.testing.assert_close(layer.weight.float(), found.network.get_submodule(name).weight, rtol=1e-6, atol=0)
        allowed += [[-scale, 0.0, scale] for _ in coordinates(plain, [name], biases=True)]
    assert mean_loss(plain, inputs, labels) == pytest.approx(found.loss, rel=1e-11)
    assert lower_by_one(plain, list(coordinates(plain, names, biases=True)), allowed, inputs, labels) == []
