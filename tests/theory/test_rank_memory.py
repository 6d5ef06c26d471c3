"""Steps remembered where torch's optimiser changes its ways, and layers whose rows do not bound the rank."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers, lists, sampled_from
from torch import nn

from deepcollapse.errors import OptionError
from deepcollapse.theory.bounds.rank_memory import RankMemory
from unchecked import shapes_unchecked


def linear(inputs=5, outputs=6):
    return nn.Linear(inputs, outputs, bias=False).double()


def step(layer, optimiser, seed, rows=1):
    optimiser.zero_grad()
    inputs = torch.randn(rows, layer.in_features, generator=torch.Generator().manual_seed(seed)).double()
    layer(inputs).square().sum().backward()
    optimiser.step()


@given(momenta=lists(sampled_from([0.0, 0.0, 0.5, 0.9]), min_size=1, max_size=8), steps=integers(1, 8))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_momentum_that_comes_and_goes_is_followed(momenta, steps):
    torch.manual_seed(0)
    layer = linear()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.02, momentum=0.9, weight_decay=0.05)
    step(layer, optimiser, 100)
    with RankMemory(layer, optimiser, steps) as memory:
        for seed, momentum in enumerate(momenta):
            optimiser.param_groups[0]["momentum"] = momentum
            step(layer, optimiser, seed)
    found = memory.now()
    assert found.identity_error < 1e-13
    assert found.tail_share <= found.tail_bound + 1e-14
    assert not found.miscounted


def test_settings_are_looked_at_again_before_every_step():
    layer = linear()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.02, momentum=0.9)
    with RankMemory(layer, optimiser, 3):
        step(layer, optimiser, 0)
        for setting, value in (("nesterov", True), ("dampening", 0.5), ("maximize", True)):
            before, optimiser.param_groups[0][setting] = optimiser.param_groups[0][setting], value
            with pytest.raises(OptionError) as caught:
                step(layer, optimiser, 1)
            assert str(caught.value) == f"the bound is for plain heavy-ball momentum; this one has {setting} on."
            optimiser.param_groups[0][setting] = before


def test_settings_of_a_state_that_was_loaded_are_those_that_count():
    layer = linear()
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.02, momentum=0.9, weight_decay=0.1)
    other = torch.optim.SGD(layer.parameters(), lr=0.2, momentum=0.5, weight_decay=0.3)
    with RankMemory(layer, optimiser, 4) as memory:
        step(layer, optimiser, 0)
        optimiser.load_state_dict(other.state_dict())
        step(layer, optimiser, 1)
        assert memory.now().identity_error > 0.01  # loading took the velocity away, which is no step
        for seed in range(2, 6):
            step(layer, optimiser, seed)
    assert memory.now().identity_error < 1e-13


def sgd(layer):
    return torch.optim.SGD(layer.parameters(), lr=0.1)


def test_layers_whose_rows_do_not_bound_the_rank_are_refused():
    first, second = linear(4, 4), linear(4, 4)
    second.weight = first.weight
    cases = [
        (nn.Conv2d(4, 8, 3, groups=2), None, "each row adds up to 2 to the rank of a convolution of 2 groups"),
        (nn.ConvTranspose2d(4, 8, 3), None, "a transposed convolution's kernel has its inputs first"),
        (nn.Embedding(4, 8), None, "it is Embedding, neither linear nor a convolution"),
        (first, nn.Sequential(first, second), "its weight is also that of '1'"),
        (nn.utils.parametrizations.weight_norm(linear()), None, "its weight is made anew in every pass"),
    ]
    for layer, network, reason in cases:
        message = f"rows cannot be counted for this layer: {reason}."
        with shapes_unchecked(), pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
            RankMemory(layer, sgd(layer), 2, network)
    RankMemory(first, sgd(first), 2, nn.Sequential(first, linear(4, 4))).close()


def test_a_weight_that_is_read_without_its_layer_is_refused_at_the_step():
    attention = nn.MultiheadAttention(4, 2)
    optimiser, x = sgd(attention), torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    with RankMemory(attention.out_proj, optimiser, 2):
        attention(x, x, x)[0].square().sum().backward()
        with pytest.raises(OptionError) as caught:
            optimiser.step()
    assert str(caught.value) == (
        "the weight has a gradient, and no row went through its layer since the step before: it is read without a call "
        "of the layer, tied to another module's, or its gradient is an old one."
    )


def test_more_rank_than_rows_is_told():
    layer = linear()
    optimiser, generator = sgd(layer), torch.Generator().manual_seed(0)
    inputs = torch.randn(4, 5, generator=generator).double()
    with RankMemory(layer, optimiser, 1) as memory:
        (layer(inputs[:1]).square().sum() + (inputs[1:] @ layer.weight.T).square().sum()).backward()
        optimiser.step()
    found = memory.now()
    assert (found.rank, found.rank_of_recent, found.miscounted) == (1, 4, True)
