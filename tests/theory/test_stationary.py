"""Networks taken to stationary points: every bound holds there, and truncating all layers to rank K costs nothing."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from deepcollapse.errors import NonFiniteError, OptionError
from deepcollapse.theory.bounds.of_network import rank_collapse_bounds
from deepcollapse.theory.bounds.stationary import to_stationarity

CE = functional.cross_entropy


def mse(logits, labels):
    return functional.mse_loss(logits, functional.one_hot(labels, logits.shape[1]).to(logits.dtype))


def blobs():
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(15)
    means = 1.5 * torch.randn(4, 12, generator=g, dtype=torch.float64)
    return means[labels] + 0.5 * torch.randn(60, 12, generator=g, dtype=torch.float64), labels


def parity():
    """The parity of three bits with noise: eight modes in two classes, which no direction of the input tells apart."""
    g = torch.Generator().manual_seed(0)
    bits = 2.0 * torch.tensor([[i >> k & 1 for k in range(3)] for i in range(8)], dtype=torch.float64) - 1
    modes = torch.arange(8).repeat_interleave(10)
    x = bits[modes] + 0.15 * torch.randn(80, 3, generator=g, dtype=torch.float64)
    return x, (bits[modes].prod(1) > 0).long(), modes


def mlp(*widths, activation, scale=1.0):
    torch.manual_seed(0)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), activation())]
    network = nn.Sequential(*layers[:-1]).double()
    for p in network.parameters():
        p.data.mul_(scale)
    return network


def holds(bound):
    assert bound.distance <= min(bound.bound_cross, bound.bound_product, bound.bound_variability, bound.bound_alignment)
    assert bound.next_singular_value <= bound.bound_spectral
    assert bound.relative_distance <= bound.relative_bound
    assert bound.stationarity_residual < 1e-2
    assert bound.assumptions == ()


@pytest.mark.parametrize(
    ("activation", "loss", "decay", "steps"),
    [(nn.Tanh, CE, 1e-3, 300), (nn.Softplus, CE, 3e-3, 300), (nn.Tanh, mse, 1e-2, 300), (nn.Softplus, mse, 1e-2, 300)],
)
def test_at_stationary_points_all_bounds_hold_and_rank_four_is_enough(activation, loss, decay, steps):
    x, y = blobs()
    found = to_stationarity(mlp(12, 24, 24, 24, 4, activation=activation), x, y, loss, decay, most_steps=steps)
    assert found.largest_gradient < 1e-4
    bounds = rank_collapse_bounds(found.network, [(x[::2], y[::2]), (x[1::2], y[1::2])], loss, decay)
    for name in ("0", "2", "4"):
        holds(bounds.layers[name])
        assert bounds.layers[name].implied_decay == pytest.approx(decay, rel=1e-2)
    variations = [bounds.layers[name].input_variation for name in ("0", "2")]
    assert variations[1] < variations[0] / 4  # what varies within classes falls with depth
    cut = copy.deepcopy(found.network).requires_grad_(False)
    for layer in cut[::2]:
        u, s, v = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
        layer.weight.data = (u[:, :4] * s[:4]) @ v[:4]
    assert torch.equal(cut(x).argmax(1), y)
    with torch.no_grad():
        assert float(loss(cut(x), y)) == pytest.approx(float(loss(found.network(x), y)), abs=2e-4)


@pytest.mark.parametrize(
    ("decay", "distance", "classes", "second"),
    [(1e-4, 0.56, 1.0045, 0.11), (1e-3, 0.56, 1.0040, 0.10), (3e-3, 0.56, 1.0040, 0.09)],
)
def test_parity_keeps_its_first_layer_from_rank_two_and_the_bound_knows(decay, distance, classes, second):
    x, y, modes = parity()
    found = to_stationarity(mlp(3, 20, 20, 2, activation=nn.Tanh, scale=1.5), x, y, CE, decay)
    assert found.reached
    coarse = rank_collapse_bounds(found.network, [(x, y)], CE, decay).layers
    fine = rank_collapse_bounds(found.network, [(x, y)], CE, decay, groups=modes).layers
    holds(coarse["0"])
    holds(coarse["2"])
    holds(fine["2"])
    # The hard case: the distance is more than half of the bound, and the papers' easy "distance is 0" is wrong.
    assert coarse["0"].relative_distance == pytest.approx(distance, abs=0.02)
    assert coarse["0"].relative_bound == pytest.approx(classes, abs=2e-3)
    assert coarse["2"].relative_distance < 1e-3
    assert coarse["2"].relative_bound == pytest.approx(second, abs=0.02)
    assert coarse["2"].input_variation > 2
    assert fine["2"].input_variation < 0.05
    assert fine["0"].assumptions == ("trivially true: with 8 groups no rank of 20 x 3 lies above",)


def test_it_works_on_a_copy_and_says_where_it_stopped():
    x, y, _ = parity()
    network = mlp(3, 6, 2, activation=nn.Tanh).float().train()
    before = [p.detach().clone() for p in network.parameters()]
    found = to_stationarity(network, x.float(), y, CE, 1e-2, most_steps=3)
    assert (found.steps, found.reached) == (3, False)
    assert found.largest_gradient > 1e-7
    assert found.network[0].weight.dtype == torch.float64
    assert network.training
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before, strict=True))
    assert all(p.grad is None for p in network.parameters())
    with torch.no_grad():
        penalty = sum(float(p.square().sum()) for p in found.network.parameters())
        loss = float(CE(found.network(x.float().double()), y))
    assert found.value == pytest.approx(loss + 0.005 * penalty, rel=1e-12)


def test_settings_and_losses_that_make_no_sense_are_refused():
    x, y, _ = parity()
    network = mlp(3, 2, activation=nn.Tanh)
    with pytest.raises(OptionError) as caught:
        to_stationarity(network, x, y, CE, 0)
    assert str(caught.value) == "decay must be positive; got 0."
    with pytest.raises(NonFiniteError) as caught:
        to_stationarity(network, x * float("nan"), y, CE, 0.1)
    assert str(caught.value) == "the loss became NaN or infinite. Look for NaN in the inputs, or huge weights."
