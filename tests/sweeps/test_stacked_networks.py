"""Stacked networks go the way that each of them goes alone: the twin is torch's own differentiation and SGD."""

import copy

import pytest
import torch
from torch.nn import functional

from deepcollapse.networks import build
from deepcollapse.sweeps.stacked.descent import Descent
from deepcollapse.sweeps.stacked.notes import AGREES
from deepcollapse.sweeps.stacked.perceptron import Perceptrons
from deepcollapse.sweeps.stacked.stack import Mapped, Stack

RATES, DECAYS, MOMENTA = (0.05, 0.2, 0.01, 0.05, 0.1), (5e-3, 0.0, 1e-4, 5e-3, 0.02), (0.9, 0.9, 0.0, 0.5, 0.9)
SIZES, EPOCHS = (16, 16, 7), 3  # the last batch of an epoch is smaller


def losses(logits, labels):
    each = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return each.view(labels.shape).mean(dim=1)


def networks(name, dtype=torch.float32, **parameters):
    torch.manual_seed(3)
    return [build(name, num_classes=4, image_shape=(1, 6, 6), **parameters).to(dtype) for _ in RATES]


def batches(dtype=torch.float32):
    torch.manual_seed(4)
    for n in SIZES * EPOCHS:
        yield torch.randn(len(RATES), n, 1, 6, 6, dtype=dtype), torch.randint(4, (len(RATES), n))


def alone(network, member, dtype=torch.float32):
    """The network after the batches, trained as the training loop does."""
    network = copy.deepcopy(network).train()
    settings = {"lr": RATES[member], "weight_decay": DECAYS[member], "momentum": MOMENTA[member]}
    descent = torch.optim.SGD(network.parameters(), **settings)
    for x, y in batches(dtype):
        descent.zero_grad()
        functional.cross_entropy(network(x[member]), y[member]).backward()
        descent.step()
    return network.eval()


def together(found, members, dtype=torch.float32):
    """The stack of these members after the same batches; the networks' own parameters are views into it."""
    stack = Stack([found[member] for member in members])
    rates, decays, momenta = (
        torch.tensor([values[member] for member in members], dtype=dtype) for values in (RATES, DECAYS, MOMENTA)
    )
    buffers = [torch.zeros_like(p, requires_grad=False) for p in stack.parameters.values()]
    descent = Descent(stack.parameters, buffers, decays, momenta)
    for x, y in batches(dtype):
        _, gradients = stack.networks.gradients(x[list(members)], y[list(members)], losses)
        descent.step(gradients, rates)
    return stack


MLPS = [
    {"width": 32, "depth": 2},
    {"width": 12, "depth": 3},
    {"width": 12, "depth": 2, "batch_norm": False},
    {"width": 16, "depth": 2, "activation": "tanh", "bias": False},
    {"width": 20, "depth": 1, "activation": "identity"},
    {"width": 8, "depth": 0},
]


@pytest.mark.parametrize("parameters", MLPS, ids=str)
def test_perceptrons_are_trained_bit_for_bit_as_alone(parameters):
    found = networks("mlp", **parameters)
    wanted = [alone(network, member) for member, network in enumerate(found)]
    stack = together(found, range(len(found)))
    assert isinstance(stack.networks, Perceptrons)
    inputs = torch.randn(11, 1, 6, 6)
    logits = stack.networks.logits(inputs, same=True)
    for network, twin, stacked in zip(found, wanted, logits, strict=True):
        for name, value in twin.state_dict().items():
            assert torch.equal(network.state_dict()[name], value), name
        with torch.no_grad():
            assert torch.equal(stacked, twin(inputs))


def test_a_perceptron_does_not_depend_on_who_is_stacked_with_it():
    by_company = []
    for members in ((2,), (0, 2), (4, 3, 2, 1, 0)):
        found = networks("mlp", width=12, depth=3)
        together(found, members)
        by_company.append(found[2].state_dict())
    for other in by_company[1:]:
        assert all(torch.equal(value, other[name]) for name, value in by_company[0].items())


def apart(network, twin):
    """How far the weights of two networks are from one another, in units of their norm."""
    found, wanted = (torch.cat([p.detach().flatten() for p in each.parameters()]) for each in (network, twin))
    return float((found - wanted).norm() / wanted.norm())


# What is promised of one step in float32, and what nine steps in float64 leave: a formula that is wrong leaves more.
@pytest.mark.parametrize(
    ("dtype", "sizes", "tolerance"), [(torch.float32, (16,), AGREES), (torch.float64, SIZES, 1e-11)]
)
@pytest.mark.parametrize("name", ["resnet", "resnet18", "mlp"])
def test_other_networks_agree_with_single_ones_as_far_as_is_promised(name, dtype, sizes, tolerance, monkeypatch):
    monkeypatch.setattr(Perceptrons, "serves", staticmethod(lambda network: False))
    monkeypatch.setattr("test_stacked_networks.SIZES", sizes)
    monkeypatch.setattr("test_stacked_networks.EPOCHS", 1 if len(sizes) == 1 else 3)
    found = networks(name, dtype, width=4)
    before = copy.deepcopy(found)
    wanted = [alone(network, member, dtype) for member, network in enumerate(found)]
    stack = together(found, range(len(found)), dtype)
    assert isinstance(stack.networks, Mapped)
    inputs = torch.randn(11, 1, 6, 6, dtype=dtype)
    logits = stack.networks.logits(inputs, same=True)
    for network, twin, start, stacked in zip(found, wanted, before, logits, strict=True):
        assert apart(network, twin) <= tolerance
        assert apart(start, twin) > 1e-4  # it was trained at all
        for (key, value), other in zip(twin.named_buffers(), network.buffers(), strict=True):
            assert float((value - other).abs().max()) <= 10 * tolerance * max(1, float(value.abs().max())), key
        with torch.no_grad():
            alone_logits = network.eval()(inputs)
        assert float((stacked - alone_logits).norm() / alone_logits.norm()) <= 10 * tolerance


def test_each_member_sees_inputs_of_its_own():
    found = networks("mlp", width=12, depth=2)
    stack = Stack(found)
    inputs = torch.randn(len(found), 9, 1, 6, 6)
    logits = stack.networks.logits(inputs, same=False)
    for network, own, stacked in zip(found, inputs, logits, strict=True):
        with torch.no_grad():
            assert torch.equal(network.eval()(own), stacked)


def test_a_member_that_diverges_leaves_the_others_alone(monkeypatch):
    monkeypatch.setattr("test_stacked_networks.RATES", (0.05, 1e30, 0.01, 0.05, 0.1))
    found = networks("mlp", width=12, depth=2, batch_norm=False)
    together(found, range(len(found)))
    finite = [all(value.isfinite().all() for value in network.state_dict().values()) for network in found]
    assert finite == [True, False, True, True, True]
    monkeypatch.undo()
    others = networks("mlp", width=12, depth=2, batch_norm=False)
    together(others, (0, 2, 3, 4))
    for member in (0, 2, 3, 4):
        twin = others[member].state_dict()
        assert all(torch.equal(value, twin[name]) for name, value in found[member].state_dict().items())
